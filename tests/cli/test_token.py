"""``faregate token``: its tokens pass the gateway's own verifier; its key files are private; its errors are
clear.
"""

import hashlib
import json
import os
import stat
import time
from pathlib import Path

import pytest

from faregate.cli.app import main
from faregate.compile.compiler import compile_config
from faregate.kernel.clock import SystemClock
from faregate.model.load import load
from faregate.policies.authenticate.step import Authenticators
from faregate.stores.keysets import KeySets
from tests.policies.jwt.material import call_with, no_network, ready, route

CONFIG = """
gateway: {{listen: [{{address: 127.0.0.1:8080}}]}}
issuers:
  acme-id: {{issuer: https://id.acme.example, jwks: {jwks}, audience: payments, algorithms: [{algorithms}], consumer_claim: {claim}}}
  shared-id: {{issuer: https://shared.example, secret: "${{TOKEN_SECRET}}", audience: [payments], algorithms: [HS384, HS256]}}
upstreams:
  payments: {{targets: [http://127.0.0.1:9001]}}
consumers:
  acme:
    permissions: [payments:read, payments:write]
    credentials:
      - jwt: {{issuer: acme-id, subject: acme-server}}
      - jwt: {{issuer: shared-id, subject: one}}
  globex: {{credentials: [{{jwt: {{issuer: shared-id, subject: two}}}}]}}
apis:
  payments:
    upstream: payments
    authenticate: [jwt]
    versions: {{v1: {{path: /v1}}}}
    routes: [{{match: GET /payments}}]
"""
SECRET = "s" * 48


@pytest.fixture(autouse=True)
def secret_in_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN_SECRET", SECRET)


class Desk:
    """A developer's folder with a key pair and a configuration, and the command line."""

    def __init__(
        self, folder: Path, capsys: pytest.CaptureFixture[str], algorithm: str = "ES256", claim: str = "sub"
    ) -> None:
        self.folder, self.capsys = folder, capsys
        assert self.run("--new-key", str(folder / "keys"), "--algorithm", algorithm)[0] == 0
        self.config = folder / "faregate.yaml"
        self.config.write_text(CONFIG.format(jwks="keys/jwks.json", algorithms=algorithm, claim=claim))
        self.key = folder / "keys" / "private.pem"

    def run(self, *arguments: str) -> tuple[int, str, str]:
        status = main(["token", *arguments])
        out, err = self.capsys.readouterr()
        return status, out, err

    def token(self, *arguments: str) -> tuple[int, str, str]:
        return self.run("--config", str(self.config), *arguments)

    def accepts(self, value: str):
        """The identity that the gateway finds in ``value``."""
        snapshot, diagnostics = compile_config(load(self.config, os.environ), 1)
        assert snapshot is not None, diagnostics
        keysets = KeySets(no_network, SystemClock(), self.folder)
        call = call_with(b"Bearer " + value.strip().encode(), wall=time.time())
        verdict = Authenticators(snapshot, ready(snapshot.consumers), keysets).step_for(route("jwt"))(call)
        assert verdict is None, verdict
        return call.identity


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512", "EdDSA", "RS256", "PS512"])
def test_a_new_key_signs_tokens_that_the_gateway_accepts(
    algorithm: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = Desk(tmp_path, capsys, algorithm)
    status, out, err = desk.token("--issuer", "acme-id", "--subject", "acme-server", "--key", str(desk.key))
    assert (status, err) == (0, "")
    identity = desk.accepts(out)
    assert identity.consumer.name == "acme"
    assert identity.permissions == {"payments:read", "payments:write"}


def test_the_private_key_is_private_and_the_key_set_is_not_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = Desk(tmp_path, capsys)
    assert stat.S_IMODE(desk.key.stat().st_mode) == 0o600
    keys = json.loads((tmp_path / "keys" / "jwks.json").read_text())["keys"]
    assert [set(key) for key in keys] == [{"kty", "crv", "x", "y", "kid", "alg", "use"}]


def test_an_existing_key_is_never_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    desk = Desk(tmp_path, capsys)
    before = hashlib.sha256(desk.key.read_bytes()).digest()
    status, out, err = desk.run("--new-key", str(tmp_path / "keys"))
    assert (status, out) == (1, "")
    assert "exists" in err
    assert hashlib.sha256(desk.key.read_bytes()).digest() == before


def test_the_secret_of_the_configuration_signs_for_hs_issuers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = Desk(tmp_path, capsys)
    for extra in ([], ["--algorithm", "HS256"]):
        status, out, err = desk.token("--issuer", "shared-id", "--subject", "two", *extra)
        assert (status, err) == (0, "")
        assert desk.accepts(out).consumer.name == "globex"
        assert SECRET not in out


def test_json_has_the_token_and_what_is_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    desk = Desk(tmp_path, capsys, claim="client_id")
    status, out, _ = desk.token(
        "--issuer",
        "acme-id",
        "--key",
        str(desk.key),
        "--scope",
        "payments:read",
        "--expires",
        "10m",
        "--json",
    )
    told = json.loads(out)
    assert status == 0
    assert set(told) == {"token", "algorithm", "kid", "claims", "hints"}
    assert told["hints"] == []
    assert told["claims"]["exp"] - told["claims"]["iat"] == 600
    assert told["claims"]["client_id"] == told["claims"]["sub"] == "acme-server"
    assert desk.accepts(told["token"]).permissions == {"payments:read"}


def test_one_command_makes_key_and_token(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    desk = Desk(tmp_path, capsys)
    status, out, err = desk.token("--issuer", "acme-id", "--new-key", str(tmp_path / "other"))
    assert status == 0
    assert out.count(".") == 2
    assert "not in the key set" in err


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ([], 2, "--issuer"),
        (["--issuer", "nobody"], 1, "there are: acme-id, shared-id"),
        (["--issuer", "shared-id"], 2, "one, two"),
        (["--issuer", "acme-id", "--subject", "x"], 2, "--new-key"),
        (["--issuer", "acme-id", "--key", "{key}", "--algorithm", "RS256"], 1, "accepts ES256"),
        (["--issuer", "acme-id", "--key", "{config}"], 1, "no private key"),
        (["--issuer", "acme-id", "--key", "/nonexistent"], 1, "cannot be read"),
        (["--issuer", "shared-id", "--subject", "one", "--key", "{key}"], 2, "no key is needed"),
        (["--issuer", "acme-id", "--key", "{key}", "--expires", "1y"], 2, "--expires"),
        (["--issuer", "acme-id", "--key", "{key}", "--expires", "367d"], 2, "--expires"),
        (["--issuer", "acme-id", "--key", "{key}", "--expires", "10ms"], 2, "--expires"),
        (["--new-key", "x", "--key", "y"], 2, "exclude"),
        (["--new-key", "x", "--algorithm", "HS256"], 2, "keys are made for"),
        (["--issuer", "acme-id", "--config", "/nonexistent.yaml"], 1, "nonexistent.yaml"),
    ],
)
def test_wrong_use_says_what_is_wrong(
    arguments: list[str], status: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = Desk(tmp_path, capsys)
    given = [text.format(key=desk.key, config=desk.config) for text in arguments]
    found, out, err = desk.token(*given)
    assert (found, out) == (status, "")
    assert said in err
    assert "Traceback" not in err


def test_a_subject_that_nobody_owns_is_hinted_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    desk = Desk(tmp_path, capsys)
    status, out, err = desk.token("--issuer", "acme-id", "--subject", "ghost", "--key", str(desk.key))
    assert status == 0
    assert out
    assert "no consumer owns 'ghost'" in err


def test_hints_are_a_list_in_json_and_nothing_else_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = Desk(tmp_path, capsys)
    other = ("--new-key", str(tmp_path / "other"))
    status, out, err = desk.token("--issuer", "acme-id", "--subject", "ghost", *other, "--json")
    assert (status, err) == (0, "")
    told = json.loads(out)
    assert [hint.partition(":")[0] for hint in told["hints"]] == [
        "the key is not in the key set of acme-id",
        "no consumer owns 'ghost'",
    ]
    assert told["key"].endswith("private.pem")
