"""Signing in and out, and what people change of their own.

The cookie is ``__Host-faregate``: Secure, HttpOnly, SameSite=Strict, for this host alone. What the browser
must send beside it on unsafe methods, ``X-Faregate-Csrf``, is in the answers here and in ``GET /session``.
What is no browser may send the cookie's value as a bearer token instead.
"""

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Path, Request, Response, status
from pydantic import Field

from faregate.manager.admin.context import READS, House, Who, address_of, problems, time_text
from faregate.manager.admin.schemas import Body
from faregate.manager.cases.domain import Grant
from faregate.manager.cases.sign_in import LIFE_MS, Opened, session_of
from faregate.manager.database.people import Token
from faregate.manager.people.attempts import KNOWN_MS
from faregate.manager.people.passwords import CHARACTERS_MAX, CHARACTERS_MIN

COOKIE: Final = "__Host-faregate"
DEVICE: Final = "__Host-faregate-device"
"""Lasts longer than the session, and opens none: by it a browser has tries of its own."""
_SELF: Final[dict[str, Any]] = {"x-faregate-need": "self"}
NOBODY: Final[dict[str, Any]] = {"x-faregate-need": "nobody", "security": []}
ACTS: Final = problems(400, 403, 404, 409, 413, 415, 422, 429)

SessionName = Annotated[str, Path(pattern=r"^ses_[0-9a-f]{16}$", description="The session's id.")]
UserText = Annotated[str, Field(min_length=1, max_length=63)]
PasswordText = Annotated[str, Field(min_length=1, max_length=CHARACTERS_MAX, repr=False)]
NewPassword = Annotated[
    str,
    Field(min_length=CHARACTERS_MIN, max_length=CHARACTERS_MAX, repr=False, description="A new password."),
]
CodeText = Annotated[str, Field(pattern=r"^[0-9]{6}$", repr=False, description="Six digits.")]


class SignInWrite(Body):
    """`code`: of the second factor, for who has one."""

    user: UserText
    password: PasswordText
    code: str = Field(default="", pattern=r"^([0-9]{6})?$", repr=False)


class SessionMade(Body):
    """`csrf` goes into `X-Faregate-Csrf`; the session's own secret is in the cookie alone."""

    id: str
    csrf: str
    expires: str


class GrantBody(Body):
    """A role in a scope: `*`, `team:NAME` or `api:NAME`."""

    role: Literal["viewer", "operator", "approver", "owner", "auditor"]
    scope: str = Field(default="*", max_length=140)


class WhoRead(Body):
    """Who asks, and what they may do. `csrf` only for a session's cookie."""

    person: str
    service: bool
    credential: str
    grants: list[GrantBody]
    second_factor: str | None = Field(default=None, description="When it was last shown.")
    break_glass: str | None = None
    expires: str | None = None
    csrf: str | None = None


class SessionRead(Body):
    id: str
    current: bool
    opened: str
    used: str
    expires: str
    address: str


class SessionPage(Body):
    data: list[SessionRead]


class CodeWrite(Body):
    code: CodeText


class PasswordWrite(Body):
    password: PasswordText
    fresh: NewPassword


class SeedWrite(Body):
    """`password`: not needed within five minutes of a sign-in by the provider."""

    password: str = Field(default="", max_length=CHARACTERS_MAX, repr=False)


class SeedRead(Body):
    """Shown here and nowhere else. `address` as authenticators scan it."""

    seed: str
    address: str


class EnrolmentWrite(Body):
    """`code`: from the invitation."""

    user: UserText
    code: str = Field(min_length=1, max_length=100, repr=False)
    password: NewPassword


class Ended(Body):
    ended: int


def grants_read(grants: tuple[Grant, ...]) -> list[GrantBody]:
    return [GrantBody(role=one.role, scope=one.scope) for one in grants]


def opened(session: Opened, response: Response) -> SessionMade:
    """Puts the cookie into ``response``."""
    response.set_cookie(
        COOKIE,
        session.cookie.reveal().decode(),
        max_age=LIFE_MS // 1000,
        path="/",
        secure=True,
        httponly=True,
        samesite="strict",
    )
    if session.device:
        response.set_cookie(
            DEVICE,
            session.device,
            max_age=KNOWN_MS // 1000,
            path="/",
            secure=True,
            httponly=True,
            samesite="strict",
        )
    return SessionMade(id=session.id, csrf=session.csrf, expires=time_text(session.expires_ms))


def _forget(response: Response) -> None:
    response.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="strict")


def _session(one: Token, current: str) -> SessionRead:
    return SessionRead(
        id=one.id,
        current=one.id == current,
        opened=time_text(one.created_ms),
        used=time_text(one.used_ms),
        expires=time_text(one.expires_ms),
        address=one.from_address,
    )


def from_of(request: Request) -> tuple[str, str]:
    """Where a request without a known person comes from, and its id."""
    return address_of(request), str(request.scope.get("request_id", ""))


def make_router() -> APIRouter:
    router = APIRouter(tags=["sign-in"])
    _sessions(router)
    _own(router)
    return router


def _sessions(router: APIRouter) -> None:
    @router.post(
        "/sessions", operation_id="session_create", responses=ACTS, summary="Sign in",
        status_code=status.HTTP_201_CREATED, openapi_extra=NOBODY,
    )  # fmt: skip
    async def session_create(
        house: House, request: Request, body: SignInWrite, response: Response
    ) -> SessionMade:
        address, request_id = from_of(request)
        made = await house.sign_in.session_create(
            body.user,
            body.password,
            body.code,
            address=address,
            request_id=request_id,
            device=request.cookies.get(DEVICE, ""),
        )
        return opened(made, response)

    @router.get(
        "/session", operation_id="session_get", responses=READS, summary="Who asks, and what they may do",
        openapi_extra=_SELF, response_model_exclude_none=True,
    )  # fmt: skip
    async def session_get(house: House, who: Who, request: Request) -> WhoRead:
        session = await house.sign_in.session_get(who)
        cookie = request.cookies.get(COOKIE, "") if "authorization" not in request.headers else ""
        csrf = house.peppered.csrf(cookie.encode()) if session is not None and cookie else None
        return WhoRead(
            person=who.person,
            service=who.service,
            credential=who.credential,
            grants=grants_read(who.grants),
            second_factor=time_text(who.second_factor_ms) if who.second_factor_ms else None,
            break_glass=who.break_glass or None,
            expires=None if session is None else time_text(session.expires_ms),
            csrf=csrf,
        )

    @router.delete(
        "/session", operation_id="session_delete", responses=ACTS, summary="Sign out",
        status_code=status.HTTP_204_NO_CONTENT, openapi_extra=_SELF,
    )  # fmt: skip
    async def session_delete(house: House, who: Who, response: Response) -> None:
        await house.sign_in.session_end(who, session_of(who))
        _forget(response)

    @router.get(
        "/sessions", operation_id="session_list", responses=READS, summary="One's own sessions",
        openapi_extra=_SELF,
    )  # fmt: skip
    async def session_list(house: House, who: Who) -> SessionPage:
        found = await house.sign_in.session_list(who)
        return SessionPage(data=[_session(one, session_of(who)) for one in found])

    @router.delete(
        "/sessions", operation_id="session_end_others", responses=ACTS,
        summary="End all of one's sessions but this one", openapi_extra=_SELF,
    )  # fmt: skip
    async def session_end_others(house: House, who: Who) -> Ended:
        return Ended(ended=await house.sign_in.session_end_others(who))

    @router.delete(
        "/sessions/{session}", operation_id="session_end", responses=ACTS, summary="End one of them",
        status_code=status.HTTP_204_NO_CONTENT, openapi_extra=_SELF,
    )  # fmt: skip
    async def session_end(house: House, who: Who, session: SessionName) -> None:
        await house.sign_in.session_end(who, session)


def _own(router: APIRouter) -> None:
    @router.post(
        "/session/second-factor", operation_id="second_factor", responses=ACTS,
        summary="Show the second factor again, for what needs it fresh", openapi_extra=_SELF,
    )  # fmt: skip
    async def second_factor(house: House, who: Who, body: CodeWrite, response: Response) -> SessionMade:
        return opened(await house.sign_in.second_factor(who, body.code), response)

    @router.post(
        "/session/totp", operation_id="totp_begin", responses=ACTS, summary="Set up a second factor",
        openapi_extra=_SELF,
    )  # fmt: skip
    async def totp_begin(house: House, who: Who, body: SeedWrite) -> SeedRead:
        seed = await house.sign_in.totp_begin(who, body.password)
        return SeedRead(seed=seed.text, address=seed.address)

    @router.post(
        "/session/totp/confirm", operation_id="totp_confirm", responses=ACTS,
        summary="Confirm the second factor with its first code", openapi_extra=_SELF,
    )  # fmt: skip
    async def totp_confirm(house: House, who: Who, body: CodeWrite, response: Response) -> SessionMade:
        return opened(await house.sign_in.totp_confirm(who, body.code), response)

    @router.post(
        "/session/password", operation_id="password_change", responses=ACTS,
        summary="Change one's password; other sessions end", status_code=status.HTTP_204_NO_CONTENT,
        openapi_extra=_SELF,
    )  # fmt: skip
    async def password_change(house: House, who: Who, body: PasswordWrite) -> None:
        await house.sign_in.password_change(who, body.password, body.fresh)

    @router.post(
        "/enrolment", operation_id="enrol", responses=ACTS,
        summary="Set a password with the code of an invitation", status_code=status.HTTP_204_NO_CONTENT,
        openapi_extra=NOBODY,
    )  # fmt: skip
    async def enrol(house: House, request: Request, body: EnrolmentWrite) -> None:
        address, request_id = from_of(request)
        await house.sign_in.enrol(body.user, body.code, body.password, address=address, request_id=request_id)
