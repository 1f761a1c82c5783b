"""``faregate apply --canary`` and ``faregate canary``: what is asked for, shown, and told by the exit status."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from faregate.manager.arms import Arm
from faregate.manager.cases.ports import Diagnostic
from tests.cli.manager import Run, runner
from tests.manager.served import Served, served


class Gateway:
    """Takes every canary. ``sums``: what its workers have counted."""

    def __init__(self) -> None:
        self.begun: list[tuple[int, list[str], float]] = []
        self.sums = (Arm(), Arm())

    async def prepare(self, changes: Sequence[Mapping[str, object]], number: int) -> list[Diagnostic]:
        assert changes
        return []

    async def begin(self, number: int, percent: int, consumers: Sequence[str], lease_s: float) -> int:
        self.begun.append((percent, list(consumers), lease_s))
        return number

    async def keep(self, number: int) -> bool:
        await asyncio.sleep(0)
        return number > 0

    async def end(self, reason: str) -> None:
        assert reason

    def arms(self) -> tuple[Arm, Arm]:
        return self.sums


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Served]:
    folder = tmp_path / "manager"
    folder.mkdir()
    with served(folder) as one:
        yield one


@pytest.fixture
def gateway(manager: Served) -> Gateway:
    made = Gateway()
    assert manager.house is not None
    manager.house.management.canary.trial = made
    return made


@pytest.fixture
def run(
    manager: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Run:
    monkeypatch.chdir(tmp_path)
    Path("gold.yaml").write_text("plans: {gold: {concurrency: 5}}\n")
    return runner(manager, monkeypatch, capsys)


def test_a_file_is_tried_shown_and_taken_back_or_made(run: Run, gateway: Gateway) -> None:
    assert run("canary").status == 1
    tried = run("apply gold.yaml --canary 5% --for 30s --consumers acme,globex")
    assert (tried.status, gateway.begun) == (0, [(5, ["acme", "globex"], 30.0)])
    assert tried.out.splitlines()[-2] == (
        "canary 1 has 5 % of calls and the calls of acme, globex; after 30 s it ends"
    )
    assert run("plan gold.yaml").status == 2, "nothing is made yet"
    shown = run("canary")
    assert shown.status == 0
    assert shown.out.startswith(
        "canary 1 of revision 0, 5 % of calls and the calls of acme, globex: running\n"
    )
    assert "slow calls        not yet" in shown.out
    assert run("apply gold.yaml --canary 5%").status == 1, "one at a time"
    gone = run("canary abandon --json")
    assert (gone.status, gone.json["state"]) == (0, "abandoned")
    assert run("apply gold.yaml --canary 50% --promote").status == 0
    made = run("canary promote --json")
    assert (made.status, made.json["state"], made.json["revision"]) == (0, "promoted", 2)
    assert run("plan gold.yaml").status == 0


def test_waiting_tells_by_its_status_that_it_was_worse(run: Run, gateway: Gateway) -> None:
    gateway.sums = Arm(900, 9, {100: 900}), Arm(100, 60, {100: 100})
    assert run("apply gold.yaml --canary 10% --json").json["percent"] == 10
    waited = run("canary --wait")
    assert waited.status == 1
    assert "stopped: It is worse: 60.00% of its calls fail, 1.00% of the running revision's" in waited.out
    rows = [line.split() for line in waited.out.splitlines()]
    assert ["running", "900", "9", "1.00%", "5.79", "5.79"] in rows
    assert ["canary", "100", "60", "60.00%", "5.79", "5.79"] in rows


@pytest.mark.parametrize(("words", "option"), [("--for 1m", "--for"), ("--promote", "--promote")])
def test_what_is_of_a_canary_alone_never_applies_to_all(
    run: Run, gateway: Gateway, words: str, option: str
) -> None:
    told = run(f"apply gold.yaml {words}")
    assert (told.status, gateway.begun) == (2, [])
    assert f"{option} is of a canary" in told.err
    assert run("plan gold.yaml").status == 2, "nothing was changed"


@pytest.mark.parametrize("words", ["--canary 5", "--canary much", "--canary 5% --for soon", "--canary 500%"])
def test_what_is_no_share_or_duration_is_wrong_usage(run: Run, gateway: Gateway, words: str) -> None:
    assert run(f"apply gold.yaml {words}").status == 2
    assert gateway.begun == []
    assert run("canary forget").status == 2
