"""Defaults stand in the declared forms; the snapshot's own, for those who build one by hand, are the same."""

from faregate.compile.translate import gateway_record, upstream_record
from faregate.model.config import Config
from faregate.model.upstreams import ActiveHealth, Upstream
from faregate.policies.jwt.settings import Issuer
from faregate.snapshot import data


def test_gateway_defaults_agree() -> None:
    declared = gateway_record(Config.model_validate({}).gateway, "data", [None])
    assert declared == data.Gateway(
        listen=(data.Listener("127.0.0.1", 8080),),
        manager=data.Listener("127.0.0.1", 9090),
        workers=0,
        data="data",
    )


def test_upstream_defaults_agree() -> None:
    declared = upstream_record("u", Upstream.model_validate({"targets": ["http://a:1"]}))
    assert declared == data.Upstream(name="u", targets=(data.Target("a:1", "a", 1),))


def test_probe_defaults_agree() -> None:
    assert data.ActiveHealth(**ActiveHealth.model_validate({"path": "/"}).model_dump()) == data.ActiveHealth(
        "/"
    )


def test_issuer_defaults_agree() -> None:
    issuer = Issuer.model_validate({"issuer": "i", "audience": "a", "algorithms": ["RS256"], "jwks": "f"})
    default = data.Issuer("i", "i", ("a",), ("RS256",))
    assert (issuer.consumer_claim, issuer.leeway) == (default.consumer_claim, default.leeway)
