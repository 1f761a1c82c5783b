"""``faregate plan``, ``apply``, ``history`` and ``rollback``: what they show, ask, send and refuse."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from faregate.cli import managing, planning
from tests.cli.manager import Run, runner
from tests.manager.served import Served, served

_turn = itertools.count(1)


@pytest.fixture(scope="module")
def manager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("manager")) as one:
        yield one


@pytest.fixture
def run(
    manager: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Run:
    monkeypatch.chdir(tmp_path)
    made = runner(manager, monkeypatch, capsys)
    Path("empty.yaml").write_text("plans: {}\nconsumers: {}\ngroups: {}\n")
    assert made("apply empty.yaml --yes").status == 0  # what the test before left
    return made


def write(text: str) -> str:
    name = f"file{next(_turn)}.yaml"
    Path(name).write_text(text)
    return name


GOLD = "plans: {gold: {concurrency: 5}}\n"


def test_a_plan_shows_each_field_and_tells_by_its_status_whether_anything_would_change(run: Run) -> None:
    file = write(GOLD)
    planned = run(f"plan {file}")
    assert planned.status == 2
    assert planned.out.splitlines() == ['+ plans.gold: {"concurrency": 5}', "+1 ~0 -0"]
    assert run(f"apply {file}").status == 0
    assert run(f"plan {file}")[:2] == (0, "no changes\n")
    changed = run(f"plan {write('plans: {gold: {concurrency: 6}}')}")
    assert changed[:2] == (2, "~ plans.gold.concurrency: 5 -> 6\n+0 ~1 -0\n")
    gone = run(f"plan {write('plans: {}')} --json")
    assert gone.status == 2
    assert (gone.json["deletes"], gone.json["differences"][0]["path"]) == (1, "plans.gold")


def test_a_plan_changes_nothing(run: Run) -> None:
    before = run("history --json").json[0]["number"]
    run(f"plan {write(GOLD)}")
    assert run("history --json").json[0]["number"] == before


def test_errors_of_the_file_come_with_their_place_before_anybody_is_asked(run: Run) -> None:
    file = write("plans:\n  gold: {concurency: 5}\n")
    for command in ("plan", "apply"):
        told = run(f"{command} {file} --manager http://127.0.0.1:1")
        assert told.status == 1
        assert f"{file}:2:10: unknown_key" in told.err
        assert "did you mean `concurrency`?" in told.err
        assert "nothing was sent" in told.err
    assert run(f"plan {file} --json").error["diagnostics"][0]["line"] == 2
    assert run("plan nowhere.yaml").status == 1


def test_errors_that_the_manager_finds_are_told_at_their_place_in_the_file(run: Run) -> None:
    file = write("consumers:\n  acme.eu:\n    plan: none\n")
    for command in ("plan", "apply"):
        told = run(f"{command} {file}")
        assert told.status == 1
        assert f"{file}:3:11: unresolved_reference" in told.err
        assert "1 error; nothing was changed" in told.err
    assert run(f"plan {file} --json").error["diagnostics"][0]["path"] == "consumers.acme.eu.plan"


def test_values_from_the_environment_are_filled_in_here(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write("consumers: {acme: {permissions: ['${GRANT}']}}")
    assert "GRANT" in run(f"plan {file}").err
    monkeypatch.setenv("GRANT", "payments:read")
    assert "payments:read" in run(f"plan {file}").out


def test_nothing_is_removed_unasked(run: Run) -> None:
    run(f"apply {write(GOLD)}")
    nothing = write("plans: {}")
    told = run(f"apply {nothing}")
    assert (told.status, told.out) == (2, "")
    assert "1 would be removed (plans.gold)" in told.err
    assert "--yes" in told.err
    assert run(f"apply {nothing} --json").error["status"] == 2
    assert run(f"apply {nothing} --yes").out.startswith("+0 ~0 -1 revision ")


KEY = "{api_key: {id: key_%s, sha256: %s}}"
KEYS = f"credentials: [{KEY % ('a', 'a' * 64)}, {KEY % ('b', 'b' * 64)}]"
SHOP = """
upstreams: {web: {targets: ["http://127.0.0.1:9"]}}
consumers:
  acme.eu: {KEYS}
apis:
  shop:
    upstream: web
    authenticate: [api_key]
    versions: {v1: {path: /v1}, v2: {path: /v2}}
    routes: [{match: GET /pay, limits: ["5/second"]}, {match: GET /list}]
""".replace("KEYS", KEYS)
LESS = [
    (", " + KEY % ("b", "b" * 64), "consumers.acme.eu.credentials[api_key key_b]", 1),
    (", {match: GET /list}", "apis.shop.routes[GET /list]", 1),
    (", v2: {path: /v2}", "apis.shop.versions.v2", 1),
    (KEYS, "consumers.acme.eu.credentials", 2),
]


@pytest.mark.parametrize(("gone", "named", "count"), LESS)
def test_no_credential_route_or_version_goes_unasked(run: Run, gone: str, named: str, count: int) -> None:
    assert gone in SHOP
    assert run(f"apply {write(SHOP)} --yes").status == 0
    less = write(SHOP.replace(gone, ""))
    told = run(f"apply {less}")
    assert (told.status, told.out) == (2, "")
    assert f"{count} would be removed ({named})" in told.err
    assert run(f"apply {less} --yes").status == 0


def test_a_field_of_a_route_is_no_removal(run: Run) -> None:
    assert run(f"apply {write(SHOP)} --yes").status == 0
    less = write(SHOP.replace(', limits: ["5/second"]', ""))
    assert run(f"apply {less}").status == 0


@pytest.mark.parametrize(("answer", "left"), [(True, 0), (False, 1)])
def test_at_a_terminal_the_plan_is_shown_and_asked_about(
    run: Run, monkeypatch: pytest.MonkeyPatch, answer: bool, left: int
) -> None:
    run(f"apply {write(GOLD)}")
    monkeypatch.setattr(planning, "may_ask", lambda **_: True)
    asked: list[str] = []

    def confirm(question: str) -> bool:
        asked.append(question)
        return answer

    monkeypatch.setattr(typer, "confirm", confirm)
    told = run(f"apply {write('plans: {}')}")
    assert asked == ["remove plans.gold?"]
    assert '- plans.gold: {"concurrency": 5}' in told.out
    assert told.status == left
    assert len(run("config list plans --json").json) == left


def test_a_change_by_somebody_else_in_between_refuses_the_apply(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other_first(planned: object, **_: object) -> None:
        monkeypatch.setattr(planning, "agree", lambda *_, **__: None)
        assert run(f"apply {write('groups: {readers: {}}')}").status == 0

    monkeypatch.setattr(planning, "agree", other_first)
    told = run(f"apply {write(GOLD)}")
    assert told.status == 1
    assert "came since revision" in told.err
    assert "[stale]" in told.err
    assert run("config list plans --json").json == []


def test_all_or_nothing(run: Run) -> None:
    file = write("plans: {gold: {}}\nconsumers: {acme: {plan: none}}")
    assert run(f"apply {file}").status == 1
    assert run("config list plans --json").json == []


def test_what_is_applied_has_its_reason_and_team_in_history(run: Run) -> None:
    told = run(f"apply {write(GOLD)} --reason 'ticket 7' --team web --json")
    assert told.json["published"] is True
    number = told.json["revision"]
    newest, *_ = run("history --json --limit 3").json
    assert (newest["number"], newest["reason"], newest["kind"]) == (number, "ticket 7", "apply")
    assert run("config get plans/gold --json").json["team"] == "web"
    shown = run(f"history {number}")
    assert shown.out.splitlines()[1:] == ['+ plans.gold: {"concurrency": 5}']
    assert "ticket 7" in shown.out
    assert "there are older ones" in run("history --limit 1").err


@pytest.mark.parametrize("number", ["x", "-1", "1.5", "٣"])
def test_a_revision_is_named_by_its_number(run: Run, number: str) -> None:
    for command in ("history", "rollback"):
        told = run(f"{command} -- {number}")
        assert told.status == 2
        assert "faregate history" in told.err


def test_a_revision_that_does_not_exist(run: Run) -> None:
    told = run("history 99999")
    assert (told.status, told.err) == (1, "faregate: There is no such revision. [not_found]\n")


def test_a_rollback_shows_its_plan_and_makes_what_was(run: Run) -> None:
    first = run(f"apply {write(GOLD)} --json").json["revision"]
    run(f"apply {write('plans: {gold: {concurrency: 6}, silver: {}}')}")
    planned = run(f"rollback {first} --plan")
    assert planned.status == 2
    assert planned.out.splitlines()[-1] == "+0 ~1 -1"
    assert run(f"rollback {first} --plan --json").json["deletes"] == 1
    refused = run(f"rollback {first}")
    assert refused.status == 2
    assert "plans.silver" in refused.err
    done = run(f"rollback {first} --yes --reason wrong --json")
    assert done.json["revision"] > first
    assert run("config get plans/gold").out.split() == ["{", '"concurrency":', "5", "}"]
    assert run(f"rollback {first}")[:2] == (0, "no changes\n")
    assert run(f"rollback {first} --plan").status == 0
    assert run("history --json").json[0]["rolled_back_to"] == first


def test_the_gateway_is_never_applied_and_that_is_said(run: Run) -> None:
    told = run(f"plan {write('gateway: {workers: 3}')}")
    assert told.status == 0
    assert "`gateway:` is never applied: it is the file's that the gateway runs with" in told.err


def test_nobody_there_a_wrong_token_and_a_wrong_address_are_said(
    run: Run, manager: Served, tmp_path: Path
) -> None:
    file = write(GOLD)
    assert "no manager answers at http://127.0.0.1:1" in run(f"plan {file} --manager http://127.0.0.1:1").err
    told = run(f"plan {file} --token fgm_wrong")
    assert told.status == 1
    assert "does not accept the token; give one of its tokens with --token or FAREGATE_TOKEN" in told.err
    assert "fgm_wrong" not in told.err
    assert run(f"plan {file} --token x --json").error["problem"]["code"] == "credential_invalid"
    assert run(f"plan {file} --manager 127.0.0.1:9090").status == 2
    clear = run(f"plan {file} --manager {manager.url.replace('http:', 'https:')}")
    assert (clear.status, clear.err) == (1, f"faregate: it speaks http, not https: {manager.url}\n")


def test_without_options_the_gateway_of_this_machine_is_looked_for(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = write(GOLD)
    for name in ("FAREGATE_MANAGER", "FAREGATE_TOKEN"):
        monkeypatch.delenv(name)
    told = run(f"plan {file} --data {tmp_path}")
    assert (told.status, told.err) == (1, f"faregate: no gateway is running on {tmp_path}\n")
    assert "no running gateway was found" in run(f"plan {file}").err
    far = run(f"plan {file} --manager http://127.0.0.1:1")
    assert (far.status, "--token is needed" in far.err) == (2, True)


def test_the_token_of_a_data_folder_is_used_for_a_named_manager(
    run: Run, manager: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FAREGATE_TOKEN")
    assert run(f"history --data {manager._data}").status == 0
    assert "no token in" in run("history --data .").err


def test_a_gateway_that_does_not_take_it_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "wait_everywhere", lambda *_: "far runs revision 3: disk full")
    told = run(f"apply {write(GOLD)}")
    assert told.status == 1
    assert "is made, but does not run everywhere yet: far runs revision 3: disk full" in told.err
    monkeypatch.setattr(planning, "wait_everywhere", lambda *_: "far runs revision 3")
    again = run(f"apply {write('plans: {gold: {concurrency: 9}}')} --json")
    assert (again.status, again.json["published"]) == (1, False)


def state(host: str, revision: int, seen: str, failure: str = "") -> dict[str, object]:
    return {"host": host, "revision": revision, "seen": f"2026-11-23T12:{seen}.000Z", "failure": failure}


class Standing:
    """A client whose gateways are as told, look by look."""

    def __init__(self, *looks: list[dict[str, object]]) -> None:
        self._looks = list(looks)

    def status(self) -> dict[str, object]:
        return {"gateways": self._looks.pop(0) if len(self._looks) > 1 else self._looks[0]}


def test_gateways_are_waited_for_but_not_those_that_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning.time, "sleep", lambda _: None)
    gone = state("gone", 1, "00:00")
    here = Standing([gone, state("here", 6, "10:00")], [gone, state("here", 7, "10:01")])
    assert planning.wait_everywhere(here, 7) == ""  # type: ignore[arg-type]
    late = Standing([state("late", 6, "10:00", "disk full"), state("here", 7, "10:00")])
    told = planning.wait_everywhere(late, 7, 0.0)  # type: ignore[arg-type]
    assert told == "late runs revision 6: disk full"
    assert planning.wait_everywhere(Standing([]), 7) == ""  # type: ignore[arg-type]


def test_guards_name_whom_they_guard() -> None:
    from faregate.client import Refused

    problem = Refused(
        409,
        {
            "code": "still_used",
            "detail": "It is used.",
            "callers": [{"consumer": "acme", "credential": "key_1", "calls": 12}],
        },
    )
    told = managing.said(problem, managing.Place("http://m", "t", None))
    assert told.before == "acme key_1: 12 calls\n"
