"""The audit tree for auditors: records, proofs, checkpoints. Each look is a record too."""

from typing import Annotated, Any, Final
from urllib.parse import urlencode

import msgspec
from fastapi import APIRouter, Path, Query
from pydantic import Field

from faregate.manager.admin.context import READS, House, Size, Who, problems
from faregate.manager.admin.schemas import Body, Spec
from faregate.records.audit.browsing import Record, Wanted

_AUDITS: Final[dict[str, Any]] = {"x-faregate-need": "audit"}
_READS: Final = {**READS, **problems(409)}
_SIZE_MAX: Final = 1 << 53

Text = Annotated[str, Query(max_length=1024)]
Seq = Annotated[int, Path(ge=0, le=_SIZE_MAX, description="The record's number.")]
Count = Annotated[int, Query(ge=0, le=_SIZE_MAX)]


class AuditRecord(Body):
    """A record of the tree. `leaf_hash`: SHA-256 of its leaf, in hex."""

    seq: int
    time: str
    type: str
    actor: str
    object: str
    detail: Spec
    prev: str
    leaf_hash: str


class AuditPage(Body):
    """The newest first. A page may be short, even empty, while there are more: `offset` goes on."""

    data: list[AuditRecord]
    offset: str | None = None
    next: str | None = None


class AuditProven(Body):
    """`proof`: what `faregate audit verify --proof` checks; null while the record is in no signed tree."""

    record: AuditRecord
    proof: Spec | None


class CheckpointRead(Body):
    """`note`: the checkpoint as it was signed (C2SP signed note); `key`: the verifier key."""

    origin: str
    size: int
    root: str = Field(description="Hex.")
    note: str
    key: str


def _read(record: Record) -> AuditRecord:
    told = record.leaf
    return AuditRecord(
        seq=told.seq,
        time=told.time,
        type=told.type,
        actor=told.actor,
        object=told.object,
        detail=told.detail,
        prev=told.prev,
        leaf_hash=record.hash.hex(),
    )


def make_router() -> APIRouter:
    router = APIRouter(tags=["audit"])

    @router.get(
        "/audit", operation_id="audit_list", responses=READS, openapi_extra=_AUDITS,
        summary="Records of the audit tree, the newest first", response_model_exclude_none=True,
    )  # fmt: skip
    async def audit_list(  # noqa: PLR0913, PLR0917 - one a parameter of the request
        house: House,
        who: Who,
        size: Size = 100,
        offset: Annotated[str, Query(max_length=32, description="`offset` of the page before.")] = "",
        type: Annotated[  # noqa: A002 - the member's name
            str, Query(pattern=r"^[a-z0-9_.]{0,64}$", description="This type, or those below: `revision`.")
        ] = "",
        actor: Text = "",
        object: Text = "",  # noqa: A002 - likewise
    ) -> AuditPage:
        wanted = Wanted(type, actor, object)
        page = await house.audit_reading.audit_list(who, wanted, offset=offset, size=size)
        more = {"offset": page.next, "size": size, "type": type, "actor": actor, "object": object}
        kept = {name: value for name, value in more.items() if value}
        return AuditPage(
            data=[_read(record) for record in page.records],
            offset=page.next or None,
            next=f"/audit?{urlencode(kept)}" if page.next else None,
        )

    @router.get(
        "/audit/checkpoint", operation_id="audit_checkpoint", responses=READS, openapi_extra=_AUDITS,
        summary="The last signed checkpoint",
    )  # fmt: skip
    async def audit_checkpoint(house: House, who: Who) -> CheckpointRead:
        told = await house.audit_reading.audit_checkpoint(who)
        checkpoint = told.signed.checkpoint
        return CheckpointRead(
            origin=checkpoint.origin,
            size=checkpoint.size,
            root=checkpoint.root.hex(),
            note=told.signed.note,
            key=told.key.line,
        )

    @router.get(
        "/audit/consistency", operation_id="audit_consistency", responses=READS, openapi_extra=_AUDITS,
        summary="Proof that a later tree begins with an earlier one",
    )  # fmt: skip
    async def audit_consistency(
        house: House,
        who: Who,
        old: Annotated[int, Query(ge=1, le=_SIZE_MAX, description="Records of the earlier tree.")],
        new: Annotated[int, Query(ge=0, le=_SIZE_MAX, description="Of the later; 0: as last signed.")] = 0,
    ) -> Spec:
        proof = await house.audit_reading.audit_consistency(who, old, new)
        told: Spec = msgspec.to_builtins(proof)
        return told

    @router.get(
        "/audit/{seq}", operation_id="audit_get", responses=_READS, openapi_extra=_AUDITS,
        summary="One record, with the proof that it stands in the signed tree",
    )  # fmt: skip
    async def audit_get(house: House, who: Who, seq: Seq) -> AuditProven:
        proven = await house.audit_reading.audit_get(who, seq)
        proof = None if proven.proof is None else msgspec.to_builtins(proven.proof)
        return AuditProven(record=_read(proven.record), proof=proof)

    return router
