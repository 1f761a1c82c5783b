"""Signing in by a provider: which answers are believed, what strangers learn, and a provider that fails."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from faregate.manager.cases.oidc import FLOW_MS
from faregate.manager.people.attempts import ADDRESS_MAX
from faregate.manager.people.provider import DISCOVERY_MS, DOCUMENT_BYTES_MAX, PAUSE_MS
from faregate.snapshot.managing import Managing
from tests.manager.conftest import AtDesk
from tests.manager.desk import Desk
from tests.manager.people.oidc_play import EMBEDDED, NO, back, begin, play, reason, sign_in, who
from tests.manager.people.oidc_provider import SECRET, Provider

# -- a sign-in


def test_a_person_of_the_provider_is_in_with_what_the_groups_give(at_desk: AtDesk) -> None:
    async def test(desk: Desk, provider: Provider) -> None:
        browser, answer = await sign_in(desk, provider, groups=["ops", "staff", "others"])
        assert answer.status_code == 200
        cookies = {one.partition("=")[0]: one.lower() for one in answer.headers.get_list("set-cookie")}
        assert all(
            part in cookies["__Host-faregate"] for part in ("httponly", "secure", "samesite=strict", "path=/")
        )
        assert "max-age=0" in cookies["__Host-faregate-oidc"]
        assert answer.headers["referrer-policy"] == "no-referrer"
        told = await who(browser)
        assert told["person"] == "ann"
        assert told["grants"] == [
            {"role": "operator", "scope": "team:cards"}, {"role": "viewer", "scope": "*"},
        ]  # fmt: skip
        assert "second_factor" not in told
        user = (await desk.machine.get("/users/ann")).json()
        assert (user["provider"], user["display"], user["invited"]) == (True, "Ann Y", False)
        assert desk.acts()[-3:] == ["user.created", "user.granted", "session.opened"]

    play(at_desk, test)


def test_the_cookie_on_the_way_is_guarded_and_tells_neither_state_nor_nonce(at_desk: AtDesk) -> None:
    async def test(desk: Desk, provider: Provider) -> None:
        before = len(desk.leaves.records)
        sent = await desk.browser().get("/sign-in/oidc")
        name, _, rest = sent.headers["set-cookie"].partition("=")
        assert name == "__Host-faregate-oidc"
        assert all(part in rest.lower() for part in ("httponly", "secure", "samesite=lax", "path=/"))
        assert rest.partition(";")[0] not in sent.headers["location"]
        assert len(desk.leaves.records) == before
        assert provider.asked == ["/.well-known/openid-configuration"]
        await desk.browser().get("/sign-in/oidc")
        assert len(provider.asked) == 1, "strangers cause no requests"

    play(at_desk, test)


def test_without_a_provider_there_is_nothing_there(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        for path in ("/sign-in/oidc", "/sign-in/oidc/callback?state=x&code=y"):
            assert (await desk.browser().get(path)).status_code == 404

    at_desk(test)


# -- answers that are none of ours


Change = Callable[[dict[str, str]], Mapping[str, str]]
FORGED_ANSWERS: dict[str, tuple[str, Change]] = {
    "another state": ("wrong_state", lambda told: {**told, "state": "0" * 64}),
    "no state": ("wrong_state", lambda told: {"code": told["code"], "iss": told["iss"]}),
    "another issuer": ("other_issuer", lambda told: {**told, "iss": "https://evil.example"}),
    "no issuer": ("other_issuer", lambda told: {"code": told["code"], "state": told["state"]}),
    "an error": (
        "provider_refused",
        lambda told: {"error": "access_denied", "state": told["state"], "iss": told["iss"]},
    ),
    "no code": ("no_code", lambda told: {"state": told["state"], "iss": told["iss"]}),
    "a strange code": ("no_code", lambda told: {**told, "code": "a\x00b"}),
    "an unknown code": ("code_refused", lambda told: {**told, "code": "guess"}),
}


@EMBEDDED
@pytest.mark.parametrize("forged", FORGED_ANSWERS)
def test_an_answer_that_fits_no_sign_in_is_refused(at_desk: AtDesk, forged: str) -> None:
    async def test(desk: Desk, provider: Provider) -> None:
        browser, location = await begin(desk)
        word, change = FORGED_ANSWERS[forged]
        answer = await back(browser, change(provider.authorize(location)))
        assert (answer.status_code, answer.json()["detail"]) == (401, NO)
        assert reason(desk) == word
        assert "set-cookie" not in answer.headers

    play(at_desk, test)


def test_an_answer_works_once_in_the_browser_that_asked_and_in_its_time(at_desk: AtDesk) -> None:
    async def test(desk: Desk, provider: Provider) -> None:
        browser, location = await begin(desk)
        brought = provider.authorize(location)
        assert (await back(desk.browser(), brought)).status_code == 401
        assert reason(desk) == "no_flow"
        other, _ = await begin(desk)
        assert (await back(other, brought)).status_code == 401
        assert reason(desk) == "wrong_state"
        flow = browser.cookies["__Host-faregate-oidc"]
        assert (await back(browser, brought)).status_code == 200
        again = desk.browser()
        again.cookies.set("__Host-faregate-oidc", flow)
        assert (await back(again, {**provider.authorize(location)})).status_code == 401
        assert reason(desk) == "used_before"
        late, location = await begin(desk)
        desk.now += FLOW_MS + 1
        assert (await back(late, provider.authorize(location))).status_code == 401
        assert reason(desk) == "too_late"
        began = late.cookies["__Host-faregate-oidc"].partition(".")
        younger = desk.browser()  # who writes another time into the cookie has another state
        younger.cookies.set("__Host-faregate-oidc", f"{desk.now:x}.{began[2]}")
        assert (await back(younger, provider.authorize(location))).status_code == 401
        assert reason(desk) == "wrong_state"

    play(at_desk, test)


def test_a_parameter_twice_is_refused(at_desk: AtDesk) -> None:
    async def test(desk: Desk, provider: Provider) -> None:
        browser, location = await begin(desk)
        brought = provider.authorize(location)
        answer = await browser.get("/sign-in/oidc/callback", params=[*brought.items(), ("code", "other")])
        assert answer.status_code == 401
        assert "/token" not in provider.asked

    play(at_desk, test)


# -- a provider that cannot be used


@EMBEDDED
@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "https://evil.example"},
        {"authorization_endpoint": "http://evil.example/authorize"},
        {"token_endpoint": "http://10.0.0.1/token"},
        {"token_endpoint": None},
        {"jwks_uri": "file:///etc/passwd"},
        {"code_challenge_methods_supported": ["plain"]},
        {"token_endpoint_auth_methods_supported": ["private_key_jwt"]},
    ],
    ids=str,
)
def test_a_document_that_says_what_it_may_not_is_not_used(at_desk: AtDesk, change: dict[str, Any]) -> None:
    async def test(desk: Desk, provider: Provider) -> None:
        provider.document |= change
        assert (await desk.browser().get("/sign-in/oidc")).status_code == 503

    play(at_desk, test)


@EMBEDDED
@pytest.mark.parametrize(
    "told", [(200, b"x" * (DOCUMENT_BYTES_MAX + 1)), (200, b"[]"), (200, b"{"), (302, b""), (500, b"{}")]
)
def test_a_provider_that_fails_is_left_alone_for_a_while(at_desk: AtDesk, told: tuple[int, bytes]) -> None:
    async def test(desk: Desk, provider: Provider) -> None:
        path = "/.well-known/openid-configuration"
        provider.answers[path] = told
        for _ in range(3):
            answer = await desk.browser().get("/sign-in/oidc")
            assert answer.status_code == 503
        assert provider.asked == [path]
        desk.now += PAUSE_MS
        provider.answers.clear()
        assert (await desk.browser().get("/sign-in/oidc")).status_code == 303
        desk.now += DISCOVERY_MS
        await desk.browser().get("/sign-in/oidc")
        assert provider.asked == [path] * 3

    play(at_desk, test)


@EMBEDDED
@pytest.mark.parametrize(
    ("path", "told", "expected"),
    [
        ("/token", (500, b"secret words of the provider"), (503, "token_endpoint_failed")),
        ("/token", (200, b"secret words of the provider"), (503, "token_answer_malformed")),
        ("/token", (200, b'{"access_token": "x"}'), (401, "no_id_token")),
        ("/token", (200, b"x" * 300_000), (503, "answer_too_large")),
        ("/token", (302, b""), (401, "code_refused")),
        ("/keys", (200, b'{"keys": []}'), (503, "keys_not_usable")),
        ("/keys", (404, b""), (503, "keys_failed")),
    ],
)
def test_what_a_provider_fails_with_is_told_to_the_audit_tree_alone(
    at_desk: AtDesk, path: str, told: tuple[int, bytes], expected: tuple[int, str]
) -> None:
    async def test(desk: Desk, provider: Provider) -> None:
        provider.answers[path] = told
        _, answer = await sign_in(desk, provider)
        assert (answer.status_code, reason(desk)) == expected
        assert "secret words" not in answer.text
        assert expected[1] not in answer.text

    play(at_desk, test)


def test_a_provider_that_is_not_there_is_said_so(at_desk: AtDesk) -> None:
    async def test(desk: Desk, _: Provider) -> None:
        assert (await desk.browser().get("/sign-in/oidc")).status_code == 503

    play(at_desk, test, issuer="http://127.0.0.1:9")


# -- bounds, and the audit tree


def test_who_tries_often_waits_and_who_gets_in_is_not_counted(at_desk: AtDesk) -> None:
    async def test(desk: Desk, provider: Provider) -> None:
        for _ in range(ADDRESS_MAX + 2):
            assert (await sign_in(desk, provider))[1].status_code == 200
        stranger = desk.browser()
        answers = [await back(stranger, {"state": "x", "code": "y"}) for _ in range(ADDRESS_MAX + 1)]
        assert [one.status_code for one in answers] == [401] * ADDRESS_MAX + [429]
        assert int(answers[-1].headers["retry-after"]) > 0

    play(at_desk, test)


def test_what_cannot_be_audited_does_not_happen(at_desk: AtDesk) -> None:
    async def test(desk: Desk, provider: Provider) -> None:
        desk.leaves.fails = True
        _, answer = await sign_in(desk, provider)
        assert answer.status_code == 503
        assert "__Host-faregate=" not in str(answer.headers.get_list("set-cookie"))
        desk.leaves.fails = False
        assert (await desk.machine.get("/users")).json()["data"] == []

    play(at_desk, test)


def test_two_first_sign_ins_at_once_make_one_user(at_desk: AtDesk) -> None:
    async def test(desk: Desk, provider: Provider) -> None:
        found = await asyncio.gather(*(sign_in(desk, provider) for _ in range(4)))
        assert [answer.status_code for _, answer in found] == [200] * 4
        assert len((await desk.machine.get("/users")).json()["data"]) == 1
        assert desk.acts().count("user.created") == 1

    play(at_desk, test)


def test_a_secret_of_the_client_stands_in_no_text(at_desk: AtDesk) -> None:
    async def test(_: Desk, provider: Provider) -> None:
        told = repr(Managing(sign_in=provider.settings()))
        assert SECRET not in told
        assert provider.url in told

    play(at_desk, test)
