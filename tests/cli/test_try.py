"""``faregate try``: the gateway's own router and steps decide, nothing is sent and nothing counted."""

import json
import time
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from faregate.cli import trying
from faregate.cli.app import main
from faregate.cli.trying import NOT_ASKED, NOT_REACHED, PASSES, REFUSED, Request, Trial, decide
from faregate.policies.limits import capacity
from faregate.snapshot import encoded
from faregate.snapshot.data import (
    FORMAT,
    ApiKeyCredential,
    Consumer,
    Gateway,
    Idempotency,
    JwtCredential,
    Listener,
    Plan,
    Rate,
    Route,
    Snapshot,
    Target,
    Upstream,
    Version,
)
from faregate.snapshot.versions import Choice, Split
from faregate.stores.counters import Counters
from faregate.stores.counters_prepare import prepare
from faregate.stores.counters_saved import save

KEY = "fg_acme_secret"
NAMED = Choice("dated", "Api-Version", pinned=True)


def make_snapshot(data: Path) -> Snapshot:
    key = (ApiKeyCredential("k1", sha256(KEY.encode()).digest()),)
    ended = (ApiKeyCredential("k2", sha256(b"2").digest(), expires=1), JwtCredential("id", "far"))
    consumers = (
        Consumer("acme", "gold", ("payments:read", "payments:write"), key, pins=(("dated", "2026-02-01"),)),
        Consumer("ended", "gold", ("payments:read",), ended),
        Consumer("far", None, ("payments:read",), (ApiKeyCredential("k3", sha256(b"3").digest()),), ("198.51.100.0/24",)),
        Consumer("bare"),
        Consumer("asleep", None, (), (ApiKeyCredential("k4", sha256(b"4").digest()),), suspended=True),
    )  # fmt: skip
    versions = (
        Version("v2", "/v2"),
        Version("v1", "/v1", "retired"),
        Version("2026-01-01", "/dated", choice=msgspec.structs.replace(NAMED, default=True)),
        Version("2026-02-01", "/dated", choice=NAMED),
        Version("v4", "/v4", splits=(Split(5, 100),)),
        Version("v5", "/v5"),
        Version("v9", "/v9", "draft", preview=("far",)),
    )
    own = {"authenticate": ("api_key",), "require": ("payments:read",)}
    rate = (Rate("route.20/second", "route", 20, 1000),)
    routes = (
        Route("payments", 0, "GET", "/v2/payments/{id}", "GET /payments/{id}", "u", **own, limits=rate),  # type: ignore[arg-type]
        Route(
            "payments", 0, "POST", "/v2/payments", "POST /payments", "u", ("api_key",), ("payments:write",),
            idempotency=Idempotency(), audit="required",
        ),
        Route("payments", 0, "POST", "/v2/refunds", "POST /refunds", "u", ("api_key",), ("refunds:write",)),
        Route("payments", 1, "GET", "/v1/payments", "GET /payments", "u", **own),  # type: ignore[arg-type]
        *(
            Route("dated", index, "GET", "/dated/things", "GET /things", "u", **own)  # type: ignore[arg-type]
            for index in (2, 3)
        ),
        Route("dated", 3, "GET", "/dated/new", "GET /new", "u", **own),  # type: ignore[arg-type]
        Route("split", 4, "GET", "/v4/things", "GET /things", "u", ("api_key",)),
        Route("split", 5, "GET", "/v5/things", "GET /things", "w", ("api_key",)),
        Route("payments", 6, "GET", "/v9/open", "GET /open", "u", ("api_key",)),
        Route("payments", 0, "GET", "/v2/open", "GET /open", "u"),
    )  # fmt: skip
    plan = Plan("gold", (Rate("plan.gold.3/minute", "plan", 3, 60_000),), None, 2)
    targets = (Target("a:1", "127.0.0.1", 1), Target("b:2", "127.0.0.1", 2))
    gateway = Gateway((Listener("127.0.0.1", 0),), None, 1, str(data))
    upstreams = (Upstream("u", targets), Upstream("w", targets[:1]))
    return Snapshot(
        FORMAT, 7, gateway, (), upstreams, (plan,), consumers, versions, routes, needs_ledger=True
    )


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    return make_snapshot(tmp_path)


def verdicts(trial: Trial) -> list[tuple[str, str]]:
    return [(one.step, one.said) for one in trial.steps]


def test_a_call_that_would_be_sent_shows_each_step_in_order(snapshot: Snapshot) -> None:
    trial = decide(snapshot, Request("GET", "/v2/payments/7?x=1", "acme"))
    assert verdicts(trial) == [
        ("authenticate", PASSES),
        ("address", PASSES),
        ("permit", PASSES),
        ("limits", PASSES),
        ("send", NOT_ASKED),
    ]
    assert (trial.refusal, trial.upstream, trial.targets) == ("", "u", ["a:1", "b:2"])
    assert (trial.api, trial.version, trial.route) == ("payments", "v2", "GET /payments/{id}")
    assert (trial.consumer, trial.credential, trial.path) == ("acme", "k1", "/v2/payments/7")


@pytest.mark.parametrize(
    ("request_", "code", "reason"),
    [
        (Request("GET", "/v3/x", "acme"), "no_route", "no_route"),
        (Request("PUT", "/v2/payments", "acme"), "method_not_allowed", "method_not_allowed"),
        (Request("GET", "/v2/a//b", "acme"), "malformed_request", "path_ambiguous"),
        (Request("GET", "/v2/%zz", "acme"), "malformed_request", "target_percent"),
        (Request("GET", "/v1/payments", "acme"), "version_retired", "version_retired"),
        (Request("GET", "/v2/payments/7"), "credential_missing", "none_sent"),
        (Request("GET", "/v2/payments/7", "bare"), "credential_missing", "none_sent"),
        (Request("GET", "/v2/payments/7", "ended"), "credential_invalid", "expired"),
        (Request("GET", "/v2/payments/7", "asleep"), "consumer_suspended", "consumer_suspended"),
        (Request("GET", "/v2/payments/7", "far"), "address_denied", "address_not_allowed"),
        (Request("POST", "/v2/refunds", "acme"), "permission_denied", "consumer_lacks_permission"),
        (Request("POST", "/v2/payments", "acme"), "idempotency_key_missing", "key_missing"),
        (Request("GET", "/v9/open", "acme"), "no_route", "draft_version"),
        (Request("GET", "/v2/open", "", (("x-api-key", "wrong"),)), "", ""),
        (
            Request("GET", "/v2/payments/7", "", (("x-api-key", "fg_wrong"),)),
            "credential_invalid",
            "unknown_api_key",
        ),
        (Request("GET", "/v2/payments/7", "far", (), "198.51.100.9"), "", ""),
        (Request("GET", "/v9/open", "far", (), "198.51.100.9"), "", ""),
    ],
    ids=lambda one: one.path if isinstance(one, Request) else one,
)
def test_refusals_are_those_of_the_gateway(
    snapshot: Snapshot, request_: Request, code: str, reason: str
) -> None:
    trial = decide(snapshot, request_)
    assert (trial.refusal, trial.reason) == (code, reason)
    if code and len(trial.steps) > 1:
        said = [one.said for one in trial.steps]
        at = said.index(REFUSED)
        assert set(said[:at]) <= {PASSES, NOT_ASKED}
        assert set(said[at + 1 :]) <= {NOT_REACHED}


def test_a_real_key_proves_its_consumer(snapshot: Snapshot) -> None:
    trial = decide(snapshot, Request("GET", "/v2/payments/7", "", (("x-api-key", KEY),)))
    assert (trial.consumer, trial.credential, trial.refusal) == ("acme", "k1", "")
    assert KEY not in repr(trial)


def test_idempotency_and_audit_are_told_and_not_asked(snapshot: Snapshot) -> None:
    trial = decide(snapshot, Request("POST", "/v2/payments", "acme", (("idempotency-key", "1"),)))
    assert (trial.refusal, trial.idempotency) == ("", "required")
    assert ("audit", NOT_ASKED) in verdicts(trial)
    assert ("idempotency", NOT_ASKED) in verdicts(trial)


@pytest.mark.parametrize(
    ("request_", "version", "by"),
    [
        (Request("GET", "/dated/things", "acme"), "2026-02-01", "pin"),
        (Request("GET", "/dated/things", "acme", (("api-version", "2026-01-01"),)), "2026-01-01", "header"),
        (Request("GET", "/dated/things", "ended"), "", ""),
        (Request("GET", "/dated/things", "far", (), "198.51.100.9"), "2026-01-01", "default"),
        (Request("GET", "/dated/things", "acme", (("api-version", "1999"),)), "", ""),
        (Request("GET", "/dated/new", "acme", (("api-version", "2026-01-01"),)), "", ""),
    ],
)
def test_a_version_is_chosen_as_the_gateway_does(
    snapshot: Snapshot, request_: Request, version: str, by: str
) -> None:
    trial = decide(snapshot, request_)
    assert trial.version == version
    told = [one.detail for one in trial.steps if one.step == "version" and one.said == PASSES]
    if version:
        assert told == [f"{version} by {by}"]
        assert trial.refusal == ""
    else:
        assert trial.refusal in {"credential_invalid", "validation_failed", "no_route"}


def test_a_version_that_shares_its_calls_runs_the_other(snapshot: Snapshot) -> None:
    trial = decide(snapshot, Request("GET", "/v4/things", "acme"))
    assert ("split", PASSES) in verdicts(trial)
    assert (trial.upstream, trial.refusal) == ("w", "")


def used(snapshot: Snapshot, calls: int) -> int:
    """Counters at work in which acme has made so many calls; their descriptor."""
    data = Path(snapshot.gateway.data)
    prepared = prepare(data / "none", capacity(snapshot), now=time.monotonic_ns(), wall=time.time())
    for _ in range(calls):
        with closing(Counters(prepared.memory)) as counters, pytest.MonkeyPatch.context() as patched:
            patched.setattr(trying, "copied_counters", lambda *_: _kept(counters))
            assert decide(snapshot, Request("GET", "/v2/payments/7", "acme")).refusal == ""
    return prepared.memory


class _kept:  # noqa: N801 - stands for a context manager
    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def __enter__(self) -> Counters:
        return self._counters

    def __exit__(self, *_: object) -> None:
        pass


def left(trial: Trial) -> dict[object, object]:
    return {one["name"]: one["left"] for one in trial.limits}


def test_limits_are_shown_as_they_stand_and_nothing_is_counted(snapshot: Snapshot) -> None:
    import os

    memory = used(snapshot, 2)
    try:
        before = os.pread(memory, os.fstat(memory).st_size, 0)
        for _ in range(5):
            trial = decide(snapshot, Request("GET", "/v2/payments/7", "acme"), memory)
            assert trial.refusal == ""
            assert left(trial)["plan.gold.3/minute"] == 0
        assert os.pread(memory, os.fstat(memory).st_size, 0) == before
    finally:
        os.close(memory)


def test_a_limit_that_is_reached_refuses(snapshot: Snapshot) -> None:
    import os

    memory = used(snapshot, 3)
    try:
        trial = decide(snapshot, Request("GET", "/v2/payments/7", "acme"), memory)
    finally:
        os.close(memory)
    assert (trial.status, trial.refusal, trial.parameter) == (429, "rate_limited", "plan.gold.3/minute")


def test_without_a_gateway_what_it_saved_counts(snapshot: Snapshot) -> None:
    import os

    memory = used(snapshot, 3)
    saved = Path(snapshot.gateway.data) / "counters.bin"
    with closing(Counters(memory)) as counters:
        save(counters, saved, now=time.monotonic_ns(), wall=time.time(), everything=True, unless_empty=False)
    os.close(memory)
    before = saved.read_bytes()
    assert decide(snapshot, Request("GET", "/v2/payments/7", "acme")).refusal == "rate_limited"
    assert saved.read_bytes() == before


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(snapshot: Snapshot, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    data = Path(snapshot.gateway.data)
    (data / "snapshot").write_bytes(encoded.encode(snapshot))
    monkeypatch.setenv("FAREGATE_DATA", str(data))

    def call(*arguments: str) -> tuple[int, str, str]:
        status = main(("try", *arguments))
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def test_the_command_says_each_verdict_and_the_end(run: Run) -> None:
    status, out, _ = run("get", "/v2/payments/7", "--consumer", "acme")
    assert status == 0
    assert out.splitlines()[0] == "revision 7: payments v2 GET /payments/{id}"
    assert out.splitlines()[-1] == "would be sent to u"
    assert "plan.gold.3/minute: 2 of 3 left" in out
    status, out, _ = run("POST", "/v2/refunds", "--consumer", "acme")
    assert status == 1
    assert "limits        not reached" in out
    assert out.splitlines()[-1].startswith("refused: 403 permission_denied: the consumer lacks")


def test_the_command_gives_an_object(run: Run) -> None:
    status, out, _ = run("GET", "/v2/payments/7", "--header", f"X-API-Key: {KEY}", "--json")
    told = json.loads(out)
    assert (status, told["consumer"], told["targets"]) == (0, "acme", ["a:1", "b:2"])
    assert KEY not in out


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("GET", "v2"), 2, "begins with /"),
        (("GET", "/v2", "--ip", "here"), 2, "no address"),
        (("GET", "/v2", "--header", "x"), 2, "NAME: VALUE"),
        (("GET", "/v2", "--header", f"X-API-Key {KEY}"), 2, "'X-API-Key' lacks the colon"),
        (("GET", "/v2", "--consumer", "acm"), 1, "did you mean `acme`?"),
    ],
)
def test_wrong_usage_is_said(run: Run, arguments: tuple[str, ...], status: int, said: str) -> None:
    ended, out, err = run(*arguments)
    assert (ended, out) == (status, "")
    assert said in err
    assert KEY not in err


def test_a_folder_on_which_nothing_ran(run: Run, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    status, _, err = run("GET", "/v2", "--data", str(tmp_path / "other"))
    assert status == 1
    assert "no revision ran on" in err
