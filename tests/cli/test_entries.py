"""``faregate key``, ``config`` and ``admin``: everything else that the admin API can."""

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from faregate.cli import managing
from faregate.client import Waiting
from faregate.client.configuring import Keys
from faregate.kernel import api_keys
from tests.cli.manager import Run, runner
from tests.manager.served import Served, served


@pytest.fixture(scope="module")
def manager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("manager")) as one:
        yield one


@pytest.fixture
def run(
    manager: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Run:
    monkeypatch.chdir(tmp_path)
    return runner(manager, monkeypatch, capsys)


@pytest.fixture
def acme(run: Run) -> str:
    """A consumer without credentials."""
    run("config delete consumers/acme")
    assert run("config put consumers/acme {}").status == 0
    return "acme"


def test_a_new_key_stands_alone_on_standard_output(run: Run, acme: str) -> None:
    made = run(f"key create {acme} --mode test --note 'till 4' --expires 90d")
    assert made.status == 0
    assert api_keys.checksum_ok(made.out.strip().encode())
    assert made.out.startswith("fg_test_")
    assert made.out.count("\n") == 1
    assert "of acme, ends 20" in made.err
    assert made.out.strip() not in made.err


def test_keys_are_listed_without_their_secrets(run: Run, acme: str) -> None:
    secret = run(f"key create {acme} --note till").out.strip()
    told = run(f"key list {acme}")
    assert secret not in told.out
    assert "till" in told.out
    assert "not used" in told.out
    assert told.err.startswith("1 credential;")
    (one,) = run(f"key list {acme} --json").json
    assert (one["consumer"], one["kind"], one["mode"], one["calls"]) == ("acme", "api_key", "live", 0)
    for name, hint in (("acne", "did you mean `acme`?"), ("zz", "`faregate config list consumers`")):
        told = run(f"key list {name}")
        assert (told.status, told.out) == (1, "")
        assert f"no consumer is named '{name}'; {hint}" in told.err
    assert run("config put consumers/fresh {}").status == 0
    assert run("key list fresh --json").json == []


def test_a_key_is_rolled_with_overlap_and_revoked_for_good(run: Run, acme: str) -> None:
    first = run(f"key create {acme} --json").json["credential"]["name"]
    rolled = run(f"key roll {first} --overlap 24h --expires 30d")
    assert api_keys.checksum_ok(rolled.out.strip().encode())
    assert f"{first} works on for 24h" in rolled.err
    former = next(one for one in run(f"key list {acme} --json").json if one["id"] == first)
    assert former["replaced_by"]
    assert former["expires"]
    again = run(f"key roll {first}")
    assert (again.status, "rolled already" in again.err) == (1, True)
    done = run(f"key revoke {first} --reason leaked")
    assert done[:2] == (0, f"{first} of acme is revoked\n")
    assert run(f"key revoke {first}").status == 1
    second = run(f"key roll {former['replaced_by']} --json").json["credential"]["name"]
    assert [one["id"] for one in run(f"key list {acme} --json").json] == [second]
    assert run(f"key revoke {second} --json").json["published"] is True


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("key roll key_1 --overlap 200d", "--overlap: bad_value: too large\n    expected at most 90d"),
        ("key create acme --expires 1s", "--expires: bad_value: too small\n    expected at least 1m"),
        ("key create a! --expires 1h", "CONSUMER: bad_value: not of the right form"),
        ("admin key_roll --param credential=key_1 --body '{overlap_s: -1}'", "body.overlap_s: bad_value"),
    ],
)
def test_what_does_not_fit_is_named_as_the_command_line_has_it(
    run: Run, acme: str, line: str, said: str
) -> None:
    told = run(line)
    assert told.status == 1
    assert said in told.err
    assert told.err.endswith("faregate: 1 error; nothing was changed [validation_failed]\n")


def test_a_new_key_lives_as_long_as_the_old_one_unless_told(run: Run, acme: str) -> None:
    first = run(f"key create {acme} --expires 2h --json").json["credential"]["name"]
    second = run(f"key roll {first} --json").json["credential"]
    assert "expires" in second["spec"]["api_key"]
    third = run(f"key roll {second['name']} --expires never --json").json["credential"]
    assert "expires" not in third["spec"]["api_key"]


def test_a_key_is_not_revoked_when_the_answer_is_no(
    run: Run, acme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = run(f"key create {acme} --json").json["credential"]["name"]
    monkeypatch.setattr(managing, "may_ask", lambda **_: True)
    monkeypatch.setattr(typer, "confirm", lambda _: False)
    assert run(f"key revoke {name}").status == 1
    assert len(run(f"key list {acme} --json").json) == 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("key create acme --mode real", "neither live nor test"),
        ("key create acme --expires soon", "--expires"),
        ("key roll key_1 --overlap soon", "--overlap"),
        ("config list nothing", "begins with none of issuers"),
        ("config get plans", "get does not go with 'plans'"),
        ("config put plans/gold/x {}", "put does not go with"),
        ("config put plans/gold '{a: '", "line 1"),
        ("config put apis/a/routes/GET.x {} --team web", "--team"),
        ("admin plan_gett", "did you mean `plan_get`?"),
        ("admin zzz", "`faregate admin` lists them"),
        ("admin plan_get", "needs --param name="),
        ("admin plan_get --param nam=x", "takes name"),
        ("admin plan_get --param name", "write name=VALUE"),
    ],
)
def test_wrong_usage_says_what_would_be_right(run: Run, line: str, said: str) -> None:
    told = run(line)
    assert told.status == 2
    assert said in told.err


def test_a_key_that_waits_for_a_second_person_is_shown_all_the_same(
    run: Run, acme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait(*_: object, **__: object) -> None:
        members = {"change_request": "chg_1", "risk": "guarded", "approvals_needed": 1, "secret": "fg_live_x"}
        raise Waiting(members)

    monkeypatch.setattr(Keys, "create", wait)
    told = run(f"key create {acme}")
    assert (told.status, told.out) == (managing.WAITING, "fg_live_x\n")
    assert (
        "not in effect yet, change request chg_1 (guarded): it waits for a second person's approval"
        in told.err
    )
    both = run(f"key create {acme} --json")
    assert both.json == {"secret": "fg_live_x"}
    error = both.error
    assert error["status"] == managing.WAITING
    assert error["change"] == {"change_request": "chg_1", "risk": "guarded", "approvals_needed": 1}


def test_an_entry_is_made_changed_and_removed(run: Run) -> None:
    assert run("config put plans/gold '{concurrency: 1}' --create --team web").out.startswith(
        "plans/gold: revision "
    )
    assert run("config put plans/gold '{concurrency: 1}' --create").status == 1
    assert run("config patch plans/gold '{quota: 100/month}'").status == 0
    shown = run("config get plans/gold --json").json
    assert (shown["spec"], shown["team"]) == ({"concurrency": 1, "quota": "100/month"}, "web")
    assert run("config patch plans/gold '{quota: null}' --team ''").status == 0
    assert run("config get plans/gold --json").json["team"] == ""
    assert run("config put plans/gold '{concurrency: 1}'").out == "no changes\n"
    assert "gold" in run("config list plans").out
    assert run("config delete plans/gold --reason old").out.startswith("plans/gold is removed by revision ")
    assert run("config get plans/gold").err == "faregate: There is no such plan. [not_found]\n"


def test_an_etag_that_is_old_shows_what_the_other_did(run: Run) -> None:
    run("config put plans/old '{concurrency: 1}'")
    etag = run("config get plans/old --json").json["etag"]
    run("config put plans/old '{concurrency: 2}'")
    told = run(f"config put plans/old '{{concurrency: 3}}' --etag {etag}")
    assert told.status == 1
    assert "~ plans.old.concurrency: 1 -> 2" in told.err
    assert "[stale]" in told.err
    assert run("config get plans/old --json").json["spec"] == {"concurrency": 2}
    assert run(f"config delete plans/old --etag {etag} --json").error["problem"]["status"] == 412


def test_content_comes_from_a_file_or_standard_input(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("gold.yaml").write_text("concurrency: 4\n")
    assert run("config put plans/filed @gold.yaml").status == 0
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"concurrency": 5}'))
    assert run("config put plans/filed").status == 0
    assert run("config get plans/filed --json").json["spec"] == {"concurrency": 5}
    assert "cannot be read" in run("config put plans/filed @nowhere").err


def test_parts_have_paths_of_their_own(run: Run) -> None:
    run("config put upstreams/web '{targets: [\"http://127.0.0.1:1\"]}'")
    api = "{upstream: web, authenticate: [], versions: {v1: {path: /v1}}, routes: [{match: GET /a}]}"
    assert run(f"config put apis/web '{api}'").status == 0
    assert run("config put apis/web/routes/GET.b '{match: GET /b}'").status == 0
    names = [one["name"] for one in run("config list apis/web/routes --json").json]
    assert names == ["GET.a", "GET.b"]
    assert run("config put apis/web/versions/v1/state '{state: deprecated}'").status == 0
    assert '"deprecated"' in run("config get apis/web/versions/v1").out
    assert run("config put upstreams/web/targets/127.0.0.1:2 http://127.0.0.1:2").status == 0
    assert run("config delete upstreams/web/targets/127.0.0.1:1").status == 0
    assert run("config list upstreams/web/targets").out.startswith("127.0.0.1:2 ")


def test_a_credential_that_is_no_key_is_put_and_shown(run: Run, acme: str) -> None:
    told = run(f"config put consumers/{acme}/credentials/cert1 '{{mtls: {{sha256: {'ab' * 32}}}}}'")
    assert told.status == 0, told
    assert run("config get credentials/cert1 --json").json["spec"]["consumer"] == acme
    assert run("config delete credentials/cert1").status == 0


def test_the_whole_is_shown_as_a_file_that_can_be_applied(run: Run, tmp_path: Path) -> None:
    run("config put plans/shown '{limits: [100/second burst 200], quota: 5/month}'")
    shown = run("config show")
    assert shown.out.startswith("# Revision ")
    Path("all.yaml").write_text(shown.out)
    assert run("plan all.yaml")[:2] == (0, "no changes\n")
    assert "plans" in run("config show --json").json["sections"]


def test_the_form_of_an_entry_is_a_json_schema(run: Run) -> None:
    assert run("config schema plans --json").json["$schema"].startswith("https://json-schema.org/")


def test_any_operation_is_asked_for_by_its_id(run: Run) -> None:
    assert run("admin status_get").json["pending"] == 0
    assert "plan_get" in run("admin").out
    assert run("admin --json").json["plan_put"]["method"] == "PUT"
    put = "admin plan_put --param name=byid --param if-none-match=* --body '{spec: {concurrency: 3}}'"
    assert run(put + " --reason why").json["spec"] == {"concurrency": 3}
    assert run("history --json").json[0]["reason"] == "why"
    assert run("admin plan_delete --param name=byid --param if-match=*").out == ""


def test_where_a_second_person_must_agree_the_change_waits_and_says_so(
    run: Run, acme: str, manager: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert manager.house is not None
    monkeypatch.setattr(manager.house.management, "approving", lambda: "all")
    (tmp_path / "file.yaml").write_text("plans: {waits: {concurrency: 2}}\n")
    for line in ("apply file.yaml --yes", "config put plans/waits '{concurrency: 2}'"):
        told = run(line)
        assert told.status == managing.WAITING, line
        assert "not in effect yet, change request chg_" in told.err
        assert "makes it theirs with `faregate admin change_propose --param change=chg_" in told.err
    made = run(f"key create {acme}")
    assert made.status == managing.WAITING
    assert api_keys.checksum_ok(made.out.strip().encode())
    error = run(f"key create {acme} --json").error
    assert "secret" not in error["change"]
    name = error["change"]["change_request"]
    assert run(f"admin change_get --param change={name}").json["state"] == "draft"
    assert run(f"admin change_withdraw --param change={name}").status == 0
    monkeypatch.undo()
    run(f"config delete consumers/{acme}")
