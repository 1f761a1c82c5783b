"""Signing in: one answer to every failure, second factors used once, sessions that end as they should."""

import pytest

from faregate.manager.people.attempts import EACH_MAX
from faregate.manager.people.passwords import Passwords
from tests.manager.conftest import AtDesk
from tests.manager.desk import PASSWORD, Desk, Person

HOUR_S = 3600


def test_the_cookie_is_one_that_browsers_guard(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann = await desk.user("ann", second=False)
        told = await ann.sign_in()
        name, _, rest = told.headers["set-cookie"].partition("=")
        assert name == "__Host-faregate"
        parts = {part.strip().lower() for part in rest.split(";")[1:]}
        assert {"httponly", "secure", "samesite=strict", "path=/"} <= parts
        assert not any(part.startswith("domain") for part in parts)
        value = rest.partition(";")[0]
        assert len(value) >= 26  # 128 bits
        assert value not in told.text
        assert not desk.holds(value)

    at_desk(test)


def test_every_failure_to_sign_in_is_one_answer_after_the_same_work(
    at_desk: AtDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(desk: Desk) -> None:
        verified: list[str] = []
        verify = Passwords.verify

        async def watched(self: Passwords, hashed: str, password: str) -> bool:
            verified.append(password)
            return await verify(self, hashed, password)

        await desk.user("ann")
        await desk.user("bob", second=False)
        await desk.machine.post("/users", json={"name": "robot", "service": True})
        await desk.machine.patch("/users/bob", json={"state": "disabled"}, headers={"If-Match": "*"})
        monkeypatch.setattr(Passwords, "verify", watched)
        tries = [
            {"user": "hunter2-by-mistake", "password": PASSWORD},
            {"user": "ann", "password": "wrong password"},
            {"user": "ann", "password": PASSWORD},
            {"user": "ann", "password": PASSWORD, "code": "000000"},
            {"user": "bob", "password": PASSWORD},
            {"user": "robot", "password": PASSWORD},
        ]
        answers = [await desk.browser().post("/sessions", json=one) for one in tries]
        assert {one.status_code for one in answers} == {401}
        assert len({one.text for one in answers}) == 1
        assert len(verified) == len(tries)
        assert desk.acts().count("session.refused") == len(tries)
        assert not desk.holds(PASSWORD)
        assert not desk.holds("hunter2")  # a name that is none may be a password

    at_desk(test)


def test_a_code_opens_one_session_and_no_second(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann = await desk.user("ann")
        desk.pass_s(30)
        code = ann.code()
        assert (await ann.sign_in(code=code)).status_code == 201
        assert (await ann.sign_in(code=code)).status_code == 401
        desk.pass_s(30)
        assert (await ann.sign_in()).status_code == 201

    at_desk(test)


def test_who_guesses_waits(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann = await desk.user("ann", second=False)
        for _ in range(EACH_MAX):
            assert (await ann.sign_in("wrong password")).status_code == 401
        told = await ann.sign_in()
        assert (told.status_code, told.json()["code"]) == (429, "rate_limited")
        desk.pass_s(int(told.headers["retry-after"]) - 1)
        assert (await ann.sign_in()).status_code == 429
        desk.pass_s(1)
        assert (await ann.sign_in()).status_code == 201

    at_desk(test)


def test_a_session_ends_when_nobody_uses_it_and_however_busy_it_is(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann = await desk.user("ann", second=False)
        for _ in range(23):
            desk.pass_s(HOUR_S / 2 - 1)
            assert (await ann.get("/session")).status_code == 200
            await desk.management.authenticator.close()  # until it is noted
        desk.pass_s(HOUR_S / 2 + 24)
        assert (await ann.get("/session")).status_code == 401
        await ann.sign_in()
        desk.pass_s(HOUR_S / 2)
        assert (await ann.get("/session")).status_code == 401

    at_desk(test)


def test_an_unsafe_request_of_a_session_needs_its_csrf_header(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann = await desk.user("ann", "operator", second=False)
        bob = await desk.user("bob", "operator", second=False)
        good = ann.client.headers.pop("X-Faregate-Csrf")
        for csrf in ("", "x", bob.client.headers["X-Faregate-Csrf"]):
            told = await ann.put("/plans/gold", {"spec": {}}, "", **{"X-Faregate-Csrf": csrf})
            assert told.status_code == 403, csrf
        assert (await ann.get("/plans")).status_code == 200
        assert (await ann.get("/session")).json()["csrf"] == good
        told = await ann.put("/plans/gold", {"spec": {}}, "", **{"X-Faregate-Csrf": good})
        assert told.status_code == 201

    at_desk(test)


def test_sessions_are_listed_and_ended_one_by_one_or_all_others(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann = await desk.user("ann", second=False)
        others = [Person(desk, "ann") for _ in range(3)]
        for one in others:
            await one.sign_in()
        listed = (await ann.get("/sessions")).json()["data"]
        assert [one["current"] for one in listed].count(True) == 1
        assert len(listed) == 4
        first = (await others[0].client.get("/session")).json()["credential"].removeprefix("session:")
        bob = await desk.user("bob", second=False)
        assert (await bob.client.delete(f"/sessions/{first}")).status_code == 404
        assert (await ann.client.delete(f"/sessions/{first}")).status_code == 204
        assert (await others[0].get("/session")).status_code == 401
        assert (await ann.client.delete("/sessions")).json() == {"ended": 2}
        assert (await others[1].get("/session")).status_code == 401
        assert (await ann.client.delete("/session")).status_code == 204
        assert (await ann.get("/session")).status_code == 401
        assert (await bob.get("/session")).status_code == 200

    at_desk(test)


def test_the_second_factor_shown_again_is_a_new_session_id(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann = await desk.user("ann")
        former = ann.client.cookies["__Host-faregate"]
        desk.pass_s(30)
        assert (await ann.post("/session/second-factor", {"code": "000000"})).status_code == 401
        assert (await ann.post("/session/second-factor", {"code": ann.code()})).status_code == 200
        assert ann.client.cookies["__Host-faregate"] != former
        stolen = desk.browser()
        stolen.cookies.set("__Host-faregate", former)
        assert (await stolen.get("/session")).status_code == 401
        assert (await ann.get("/session")).status_code == 200

    at_desk(test)


def test_a_new_password_ends_other_sessions(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann = await desk.user("ann", second=False)
        other = Person(desk, "ann")
        await other.sign_in()
        fresh = "another battery staple"
        wrong = await ann.post("/session/password", {"password": "wrong password", "fresh": fresh})
        assert wrong.status_code == 401
        assert (
            await ann.post("/session/password", {"password": PASSWORD, "fresh": fresh})
        ).status_code == 204
        assert (await ann.get("/session")).status_code == 200
        assert (await other.get("/session")).status_code == 401
        assert (await other.sign_in()).status_code == 401
        assert (await other.sign_in(fresh)).status_code == 201

    at_desk(test)


def test_a_second_factor_is_replaced_only_after_it_is_shown(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann = await desk.user("ann")
        desk.pass_s(301)
        told = await ann.post("/session/totp", {"password": PASSWORD})
        assert (told.status_code, told.json()["code"]) == (403, "second_factor_required")
        assert (await ann.post("/session/second-factor", {"code": ann.code()})).status_code == 200
        assert (await ann.post("/session/totp", {"password": PASSWORD})).status_code == 200
        wrong = await ann.post("/session/totp/confirm", {"code": ann.code()})
        assert wrong.status_code == 401

    at_desk(test)


def test_an_invitation_sets_a_password_once_and_in_time(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        code = (await desk.machine.post("/users", json={"name": "ann"})).json()["code"]
        await desk.machine.post("/users", json={"name": "bob"})
        nobody = desk.browser()

        async def enrol(user: str, code: str) -> int:
            told = {"user": user, "code": code, "password": PASSWORD}
            return (await nobody.post("/enrolment", json=told)).status_code

        assert await enrol("bob", code) == 401
        assert await enrol("ann", "fgi_wrong") == 401
        assert await enrol("carl", code) == 401
        assert await enrol("ann", code) == 204
        assert await enrol("ann", code) == 401
        late = (await desk.machine.post("/users", json={"name": "dora"})).json()["code"]
        desk.pass_s(72 * HOUR_S)
        assert await enrol("dora", late) == 401
        assert not desk.holds(late)

    at_desk(test)


def test_a_sign_in_that_cannot_be_audited_does_not_happen(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann = await desk.user("ann", second=False)
        ann.client.cookies.clear()
        desk.leaves.fails = True
        assert (await ann.sign_in()).status_code == 503
        assert (await ann.get("/session")).status_code == 401
        desk.leaves.fails = False
        assert (await ann.sign_in()).status_code == 201

    at_desk(test)


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer fg_live_0123456789",
        "Bearer fgm_0123456789",
        "Basic bG9jYWw6eA==",
        "Bearer",
        "x",
        "Bearer " + "x" * 5000,
    ],
)
def test_every_bad_credential_is_one_answer(at_desk: AtDesk, authorization: str) -> None:
    async def test(desk: Desk) -> None:
        bad = await desk.browser(authorization).get("/plans")
        assert (bad.status_code, bad.json()["code"]) == (401, "credential_invalid")
        cookie = desk.browser()
        cookie.cookies.set("__Host-faregate", "fgs_unknown")
        assert (await cookie.get("/plans")).text == bad.text
        none = await desk.browser().get("/plans")
        assert (none.status_code, none.json()["code"]) == (401, "credential_missing")

    at_desk(test)
