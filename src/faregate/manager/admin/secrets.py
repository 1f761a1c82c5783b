"""Keys that seal what lies in the database, and peppers of API keys: shown by name, and rotated."""

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter
from pydantic import StringConstraints

from faregate.manager.admin.context import READS, House, Who, problems, time_text
from faregate.manager.admin.schemas import Body

_OWNS: Final[dict[str, Any]] = {"x-faregate-need": "own"}
_ROTATED: Final = {**READS, **problems(409, 413, 415)}


class DataKeyRead(Body):
    """`retired`: it seals nothing new, and opens what it sealed."""

    id: str
    created: str
    retired: str | None


class SecretsRead(Body):
    """`resealing`: values that are still sealed by a retired data key, and are being sealed anew."""

    master_key: str
    data_keys: list[DataKeyRead]
    peppers: list[str]
    resealing: int


class RotateWrite(Body):
    """`data_key`: another one seals from now on, and what lies sealed is sealed anew in the background.
    `master_key`: all data keys are sealed by another one. `pepper`: keys of consumers are made under another.
    """

    what: Literal["data_key", "master_key", "pepper"]
    master_key: Annotated[str, StringConstraints(pattern=r"^([0-9a-fA-F]{64})?$")] = ""
    """The next one, where `gateway.manager.master_key` names one; set it there before the next start."""


class RotateRead(Body):
    """`id`: names the new one."""

    what: str
    id: str


def make_router() -> APIRouter:
    router = APIRouter(tags=["secrets"])

    @router.get(
        "/secrets", operation_id="secrets_get", responses=READS, openapi_extra=_OWNS,
        summary="Which keys there are, by name",
    )  # fmt: skip
    async def secrets_get(house: House, who: Who) -> SecretsRead:
        found = await house.secrets.secrets_get(who)
        return SecretsRead(
            master_key=found.master,
            data_keys=[
                DataKeyRead(
                    id=one.id,
                    created=time_text(one.created_ms),
                    retired=None if one.retired_ms is None else time_text(one.retired_ms),
                )
                for one in found.data_keys
            ],
            peppers=found.peppers,
            resealing=found.resealing,
        )

    @router.post(
        "/secrets/rotate", operation_id="secrets_rotate", responses=_ROTATED, openapi_extra=_OWNS,
        summary="Put another key in the place of one",
    )  # fmt: skip
    async def secrets_rotate(house: House, who: Who, body: RotateWrite) -> RotateRead:
        if body.what == "data_key":
            name = await house.secrets.rotate_data_key(who)
        elif body.what == "pepper":
            name = await house.secrets.rotate_pepper(who)
        else:
            name = await house.secrets.rotate_master(who, body.master_key)
        return RotateRead(what=body.what, id=name)

    return router
