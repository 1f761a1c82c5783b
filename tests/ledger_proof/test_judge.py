"""The judge finds what it is there for: each rule in a history made by hand, and each planted bug in a gateway that has it."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.ledger_proof.driver import Driver
from tests.ledger_proof.histories import Attempt, History, Scope, Seen, Window, tell
from tests.ledger_proof.judge import judge
from tests.ledger_proof.plan import Plan, make_plan
from tests.ledger_proof.shrink import shrink
from tests.ledger_proof.stand_in import Bug, StandIn

pytestmark = pytest.mark.apart

K = Scope("acme", "alpha", "payments", "k1")
FOUND_S = 60.0


def asked(
    name: str, begun: float, told: str, scope: Scope = K, digest: str = "b1", **more: object
) -> Attempt:
    one = Attempt(name, 1, scope, digest, begun, begun + 1, told)
    for key, value in more.items():
        setattr(one, key, value)
    return one


def final(
    name: str, begun: float, *, execution: str = "x1", replayed: bool = False, **more: object
) -> Attempt:
    said = {"execution": execution, "consumer": "acme", "key": "k1", "digest": "b1"}
    settings: dict[str, object] = {
        "status": 201,
        "answer": f"a-{execution}",
        "said": said,
        "replayed": replayed,
    }
    return asked(name, begun, "final", **(settings | more))


def refused(name: str, begun: float, code: str, outcome: str, status: int = 409, **more: object) -> Attempt:
    return asked(
        name, begun, "refused", status=status, code=code, outcome=outcome, **{"retry_after": True, **more}
    )


def ran(name: str, at: float, execution: str = "x1", scope: Scope = K, digest: str = "b1") -> list[Seen]:
    return [Seen("head", name, scope, at), Seen("whole", name, scope, at, digest),
            Seen("executed", name, scope, at + 0.1, digest, execution)]  # fmt: skip


def history(*parts: Attempt | list[Seen] | Window, settled_at: float = 100.0, verdict: str = "") -> History:
    made = History(settled_at=settled_at, verdicts={K: verdict} if verdict else {})
    for part in parts:
        if isinstance(part, Attempt):
            made.attempts.append(part)
        elif isinstance(part, Window):
            made.windows.append(part)
        else:
            made.seen += part
    return made


IN_FLIGHT = "idempotency_in_flight"
GOOD = {
    "once and again": history(final("a", 0), final("b", 5, replayed=True), ran("a", 0.1)),
    "in flight beside": history(final("a", 0), refused("b", 0.5, IN_FLIGHT, "refused"), ran("a", 0.1)),
    "not sent, then sent": history(
        refused("a", 0, "upstream_unreachable", "not_sent", 502), final("b", 5), ran("b", 5.1)
    ),
    "unknown, settled as released, sent": history(
        refused("a", 0, "upstream_timeout", "unknown", 504), refused("b", 5, IN_FLIGHT, "unknown"),
        final("c", 101, last=True), [Seen("head", "a", K, 0.5)], ran("c", 101.2), verdict="released",
    ),
    "not sent, and its release lost": history(
        refused("a", 0, "upstream_unreachable", "not_sent", 502), refused("b", 5, IN_FLIGHT, "unknown"),
        Window("ledger_killed", 0, 1), verdict="released",
    ),
    "unknown, settled as completed": history(
        refused("a", 0, "upstream_timeout", "unknown", 504), refused("c", 101, IN_FLIGHT, "answered", last=True),
        ran("a", 0.5), verdict="completed",
    ),
    "unknown, then the late answer": history(
        refused("a", 0, "upstream_timeout", "unknown", 504), final("b", 5, replayed=True), ran("a", 0.5)
    ),
    "an answer too long to be kept": history(
        final("a", 0), refused("b", 101, IN_FLIGHT, "answered", last=True),
        [replace(line, answer_bytes=70_000) for line in ran("a", 0.1)],
    ),
    "another body": history(
        final("a", 0), refused("b", 5, "idempotency_mismatch", "refused", 422, digest="b2"), ran("a", 0.1)
    ),
}  # fmt: skip
OTHER = Scope("bravo", "alpha", "payments", "k1")
BAD = {
    "I1": history(final("a", 0), asked("b", 5, "lost"), ran("a", 0.1), ran("b", 5.1, "x2")),
    "I2": history(final("a", 0), final("b", 5, replayed=True, answer="other"), ran("a", 0.1)),
    "I2 fresh": history(final("a", 0), final("b", 5), ran("a", 0.1)),
    "I3 sent": history(
        asked("a", 0, "lost"), refused("b", 5, "idempotency_mismatch", "refused", 422, digest="b2"),
        [Seen("head", "b", K, 5.5)],
    ),
    "I3 answered": history(final("a", 0), final("b", 5, replayed=True, digest="b2"), ran("a", 0.1)),
    "I3 status": history(
        final("a", 0), refused("b", 5, "idempotency_mismatch", "refused", 409, digest="b2"), ran("a", 0.1)
    ),
    "I4": history(asked("a", 0, "lost"), asked("b", 0.1, "lost"), [Seen("head", "a", K, 1), Seen("head", "b", K, 1)]),
    "I4 fragments": history(
        asked("a", 0, "lost"), asked("b", 9, "lost"),
        [Seen("fragment", "a", Scope("", "", "", ""), 1), Seen("head", "b", K, 9.5)],
    ),
    "I4 silent": history(final("a", 0), refused("b", 0.5, IN_FLIGHT, "refused", retry_after=False), ran("a", 0.1)),
    "I5": history(final("a", 0), asked("b", 101, "lost", last=False), ran("a", 0.1), [Seen("head", "b", K, 101)]),
    "I6 cause": history(refused("a", 0, IN_FLIGHT, "refused")),
    "I6 answer": history(
        asked("b", 0, "lost"),
        final("a", 5, replayed=True, said={"execution": "x1", "consumer": "bravo", "key": "k1"}), ran("b", 0.1),
    ),
    "I6 arrived": history(asked("a", 0, "lost"), [Seen("head", "a", OTHER, 1)]),
    "I8 words": history(refused("a", 0, "store_unavailable", "not_sent", 503, retry_after=False)),
    "I8 sent": history(asked("a", 2, "lost"), ran("a", 2.5), Window("store_killed", 1, 4, store_away=True)),
    "I9": history(refused("a", 0, "upstream_timeout", "unknown", 504), asked("b", 5, "lost"), [Seen("head", "b", K, 5)]),
    "I10": history(asked("a", 0, "lost"), refused("b", 101, IN_FLIGHT, "unknown", last=True)),
    "I10 not kept": history(final("a", 0), refused("b", 101, IN_FLIGHT, "answered", last=True), ran("a", 0.1)),
    "I10 kept": history(
        refused("a", 0, "upstream_unreachable", "not_sent", 502), refused("b", 5, IN_FLIGHT, "unknown"),
        Window("cut_up", 0, 1), verdict="released",
    ),
    "truth not sent": history(refused("a", 0, "upstream_unreachable", "not_sent", 502), [Seen("head", "a", K, 0.5)]),
    "truth part": history(asked("a", 0, "part"), [Seen("head", "a", K, 0.5)]),
    "truth answered": history(asked("b", 0, "lost"), refused("a", 5, IN_FLIGHT, "answered")),
    "truth invented": history(final("a", 0, execution="x9"), ran("a", 0.1)),
    "truth replayed": history(asked("b", 0, "lost"), final("a", 5, replayed=True), ran("a", 5.1)),
    "bench": History(complaints=["something"]),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_a_history_that_keeps_the_promise_passes(name: str) -> None:
    assert judge(GOOD[name]) == []


@pytest.mark.parametrize("name", BAD)
def test_a_history_that_breaks_a_rule_is_found(name: str) -> None:
    assert name.split(" ", maxsplit=1)[0] in {one.rule for one in judge(BAD[name])}, judge(BAD[name])


def test_a_plan_is_the_same_for_the_same_seed_and_can_be_cut_down() -> None:
    plan = make_plan(7, 300, 6, ("one", "two", "three"))
    assert plan == make_plan(7, 300, 6, ("one", "two", "three"))
    assert plan != make_plan(8, 300, 6, ("one", "two", "three"))
    assert plan.errands == 300
    assert sorted(one.fault for one in plan.rounds) == ["one", "one", "three", "three", "two", "two"]
    scope = plan.rounds[2].errands[0].scope
    cut = plan.only({scope})
    assert {errand.scope for one in cut.rounds for errand in one.errands} == {scope}
    assert cut.without_fault(0).rounds[0].fault == ""
    assert cut.without_errand(cut.rounds[0].errands[0].number).errands == cut.errands - 1


def play(plan: Plan, folder: Path, bug: Bug) -> History:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "upstream.jsonl").unlink(missing_ok=True)

    async def run() -> History:
        async with StandIn(folder, bug) as bench:
            await Driver(bench).play(plan)
            bench.upstream.wait_idle()
            return bench.recorded()

    return asyncio.run(run())


def test_the_stand_in_without_a_bug_passes(tmp_path: Path) -> None:
    plan = make_plan(3, 150, 3, ("worker_killed", "ledger_killed", "upstream_killed"))
    made = play(plan, tmp_path, Bug.NONE)
    assert judge(made) == []
    told = {one.told for one in made.attempts}
    assert {"final", "refused", "lost"} <= told
    assert {one.outcome for one in made.attempts} >= {"unknown", "refused"}
    assert len([line for line in made.seen if line.what == "executed"]) > 40


@pytest.mark.parametrize("bug", [bug for bug in Bug if bug is not Bug.NONE])
def test_a_planted_bug_is_found_within_a_minute_and_told_as_a_short_story(tmp_path: Path, bug: Bug) -> None:
    begun = time.monotonic()
    plan = make_plan(3, 150, 3, ("worker_killed", "ledger_killed", "upstream_killed"))
    made = play(plan, tmp_path, bug)
    assert {one.rule for one in judge(made)} & {"I1", "I4", "I5"}, tell(
        made, {one.scope for one in made.attempts}
    )[:4000]
    small = shrink(plan, made, lambda less: play(less, tmp_path / "again", bug), replays_max=3)
    print(small.story())
    assert len(small.story().splitlines()) < 60
    assert small.plan.errands < plan.errands / 4
    assert time.monotonic() - begun < FOUND_S
