"""What one team may do with, and learn of, the entries of another."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from faregate.compile.increment import State
from faregate.kernel.changes import Change as CompiledChange
from faregate.manager.database.gateways import usage_add
from faregate.manager.usage import UsageRow
from faregate.model.managed import read_base
from tests.manager.conftest import AtDesk
from tests.manager.desk import Desk, Person

BANK = {"targets": ["http://127.0.0.1:9"]}


def api(path: str = "/a", match: str = "GET /x", upstream: str = "a-bank") -> dict[str, Any]:
    return {"upstream": upstream, "versions": {"v1": {"path": path}}, "routes": [{"match": match}]}


async def lay(desk: Desk, path: str, spec: dict[str, Any], team: str) -> None:
    made = await desk.machine.put(path, json={"spec": spec, "team": team}, headers={"If-None-Match": "*"})
    assert made.status_code == 201, made.text


async def two_teams(desk: Desk) -> Person:
    """What team b and nobody have; the operator of team a."""
    for team in ("a", "b"):
        await lay(desk, f"/upstreams/{team}-bank", BANK, team)
    await lay(desk, "/upstreams/shared", BANK, "")
    await lay(desk, "/plans/b-deal", {"limits": ["10/second"]}, "b")
    await lay(desk, "/groups/b-gold", {"permissions": ["pay:write"]}, "b")
    await lay(desk, "/groups/gold", {"permissions": ["pay:write"]}, "")
    await lay(desk, "/groups/plain", {}, "")
    await lay(desk, "/apis/b-pay", api("/v1", "POST /payments/{id}/capture", "b-bank"), "b")
    return await desk.user("ann", "operator@team:a")


def test_who_looks_after_a_consumer_no_more_has_its_keys_no_more(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann, bob = await desk.user("ann", "operator@team:a"), await desk.user("bob", "operator@team:b")
        await lay(desk, "/consumers/shop", {}, "a")
        name = (await ann.post("/consumers/shop/keys", {})).json()["credential"]["name"]
        moved = await desk.machine.put(
            "/consumers/shop", json={"spec": {}, "team": "b"}, headers={"If-Match": "*"}
        )
        assert moved.status_code == 200
        assert (await ann.get("/credentials")).json()["data"] == []
        assert (await ann.get(f"/credentials/{name}")).status_code == 404
        assert (await ann.post(f"/credentials/{name}/roll", {})).status_code == 404
        assert (await ann.client.delete(f"/credentials/{name}")).status_code == 404
        assert [one["name"] for one in (await bob.get("/credentials")).json()["data"]] == [name]
        assert (await bob.post(f"/credentials/{name}/roll", {})).json()["credential"]["team"] == "b"

    at_desk(test)


def test_a_list_of_credentials_ends_where_others_follow(
    at_desk: AtDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faregate.manager.cases.credentials._LOOKED_AT", 1)
    monkeypatch.setattr("faregate.manager.cases.credentials.LOOKS_MAX", 2)

    async def test(desk: Desk) -> None:
        ann = await desk.user("ann", "viewer@team:a")
        for team in ("a", "b"):
            await lay(desk, f"/consumers/{team}", {}, team)
        for name in ("a1", "b1", "b2", "b3", "b4", "b5", "b6", "z1"):
            consumer = "b" if name.startswith("b") else "a"
            form = {"mtls": {"sha256": name * 32}}
            await desk.machine.put(f"/consumers/{consumer}/credentials/{name}", json=form)
        found: list[str] = []
        at: str | None = "/credentials?size=1"
        looks = 0
        while at:
            page = (await asyncio.wait_for(ann.get(at), 10)).json()
            found += [one["name"] for one in page["data"]]
            at = page.get("next")
            looks += 1
        assert found == ["a1", "z1"]
        assert looks <= 4

    at_desk(test)


@pytest.mark.parametrize(("team", "status"), [("a", 403), ("", 403), ("b", 200)])
def test_an_operator_of_an_api_moves_it_into_no_other_team(at_desk: AtDesk, team: str, status: int) -> None:
    async def test(desk: Desk) -> None:
        await two_teams(desk)
        bob = await desk.user("bob", "operator@api:b-pay")
        spec = api("/v1", "POST /other", "b-bank")
        assert (await bob.put("/apis/b-pay", {"spec": spec, "team": team})).status_code == status
        patch = await bob.client.patch("/apis/b-pay", json={"team": team}, headers={"If-Match": "*"})
        assert patch.status_code == status
        made = await desk.user("cid", "operator@api:new")
        told = await made.put("/apis/new", {"spec": api("/n", upstream="shared"), "team": "a"}, "")
        applied = await made.client.put(
            "/config", json={"sections": {"apis": {"new": api("/n", upstream="shared")}}, "team": "a"}
        )
        assert (told.status_code, applied.status_code) == (403, 403)

    at_desk(test)


def test_what_another_team_has_answers_as_what_is_missing(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann = await two_teams(desk)
        for path, spec in (
            ("/apis/a", lambda name: api(upstream=name)),
            ("/consumers/a", lambda name: {"plan": name}),
            ("/consumers/a", lambda name: {"groups": [name]}),
        ):
            told = {}
            for name in ("b-bank", "b-deal", "b-gold", "none"):
                wrong = await ann.put(path, {"spec": spec(name), "team": "a"}, "")
                planned = {"sections": {path.split("/")[1]: {"a": spec(name)}}, "team": "a"}
                plan = await ann.post("/config/plan", planned)
                members = wrong.json()
                members.pop("request_id", None)
                told[name] = str((wrong.status_code, members, plan.status_code, plan.json())).replace(
                    name, "NAME"
                )
                assert wrong.status_code == 422
                assert "unresolved_reference" in told[name]
            assert len(set(told.values())) == 1
        assert (
            await ann.put("/apis/a", {"spec": api(upstream="shared"), "team": "a"}, "")
        ).status_code == 201
        assert (await ann.put("/apis/a", {"spec": api(upstream="a-bank"), "team": "a"})).status_code == 200

    at_desk(test)


def test_what_somebody_else_put_there_stays(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann = await two_teams(desk)
        await lay(desk, "/consumers/a", {"groups": ["b-gold"], "permissions": ["pay:write"]}, "a")
        await lay(desk, "/apis/a", api("/v1/a", upstream="b-bank"), "a")
        more = {"groups": ["b-gold"], "permissions": ["pay:write"], "state": "suspended"}
        assert (await ann.put("/consumers/a", {"spec": more, "team": "a"})).status_code == 200
        spec = {**api("/v1/a", upstream="b-bank"), "authenticate": ["api_key"]}
        assert (await ann.put("/apis/a", {"spec": spec, "team": "a"})).status_code == 200

    at_desk(test)


@pytest.mark.parametrize(
    ("spec", "status"),
    [
        ({"permissions": ["pay:write"]}, 422),
        ({"permissions": ["pay:write@b-pay"]}, 422),
        ({"permissions": ["pay:write@none"]}, 422),
        ({"permissions": ["pay:write@a/v1"]}, 201),
        ({"groups": ["gold"]}, 422),
        ({"groups": ["plain"]}, 201),
        ({"groups": ["a-gold"]}, 201),
        ({"apis": ["b-pay"]}, 422),
        ({"pins": {"b-pay": "v1"}}, 422),
        ({"apis": ["a/v1"]}, 201),
    ],
)
def test_a_team_grants_what_is_its_own(at_desk: AtDesk, spec: dict[str, Any], status: int) -> None:
    async def test(desk: Desk) -> None:
        ann = await two_teams(desk)
        await lay(desk, "/apis/a", api(), "a")
        await lay(desk, "/groups/a-gold", {"permissions": ["pay:write"]}, "a")
        made = await ann.put("/consumers/a", {"spec": spec, "team": "a"}, "")
        assert made.status_code == status, made.text
        if "permissions" in spec:
            assert (await ann.put("/groups/a", {"spec": spec, "team": "a"}, "")).status_code == status
        tree = {"sections": {"consumers": {"a": spec}}, "team": "a"}
        if status != 201:
            assert (await ann.client.put("/config", json=tree)).status_code == status

    at_desk(test)


@pytest.mark.parametrize(
    ("path", "match", "status"),
    [
        ("/v1", "POST /payments/123/capture", 409),
        ("/", "POST /v1/payments/123/capture", 409),
        ("/v1/payments", "GET /", 409),
        ("/v10", "GET /", 201),
        ("/", "POST /pots/123", 409),
        ("/", "GET /pots/123", 201),
        ("/", "POST /pots/123/more", 201),
        ("/of-file", "GET /", 409),
        ("/", "GET /{rest...}", 201),
    ],
)
def test_no_team_takes_a_path_of_another(at_desk: AtDesk, path: str, match: str, status: int) -> None:
    async def test(desk: Desk) -> None:
        ann = await two_teams(desk)
        await lay(desk, "/apis/b-root", api("/", "POST /pots/{id}", "b-bank"), "b")
        made = await ann.put("/apis/a", {"spec": api(path, match), "team": "a"}, "")
        assert made.status_code == status, made.text
        if status == 409:
            assert made.json()["detail"].endswith(" is taken.")
            assert "b-" not in made.text
            planned = await ann.post(
                "/config/plan", {"sections": {"apis": {"a": api(path, match)}}, "team": "a"}
            )
            assert planned.status_code == 409

    at_desk(test, file={"apis": {"of-file": api("/of-file")}, "upstreams": {"a-file": BANK}})


def test_errors_name_no_entries_of_others(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann = await two_teams(desk)
        other = "apis.b-pay.routes[0].match"
        diagnostics = [
            ("apis.a.upstream", "no upstream is named `x`", "one of b-bank", "b-bank"),
            ("apis.a.routes[0].match", f"alike; the other is at managed {other}", "other", ""),
            ("apis.a.routes[0].match", "alike; the other is at managed upstreams.a-bank.targets[0]", "", ""),
            (other, "names apis.a", "b-bank", "b-bank"),
            ("gateway.listen", "b-bank", "", ""),
        ]

        async def apply(changes: object) -> list[dict[str, str]]:
            return [
                {
                    "level": "error", "code": "route_conflict" if number else "unresolved_reference",
                    "path": path, "message": message, "expected": expected, "nearest": nearest,
                }
                for number, (path, message, expected, nearest) in enumerate(diagnostics)
            ]  # fmt: skip

        desk.tree.apply = desk.tree.check = apply  # type: ignore[assignment, method-assign]
        put = await ann.put("/apis/a", {"spec": api(), "team": "a"}, "")
        plan = await ann.post("/config/plan", {"sections": {"apis": {"a": api()}}, "team": "a"})
        desk.approval = "all"
        held = await ann.put("/apis/a", {"spec": api(), "team": "a"}, "")
        for answer in (put, plan, held):
            assert "b-" not in answer.text, answer.text
            assert "upstreams.a-bank.targets[0]" in answer.text
            assert "no upstream is named" in answer.text
        whole = await desk.machine.put("/apis/a", json={"spec": api()}, headers={"If-None-Match": "*"})
        assert whole.text.count("b-bank") >= 3

    at_desk(test)


def test_what_the_compiler_says_of_others_is_cut(at_desk: AtDesk, tmp_path: Path) -> None:
    """The compiler's own words, which the stand-in above repeats."""
    base = {
        "format": 1,
        "files": [[str(tmp_path / "faregate.yaml"), "faregate.yaml"]],
        "entries": [
            {"section": "gateway", "name": name, "file": 0, "content": content}
            for name, content in (("listen", [{"address": "127.0.0.1:8080"}]), ("data", str(tmp_path)))
        ],
    }
    (tmp_path / "base.json").write_text(json.dumps(base))
    read, _ = read_base(tmp_path / "base.json")
    key = {"credentials": [{"api_key": {"id": "k1", "sha256": "9f" * 32}}]}

    async def test(desk: Desk) -> None:
        ann = await two_teams(desk)
        await lay(desk, "/consumers/b-shop", key, "b")
        managed: dict[str, dict[str, Any]] = {}
        for (section, name), content in desk.tree.managed.items():
            managed.setdefault(section, {})[name] = content
        state = State(read, managed)
        said: list[str] = []

        async def check(changes: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
            asked = [CompiledChange(one["section"], one["name"], one["content"]) for one in changes]
            _, found = state.check(asked)
            said.extend(one.message for one in found)
            return [
                {"level": one.level.value, "code": one.code, "path": one.path, "message": one.message}
                for one in found
            ]

        desk.tree.apply = desk.tree.check = check  # type: ignore[assignment, method-assign]
        stolen = {"credentials": [{"api_key": {"id": "k2", "sha256": "9f" * 32}}]}
        told = await ann.put("/consumers/a", {"spec": stolen, "team": "a"}, "")
        assert told.status_code == 422
        assert "consumers.a.credentials[0].api_key.sha256: two credentials have the same key" in told.text
        assert "b-shop" not in told.text
        assert any("b-shop" in one for one in said)

    at_desk(test)


def test_who_still_refers_to_it_is_told_to_who_may_know(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann = await two_teams(desk)
        await lay(desk, "/apis/b-more", api("/m", upstream="a-bank"), "b")
        gone = await ann.client.delete("/upstreams/a-bank", headers={"If-Match": "*"})
        assert (gone.status_code, gone.json()["code"]) == (409, "referenced")
        assert "b-more" not in gone.text
        await lay(desk, "/apis/a", api(), "a")
        gone = await ann.client.delete("/upstreams/a-bank", headers={"If-Match": "*"})
        assert "apis.a.upstream" in gone.json()["detail"]
        assert "b-more" not in gone.text

    at_desk(test)


def test_names_that_others_hold_and_what_the_file_says_are_not_confirmed(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann = await two_teams(desk)
        for name, limit in (("b-deal", "1/second"), ("of-file", "6/second"), ("of-file", "7/second")):
            tree = {"sections": {"plans": {name: {"limits": [limit]}}}, "team": "a"}
            applied, plan = await ann.client.put("/config", json=tree), await ann.post("/config/plan", tree)
            put = await ann.put(f"/plans/{name}", {"spec": {"limits": [limit]}, "team": "a"}, "")
            for answer in (applied, plan, put):
                assert (answer.status_code, answer.json()["detail"]) == (404, "There is no such plan.")

    at_desk(test, file={"plans": {"of-file": {"limits": ["7/second"]}}})


def test_a_write_without_its_team_says_that_this_is_missing(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann = await two_teams(desk)
        told = set()
        for name in ("b-deal", "of-file", "new"):
            tree = {"sections": {"plans": {name: {"limits": ["1/second"]}}}}
            for answer in (
                await ann.put(f"/plans/{name}", {"spec": {}}, ""),
                await ann.client.put(f"/plans/{name}", json={"spec": {}}),
                await ann.client.put("/config", json=tree),
                await ann.post("/config/plan", tree),
            ):
                told.add((answer.status_code, answer.json()["code"], answer.json()["detail"]))
            assert (await ann.put(f"/plans/{name}", {"spec": {}})).status_code == 404
        ((status, code, detail),) = told
        assert (status, code) == (403, "permission_denied")
        assert detail.startswith("`team` is missing: you may write in team:a, ")
        own = await desk.user("api", "operator@api:x")
        assert (await own.put("/plans/new", {"spec": {}}, "")).status_code == 404

    at_desk(test, file={"plans": {"of-file": {"limits": ["7/second"]}}})


def test_who_made_what_a_team_may_not_see_is_not_told_to_it(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        await desk.machine.put(
            "/plans/b", json={"spec": {}, "team": "b"},
            headers={"If-None-Match": "*", "X-Faregate-Reason": "for the merger"},
        )  # fmt: skip
        ann = await desk.user("ann", "operator@team:a")
        await ann.put("/plans/a", {"spec": {}, "team": "a"}, "", **{"X-Faregate-Reason": "ours"})
        moved = {"spec": {}, "team": "b"}
        why = {"If-Match": "*", "X-Faregate-Reason": "theirs now"}
        await desk.machine.put("/plans/a", json=moved, headers=why)
        told = {one["number"]: one for one in (await ann.get("/revisions")).json()["data"]}
        said = {number: (one["author"], one["reason"]) for number, one in told.items()}
        assert said == {1: ("", ""), 2: ("ann", "ours"), 3: ("local", "theirs now")}
        for number, wanted in said.items():
            shown = (await ann.get(f"/revisions/{number}")).json()
            assert (shown["author"], shown["reason"]) == wanted
        everything = (await desk.machine.get("/revisions")).json()["data"]
        assert [one["reason"] for one in everything] == ["theirs now", "ours", "for the merger"]

    at_desk(test)


def test_a_rollback_over_what_a_team_does_not_see_says_why_it_is_refused(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann = await two_teams(desk)
        for path in ("/revisions/1/rollback", "/revisions/1/plan", "/revisions/99/plan"):
            told = await ann.post(path, {})
            assert (told.status_code, "everywhere (`*`)" in told.json()["detail"]) == (403, True)

    at_desk(test)


def test_a_team_sees_who_calls_its_apis(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        await two_teams(desk)
        await lay(desk, "/apis/a", api(), "a")
        rows = [
            UsageRow(desk.now // 3_600_000, "shop", "key_1", name, "v1", 9, 0, desk.now, "2xx")
            for name in ("a", "b-pay", "gone")
        ]
        async with desk.management.database.writing() as connection:
            await usage_add(connection, rows)
        bob = await desk.user("bob", "viewer@team:b")
        assert [one["api"] for one in (await bob.get("/usage?hours=24")).json()["data"]] == ["b-pay"]
        everything = (await desk.machine.get("/usage?hours=24")).json()["data"]
        assert sorted(one["api"] for one in everything) == ["a", "b-pay", "gone"]

    at_desk(test)
