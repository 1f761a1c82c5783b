"""Users, their roles and their tokens, over HTTP."""

from typing import Annotated, Any, Final, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Response, status
from pydantic import Field

from faregate.manager.admin.context import (
    HELD,
    READS,
    Condition,
    House,
    Offset,
    Size,
    Who,
    problems,
    tag,
    time_text,
)
from faregate.manager.admin.repeating import Repeated
from faregate.manager.admin.schemas import Body, Sent
from faregate.manager.admin.sign_in import GrantBody, grants_read
from faregate.manager.cases.access_tokens import LIFE_MAX_S, LIFE_MIN_S, MadeToken
from faregate.manager.cases.domain import Grant
from faregate.manager.cases.people import GRANTS_MAX, Invited
from faregate.manager.database.people import Token, User

_OWNS: Final[dict[str, Any]] = {"x-faregate-need": "own"}
_AUDITS: Final[dict[str, Any]] = {"x-faregate-need": "audit"}
_SELF: Final[dict[str, Any]] = {"x-faregate-need": "self"}
ACTS: Final = problems(400, 403, 404, 409, 412, 413, 415, 422, 428)
HOLDS: Final = {**HELD, **ACTS}

UserName = Annotated[
    str, Path(pattern=r"^[a-z0-9][a-z0-9._@-]{0,62}$", description="The user's name; never used twice.")
]
TokenName = Annotated[str, Path(pattern=r"^tok_[0-9a-f]{12}$", description="The token's id.")]


class UserWrite(Sent):
    """A new user. `service`: no person; it has tokens alone."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._@-]{0,62}$")
    display: str = Field(default="", max_length=200)
    email: str = Field(default="", max_length=254)
    service: bool = False


class UserPatch(Body):
    """What is left out stays. `disabled` ends all sessions and tokens at once."""

    display: str | None = Field(default=None, max_length=200)
    email: str | None = Field(default=None, max_length=254)
    state: Literal["active", "disabled"] | None = None


class UserRead(Body):
    name: str
    display: str
    email: str
    service: bool
    state: Literal["active", "disabled"]
    second_factor: bool
    invited: bool = Field(description="A code that sets a password is out.")
    provider: bool = Field(description="Signs in by the provider, whose groups give the roles.")
    grants: list[GrantBody]
    created: str
    etag: str


class UserPage(Body):
    data: list[UserRead]
    offset: str | None = None
    next: str | None = None


class UserMade(Body):
    """`code` sets a password once, at `POST /enrolment`; it is shown here and nowhere else."""

    user: UserRead
    code: str | None = None


class GrantsWrite(Body):
    grants: list[GrantBody] = Field(max_length=GRANTS_MAX)


class TokenWrite(Sent):
    """`grants`: fewer roles than the user's; none: the same."""

    note: str = Field(default="", max_length=200)
    life_s: int = Field(
        default=90 * 86_400, ge=LIFE_MIN_S, le=LIFE_MAX_S, description="Seconds until it ends."
    )
    grants: list[GrantBody] = Field(default_factory=list, max_length=GRANTS_MAX)


class TokenRead(Body):
    id: str
    user: str
    note: str
    grants: list[GrantBody]
    created: str
    used: str | None = Field(default=None, description="Within about a minute.")
    expires: str


class TokenPage(Body):
    data: list[TokenRead]


class TokenMade(Body):
    """`secret` is shown here and nowhere else."""

    token: TokenRead
    secret: str


def _user(one: User) -> UserRead:
    return UserRead(
        name=one.name,
        display=one.display,
        email=one.email,
        service=one.service,
        state=one.state,
        second_factor=one.totp is not None,
        invited=bool(one.invite),
        provider=bool(one.external),
        grants=grants_read(one.grants),
        created=time_text(one.created_ms),
        etag=str(one.version),
    )


def _told(one: User, response: Response) -> UserRead:
    tag(response, str(one.version))
    return _user(one)


def _invited(one: Invited, response: Response) -> UserMade:
    code = None if one.code is None else one.code.reveal().decode()
    return UserMade(user=_told(one.user, response), code=code)


def _token(one: Token) -> TokenRead:
    return TokenRead(
        id=one.id,
        user=one.user,
        note=one.note,
        grants=grants_read(one.roles),
        created=time_text(one.created_ms),
        used=time_text(one.used_ms) if one.used_ms else None,
        expires=time_text(one.expires_ms),
    )


def _user_made(one: Invited) -> tuple[UserMade, dict[str, str]]:
    code = None if one.code is None else one.code.reveal().decode()
    headers = {"Location": f"/users/{one.user.name}", "ETag": f'"{one.user.version}"'}
    return UserMade(user=_user(one.user), code=code), headers


def _token_made(made: MadeToken) -> tuple[TokenMade, dict[str, str]]:
    return TokenMade(token=_token(made.token), secret=made.secret.reveal().decode()), {}


def _grants(told: list[GrantBody]) -> list[Grant]:
    return [Grant(one.role, one.scope) for one in told]


def make_router() -> APIRouter:
    router = APIRouter()
    _users(router)
    _tokens(router)
    return router


def _users(router: APIRouter) -> None:
    @router.get(
        "/users", operation_id="user_list", tags=["people"], responses=READS, summary="List users",
        openapi_extra=_AUDITS, response_model_exclude_none=True,
    )  # fmt: skip
    async def user_list(house: House, who: Who, size: Size = 100, offset: Offset = "") -> UserPage:
        found, after = await house.people.user_list(who, after=offset, size=size)
        more = urlencode({"offset": after, "size": size})
        return UserPage(
            data=[_user(one) for one in found],
            offset=after or None,
            next=f"/users?{more}" if after else None,
        )

    @router.post(
        "/users", operation_id="user_create", tags=["people"], responses=ACTS,
        summary="Make a user, without any role yet", status_code=status.HTTP_201_CREATED,
        openapi_extra=_OWNS, response_model=UserMade,
    )  # fmt: skip
    async def user_create(
        house: House, who: Who, body: UserWrite, repeat: Repeated, response: Response
    ) -> Any:  # UserMade, or what was answered before
        if (answered := await repeat.answered("own")) is not None:
            return answered
        made = await house.people.user_create(
            who,
            body.name,
            display=body.display,
            email=body.email,
            service=body.service,
            also=repeat.keeping(_user_made),
        )
        response.headers["Location"] = f"/users/{body.name}"
        return _invited(made, response)

    @router.get(
        "/users/{user}", operation_id="user_get", tags=["people"], responses=READS,
        summary="One user; oneself without any role", openapi_extra=_SELF,
    )  # fmt: skip
    async def user_get(house: House, who: Who, user: UserName, response: Response) -> UserRead:
        return _told(await house.people.user_get(who, user), response)

    @router.patch(
        "/users/{user}", operation_id="user_update", tags=["people"], responses=HOLDS,
        summary="Change or disable a user", openapi_extra=_OWNS,
    )  # fmt: skip
    async def user_update(  # noqa: PLR0913, PLR0917 - one a part of the request
        house: House, who: Who, user: UserName, body: UserPatch, condition: Condition, response: Response
    ) -> UserRead:
        found = await house.people.user_update(
            who, user, condition=condition, display=body.display, email=body.email, state=body.state
        )
        return _told(found, response)

    @router.put(
        "/users/{user}/grants", operation_id="grants_put", tags=["people"], responses=HOLDS,
        summary="A user's roles from now on; needs a fresh second factor", openapi_extra=_OWNS,
    )  # fmt: skip
    async def grants_put(  # noqa: PLR0913, PLR0917 - one a part of the request
        house: House, who: Who, user: UserName, body: GrantsWrite, condition: Condition, response: Response
    ) -> UserRead:
        found = await house.people.grants_put(who, user, _grants(body.grants), condition=condition)
        return _told(found, response)

    @router.post(
        "/users/{user}/recover", operation_id="user_recover", tags=["people"], responses=HOLDS,
        summary="Let a user in again who lost password or second factor", openapi_extra=_OWNS,
    )  # fmt: skip
    async def user_recover(house: House, who: Who, user: UserName, response: Response) -> UserMade:
        return _invited(await house.people.user_recover(who, user), response)


def _tokens(router: APIRouter) -> None:
    @router.get(
        "/users/{user}/tokens", operation_id="token_list", tags=["tokens"], responses=READS,
        summary="A user's tokens", openapi_extra=_SELF, response_model_exclude_none=True,
    )  # fmt: skip
    async def token_list(house: House, who: Who, user: UserName) -> TokenPage:
        found = await house.access_tokens.token_list(who, user)
        return TokenPage(data=[_token(one) for one in found])

    @router.post(
        "/users/{user}/tokens", operation_id="token_create", tags=["tokens"], responses=ACTS,
        summary="Make a token, of oneself or a service; needs a fresh second factor",
        status_code=status.HTTP_201_CREATED, openapi_extra=_SELF, response_model=TokenMade,
    )  # fmt: skip
    async def token_create(
        house: House, who: Who, user: UserName, body: TokenWrite, repeat: Repeated
    ) -> Any:  # TokenMade, or what was answered before
        if (answered := await repeat.answered()) is not None:
            return answered
        made = await house.access_tokens.token_create(
            who,
            user,
            note=body.note,
            life_s=body.life_s,
            roles=_grants(body.grants),
            also=repeat.keeping(_token_made),
        )
        return _token_made(made)[0]

    @router.delete(
        "/tokens/{token}", operation_id="token_revoke", tags=["tokens"], responses=ACTS,
        summary="Revoke a token", status_code=status.HTTP_204_NO_CONTENT, openapi_extra=_SELF,
    )  # fmt: skip
    async def token_revoke(house: House, who: Who, token: TokenName) -> None:
        await house.access_tokens.token_revoke(who, token)
