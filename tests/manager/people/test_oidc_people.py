"""People of a provider: whose roles they have, what opens no account, and whose second factor counts."""

import base64
from typing import Any

import pytest

from faregate.manager.people.totp import code_of, step_at
from tests.manager.conftest import AtDesk
from tests.manager.desk import Desk
from tests.manager.people.oidc_play import EMBEDDED, NO, Now, begin, play, reason, sign_in, who
from tests.manager.people.oidc_provider import Provider

# -- whose roles


def test_roles_follow_the_groups_and_who_has_none_left_is_out(at_desk: AtDesk) -> None:
    async def test(desk: Desk, provider: Provider) -> None:
        first, _ = await sign_in(desk, provider, groups=["owners"])
        assert [one["role"] for one in (await who(first))["grants"]] == ["owner"]
        second, _ = await sign_in(desk, provider, groups=["owners"])
        assert (await first.get("/session")).status_code == 200, "the same roles end nothing"
        third, _ = await sign_in(desk, provider, groups=["staff"])
        assert [one["role"] for one in (await who(third))["grants"]] == ["viewer"]
        assert (await second.get("/session")).status_code == 401, "no session has the former roles"
        _, answer = await sign_in(desk, provider, groups=[])
        assert (answer.status_code, reason(desk)) == (401, "no_group_grants")
        assert (await third.get("/session")).status_code == 401
        assert (await desk.machine.get("/users/ann")).json()["grants"] == []

    play(at_desk, test)


def test_nobody_else_gives_or_takes_roles_of_the_providers_people(at_desk: AtDesk) -> None:
    async def test(desk: Desk, provider: Provider) -> None:
        await sign_in(desk, provider)
        answer = await desk.grant("ann", "owner")
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
        assert [one["role"] for one in (await desk.machine.get("/users/ann")).json()["grants"]] == ["viewer"]

    play(at_desk, test)


def test_a_name_or_address_of_the_provider_opens_nobody_elses_account(at_desk: AtDesk) -> None:
    async def test(desk: Desk, provider: Provider) -> None:
        await desk.user("ann", "owner")
        browser, _ = await sign_in(desk, provider, preferred_username="ann", email="ann@bank.example")
        found = await who(browser)
        assert found["person"].startswith("ann-")
        assert [one["role"] for one in found["grants"]] == ["viewer"]
        again, _ = await sign_in(desk, provider)
        assert (await who(again))["person"] == found["person"]
        other, _ = await sign_in(desk, provider, sub="u-2")
        assert (await who(other))["person"] not in {"ann", found["person"]}
        for name in ("local", "manager", "../x", "", "A b", 7):
            provider.claims["preferred_username"] = name
            browser, _ = await sign_in(desk, provider, sub=f"n-{name}")
            assert (await who(browser))["person"].startswith("oidc-"), name

    play(at_desk, test)


def test_a_disabled_person_stays_out_whatever_the_groups_say(at_desk: AtDesk) -> None:
    async def test(desk: Desk, provider: Provider) -> None:
        browser, _ = await sign_in(desk, provider)
        await desk.machine.patch("/users/ann", json={"state": "disabled"}, headers={"If-Match": "*"})
        assert (await browser.get("/session")).status_code == 401
        _, answer = await sign_in(desk, provider, groups=["owners"])
        assert (answer.status_code, answer.json()["detail"], reason(desk)) == (401, NO, "disabled")

    play(at_desk, test)


def test_people_of_the_provider_have_no_password_and_get_none(at_desk: AtDesk) -> None:
    async def test(desk: Desk, provider: Provider) -> None:
        browser, _ = await sign_in(desk, provider)
        for password in ("", "x" * 12):
            told = {"user": "ann", "password": password}
            assert (await desk.browser().post("/sessions", json=told)).status_code in {401, 422}
        told = {"password": "anything at all", "fresh": "a password of mine"}
        answer = await browser.post("/session/password", json=told)
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
        recovered = await desk.machine.post("/users/ann/recover")
        assert (recovered.status_code, recovered.json()["code"]) == (200, None)
        enrol = {"user": "ann", "code": "fgi_guess", "password": "a password of mine"}
        assert (await desk.browser().post("/enrolment", json=enrol)).status_code == 401

    play(at_desk, test)


# -- the second factor


def totp(seed: str, now_ms: int) -> str:
    return code_of(base64.b32decode(seed + "=" * (-len(seed) % 8)), step_at(now_ms))


def test_mfa_of_the_provider_counts_only_where_the_configuration_says_so(at_desk: AtDesk) -> None:
    async def test(desk: Desk, provider: Provider) -> None:
        now = desk.now // 1000
        browser, _ = await sign_in(desk, provider, amr=["pwd", "mfa"], acr="mfa", auth_time=now)
        assert "second_factor" not in await who(browser)
        answer = await browser.post("/users/ann/tokens", json={"life_s": 600})
        assert (answer.status_code, answer.json()["code"]) == (403, "second_factor_required")
        seed = (await browser.post("/session/totp", json={})).json()["seed"]
        shown = await browser.post("/session/totp/confirm", json={"code": totp(seed, desk.now)})
        browser.headers["X-Faregate-Csrf"] = shown.json()["csrf"]
        assert (await browser.post("/users/ann/tokens", json={"life_s": 600})).status_code == 201

    play(at_desk, test)


@EMBEDDED
@pytest.mark.parametrize(
    ("claims", "counts"),
    [
        ({"amr": ["pwd", "mfa"], "auth_time": Now(0)}, True),
        ({"acr": "mfa", "auth_time": Now(0)}, True),
        ({"amr": ["pwd", "otp"], "auth_time": Now(0)}, False),
        ({"amr": "mfa", "auth_time": Now(0)}, False),
        ({"acr": ["mfa"], "auth_time": Now(0)}, False),
        ({"amr": ["mfa"]}, False),
        ({"amr": ["mfa"], "auth_time": Now(-301)}, False),
        ({"amr": ["mfa"], "auth_time": Now(9_000)}, True),
        ({"auth_time": Now(0)}, False),
    ],
    ids=lambda one: (
        str({k: getattr(v, "seconds", v) for k, v in one.items()}) if isinstance(one, dict) else str(one)
    ),
)
def test_where_it_counts_it_is_as_fresh_as_the_provider_says(
    at_desk: AtDesk, claims: dict[str, Any], counts: bool
) -> None:
    async def test(desk: Desk, provider: Provider) -> None:
        now = desk.now // 1000
        told = {name: now + one.seconds if isinstance(one, Now) else one for name, one in claims.items()}
        browser, _ = await sign_in(desk, provider, **told)
        answer = await browser.post("/users/ann/tokens", json={"life_s": 600})
        assert answer.status_code == (201 if counts else 403), answer.text
        desk.pass_s(301)
        assert (await browser.post("/users/ann/tokens", json={"life_s": 600})).status_code == 403

    play(at_desk, test, second_factor="provider")


def test_a_proof_anew_is_asked_for_and_looked_at(at_desk: AtDesk) -> None:
    async def test(desk: Desk, provider: Provider) -> None:
        _, location = await begin(desk, fresh=True)
        assert all(part in location for part in ("prompt=login", "max_age=0", "acr_values=mfa"))
        now = desk.now // 1000
        for auth_time, status in ((now, 200), (now - 300, 401)):
            _, answer = await sign_in(desk, provider, fresh=True, auth_time=auth_time)
            assert answer.status_code == status
        assert reason(desk) == "not_fresh"
        provider.claims.pop("auth_time")
        _, answer = await sign_in(desk, provider, fresh=True)
        assert (answer.status_code, reason(desk)) == (401, "not_fresh")

    play(at_desk, test, second_factor="provider")


def test_a_second_factor_of_ones_own_is_set_up_only_just_after_a_sign_in(at_desk: AtDesk) -> None:
    async def test(desk: Desk, provider: Provider) -> None:
        browser, _ = await sign_in(desk, provider)
        desk.pass_s(301)
        assert (await browser.post("/session/totp", json={"password": "x"})).status_code == 401

    play(at_desk, test)


def test_tokens_of_the_providers_people_live_no_longer_than_a_session(at_desk: AtDesk) -> None:
    async def test(desk: Desk, provider: Provider) -> None:
        browser, _ = await sign_in(desk, provider, amr=["mfa"], auth_time=desk.now // 1000)
        assert (await browser.post("/users/ann/tokens", json={"life_s": 43_201})).status_code == 422
        made = await browser.post("/users/ann/tokens", json={"life_s": 43_200})
        assert made.status_code == 201
        robot = desk.browser(f"Bearer {made.json()['secret']}")
        assert (await robot.get("/session")).status_code == 200
        await sign_in(desk, provider, groups=[])
        assert (await robot.get("/session")).status_code == 401, "ended with the roles"

    play(at_desk, test, second_factor="provider")
