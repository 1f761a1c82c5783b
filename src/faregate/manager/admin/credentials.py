"""Credentials of consumers. A key is in the answer that makes it, and never again."""

from typing import Annotated, Any, Final, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query, Response, status
from pydantic import Field

from faregate.manager.admin.context import (
    READS,
    WRITES,
    House,
    Name,
    Offset,
    Size,
    Who,
    Why,
    published,
    tag,
)
from faregate.manager.admin.entries import read_of
from faregate.manager.admin.repeating import Repeated
from faregate.manager.admin.schemas import NAME_PATTERN, Body, EntryPage, EntryRead, Sent, Spec
from faregate.manager.cases.credentials import LIFE_MAX_S, NOTE_CHARACTERS_MAX, OVERLAP_MAX_S, Made

_SEES: Final[dict[str, Any]] = {"x-faregate-need": "see"}
_WRITES: Final[dict[str, Any]] = {"x-faregate-need": "write"}

CredentialName = Annotated[str, Path(pattern=NAME_PATTERN, description="The credential's id.")]
Life = Annotated[
    int | None, Field(ge=60, le=LIFE_MAX_S, description="Seconds until it ends; absent: it does not.")
]


class KeyWrite(Sent):
    """A key to be made."""

    mode: Literal["live", "test"] = "live"
    life_s: Life = None
    note: str = Field(default="", max_length=NOTE_CHARACTERS_MAX)


class KeyRoll(Sent):
    """How the old key ends."""

    overlap_s: int = Field(default=0, ge=0, le=OVERLAP_MAX_S, description="Seconds both keys work.")
    life_s: int | None = Field(
        default=None,
        ge=0,
        le=LIFE_MAX_S,
        description="Seconds until the new one ends, 60 at least; absent: as many as the old one was given; "
        "0: it does not end.",
    )


class KeyMade(Body):
    """`secret` is shown here and nowhere else."""

    credential: EntryRead
    secret: str
    published: bool


class CredentialWrite(Body):
    """A certificate or a token's subject; exactly one of `mtls` and `jwt`."""

    mtls: Spec | None = None
    jwt: Spec | None = None


def _answer(made: Made) -> tuple[KeyMade, dict[str, str]]:
    """The answer before anything is published, and what its head says."""
    headers = {"Location": f"/credentials/{made.entry.name}"}
    if made.revision is not None:
        headers |= {"Faregate-Revision": str(made.revision.number), "Faregate-Published": "false"}
    body = KeyMade(credential=read_of(made.entry), secret=made.secret.reveal().decode(), published=False)
    return body, headers


async def _made(house: House, made: Made, response: Response) -> KeyMade:
    body, headers = _answer(made)
    response.status_code = status.HTTP_201_CREATED
    response.headers["Location"] = headers["Location"]
    body.published = await published(house, None if made.revision is None else made.revision.number, response)
    return body


def make_router() -> APIRouter:
    router = APIRouter(tags=["credentials"])

    @router.get(
        "/credentials", operation_id="credential_list", responses=READS, openapi_extra=_SEES,
        summary="List credentials", response_model_exclude_none=True,
    )  # fmt: skip
    async def credential_list(
        house: House,
        who: Who,
        size: Size = 100,
        offset: Offset = "",
        consumer: Annotated[str, Query(max_length=128, description="Only this consumer's.")] = "",
    ) -> EntryPage:
        page = await house.credentials.credential_list(who, consumer=consumer, after=offset, size=size)
        more = {"offset": page.after, "size": str(size), **({"consumer": consumer} if consumer else {})}
        return EntryPage(
            data=[read_of(entry) for entry in page.entries],
            offset=page.after or None,
            next=f"/credentials?{urlencode(more)}" if page.after else None,
        )

    @router.get(
        "/credentials/{credential}", operation_id="credential_get", responses=READS, openapi_extra=_SEES,
        summary="One credential",
    )  # fmt: skip
    async def credential_get(
        house: House, who: Who, credential: CredentialName, response: Response
    ) -> EntryRead:
        entry = await house.credentials.credential_get(who, credential)
        tag(response, entry.digest)
        return read_of(entry)

    @router.post(
        "/consumers/{name}/keys", operation_id="key_create", responses=WRITES, openapi_extra=_WRITES,
        summary="Make an API key", status_code=status.HTTP_201_CREATED, response_model=KeyMade,
    )  # fmt: skip
    async def key_create(  # noqa: PLR0913, PLR0917
        house: House,
        who: Who,
        name: Name,
        body: KeyWrite,
        why: Why,
        repeat: Repeated,
        response: Response,
    ) -> Any:  # KeyMade, or what was answered before
        if (answered := await repeat.answered("write")) is not None:
            return answered
        made = await house.credentials.key_create(
            who,
            name,
            mode=body.mode,
            life_s=body.life_s,
            note=body.note,
            reason=why,
            also=repeat.keeping(_answer),
        )
        return await _made(house, made, response)

    @router.post(
        "/credentials/{credential}/roll", operation_id="key_roll", responses=WRITES, openapi_extra=_WRITES,
        summary="Replace an API key by a new one", response_model=KeyMade,
        status_code=status.HTTP_201_CREATED,
    )  # fmt: skip
    async def key_roll(  # noqa: PLR0913, PLR0917 - one a part of the request
        house: House,
        who: Who,
        credential: CredentialName,
        body: KeyRoll,
        why: Why,
        repeat: Repeated,
        response: Response,
    ) -> Any:  # likewise
        if (answered := await repeat.answered("write")) is not None:
            return answered
        made = await house.credentials.key_roll(
            who,
            credential,
            overlap_s=body.overlap_s,
            life_s=body.life_s,
            reason=why,
            also=repeat.keeping(_answer),
        )
        return await _made(house, made, response)

    @router.put(
        "/consumers/{name}/credentials/{credential}", operation_id="credential_put", responses=WRITES,
        openapi_extra=_WRITES, summary="Add or replace a certificate or a token's subject",
    )  # fmt: skip
    async def credential_put(  # noqa: PLR0913, PLR0917
        house: House,
        who: Who,
        name: Name,
        credential: CredentialName,
        body: CredentialWrite,
        why: Why,
        response: Response,
    ) -> EntryRead:
        kind, form = house.credentials.form_of(body.mtls, body.jwt)
        entry, revision = await house.credentials.credential_put(
            who, credential, name, kind, form, reason=why
        )
        tag(response, entry.digest)
        await published(house, None if revision is None else revision.number, response)
        return read_of(entry)

    @router.delete(
        "/credentials/{credential}", operation_id="credential_revoke", responses=WRITES,
        openapi_extra=_WRITES, summary="Revoke a credential for good",
        status_code=status.HTTP_204_NO_CONTENT,
    )  # fmt: skip
    async def credential_revoke(
        house: House, who: Who, credential: CredentialName, why: Why, response: Response
    ) -> None:
        revision = await house.credentials.credential_revoke(who, credential, reason=why)
        await published(house, None if revision is None else revision.number, response)

    return router
