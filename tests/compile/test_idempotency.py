"""Idempotency as it may be written reaches the snapshot; what could not keep its promise is an error at its place."""

from pathlib import Path

import pytest

from faregate.gateway.http1.fields import _REQUEST, _REQUEST_DROP_PREFIXES
from faregate.model.diagnostics import Level
from faregate.policies.idempotency import settings
from faregate.records import stored_answer
from faregate.snapshot.encoded import decode_outline, encode
from faregate.snapshot.idempotency import AnswerRule, Idempotency, Ledger, Resolve
from tests.model.configs import API, PLAN, UPSTREAM, brief, check, compiled

POST = UPSTREAM + API.replace("GET /payments", "POST /payments/{id}/capture")
KEY_HEX, KEY_BASE64 = "0123456789abcdef" * 4, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
SHARED = f"""\
gateway:
  ledger:
    store: redis://:hunter2@h
    lookup_key: {KEY_HEX}
    keys: [{{id: k1, secret: {KEY_BASE64}}}]
"""


def of(folder: Path, written: str) -> Idempotency | None:
    return compiled(folder, POST + f"        idempotency: {written}\n").routes[0].idempotency


def wrong(folder: Path, written: str) -> list[tuple[str, str]]:
    found = check(folder, POST + f"        idempotency: {written}\n")
    return [(one.code, one.path.partition(".idempotency")[2]) for one in found if one.level is Level.ERROR]


@pytest.mark.parametrize(
    ("written", "made"),
    [
        ("off", None),
        ("required", Idempotency()),
        ("optional", Idempotency(required=False)),
        ("{}", Idempotency()),
        ("{required: false, keep: 7d, store_answers: success, wait: 2s}", Idempotency(required=False, keep=604_800.0, stores_all=False, wait=2.0)),
        ("{key: {header: Cko-Idempotency-Key}}", Idempotency(header=b"cko-idempotency-key")),
        ("{key: {json: /out_trade_no}}", Idempotency(header=b"", pointers=("/out_trade_no",))),
        ("{key: {json: [/mchid, /out_trade_no]}}", Idempotency(header=b"", pointers=("/mchid", "/out_trade_no"))),
        ("{key: {form: [merId, orderId]}}", Idempotency(header=b"", form=("merId", "orderId"))),
        ("{no_verdict: [202, 500], not_run: 400}", Idempotency(no_verdict=(202, 500), not_run=(400,))),
        ("{no_verdict: [], not_run: []}", Idempotency(no_verdict=(), not_run=())),
        ("{in_progress: {json: /code, values: ['10003', 20000, true]}}", Idempotency(in_progress=AnswerRule((), "/code", ("10003", 20000, True)))),
        ("{in_progress: {status: 202}}", Idempotency(in_progress=AnswerRule((202,)))),
        ("{fingerprint: {json: [/amount/total, /payee]}}", Idempotency(covers=("/amount/total", "/payee"))),
        ("{keep_headers: [X-Trace, Payment-Id]}", Idempotency(keeps_headers=(b"x-trace", b"payment-id"))),
        ("{resolve: 'GET /payments?key={key}'}", Idempotency(resolve=Resolve("/v1/payments?key={key}", "pay"))),
        ("{resolve: {query: 'GET /payments/{id}', settling: 5m, answer: query}}",
         Idempotency(resolve=Resolve("/v1/payments/{id}", "pay", settling=300.0, keeps_answer=True))),
        ("{resolve: {query: 'POST /query', upstream: pay, body: '{\"no\":\"{key}\"}'}}",
         Idempotency(resolve=Resolve("/query", "pay", "POST", '{"no":"{key}"}', "application/json"))),
        ("{key: {form: [a, b]}, resolve: {query: POST /query, body: 'a={key_1}&b={key_2}'}}",
         Idempotency(header=b"", form=("a", "b"), resolve=Resolve("/v1/query", "pay", "POST", "a={key_1}&b={key_2}", "application/x-www-form-urlencoded"))),
        ("{resolve: {query: 'GET /q/{key}', done: {json: /state, values: [SUCCESS, REFUND]}, released: [{json: /state, values: CLOSED}, {status: 410}]}}",
         Idempotency(resolve=Resolve("/v1/q/{key}", "pay", done=(AnswerRule((), "/state", ("SUCCESS", "REFUND")),),
                                     released=(AnswerRule((), "/state", ("CLOSED",)), AnswerRule((410,)))))),
    ],
)  # fmt: skip
def test_what_is_written_reaches_the_snapshot(tmp_path: Path, written: str, made: Idempotency | None) -> None:
    assert of(tmp_path, written) == made


@pytest.mark.parametrize(
    ("written", "places"),
    [
        ("{key: {}}", [("bad_value", ".key")]),
        ("{key: {header: X-Key, json: /a}}", [("bad_value", ".key")]),
        ("{key: {json: a}}", [("bad_value", ".key.json")]),
        ("{key: {json: /a~2}}", [("bad_value", ".key.json")]),
        ("{key: {json: ''}}", [("bad_value", ".key.json")]),
        ("{key: {json: []}}", [("bad_value", ".key.json")]),
        ("{key: {json: [/a, /a]}}", [("bad_value", ".key")]),
        ("{key: {form: 'a b'}}", [("bad_value", ".key.form")]),
        ("{key: {header: 'a b'}}", [("bad_value", ".key.header")]),
        ("{key: {form: order}, fingerprint: {json: /amount}}", [("bad_value", "")]),
        ("{keep: 30s}", [("bad_value", ".keep")]),
        ("{keep: 91d}", [("bad_value", ".keep")]),
        ("{wait: 2m}", [("bad_value", ".wait")]),
        ("{no_verdict: [99]}", [("bad_value", ".no_verdict[0]")]),
        ("{no_verdict: ['502']}", [("wrong_type", ".no_verdict[0]")]),
        ("{no_verdict: [429]}", [("bad_value", "")]),
        ("{in_progress: {}}", [("bad_value", ".in_progress")]),
        ("{in_progress: {values: [a]}}", [("bad_value", ".in_progress")]),
        ("{in_progress: {json: /a, values: [1.5]}}", [("wrong_type", ".in_progress.values[0]")]),
        ("{in_progress: {json: /a, values: []}}", [("bad_value", ".in_progress.values")]),
        ("{fingerprint: {json: []}}", [("bad_value", ".fingerprint.json")]),
        ("{keep_headers: ['a b']}", [("bad_value", ".keep_headers[0]")]),
        ("{resolve: 'PUT /a/{key}'}", [("bad_value", ".resolve")]),
        ("{resolve: 'GET a?{key}'}", [("bad_value", ".resolve")]),
        ("{resolve: 'GET /a?k={key}#x'}", [("bad_value", ".resolve")]),
        ("{resolve: {query: 'GET /a/{key}', body: x}}", [("bad_value", ".resolve")]),
        ("{resolve: {query: 'POST /a/{key}'}}", [("bad_value", ".resolve")]),
        ("{resolve: {query: 'GET /a/{key}', upstream: nowhere}}", [("unresolved_reference", ".resolve.upstream")]),
        ("{resolve: {query: 'GET /a/{keys}'}}", [("unresolved_reference", ".resolve.query"), ("bad_value", ".resolve.query")]),
        ("{resolve: 'GET /a/{key}/{nowhere}'}", [("unresolved_reference", ".resolve.query")]),
        ("{key: {json: [/a, /b]}, resolve: {query: 'GET /a/{key}'}}", [("unresolved_reference", ".resolve.query"), ("bad_value", ".resolve.query")]),
        ("{resolve: {query: POST /a, body: 'a={other}&b={key}'}}", [("unresolved_reference", ".resolve.body")]),
        ("{resolve: 'GET /payments'}", [("bad_value", ".resolve.query")]),
        ("{key: {header: X-Request-Id}}", [("bad_value", ".key.header")]),
        ("{key: {header: pay_key}}", [("bad_value", ".key.header")]),
        ("{keep_headers: [Payment-Id, Set-Cookie]}", [("bad_value", ".keep_headers[1]")]),
        ("{keep_headers: date}", [("bad_value", ".keep_headers")]),
        ("{resolve: {query: 'GET /a/{key}', released: {status: 410}}}", [("bad_value", ".resolve")]),
        ("{resolve: {query: 'GET /a/{key}', done: {status: 200}, released: [{status: 410}, {status: [404, 410]}]}}", [("bad_value", ".resolve")]),
        ("{resolve: {query: 'GET /a/{key}', done: {status: 200}, released: {status: 404}, settling: 5m}}", []),
        ("{hedge: 1}", [("unknown_key", ".hedge")]),
    ],
)  # fmt: skip
def test_what_cannot_keep_the_promise_is_an_error_at_its_place(
    tmp_path: Path, written: str, places: list[tuple[str, str]]
) -> None:
    assert sorted(wrong(tmp_path, written)) == sorted(places)


def test_no_key_is_looked_for_in_a_header_that_the_gateway_takes(tmp_path: Path) -> None:
    for name in sorted(
        {*_REQUEST, *(start + b"x" for start in _REQUEST_DROP_PREFIXES)} - {b"idempotency-key"}
    ):
        assert wrong(tmp_path, f"{{key: {{header: {name.decode().title()}}}}}") == [
            ("bad_value", ".key.header")
        ], name
    assert wrong(tmp_path, "{key: {header: Idempotency-Key}}") == []


def test_what_may_not_be_kept_is_what_is_never_kept() -> None:
    assert {name.encode() for name in settings.NEVER_KEPT} == stored_answer.NEVER_KEPT


@pytest.mark.parametrize(
    ("store", "library"), [("redis://h", "redis"), ("rediss://h", "redis"), ("postgresql://h/d", "psycopg")]
)
def test_a_store_whose_library_is_missing_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str, library: str
) -> None:
    text = SHARED.replace("redis://:hunter2@h", store) + UPSTREAM + API
    assert check(tmp_path, text) == []
    monkeypatch.setattr(
        "faregate.compile.idempotency.find_spec", lambda name: None if name == library else name
    )
    (found,) = check(tmp_path, text)
    extra = "postgresql" if library == "psycopg" else library
    assert (found.code, found.path, found.expected) == (
        "not_available", "gateway.ledger", f"install faregate[{extra}]",
    )  # fmt: skip


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("written", ["required", "optional", "{keep: 30d}"])
def test_methods_that_change_nothing_have_none(tmp_path: Path, method: str, written: str) -> None:
    text = UPSTREAM + API.replace("GET", method) + f"        idempotency: {written}\n"
    found = check(tmp_path, text)
    assert brief(found) == [("bad_value", 8, 9)]
    assert found[0].message == f"idempotency on {method}, which changes nothing"


def test_so_a_route_that_takes_websockets_has_none(tmp_path: Path) -> None:
    text = UPSTREAM + API + "        upgrade: websocket\n        idempotency: required\n"
    assert [one.code for one in check(tmp_path, text)] == ["bad_value"]


def test_nobody_owns_a_key_of_a_public_route(tmp_path: Path) -> None:
    public = POST.replace("[api_key]", "[]")
    for written in ("required", "optional", "{keep: 24h}"):
        text = public + f"        limits: [1/second]\n        idempotency: {written}\n"
        assert brief(check(tmp_path, text)) == [("public_idempotency", 10, 9)]
    own = public.replace("/v1}", "/v1, routes: [{match: PUT /a, limits: 1/second, idempotency: required}]}")
    assert ("public_idempotency", 6, 75) in brief(check(tmp_path, own))
    assert check(tmp_path, public + "        limits: [1/second]\n        idempotency: off\n") == []


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (POST + "        idempotency: required\n        body: 2MiB\n", (10, 9)),
        ("gateway: {limits: {body: 2MiB}}\n" + POST + "        idempotency: required\n", (10, 9)),
        (POST + "        idempotency: required\n        body: 1MiB\n", None),
        (
            "gateway: {limits: {body: 2MiB}}\n"
            + POST
            + "        idempotency: required\n        body: 64KiB\n",
            None,
        ),
        (POST + "        body: 2MiB\n", None),
    ],
)
def test_a_body_that_is_held_whole_is_1_mib_at_most(
    tmp_path: Path, text: str, place: tuple[int, int] | None
) -> None:
    assert brief(check(tmp_path, text)) == ([] if place is None else [("bad_value", *place)])


@pytest.mark.parametrize("key", ["hedge", "mirror"])
@pytest.mark.parametrize(
    "where", ["upstreams: {u: {targets: [http://a], %s: 2}}\n", "apis: {a: {authenticate: [jwt], %s: {}}}\n"]
)
def test_nothing_is_ever_sent_twice_and_the_message_says_so(tmp_path: Path, key: str, where: str) -> None:
    found = [one for one in check(tmp_path, where % key) if one.code == "unknown_key"]
    assert [f"`{key}` would send a call twice" in one.message for one in found] == [True]


@pytest.mark.parametrize(
    ("match", "warned"),
    [
        ("POST /payments", True), ("POST /payments/{id}/refunds", True), ("POST /v3/pay/transfers", True), ("POST /payouts", True),
        ("POST /charges/", True), ("POST /batch-payouts", True), ("POST /bulk_transfers", True), ("POST /payments/{id}", True),
        ("POST /payments/search", False), ("PUT /payments", False), ("GET /payments", False), ("POST /customers", False), ("POST /", False),
    ],
)  # fmt: skip
def test_routes_that_seem_to_move_money_should_have_it(tmp_path: Path, match: str, warned: bool) -> None:
    text = UPSTREAM + API.replace("GET /payments", match)
    assert brief(check(tmp_path, text)) == ([("money_unguarded", 8, 16)] if warned else [])
    assert (
        check(tmp_path, text + "        idempotency: off\n") == []
    )  # written out: somebody thought about it
    if not match.startswith("GET"):
        assert check(tmp_path, text + "        idempotency: required\n") == []


def test_keys_that_are_forgotten_within_a_day_are_warned_about(tmp_path: Path) -> None:
    for keep, codes in (("23h", ["short_keep"]), ("24h", []), ("90d", [])):
        found = check(tmp_path, POST + f"        idempotency: {{keep: {keep}}}\n")
        assert [one.code for one in found] == codes


def test_only_a_configuration_that_uses_it_needs_a_ledger(tmp_path: Path) -> None:
    for written, needed in (("off", False), ("optional", True)):
        snapshot = compiled(tmp_path, POST + f"        idempotency: {written}\n")
        assert snapshot.needs_ledger is needed
        assert decode_outline(encode(snapshot)).needs_ledger is needed


def test_the_key_goes_on_to_the_upstream_unless_told_otherwise(tmp_path: Path) -> None:
    for text, forwarded in (("", True), (", forward_idempotency_key: false", False)):
        upstream = UPSTREAM.replace("9001]", "9001]" + text)
        assert compiled(tmp_path, upstream + API).upstreams[0].forward_idempotency_key is forwarded


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("", Ledger()),
        ("gateway: {ledger: embedded}\n", Ledger()),
        ("gateway: {ledger: {disk: 512MiB}}\n", Ledger(disk_bytes=512 << 20)),
        (SHARED, Ledger("redis", "redis://:hunter2@h", lookup_key=bytes.fromhex(KEY_HEX), seal_keys=(("k1", bytes(range(32))),))),
        (SHARED.replace("redis://:hunter2@h", "rediss://h:6379/1").replace("    keys", "    accept_loss: true\n    prefix: pay_2\n    keys"),
         Ledger("redis", "rediss://h:6379/1", accept_loss=True, prefix="pay_2", lookup_key=bytes.fromhex(KEY_HEX), seal_keys=(("k1", bytes(range(32))),))),
        (SHARED.replace("redis://", "postgresql://u"),
         Ledger("postgresql", "postgresql://u:hunter2@h", lookup_key=bytes.fromhex(KEY_HEX), seal_keys=(("k1", bytes(range(32))),))),
        (SHARED.replace("    store: redis://:hunter2@h\n", "").replace("  ledger:", "  shared: redis://h\n  ledger:"),
         Ledger("redis", "redis://h", lookup_key=bytes.fromhex(KEY_HEX), seal_keys=(("k1", bytes(range(32))),))),
        ("gateway: {shared: 'redis://h'}\n", Ledger("redis", "redis://h")),
        ("gateway: {shared: 'redis://h', ledger: embedded}\n", Ledger()),
    ],
)  # fmt: skip
def test_the_ledger_is_where_it_is_said_to_be(tmp_path: Path, text: str, made: Ledger) -> None:
    found = compiled(tmp_path, text + UPSTREAM + API).gateway.ledger
    assert found == made
    assert "hunter2" not in repr(found)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("gateway:\n  ledger: redis://h\n", [("missing_key", "gateway.ledger.lookup_key"), ("missing_key", "gateway.ledger.keys")]),
        (f"gateway:\n  ledger: {{store: 'postgresql://h/d', lookup_key: {KEY_HEX}}}\n", [("missing_key", "gateway.ledger.keys")]),
        ("gateway:\n  shared: redis://h\n" + POST + "        idempotency: required\n",
         [("missing_key", "gateway.ledger.lookup_key"), ("missing_key", "gateway.ledger.keys")]),
        (f"gateway:\n  ledger: {{lookup_key: {KEY_HEX}}}\n", [("bad_value", "gateway.ledger.lookup_key")]),
        (SHARED.replace("k1, secret", f"k1, secret: {KEY_HEX}}}, {{id: k1, secret"), [("duplicate_name", "gateway.ledger.keys[1].id")]),
        ("gateway:\n  ledger: mysql://h\n", [("bad_value", "gateway.ledger")]),
        ("gateway:\n  ledger: 'redis:// h'\n", [("bad_value", "gateway.ledger")]),
        (SHARED.replace("    keys", "    disk: 1GiB\n    keys"), [("bad_value", "gateway.ledger.disk")]),
        ("gateway:\n  ledger: {accept_loss: true, prefix: pay}\n", [("bad_value", "gateway.ledger.accept_loss"), ("bad_value", "gateway.ledger.prefix")]),
        ("gateway:\n  ledger: {disk: 1MiB}\n", [("bad_value", "gateway.ledger.disk")]),
        ("gateway:\n  ledger: {prefix: A}\n", [("bad_value", "gateway.ledger.prefix")]),
        *[(SHARED.replace(KEY_HEX, f"'{secret}'"), [("bad_value", "gateway.ledger.lookup_key")]) for secret in (
            "", "short", KEY_HEX[:62], "0" * 64, KEY_BASE64[:40], KEY_BASE64 * 3, "é" * 40, KEY_BASE64.replace("A", "!"),
        )],
    ],
)  # fmt: skip
def test_a_ledger_that_could_not_work_is_an_error(
    tmp_path: Path, text: str, found: list[tuple[str, str]]
) -> None:
    diagnostics = check(
        tmp_path, text + ("" if "apis" in text else UPSTREAM + API + PLAN * ("shared" not in text))
    )
    assert sorted((one.code, one.path) for one in diagnostics) == sorted(found)


def test_no_secret_of_the_ledger_is_ever_told(tmp_path: Path) -> None:
    for text in (SHARED.replace(KEY_BASE64, "not-a-key-but-secret"), SHARED.replace("keys:", "kees:")):
        for one in check(tmp_path, text + UPSTREAM + API, LEDGER="hunter2"):
            for secret in ("hunter2", "not-a-key-but-secret", KEY_HEX, KEY_BASE64):
                assert secret not in f"{one.message} {one.expected} {one.nearest}"
    loaded = compiled(tmp_path, SHARED.replace(KEY_HEX, "${LEDGER}") + UPSTREAM + API, LEDGER=KEY_HEX)
    assert loaded.gateway.ledger.lookup_key == bytes.fromhex(KEY_HEX)
