"""A good configuration becomes exactly this snapshot."""

from pathlib import Path

from faregate.compile import compile_config
from faregate.model.load import load
from faregate.snapshot.data import (
    FORMAT,
    ActiveHealth,
    ApiKeyCredential,
    Consumer,
    Gateway,
    Issuer,
    JwtCredential,
    Listener,
    PassiveHealth,
    Plan,
    Rate,
    Route,
    Snapshot,
    Target,
    Upstream,
    Version,
)
from faregate.snapshot.encoded import decode, encode
from faregate.snapshot.idempotency import Idempotency
from tests.model.configs import API, DIGEST, PLAN, UPSTREAM, compiled

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_example_of_the_contract_compiles_to_its_snapshot() -> None:
    snapshot, diagnostics = compile_config(load(EXAMPLES / "faregate.yaml", {}), 7)
    assert diagnostics == []
    write_limits = (Rate("route.20/second", "route payments POST /payments", 20, 1000),)
    routes = tuple(
        route
        for index, path in enumerate(("/v1", "/v2"))
        for route in (
            Route("payments", index, "POST", f"{path}/payments", "POST /payments", "payments", ("jwt", "api_key"), ("payments:write",),
                  write_limits, 65_536, log_request_body="masked", log_response_body="masked", idempotency=Idempotency(), audit="on"),
            Route("payments", index, "GET", f"{path}/payments/{{id}}", "GET /payments/{id}", "payments", ("jwt", "api_key"), ("payments:read",)),
            Route("payments", index, "POST", f"{path}/payments/{{id}}/refunds", "POST /payments/{id}/refunds", "payments", ("jwt", "api_key"),
                  ("payments:write", "refunds:write"), idempotency=Idempotency(), audit="on"),
        )
    )  # fmt: skip
    assert snapshot == Snapshot(
        format=FORMAT,
        revision=7,
        gateway=Gateway((Listener("127.0.0.1", 8080),), Listener("127.0.0.1", 9090), 0, str(EXAMPLES / "faregate-data")),
        issuers=(Issuer("acme-id", "https://id.acme.example", ("payments",), ("RS256", "ES256"), jwks=(EXAMPLES / "keys/acme.jwks.json").read_bytes()),),
        upstreams=(
            Upstream("payments", (Target("127.0.0.1:9001", "127.0.0.1", 9001), Target("127.0.0.1:9002", "127.0.0.1", 9002, 2)),
                     active=ActiveHealth("/healthz", 5.0, 1.0, 2, 3), passive=PassiveHealth(5, 10.0, 30.0, 50)),
        ),
        plans=(
            Plan("standard",
                 (Rate("plan.standard.100/second-burst-200", "plan", 100, 1000, 200), Rate("plan.standard.5000/minute", "plan", 5000, 60_000)),
                 Rate("quota.standard", "quota", 1_000_000, 0), 50),
        ),
        consumers=(
            Consumer("acme", "standard", ("payments:read", "payments:write", "refunds:write"),
                     (JwtCredential("acme-id", "acme-server"),
                      ApiKeyCredential("key_7Q2", bytes.fromhex("ca8e7b3accb5975058f1cb54c9c3ab0f433c67f1723dafae9e6d1b297d93295f"), 2_085_350_400)),
                     ("127.0.0.0/8", "203.0.113.0/24")),
        ),
        versions=(Version("v1", "/v1", "deprecated", 1_790_812_800, 1_814_313_600, "/v2"), Version("v2", "/v2")),
        routes=routes,
        needs_ledger=True,
        needs_audit=True,
    )  # fmt: skip
    assert decode(encode(snapshot)) == snapshot


def test_limits_of_a_route_come_before_its_apis_and_are_told_apart(tmp_path: Path) -> None:
    snapshot = compiled(
        tmp_path, UPSTREAM + API + "        limits: 5/second;5/second burst 9\n    limits: [5/second]\n"
    )
    assert snapshot.routes[0].limits == (
        Rate("route.5/second", "route payments GET /payments", 5, 1000),
        Rate("route.5/second-burst-9", "route payments GET /payments", 5, 1000, 9),
        Rate("api.payments.5/second", "api payments", 5, 1000),
    )


def test_names_of_limits_are_visible_ascii_without_quotes(tmp_path: Path) -> None:
    snapshot = compiled(
        tmp_path, UPSTREAM + API + "plans: {a@b+c: {limits: [5/second burst 9], quota: 1/month}}\n"
    )
    for rate in (*snapshot.plans[0].limits, snapshot.plans[0].quota):
        assert all("!" <= sign <= "~" and sign not in "\"'\\" for sign in rate.name)


def test_a_version_may_have_its_own_routes_and_upstream(tmp_path: Path) -> None:
    own = "{v1: {path: /v1}, v2: {path: /v2, upstream: other, routes: [{match: GET /, forward_credential: false}]}}"
    text = (
        UPSTREAM.replace("pay:", "other: {targets: [http://b]}, pay:")
        + API.replace("{v1: {path: /v1}}", own)
        + "    forward_credential: true\n"
    )
    snapshot = compiled(tmp_path, text)
    assert [(r.template, r.upstream, r.version, r.forward_credential) for r in snapshot.routes] == [
        ("/v1/payments", "pay", 0, True),
        ("/v2", "other", 1, False),
    ]


def test_states_and_switches_are_carried_over(tmp_path: Path) -> None:
    text = f"""\
gateway: {{manager: off, workers: 2, data: /var/lib/faregate, limits: {{body: 2MiB}}, listen: [{{address: "[::1]:0"}}]}}
upstreams: {{pay: {{targets: [http://a], balance: hash:X-Account, health: {{passive: off}}, retry: {{on: []}}}}}}
issuers: {{i: {{issuer: iss, jwks: "https://id/jwks", audience: [a, b], algorithms: [EdDSA], tls: {{ca: ca.pem}}}}}}
{PLAN}consumers: {{a: {{state: suspended, plan: standard, credentials: [api_key: {{id: k, sha256: {DIGEST}}}]}}}}
{API.replace("/v1}", "/v1, state: draft, preview: [a]}")}"""
    (tmp_path / "ca.pem").write_text("certificates")
    snapshot = compiled(tmp_path, text)
    assert snapshot.gateway.manager is None
    assert snapshot.gateway.data == "/var/lib/faregate"
    assert snapshot.gateway.listen == (Listener("::1", 0),)
    assert snapshot.routes[0].body_bytes == 2 << 20
    upstream = snapshot.upstreams[0]
    assert (upstream.balance, upstream.hash_on, upstream.passive, upstream.attempts) == (
        "hash",
        "x-account",
        None,
        0,
    )
    issuer = snapshot.issuers[0]
    assert (issuer.jwks, issuer.jwks_url, issuer.jwks_ca, issuer.secret) == (
        None,
        "https://id/jwks",
        str(tmp_path / "ca.pem"),
        None,
    )
    assert snapshot.consumers[0].suspended
    assert snapshot.versions[0] == Version("v1", "/v1", "draft", preview=("a",))


def test_paths_are_relative_to_the_file_they_stand_in(tmp_path: Path) -> None:
    key_set = (EXAMPLES / "keys/acme.jwks.json").read_text()
    files = {
        "faregate.yaml": "include: [parts/*.yaml]\n" + PLAN,
        "parts/a.yaml": "issuers: {i: {issuer: x, jwks: keys.json, audience: a, algorithms: [ES256]}}\ngateway: {data: state}\n",
        "parts/keys.json": key_set,
    }
    snapshot = compiled(tmp_path, files)
    assert snapshot.issuers[0].jwks == key_set.encode()
    assert snapshot.gateway.data == str(tmp_path / "parts/state")


def test_yaml_and_json_mean_the_same(tmp_path: Path) -> None:
    import json

    from faregate.model.yaml_text import YamlText

    value = YamlText((EXAMPLES / "faregate.yaml").read_text()).value
    (tmp_path / "keys").symlink_to(EXAMPLES / "keys")
    from_json = compiled(tmp_path, {"faregate.json": json.dumps(value)})
    from_yaml = compiled(tmp_path, {"faregate.yaml": (EXAMPLES / "faregate.yaml").read_text()})
    assert from_json == from_yaml


def test_warnings_do_not_keep_a_configuration_from_running(tmp_path: Path) -> None:
    path = tmp_path / "faregate.yaml"
    path.write_text(UPSTREAM + API + "consumers: {a: {}}\n")
    snapshot, diagnostics = compile_config(load(path, {}), 1)
    assert snapshot is not None
    assert [(d.level.value, d.code) for d in diagnostics] == [("warning", "no_limits")]
