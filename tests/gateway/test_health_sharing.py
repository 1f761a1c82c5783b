"""Two or three workers on one file, with real balancers and a held clock: they agree on who is out, and never take out too many."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faregate.gateway.balance import Balancer, TargetState, make_balancer
from faregate.gateway.health_sharing import ROUND_S, VISITS_A_LOOK, HealthSharing, join
from faregate.snapshot.data import ActiveHealth, Breaker, PassiveHealth, Target, Upstream
from faregate.stores.health import HealthTable

PASSIVE = PassiveHealth(failures=3, within=10.0, eject_for=30.0, max_ejected=50)
START = 5_000.0


class Checks:
    """Stands for the active checks: whether they run, and for which balancers."""

    def __init__(self) -> None:
        self.running = False
        self.balancers: list[Balancer] = []

    def follow(self, balancers: object) -> None:
        self.balancers = list(balancers)  # type: ignore[call-overload]

    def run(self, wanted: bool) -> None:
        self.running = wanted

    async def close(self) -> None:
        self.running = False


def upstream(names: str = "ab", **settings: object) -> Upstream:
    targets = tuple(Target(name=name, host="127.0.0.1", port=9000) for name in names)
    settings = {"passive": PASSIVE, "breaker": None, **settings}
    return Upstream(name="payments", targets=targets, balance="round_robin", **settings)  # type: ignore[arg-type]


class Worker:
    """A balancer and its part in the agreement."""

    def __init__(self, path: Path | None, declared: Upstream, now: float = START) -> None:
        self.table = (
            HealthTable(path, int(now * 1e3), boot_id="boot-1", pause=lambda _: None) if path else None
        )
        self.checks = Checks()
        self.counts: Counter[tuple[str, ...]] = Counter()
        self.sharing = HealthSharing(self.table, self.checks, self.count)  # type: ignore[arg-type]
        self.balancer = make_balancer(declared, None, now, Random(1))
        self.sharing.start({"payments": self.balancer}, now)

    def count(self, name: str, labels: tuple[str, ...]) -> None:
        self.counts[name, *labels] += 1

    def target(self, name: str) -> TargetState:
        return next(target for target in self.balancer.targets if target.name == name)

    def fail(self, name: str, now: float, times: int = 3) -> None:
        for _ in range(times):
            target = self.target(name)
            target.in_flight += 1
            self.balancer.finished(target, now, 0.0, failed=True)

    def pass_(self, name: str, now: float, times: int = 3) -> None:
        for _ in range(times):
            target = self.target(name)
            target.in_flight += 1
            self.balancer.finished(target, now, 0.0, failed=False)

    def states(self, now: float) -> str:
        """A letter a target: u, t, e, o (open) or s (sick)."""
        picked = self.balancer.pick(now, b"", ())
        if picked is not None:
            self.balancer.released(picked)
        return "".join("s" if one.state == "unhealthy" else one.state[0] for one in self.balancer.states(now))

    def reload(self, declared: Upstream, now: float) -> None:
        self.balancer = make_balancer(declared, self.balancer, now, Random(1))
        self.sharing.follow({"payments": self.balancer})


class Machine:
    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._path = folder / "health.bin"
        self._stack = stack
        self.workers: list[Worker] = []

    def start(self, declared: Upstream | None = None, now: float = START) -> Worker:
        worker = Worker(self._path, declared or upstream(), now)
        self.workers.append(worker)
        self._stack.callback(worker.sharing._part)
        return worker

    def look(self, now: float) -> None:
        for worker in self.workers:
            worker.sharing.look(now)

    def states(self, now: float) -> list[str]:
        return [worker.states(now) for worker in self.workers]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with ExitStack() as stack:
        yield Machine(tmp_path, stack)


def test_an_ejection_holds_for_all_at_their_next_look_and_ends_for_all_at_once(machine: Machine) -> None:
    one, two = machine.start(), machine.start()
    one.fail("a", START)
    assert machine.states(START) == ["eu", "uu"], "nobody looked yet"
    two.sharing.look(START + 0.05)
    assert machine.states(START + 0.05) == ["eu", "eu"]
    assert machine.states(START + 29.9) == ["eu", "eu"]
    assert machine.states(START + 30.1) == ["tu", "tu"]
    assert one.counts == {("faregate_target_ejections_total", "payments", "a", "failures"): 1}
    assert not two.counts, "counted once a machine"


def test_a_passed_trial_holds_for_all(machine: Machine) -> None:
    one, two = machine.start(), machine.start()
    one.fail("a", START)
    machine.look(START + 1)
    later = START + 31
    assert machine.states(later) == ["tu", "tu"]
    two.pass_("a", later + 0.01)
    assert machine.states(later + 0.02) == ["tu", "uu"]
    machine.look(later + 0.05)
    assert machine.states(later + 0.1) == ["uu", "uu"]


def test_a_trial_that_passes_here_and_has_failed_elsewhere_has_failed(machine: Machine) -> None:
    one, two = machine.start(), machine.start()
    one.fail("a", START)
    machine.look(START + 1)
    later = START + 31
    assert machine.states(later) == ["tu", "tu"]
    one.fail("a", later + 0.01, times=1)
    two.pass_("a", later + 0.02)
    machine.look(later + 0.05)
    assert machine.states(later + 0.1) == ["eu", "eu"]


def test_a_failed_trial_holds_for_all_and_the_row_is_counted_once(machine: Machine) -> None:
    one, two = machine.start(), machine.start()
    one.fail("a", START)
    machine.look(START + 1)
    later = START + 31
    assert machine.states(later) == ["tu", "tu"]
    two.fail("a", later + 0.01, times=1)
    one.fail("a", later + 0.02, times=1)
    assert one.target("a").trial == 0, "adopted, so not on trial any more"
    machine.look(later + 0.05)
    assert machine.states(later + 59) == ["eu", "eu"], "the second in a row: twice as long, not three times"
    assert machine.states(later + 61) == ["tu", "tu"]
    assert sum(one.counts.values()) == 1
    assert sum(two.counts.values()) == 1


def test_an_open_breaker_holds_for_all(machine: Machine) -> None:
    declared = upstream(passive=None, breaker=Breaker(calls=4, open_for=5.0))
    one, two = machine.start(declared), machine.start(declared)
    one.fail("a", START + 1, times=5)
    machine.look(START + 1.05)
    assert machine.states(START + 1.1) == ["ou", "ou"]
    assert two.balancer.opened == 0


def test_the_last_one_in_use_breaks_for_all_and_is_tried_again_by_all(machine: Machine) -> None:
    declared = upstream("a", passive=None, breaker=Breaker(calls=4, open_for=30.0))
    one, two = machine.start(declared), machine.start(declared)
    for _ in range(5):
        one.target("a").in_flight += 1
        one.balancer.connect_failed(one.target("a"), START + 1)
    machine.look(START + 1.05)
    assert machine.states(START + 1.1) == ["o", "o"]
    assert two.balancer.pick(START + 1.1, b"", ()) is None, "broken: refused at once"
    assert machine.states(START + 4) == ["t", "t"]


def test_two_workers_never_take_out_one_target_too_many(machine: Machine) -> None:
    """Each sees its own two failing: without the gate both would go, as neither has looked since."""
    one, two = machine.start(), machine.start()
    one.fail("a", START)
    two.fail("b", START)
    assert machine.states(START) == ["eu", "eu"], "the gate made the second one look"
    machine.look(START + 0.05)
    assert machine.states(START + 0.05) == ["eu", "eu"]


# What is shared counts whole milliseconds: in the millisecond in which a term of 30 s ends, workers may differ. No sum of
# these pauses and 10 or 20 ms lies there.
PAUSES = st.integers(0, 125).map(lambda times: times * 0.064)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from("abcd"), PAUSES, st.booleans()),
        min_size=10,
        max_size=60,
    )
)
def test_whatever_fails_where_the_ceiling_holds_for_the_machine(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[int, str, float, bool]]
) -> None:
    with ExitStack() as stack:
        machine = Machine(tmp_path_factory.mktemp("ceiling"), stack)
        declared = upstream("abcd")
        workers = [machine.start(declared) for _ in range(3)]
        now = START
        for index, name, pause, fails in events:
            now += pause
            if fails:
                workers[index].fail(name, now)
            else:
                workers[index].pass_(name, now)
            for state in machine.states(now):
                assert state.count("e") <= 2, "half of four"
            machine.look(now + 0.01)
            assert len({state.replace("t", "u") for state in machine.states(now + 0.02)}) == 1, "all agree"


def test_a_target_that_all_find_ill_at_once_is_ejected_once(machine: Machine) -> None:
    workers = [machine.start() for _ in range(3)]
    for worker in workers:
        worker.fail("a", START)
    assert machine.states(START) == ["eu", "eu", "eu"]
    assert sum(sum(worker.counts.values()) for worker in workers) == 1
    assert machine.states(START + 31) == ["tu", "tu", "tu"], "one term, not three"


def test_a_new_worker_knows_what_the_others_know(machine: Machine) -> None:
    one = machine.start()
    one.fail("a", START)
    fresh = machine.start(now=START + 10)
    assert fresh.states(START + 10) == "eu"
    assert fresh.states(START + 29) == "eu"
    machine.look(START + 30)
    on_trial = machine.start(now=START + 31)
    machine.look(START + 31)
    assert on_trial.states(START + 31) == "tu"


def test_a_new_worker_goes_on_with_a_slow_start(machine: Machine) -> None:
    one = machine.start()
    one.fail("a", START)
    assert one.states(START + 31) == "tu"
    one.pass_("a", START + 31.1)
    assert one.states(START + 35) == "uu"
    machine.look(START + 35)
    fresh = machine.start(now=START + 35)
    fresh.states(START + 35.2)
    assert fresh.target("b").ramp == 1.0
    assert fresh.target("a").ramp == pytest.approx(0.1 + 0.9 * 4 / 10, abs=0.06)


def test_the_last_worker_may_die_and_the_next_one_knows(machine: Machine) -> None:
    one = machine.start()
    one.fail("a", START)
    one.sharing._part()
    machine.workers.clear()
    assert machine.start(now=START + 2).states(START + 2) == "eu"


def test_a_gateway_that_starts_anew_knows_nothing(machine: Machine) -> None:
    machine.start().fail("a", START)
    machine.workers.clear()
    assert machine.start(now=START + 12).states(START + 12) == "uu"


def test_checks_say_ill_and_well_for_all_and_ejections_are_apart_from_that(machine: Machine) -> None:
    declared = upstream(active=ActiveHealth(path="/healthz"))
    one, two = machine.start(declared), machine.start(declared)
    two.fail("a", START)
    one.balancer.set_active_health(one.target("a"), False, START + 1)
    machine.look(START + 1.05)
    assert machine.states(START + 1.1) == ["su", "su"]
    one.balancer.set_active_health(one.target("a"), True, START + 2)
    machine.look(START + 2.05)
    assert machine.states(START + 2.1) == ["eu", "eu"], "well again and still out for its failures"


def test_one_worker_checks(machine: Machine) -> None:
    workers = [machine.start() for _ in range(3)]
    machine.look(START)
    assert [worker.checks.running for worker in workers] == [True, False, False]
    workers[0].sharing.leave()
    machine.look(START + 0.05)
    assert [worker.checks.running for worker in workers] == [False, True, False], "one that drains does not"


def test_a_reload_keeps_what_is_known_and_new_targets_are_met(machine: Machine) -> None:
    one, two = machine.start(), machine.start()
    one.fail("a", START)
    now = START + 1
    for worker in (one, two):
        worker.reload(upstream("abc"), now)
    machine.look(now)
    assert machine.states(now + 0.1) == ["euu", "euu"]
    now += ROUND_S + 0.1
    machine.look(now)
    for worker in (one, two):
        worker.reload(upstream("bcd", passive=PassiveHealth(failures=3, max_ejected=90)), now)
    machine.look(now)
    two.fail("c", now + 1)
    machine.look(now + 1.05)
    assert machine.states(now + 1.1) == ["ueu", "ueu"], "a target that came by a reload is shared as well"
    for step in range(3):
        machine.look(now + 2 + step * ROUND_S)
    assert {key for worker in (one, two) for key in worker.sharing._entries} == {
        ("payments", name) for name in "bcd"
    }, "what is gone is forgotten"


def test_reloads_in_quick_succession_leave_no_upstream_out(machine: Machine) -> None:
    one = machine.start()
    many = {f"upstream{number}": one.balancer for number in range(9)}
    targets = tuple(Target(name=f"t{number}", host="127.0.0.1", port=9000) for number in range(VISITS_A_LOOK))
    for name in many:
        declared = Upstream(name=name, targets=targets, breaker=None)
        many[name] = make_balancer(declared, None, START, Random(1))
    for step in range(12):
        one.sharing.follow(many)
        for look in range(3):
            one.sharing.look(START + step + look / 10)
    assert len(one.sharing._entries) >= len(many) * VISITS_A_LOOK


def test_a_verdict_of_checks_does_not_outlive_them(machine: Machine) -> None:
    checked = upstream(active=ActiveHealth(path="/healthz"))
    one = machine.start(checked)
    one.balancer.set_active_health(one.target("a"), False, START)
    one.reload(upstream(), START + 1)
    for step in range(3):
        one.sharing.look(START + 2 + step * ROUND_S)
    fresh = machine.start(checked, now=START + 6)
    assert fresh.states(START + 6) == "uu"


def test_what_a_killed_writer_left_unannounced_is_found_in_a_round(machine: Machine) -> None:
    one, two = machine.start(), machine.start()
    one.fail("a", START)
    assert two.table is not None
    two.sharing._sequence = two.table.sequence  # as if the number had never been raised
    two.sharing.look(START + 0.05)
    two.sharing.look(START + 0.1)
    for step in (1, 2):
        two.sharing.look(START + step * (ROUND_S + 0.05))
    assert two.states(START + 3) == "eu"


@pytest.mark.parametrize("hours", [1, 24])
def test_a_word_from_a_wrong_clock_binds_no_longer_than_the_configuration_says(
    machine: Machine, hours: int
) -> None:
    one, two = machine.start(), machine.start()
    one.fail("a", START + hours * 3600)
    two.sharing.look(START)
    assert two.states(START + 1) == "eu"
    assert two.states(START + 30 * 4 + 1) == "tu"


def test_without_the_file_each_judges_alone_and_checks_itself(tmp_path: Path) -> None:
    worker = Worker(None, upstream())
    worker.fail("a", START)
    worker.sharing.look(START + 1)
    assert worker.states(START + 1) == "eu"
    assert worker.checks.running
    assert [reading.value for reading in worker.sharing.readings()] == [0.0]


def test_a_file_that_cannot_be_used_is_said_and_no_reason_not_to_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sharing = join(tmp_path / "missing" / "health.bin", lambda *_: None, START)
    assert "not shared" in caplog.text
    assert [reading.value for reading in sharing.readings()] == [0.0]


def test_a_look_that_fails_ends_the_sharing_and_nothing_else(
    machine: Machine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = machine.start()
    monkeypatch.setattr(HealthTable, "beat", lambda *_: 1 / 0)
    worker.sharing.look(START + 1)
    worker.sharing.look(START + 2)
    assert caplog.text.count("judges alone") == 1
    worker.fail("a", START + 3)
    assert worker.states(START + 3) == "eu"
    assert worker.checks.running
