"""The scenario `ledger`: what it sends is what it says, and a store's server is told apart from the gateway."""

import dataclasses

import pytest
from benchmarks.contenders.faregate import role_of
from benchmarks.ledger import LedgerResult, calls_of, stores_here
from benchmarks.report import ledger_text
from benchmarks.rounds import Round


def a_round(contender: str, series: str, number: int, **roles: float) -> Round:
    return Round(
        contender, series, number, 100, 1000.0, sum(roles.values()), roles, 0.5, 100, {"worker": 1 << 20}
    )


def result(claimed_us: float) -> LedgerResult:
    made = LedgerResult(missing=["postgresql"])
    for number in range(3):
        for store, server in (("embedded", {}), ("redis", {"store": 1000.0})):
            for series, cost in (
                ("plain", 20.0),
                ("claimed", claimed_us),
                ("replay", 15.0),
                ("keyless", 19.0),
                ("audited", 50.0),
            ):
                made.rounds.append(a_round(store, series, number, worker=cost, **server))
                made.p99_us.setdefault(f"{store} {series}", []).append(900 + number)
    return made


def test_a_replay_sends_the_bytes_of_its_claims_and_no_key_is_claimed_twice() -> None:
    claims = calls_of("claimed", ["one", "two"], 50, 10)
    assert claims == calls_of("replay", ["one", "two"], 50, 10)
    assert len({call.split(b"Idempotency-Key: ")[1].split(b"\r\n")[0] for call in claims}) == 50
    assert claims[-1] != calls_of("claimed", ["one", "two"], 1, 60)[0]


def test_calls_differ_by_their_route_alone_and_the_keyless_one_by_its_key() -> None:
    claim, plain, audited, keyless = (
        calls_of(series, ["one"], 1, 7)[0] for series in ("claimed", "plain", "audited", "keyless")
    )
    assert claim.replace(b"/v2/kept", b"/v2/plain") == plain
    assert claim.replace(b"/v2/kept", b"/v2/audited") == audited
    key_line = plain[plain.index(b"Idempotency-Key") : plain.index(b"Content-Type")]
    assert plain.replace(key_line, b"") == keyless


def test_the_promise_is_held_by_the_gateway_without_the_stores_server() -> None:
    ratios = {(each.store, each.series): each for each in result(39.0).ratios() if each.most}
    assert ratios["embedded", "claimed"].ratio.median == pytest.approx(1.95)
    assert ratios["embedded", "claimed"].verdict == "kept"
    assert ratios["redis", "claimed"].ratio.median == pytest.approx(1.95)
    assert ratios["redis", "claimed"].verdict == "-"
    assert ratios["embedded", "replay"].verdict == "kept"
    told = {(each.series, each.base): each for each in result(39.0).ratios() if each.store == "embedded"}
    assert told["audited", "keyless"].ratio.median == pytest.approx(50 / 19)
    assert told["audited", "keyless"].verdict == "-"
    broken = {(each.store, each.series): each.verdict for each in result(41.0).ratios() if each.most}
    assert broken["embedded", "claimed"] == "broken"


def test_the_ledgers_process_has_a_role_of_its_own() -> None:
    program = b"python\0-m\0faregate.stores.ledger.embedded.program\0folder\0"
    assert role_of(program) == "ledger"


def test_the_tables_name_every_store_and_what_was_not_measured() -> None:
    text = ledger_text(result(39.0))
    assert "embedded" in text
    assert "redis" in text
    assert "postgresql: not measured" in text
    assert dataclasses.asdict(result(39.0))["missing"] == ["postgresql"]


def test_every_shared_store_is_either_here_or_missing() -> None:
    here, missing = stores_here()
    assert sorted([*(store.name for store in here), *missing]) == ["postgresql", "redis"]
