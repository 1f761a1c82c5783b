"""Users, roles and tokens: given by owners, taken back at once, and never more than was held."""

import pytest

from tests.manager.conftest import AtDesk
from tests.manager.desk import PASSWORD, Desk, Person

DAY_S = 86_400


async def token_of(person: Person, **told: object) -> str:
    made = await person.post(f"/users/{person.name}/tokens", told)
    assert made.status_code == 201, made.text
    return str(made.json()["secret"])


def test_a_disabled_user_loses_sessions_and_tokens_at_once(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann = await desk.user("ann", "viewer")
        script = desk.browser(f"Bearer {await token_of(ann)}")
        assert (await script.get("/plans")).status_code == 200
        told = await desk.machine.patch("/users/ann", json={"state": "disabled"}, headers={"If-Match": "*"})
        assert told.json()["state"] == "disabled"
        assert (await ann.get("/plans")).status_code == 401
        assert (await script.get("/plans")).status_code == 401
        await desk.machine.patch("/users/ann", json={"state": "active"}, headers={"If-Match": "*"})
        assert (await script.get("/plans")).status_code == 401
        await ann.again()
        assert (await ann.get("/plans")).status_code == 200

    at_desk(test)


def test_new_roles_end_the_sessions_that_had_the_old_ones(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann = await desk.user("ann", "viewer")
        assert (await ann.put("/plans/gold", {"spec": {}}, "")).status_code == 403
        assert (await desk.grant("ann", "operator")).status_code == 200
        assert (await ann.get("/session")).status_code == 401
        await ann.again()
        assert (await ann.put("/plans/gold", {"spec": {}}, "")).status_code == 201

    at_desk(test)


def test_what_belongs_to_another_team_is_as_if_it_were_not(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann = await desk.user("ann", "operator@team:cards")
        await desk.machine.put(
            "/plans/gold", json={"spec": {}, "team": "loans"}, headers={"If-None-Match": "*"}
        )
        known, unknown = await ann.get("/plans/gold"), await ann.get("/plans/none")
        assert known.status_code == unknown.status_code == 404
        assert known.text == unknown.text
        assert (await ann.put("/plans/gold", {"spec": {}})).status_code == 404
        mine = await ann.put("/plans/mine", {"spec": {}, "team": "cards"}, "")
        assert mine.status_code == 201, mine.text
        assert [one["name"] for one in (await ann.get("/plans")).json()["data"]] == ["mine"]

    at_desk(test)


@pytest.mark.parametrize("role", ["viewer", "operator", "approver", "auditor", "owner@team:cards"])
def test_only_owners_of_everything_make_users_and_give_roles(at_desk: AtDesk, role: str) -> None:
    async def test(desk: Desk) -> None:
        ann = await desk.user("ann", role)
        await desk.user("bob", second=False)
        for told in (
            await ann.post("/users", {"name": "carl"}),
            await desk.grant("ann", "owner", client=ann.client),
            await desk.grant("bob", "owner", client=ann.client),
            await ann.post("/users/bob/recover", {}),
            await ann.client.patch("/users/bob", json={"state": "disabled"}, headers={"If-Match": "*"}),
            await ann.post("/users/bob/tokens", {}),
            await ann.get("/users/bob/tokens"),
        ):
            assert told.status_code == 403, told.text
        assert (await ann.get("/users/ann")).status_code == 200

    at_desk(test)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/users/bob/grants", {"grants": []}),
        ("POST", "/users/bob/recover", None),
        ("POST", "/users/ann/tokens", {}),
        ("POST", "/break-glass", {"reason": "fire"}),
    ],
)
def test_what_needs_a_fresh_second_factor_asks_for_it(
    at_desk: AtDesk, method: str, path: str, body: object
) -> None:
    async def test(desk: Desk) -> None:
        ann = await desk.user("ann", "owner")
        await desk.user("bob", second=False)
        script = desk.browser(f"Bearer {await token_of(ann)}")

        async def ask(client: object = ann.client) -> tuple[int, str]:
            told = await client.request(method, path, json=body, headers={"If-Match": "*"})  # type: ignore[attr-defined]
            return told.status_code, told.json().get("code", "")

        assert await ask(script) == (403, "permission_denied")
        desk.pass_s(301)
        assert await ask() == (403, "second_factor_required")
        assert (await ann.post("/session/second-factor", {"code": ann.code()})).status_code == 200
        assert (await ask())[0] in {200, 201}

    at_desk(test)


def test_a_user_without_a_second_factor_may_not_do_what_needs_one(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann = await desk.user("ann", "owner", second=False)
        told = await ann.post("/users/ann/tokens", {})
        assert told.json()["code"] == "second_factor_required"

    at_desk(test)


def test_a_token_is_shown_once_ends_in_time_and_is_revoked(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann = await desk.user("ann", "operator")
        secret = await token_of(ann, note="deploy", life_s=60)
        script = desk.browser(f"Bearer {secret}")
        assert (await script.get("/plans")).status_code == 200
        await desk.management.authenticator.close()
        listed = (await ann.get("/users/ann/tokens")).json()["data"]
        assert [one["note"] for one in listed] == ["deploy"]
        assert listed[0]["used"]
        assert secret not in str(listed)
        assert not desk.holds(secret)
        desk.pass_s(60)
        assert (await script.get("/plans")).status_code == 401
        again = desk.browser(f"Bearer {await token_of(ann)}")
        name = (await ann.get("/users/ann/tokens")).json()["data"][0]["id"]
        bob = await desk.user("bob", "operator")
        assert (await bob.client.delete(f"/tokens/{name}")).status_code == 404
        assert (await ann.client.delete(f"/tokens/{name}")).status_code == 204
        assert (await again.get("/plans")).status_code == 401
        assert (await ann.post("/users/ann/tokens", {"life_s": 367 * DAY_S})).status_code == 422

    at_desk(test)


def test_a_token_may_have_fewer_roles_and_never_more(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann = await desk.user("ann", "operator")
        for wrong in ({"role": "owner"}, {"role": "approver", "scope": "team:cards"}):
            assert (await ann.post("/users/ann/tokens", {"grants": [wrong]})).status_code == 422
        narrow = desk.browser(f"Bearer {await token_of(ann, grants=[{'role': 'viewer'}])}")
        wide = desk.browser(f"Bearer {await token_of(ann)}")
        headers = {"If-None-Match": "*"}
        assert (await narrow.put("/plans/gold", json={"spec": {}}, headers=headers)).status_code == 403
        assert (await wide.put("/plans/gold", json={"spec": {}}, headers=headers)).status_code == 201
        await desk.grant("ann", "viewer")
        told = await wide.put("/plans/gold", json={"spec": {}}, headers={"If-Match": "*"})
        assert told.status_code == 403
        await desk.grant("ann")
        assert (await narrow.get("/plans/gold")).status_code in {403, 404}

    at_desk(test)


def test_a_service_has_tokens_alone(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        made = await desk.machine.post("/users", json={"name": "robot", "service": True})
        assert "code" not in {key for key, one in made.json().items() if one}
        await desk.grant("robot", "operator")
        secret = (await desk.machine.post("/users/robot/tokens", json={})).json()["secret"]
        robot = desk.browser(f"Bearer {secret}")
        assert (await robot.get("/session")).json()["service"] is True
        assert (await desk.machine.post("/users/robot/recover")).status_code == 409
        await desk.user("ann", "viewer")
        assert (await desk.machine.post("/users/ann/tokens", json={})).status_code == 403

    at_desk(test)


def test_an_owner_lets_a_user_in_again_and_knows_no_password(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann, bob = await desk.user("ann", "owner"), await desk.user("bob", "viewer")
        script = desk.browser(f"Bearer {await token_of(bob)}")
        code = (await ann.post("/users/bob/recover")).json()["code"]
        assert (await bob.get("/session")).status_code == 401
        assert (await script.get("/plans")).status_code == 401
        assert (await bob.sign_in()).status_code == 401
        fresh = "another battery staple"
        told = {"user": "bob", "code": code, "password": fresh}
        assert (await desk.browser().post("/enrolment", json=told)).status_code == 204
        bob.seed = b""
        assert (await bob.sign_in(fresh)).status_code == 201
        assert (await ann.post("/users/ann/recover")).status_code == 403

    at_desk(test)


def test_a_user_is_written_under_the_readers_condition(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        await desk.user("ann", "viewer", second=False)
        etag = (await desk.machine.get("/users/ann")).headers["etag"]
        for headers, status in (
            ({}, 428),
            ({"If-Match": '"0"'}, 412),
            ({"If-Match": etag}, 200),
            ({"If-Match": etag}, 412),
        ):
            told = await desk.machine.patch("/users/ann", json={"display": "Ann"}, headers=headers)
            assert told.status_code == status, (headers, told.text)
        told = await desk.machine.put("/users/ann/grants", json={"grants": []}, headers={"If-Match": etag})
        assert told.status_code == 412

    at_desk(test)


@pytest.mark.parametrize("name", ["local", "manager", "system", "Ann", "a b", "", "a" * 64, "../ann"])
def test_names_that_mean_something_else_are_refused(at_desk: AtDesk, name: str) -> None:
    async def test(desk: Desk) -> None:
        assert (await desk.machine.post("/users", json={"name": name})).status_code == 422

    at_desk(test)


def test_a_name_is_never_used_twice(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        await desk.machine.post("/users", json={"name": "ann"})
        assert (await desk.machine.post("/users", json={"name": "ann"})).status_code == 409
        assert (await desk.machine.delete("/users/ann")).status_code == 405

    at_desk(test)


def test_the_database_holds_no_secret_that_is_shown(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann = await desk.user("ann", "operator")
        secret = await token_of(ann)
        cookie = ann.client.cookies["__Host-faregate"]
        from sqlalchemy import select

        from faregate.manager.database.tables import tokens, users

        async with desk.management.database.reading() as connection:
            told = repr((await connection.execute(select(tokens))).all())
            told += repr((await connection.execute(select(users))).all())
        for one in (secret, cookie, PASSWORD, repr(ann.seed)[2:-1]):
            assert one not in told
        assert "$argon2id$" in told

    at_desk(test)
