"""``faregate login``: people sign in at the command line, and do there what only people may."""

import base64
import io
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from faregate.cli.app import main
from faregate.manager.people import totp
from tests.cli.manager import Ran, Run, runner
from tests.manager.house import START_MS
from tests.manager.served import Served, served

PASSWORD = "correct horse battery staple"


@pytest.fixture(scope="module")
def manager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("manager")) as one:
        yield one


class Desk:
    """A terminal: who sits there has the token in the environment."""

    def __init__(self, run: Run, manager: Served, monkeypatch: pytest.MonkeyPatch) -> None:
        self.run = run
        self._manager = manager
        self._monkeypatch = monkeypatch
        self._seeds: dict[str, bytes] = {}
        self._steps: dict[str, int] = {}

    def sit(self, token: str) -> None:
        self._monkeypatch.setenv("FAREGATE_TOKEN", token)

    def login(self, name: str, password: str = PASSWORD, code: str = "") -> Ran:
        self._monkeypatch.setattr("sys.stdin", io.StringIO(f"{password}\n{code}\n"))
        return self.run(f"login {name}")

    def code(self, name: str) -> str:
        """One that was not used yet."""
        step = max(totp.step_at(START_MS), self._steps.get(name, 0) + 1)
        self._steps[name] = step
        return totp.code_of(self._seeds[name], step)

    def hire(self, name: str, role: str) -> None:
        """A person with a password and a second factor."""
        self.sit(self._manager.token)
        invited = self.run(f"admin user_create --body '{{name: {name}}}'")
        assert invited.status == 0, invited.err
        grants = f"{{grants: [{{role: {role}}}]}}"
        granted = self.run(f"admin grants_put --param user={name} --param if-match='*' --body '{grants}'")
        assert granted.status == 0, granted.err
        code = invited.json["code"]
        self.sit("")
        enrolled = self.run(f"admin enrol --body '{{user: {name}, code: {code}, password: {PASSWORD}}}'")
        assert enrolled.status == 0, enrolled.err
        self.sit(self.login(name).out.strip())
        seed = self.run(f"admin totp_begin --body '{{password: {PASSWORD}}}'").json["seed"]
        self._seeds[name] = base64.b32decode(seed + "=" * (-len(seed) % 8))
        confirmed = self.run(f"admin totp_confirm --body '{{code: \"{self.code(name)}\"}}'")
        assert confirmed.status == 0, confirmed.err
        self.sit(confirmed.json["token"])  # the one before ended


@pytest.fixture
def desk(
    manager: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Desk:
    monkeypatch.chdir(tmp_path)
    return Desk(runner(manager, monkeypatch, capsys), manager, monkeypatch)


def test_two_people_approve_a_change_at_their_terminals(desk: Desk, manager: Served) -> None:
    desk.hire("ann", "operator")
    made = desk.run("admin session_get").json
    assert (made["person"], "csrf" in made) == ("ann", False)
    Path("gold.yaml").write_text("plans: {gold: {}}\n")
    waits = desk.run("apply gold.yaml --propose --reason 'for the spring'")
    assert waits.status == 3, waits.err
    (change,) = desk.run("admin change_list").json["data"]
    assert (change["author"], change["state"]) == ("ann", "proposed")
    one = f"--param change={change['id']}"
    body = f"{{verdict: approved, hash: {change['hash']}}}"
    own = desk.run(f"admin change_decide {one} --body '{body}'")
    assert (own.status, "this is yours" in own.err) == (1, True)
    desk.sit(manager.token)
    none = desk.run(f"admin change_decide {one} --body '{body}'")
    assert none.status == 1
    assert "A person decides, signed in; no token does. As a person: export FAREGATE_TOKEN=" in none.err
    desk.hire("bob", "approver")
    decided = desk.run(f"admin change_decide {one} --body '{body}'")
    assert decided.status == 0, decided.err
    assert decided.json["state"] == "applied"
    assert desk.run("config get plans/gold").status == 0


def test_a_change_at_a_later_hour_waits_for_it(desk: Desk, manager: Served) -> None:
    desk.sit(manager.token)
    Path("late.yaml").write_text("plans: {late: {}}\n")
    assert desk.run("apply late.yaml --window 2h").status == 2
    none = desk.run("apply late.yaml --yes --at 2026-12-01T00:00:00Z --window 500ms")
    assert (none.status, "less than a second" in none.err) == (2, True)
    trial = desk.run("apply late.yaml --yes --canary 5% --at 2026-12-01T00:00:00Z")
    assert (trial.status, "a canary begins at once" in trial.err) == (2, True)
    wrong = desk.run("apply late.yaml --yes --at tomorrow")
    assert (wrong.status, "X-Faregate-Activate-At" in wrong.err) == (1, True)
    desk.hire("eve", "owner")
    at = datetime.fromtimestamp(START_MS / 1000 + 3600, UTC).isoformat()
    told = desk.run(f"apply late.yaml --yes --at {at} --window 2h")
    assert (told.status, "it waits for its hour" in told.err) == (3, True), told.err


def test_the_token_stands_alone_and_a_wrong_proof_is_told_as_one(desk: Desk) -> None:
    desk.hire("cy", "viewer")
    told = desk.login("cy", code=desk.code("cy"))
    assert told.status == 0
    assert told.out.startswith("fgs_")
    assert told.out.count("\n") == 1
    assert told.out.strip() not in told.err
    wrong = desk.login("cy", password="no")
    assert (wrong.status, wrong.out) == (1, "")
    assert "User, password or code is wrong." in wrong.err
    assert main(["login", "cy", "--json"]) == 2, "nothing came through the pipe"
