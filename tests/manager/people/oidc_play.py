"""People at a desk who sign in by a small provider, and what is looked at afterwards."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx2
import pytest

from tests.manager.conftest import AtDesk
from tests.manager.desk import Desk
from tests.manager.people.oidc_provider import SECRET, Claims, Provider, open_provider

Play = Callable[[Desk, Provider], Awaitable[None]]
EMBEDDED = pytest.mark.parametrize("store", ["embedded"])
"""For what hangs on no database."""
NO = "The sign-in failed; begin again: GET /sign-in/oidc."


def play(at_desk: AtDesk, test: Play, **settings: Any) -> None:
    async def with_provider(desk: Desk) -> None:
        async with open_provider(lambda: desk.now // 1000) as provider:
            configured = provider.settings(**settings)
            desk.management.oidc.settings = lambda: configured
            await test(desk, provider)
            assert not desk.holds(SECRET)
            await desk.management._provider.close()

    at_desk(with_provider)


async def begin(desk: Desk, *, fresh: bool = False) -> tuple[httpx2.AsyncClient, str]:
    browser = desk.browser()
    sent = await browser.get("/sign-in/oidc" + ("?fresh=true" if fresh else ""))
    assert sent.status_code == 303, sent.text
    return browser, sent.headers["location"]


async def back(browser: httpx2.AsyncClient, brought: Mapping[str, str]) -> httpx2.Response:
    return await browser.get("/sign-in/oidc/callback", params=brought)


async def sign_in(
    desk: Desk, provider: Provider, *, fresh: bool = False, **claims: Any
) -> tuple[httpx2.AsyncClient, httpx2.Response]:
    provider.claims |= claims
    browser, location = await begin(desk, fresh=fresh)
    answer = await back(browser, provider.authorize(location))
    if answer.status_code == 200:
        browser.headers["X-Faregate-Csrf"] = (await browser.get("/session")).json()["csrf"]
    return browser, answer


def reason(desk: Desk) -> str:
    kind, _, _, detail = desk.leaves.records[-1]
    assert kind == "session.refused"
    return str(detail["reason"])


async def who(browser: httpx2.AsyncClient) -> dict[str, Any]:
    answer = await browser.get("/session")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def but(**more: Any) -> Callable[[Provider, Claims], str]:
    def make(provider: Provider, claims: Claims) -> str:
        now = provider.now_s()
        changed = {name: now + one.seconds if isinstance(one, Now) else one for name, one in more.items()}
        return provider.signed({name: one for name, one in {**claims, **changed}.items() if one is not None})

    return make


class Now:
    def __init__(self, seconds: int) -> None:
        self.seconds = seconds
