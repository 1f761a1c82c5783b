"""What calls get is compared over all APIs: whichever of them has the path, and in however many commits it gets there."""

import time
from collections.abc import Mapping

import pytest

from faregate.manager.cases.domain import Content
from faregate.manager.cases.risk import weakens
from faregate.manager.cases.whole_risk import Whole, placed
from tests.manager.conftest import AtDesk
from tests.manager.desk import Desk, Person
from tests.manager.second_person import with_people
from tests.manager.test_route_risk import api, route, versions

STRICT = route("GET /accounts/{id}", "accounts:read")
LAX = route("GET /accounts/{id}")
OTHER = api(route("GET /health", "health"), versions=versions(v1={"path": "/other"}))
NOTHING: Content = api()


def at(path: str, *routes: Content, **more: object) -> Content:
    return api(*routes, versions={"v1": {"path": path}}, **more)


def laxer(before: Mapping[str, Content], after: Mapping[str, Content]) -> bool:
    return Whole(before, after).weakens(weakens)


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        # a route goes to another API
        ({"a": api(STRICT)}, {"a": NOTHING, "b": api(STRICT)}, False),
        ({"a": api(STRICT)}, {"b": api(STRICT)}, False),
        ({"a": api(STRICT)}, {"b": api(LAX)}, True),
        ({"a": api(STRICT)}, {"a": NOTHING, "b": api(LAX)}, True),
        ({"a": api(LAX)}, {"b": api(STRICT)}, False),
        ({"a": api(STRICT)}, {"b": api(STRICT, authenticate=[])}, True),
        ({"a": api(STRICT, limits=["1/second"])}, {"b": api(STRICT)}, True),
        ({"a": api(STRICT)}, {"b": api(STRICT, limits=["1/second"])}, False),
        ({"a": api(STRICT)}, {"b": at("/", route("GET /v1/accounts/{name}"))}, True),
        ({"a": api(STRICT)}, {"b": at("/v1/accounts", route("GET /{id}"))}, True),
        ({"a": api(STRICT)}, {"b": at("/", route("POST /v1/accounts/{name}"))}, False),
        ({"a": api(STRICT)}, {"b": at("/v2", LAX)}, False),
        ({"a": api(STRICT)}, {"b": api(LAX, versions={"by": "header", "name": "V", "path": "/v1", "x": {}})}, True),
        # what was laid beside it comes to its place
        ({"a": api(STRICT), "b": at("/x", LAX)}, {"a": at("/y", STRICT), "b": at("/v1", LAX)}, True),
        ({"a": api(STRICT), "b": at("/x", LAX)}, {"a": api(STRICT), "b": at("/y", LAX)}, False),
        # another takes some of its calls
        ({"a": api(STRICT)}, {"a": api(STRICT), "b": at("/", route("GET /v1/accounts/mine"))}, True),
        ({"a": api(STRICT)}, {"a": api(STRICT), "b": at("/", route("GET /v1/{any}/{id}"))}, False),
        ({"a": api(STRICT)}, {"a": api(STRICT), "b": at("/", route("GET /{rest...}"))}, False),
        # or has them when it is gone
        ({"a": api(STRICT), "b": at("/", route("GET /{rest...}"))}, {"b": at("/", route("GET /{rest...}"))}, True),
        ({"a": api(STRICT), "b": at("/", route("GET /{rest...}", "accounts:read"))},
         {"b": at("/", route("GET /{rest...}", "accounts:read"))}, False),
        ({"a": api(STRICT), "b": at("/", route("GET /v1/accounts/mine"))},
         {"b": at("/", route("GET /v1/accounts/mine"))}, False),
        ({"a": api(STRICT), "b": at("/", route("POST /{rest...}"))}, {"b": at("/", route("POST /{rest...}"))}, False),
        # in one API alone it is route_risk's
        ({"a": api(STRICT)}, {"a": api(LAX)}, False),
        ({"a": api(STRICT)}, {}, False),
        ({}, {"a": api(LAX)}, False),
    ],
)  # fmt: skip
def test_what_calls_get_over_all_apis(
    before: dict[str, Content], after: dict[str, Content], found: bool
) -> None:
    assert laxer({"o": OTHER, **before}, {"o": OTHER, **after}) is found


@pytest.mark.parametrize(
    ("former", "fresh", "found"),
    [
        ([("a", api(STRICT))], api(LAX), True),
        ([("a", api(STRICT))], api(STRICT), False),
        ([("a", api(STRICT))], at("/v2", LAX), False),
        ([("a", api(STRICT))], at("/", route("GET /v1/{rest...}")), True),
        ([("a", api(LAX)), ("a", api(STRICT))], api(LAX), False),  # the last that stood there
        ([("a", api(STRICT)), ("a", api(LAX))], api(LAX), True),
        ([], api(LAX), False),
    ],
)
@pytest.mark.parametrize("name", ["a", "b"])
def test_a_new_route_is_held_against_the_last_at_its_paths(
    former: list[tuple[str, Content]], fresh: Content, found: bool, name: str
) -> None:
    whole = Whole({"o": OTHER}, {"o": OTHER, name: fresh})
    assert whole.grows
    assert whole.weakens_former(former, weakens) is found
    there = Whole({"o": OTHER, name: fresh}, {"o": OTHER, name: {**fresh, "upstream": "x"}})
    assert not there.grows


def test_a_whole_path_is_one_however_it_is_divided() -> None:
    shapes = {
        one.shape
        for spec in (
            at("/v1", route("GET /a/{x}")), at("/", route("GET /v1/a/{y}")), at("/v1/a", route("GET /{z}/")),
            at("/V1", route("GET /A/{z}")),
        )
        for one in placed("a", spec)
    }  # fmt: skip
    assert shapes == {("v1", "a", "{}")}
    assert [one.shape for one in placed("a", at("/v1", route("GET /")))] == [("v1",)]
    assert [one.shape for one in placed("a", at("/", route("GET /")))] == [("",)]


def test_ten_thousand_routes_are_looked_at_soon_and_what_is_too_much_counts_as_weaker() -> None:
    many = {
        f"a{at}": api(*[route(f"GET /r{at}/{one}/{{id}}", "x") for one in range(20)]) for at in range(500)
    }
    began = time.process_time()
    assert not laxer(many, {**many, "new": at("/new", STRICT)})
    assert laxer(many, {**many, "new": at("/v1", route("GET /r7/3/mine"))})
    assert time.process_time() - began < 3.0
    params = {f"a{at}": api(*[route(f"GET /{{p}}/{at}/{one}", "x") for one in range(20)]) for at in range(60)}
    moved = {name: at("/w", *[route(f"GET /{{p}}/{one}", "x") for one in range(20)]) for name in params}
    assert time.process_time() - began < 6.0
    assert laxer({**many, **params}, {**many, **moved, "rest": at("/", *[
        route(f"GET /{{x}}/{{y}}/{one}") for one in range(900)
    ])})  # fmt: skip


async def _file(ann: Person, name: str, spec: Content, match: str = "*") -> tuple[int, str]:
    told = await ann.put(f"/apis/{name}", {"spec": spec}, match)
    return told.status_code, told.json().get("risk", "done")


def test_no_way_round_in_several_commits(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann, *_ = await with_people(desk, "off")
        await ann.put("/upstreams/u", {"spec": {"targets": ["http://127.0.0.1:9"]}}, "")
        await _file(ann, "a", api(STRICT, route("GET /v", "v")), "")
        desk.approval = "guarded"
        # beside it, then in its place, in one apply
        assert await _file(ann, "b", at("/beside", LAX), "") == (201, "done")
        swap = {"a": at("/away", STRICT), "b": at("/v1", LAX)}
        told = await ann.client.put("/config", json={"sections": {"apis": swap}})
        assert (told.status_code, told.json()["risk"]) == (202, "grave")
        # gone for a time, then there again by another
        assert await _file(ann, "a", api(route("GET /v", "v"))) == (200, "done")
        assert await _file(ann, "b", at("/v1", LAX)) == (202, "grave")
        assert await _file(ann, "c", at("/v1/accounts", route("GET /{x}")), "") == (202, "grave")
        assert await _file(ann, "b", at("/v1", STRICT)) == (200, "done")
        # a bait that takes what is left behind
        assert await _file(ann, "d", at("/", route("GET /{rest...}")), "") == (201, "done")
        assert await _file(ann, "b", at("/v1", route("GET /n"))) == (202, "grave")
        told = await ann.client.delete("/apis/b", headers={"If-Match": "*"})
        assert (told.status_code, told.json()["risk"]) == (202, "grave")

    at_desk(test)


def test_what_was_gone_for_long_is_forgotten_and_too_many_states_count_as_weaker(
    at_desk: AtDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(desk: Desk) -> None:
        ann, *_ = await with_people(desk, "off")
        await ann.put("/upstreams/u", {"spec": {"targets": ["http://127.0.0.1:9"]}}, "")
        await _file(ann, "a", api(STRICT), "")
        assert (await ann.client.delete("/apis/a", headers={"If-Match": "*"})).status_code == 204
        desk.approval = "guarded"
        assert await _file(ann, "b", api(LAX), "") == (202, "grave")
        with monkeypatch.context() as few:
            few.setattr("faregate.manager.cases.holding.FORMER_MAX", 0)
            assert await _file(ann, "b", at("/new", LAX), "") == (202, "grave")
        assert await _file(ann, "b", at("/new", LAX), "") == (201, "done")
        desk.pass_s(90 * 86_400 + 1)
        await ann.sign_in()
        assert await _file(ann, "c", api(LAX), "") == (201, "done")

    at_desk(test)


def test_the_file_s_apis_count_too(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann, *_ = await with_people(desk)
        assert await _file(ann, "b", at("/", route("GET /v1/accounts/mine")), "") == (202, "grave")
        assert await _file(ann, "b", at("/", route("GET /other")), "") == (201, "done")

    at_desk(test, file={"upstreams": {"u": {}}, "apis": {"a": api(STRICT)}})
