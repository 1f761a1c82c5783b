"""Signing in by an OpenID provider: authorization code with PKCE (RFC 6749, RFC 7636, OpenID Connect Core).

Who is sent to the provider carries 256 random bits in a cookie; state, nonce and verifier are keyed hashes of
them, so a stranger who begins sign-ins leaves nothing behind here, and an answer fits the browser that asked.
A user of the provider is the provider's alone: made at the first sign-in, found by issuer and subject and
never by name or address; the roles are what the groups give, anew at each sign-in, and nobody gives others.
"""

import hashlib
import re
import secrets
from base64 import urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlencode

from sqlalchemy.ext.asyncio import AsyncConnection

from faregate.kernel.secrets import Secret
from faregate.manager.cases.access import writing
from faregate.manager.cases.domain import Actor, Grant
from faregate.manager.cases.errors import Conflict, NotFound, TooMany, Unauthenticated, Unavailable
from faregate.manager.cases.people import NAME, RESERVED, USERS_MAX, People, check_grants
from faregate.manager.cases.ports import Clock
from faregate.manager.cases.sign_in import Opened, SignIn
from faregate.manager.database import people as rows
from faregate.manager.database.engine import Database
from faregate.manager.database.people import User
from faregate.manager.people.attempts import Attempts
from faregate.manager.people.id_tokens import LEEWAY_S, Proven, TokenFault
from faregate.manager.people.provider import Endpoints, Provider, ProviderError, ProviderRefusal
from faregate.manager.people.tokens import Peppered, same
from faregate.snapshot.managing import SigningIn

FLOW_MS: Final = 10 * 60_000
"""From the redirect to the provider until its answer."""
AT_ONCE_MAX: Final = 8
"""Answers that wait for the provider."""
USED_MAX: Final = 10_000
SYSTEM: Final = "manager"
"""Who makes the provider's users and gives them roles."""
_FLOW: Final = re.compile(r"([0-9a-f]{11,13})\.([fp])\.[A-Za-z0-9_-]{43}")
_CODE: Final = re.compile(r"[\x20-\x7e]{1,2048}")  # RFC 6749 appendix A.11
_NO: Final = "The sign-in failed; begin again: GET /sign-in/oidc."
_DOWN: Final = "The provider cannot be asked at this moment; begin again in a while."


class _Refused(Exception):  # noqa: N818 - a word for the audit tree
    """Why a sign-in is refused."""


@dataclass(frozen=True, slots=True)
class Begun:
    """Where to send the browser, and with which cookie."""

    location: str = field(repr=False)
    flow: Secret = field(repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the browser brings back: the parameters, empty where there are none, and the cookie."""

    flow: str = field(repr=False)
    state: str = field(repr=False)
    code: str = field(repr=False)
    error: str
    issuer: str


class Oidc:
    """Use cases for everybody. ``settings``: what the configuration says at this moment."""

    def __init__(  # noqa: PLR0913, PLR0917 - it ties together as many
        self,
        database: Database,
        clock: Clock,
        peppered: Peppered,
        sign_in: SignIn,
        people: People,
        provider: Provider,
    ) -> None:
        self.settings: Callable[[], SigningIn | None] = lambda: None
        self._database = database
        self._clock = clock
        self._peppered = peppered
        self._sign_in = sign_in
        self._people = people
        self._provider = provider
        self._attempts = Attempts()
        self._turn = 0
        self._waiting = 0
        self._used: OrderedDict[str, int] = OrderedDict()

    async def begin(self, *, fresh: bool) -> Begun:
        """``fresh``: whoever it is proves it anew there. Raises NotFound, Unavailable."""
        settings = self._configured()
        try:
            found = await self._provider.endpoints(settings)
        except ProviderError as error:
            raise Unavailable(_DOWN) from error
        flow = f"{self._clock():x}.{'f' if fresh else 'p'}.{secrets.token_urlsafe(32)}"
        challenge = hashlib.sha256(self._of("verifier", flow).encode()).digest()
        asked = {
            "response_type": "code",
            "client_id": settings.client_id,
            "redirect_uri": settings.redirect,
            "scope": settings.scopes,
            "state": self._of("state", flow),
            "nonce": self._of("nonce", flow),
            "code_challenge": urlsafe_b64encode(challenge).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        if fresh:
            asked |= {"prompt": "login", "max_age": "0"}
        if found.mfa and settings.second_factor == "provider":
            asked["acr_values"] = "mfa"
        separator = "&" if "?" in found.authorization else "?"
        return Begun(f"{found.authorization}{separator}{urlencode(asked)}", Secret(flow.encode()))

    async def finish(self, answer: Answer, *, address: str, request_id: str) -> Opened:
        """Opens a session, once for each ``begin``. Raises NotFound, TooMany, Unavailable,
        Unauthenticated.
        """
        settings = self._configured()
        self._turn += 1
        attempt = f"oidc {self._turn}"  # whose it is shows later: tries of an address are what is counted
        self._attempts.begin(attempt, address, self._clock())
        nobody = Actor("nobody", (), "oidc", address=address, request_id=request_id)
        try:
            begun_s, fresh = self._matching(answer)
            proven = await self._proven(settings, answer)
            _check_fresh(proven, begun_s if fresh else 0)
            opened = await self._open(settings, proven, nobody)
        except (_Refused, TokenFault, ProviderRefusal) as error:
            await self._sign_in.record("session.refused", nobody, "unknown", by="oidc", reason=str(error))
            raise Unauthenticated(_NO) from error
        except ProviderError as error:
            await self._sign_in.record("session.refused", nobody, "unknown", by="oidc", reason=str(error))
            raise Unavailable(_DOWN) from error
        if opened is None:
            raise Unauthenticated(_NO)
        self._attempts.succeeded(attempt, address)
        return opened

    def _configured(self) -> SigningIn:
        found = self.settings()
        if found is None:
            raise NotFound("There is no sign-in by a provider here.")
        return found

    def _of(self, what: str, flow: str) -> str:
        """What goes with a cookie that nobody else can tell: 64 characters."""
        return self._peppered.digest(f"oidc {what}", flow.encode())

    def _matching(self, answer: Answer) -> tuple[float, bool]:
        """When the sign-in began, in seconds, and whether it asked for a proof anew; it is used up. Raises
        _Refused.
        """
        found = _FLOW.fullmatch(answer.flow)
        if found is None:
            raise _Refused("no_flow")
        if not same(answer.state.encode("utf-8", "replace"), self._of("state", answer.flow).encode()):
            raise _Refused("wrong_state")
        now, begun = self._clock(), int(found[1], 16)
        while self._used and (next(iter(self._used.values())) < now - FLOW_MS or len(self._used) >= USED_MAX):
            self._used.popitem(last=False)
        if answer.state in self._used:
            raise _Refused("used_before")
        if now - begun > FLOW_MS:
            raise _Refused("too_late")
        self._used[answer.state] = now
        return begun / 1000, found[2] == "f"

    async def _proven(self, settings: SigningIn, answer: Answer) -> Proven:
        """Who the provider says it is. Raises _Refused, TokenFault, ProviderRefusal, ProviderError,
        TooMany.
        """
        if self._waiting >= AT_ONCE_MAX:
            raise TooMany("Too many people sign in at this moment; try again.", retry_after_s=1)
        self._waiting += 1
        try:
            found = await self._provider.endpoints(settings)
            _check_answer(settings, found, answer)
            token = await self._provider.exchange(settings, answer.code, self._of("verifier", answer.flow))
            return await self._provider.proven(settings, token, self._of("nonce", answer.flow))
        finally:
            self._waiting -= 1

    async def _open(self, settings: SigningIn, proven: Proven, nobody: Actor) -> Opened | None:
        """A session with the roles that the groups give; None where they give none or the user is disabled,
        which ends what is open. Raises _Refused.
        """
        now = self._clock()
        external = f"{settings.issuer} {proven.subject}"
        given = granted(settings, proven)
        async with writing(self._database) as connection:
            user = await rows.user_by_external(connection, external)
            if user is None:
                if not given:
                    raise _Refused("no_group_grants")
                user = await self._make(connection, external, proven, nobody)
            elif user.state == "active":
                await self._follow(connection, user, proven)
            person = Actor(user.name, (), "oidc", address=nobody.address, request_id=nobody.request_id)
            system = Actor(SYSTEM, (), "oidc", address=nobody.address, request_id=nobody.request_id)
            if user.grants != given:
                await self._people.set_grants(connection, system, user, given)
            if user.state != "active" or not given:
                reason = "disabled" if given else "no_group_grants"
                await self._sign_in.record("session.refused", person, user.name, by="oidc", reason=reason)
                await rows.tokens_end(connection, user.name)
                return None
            second_ms = _second_ms(settings, proven, now)
            return await self._sign_in.open_session(connection, person, now, second_ms, by="oidc")

    async def _make(self, connection: AsyncConnection, external: str, proven: Proven, nobody: Actor) -> User:
        if await rows.user_count(connection) >= USERS_MAX:
            raise Conflict(f"There are {USERS_MAX} users already.")
        mark = hashlib.sha256(external.encode()).hexdigest()[:12]
        name = proven.name.lower()
        if NAME.fullmatch(name) is None or name in RESERVED:
            name = f"oidc-{mark}"
        elif await rows.user_get(connection, name) is not None:
            name = f"{name[:50]}-{mark}"  # a name means one person for ever: that one is another
        system = Actor(SYSTEM, (), "oidc", address=nobody.address, request_id=nobody.request_id)
        issuer, _, subject = external.partition(" ")
        await self._people.record("user.created", system, name, service=False, issuer=issuer, subject=subject)
        await rows.user_add(
            connection,
            name,
            display=proven.display,
            email=proven.email,
            service=False,
            invite="",
            invite_ms=0,
            now_ms=self._clock(),
            external=external,
        )
        made = await rows.user_get(connection, name)
        assert made is not None
        return made

    @staticmethod
    async def _follow(connection: AsyncConnection, user: User, proven: Proven) -> None:
        """What is shown of a person is as the provider has it."""
        told: Mapping[str, object] = {"display": proven.display, "email": proven.email}
        changed = {key: one for key, one in told.items() if getattr(user, key) != one}
        if changed:
            await rows.user_update(connection, user.name, changed)


def granted(settings: SigningIn, proven: Proven) -> tuple[Grant, ...]:
    """What the groups of a person give, each once."""
    found = {
        Grant(one.role, one.scope)  # type: ignore[arg-type]  # as the configuration was checked
        for one in settings.grants
        if one.group in proven.groups
    }
    check_grants(list(found))
    return tuple(sorted(found, key=lambda one: (one.role, one.scope)))


def _check_answer(settings: SigningIn, found: Endpoints, answer: Answer) -> None:
    """Whether the answer is this provider's and brings a code (RFC 6749 section 4.1.2, RFC 9207). Raises
    _Refused.
    """
    if (answer.issuer or found.names_itself) and answer.issuer != settings.issuer:
        raise _Refused("other_issuer")
    if answer.error:
        raise _Refused("provider_refused")
    if _CODE.fullmatch(answer.code) is None:
        raise _Refused("no_code")


def _check_fresh(proven: Proven, since_s: float) -> None:
    """Whether the person proved who they are since then, if it was asked for. Raises _Refused."""
    if since_s and proven.authenticated_s < since_s - LEEWAY_S:
        raise _Refused("not_fresh")


def _second_ms(settings: SigningIn, proven: Proven, now_ms: int) -> int:
    """When the provider saw a second factor: when the person proved who they are, which it must say."""
    if settings.second_factor != "provider" or not proven.multi_factor:
        return 0
    return min(now_ms, int(proven.authenticated_s * 1000))
