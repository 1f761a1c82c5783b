"""Looking into the audit tree: its records, the proof that one stands in it, its checkpoint.

For auditors and owners of everything. Each look is itself a record, durable before anything is shown. Files
are read in threads, two at a time: a proof reads the whole tree (a second for 400,000 records).
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from faregate.manager.cases import permits
from faregate.manager.cases.domain import EVERYWHERE, Actor, Json
from faregate.manager.cases.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable
from faregate.manager.cases.ports import Audit
from faregate.records.audit.browsing import Page, PlaceError, Record, Wanted, newest, record_at
from faregate.records.audit.note import NoteError, Verifier
from faregate.records.audit.places import PUBLIC_KEY, folder_in, read_verifier
from faregate.records.audit.proving import (
    Consistency,
    Inclusion,
    ProofError,
    last_signed,
    prove,
    prove_consistency,
    signed_at,
)
from faregate.records.audit.reading import ReadError, Signed

READERS_MAX: Final = 2

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Proven:
    """``proof`` None: the record is in no signed tree yet."""

    record: Record
    proof: Inclusion | None


@dataclass(frozen=True, slots=True)
class Told:
    """The last checkpoint, and the key that it is checked by."""

    signed: Signed
    key: Verifier


class AuditReading:
    """Use cases over the tree in the data folder ``data``; ``audit`` is told of each."""

    def __init__(self, data: Path, audit: Audit) -> None:
        self._folder = folder_in(data)
        self._audit = audit
        self._turn = asyncio.Semaphore(READERS_MAX)

    async def audit_list(self, actor: Actor, wanted: Wanted, *, offset: str = "", size: int = 100) -> Page:
        """The newest records of these first. Raises Forbidden, Invalid, Unavailable."""
        told = {name: value for name, value in wanted._asdict().items() if value}
        await self._look(actor, "audit", {"wanted": told, "offset": offset, "size": size})
        if not await asyncio.to_thread(self._folder.is_dir):
            return Page([], "")
        return await self._read(lambda: newest(self._folder, wanted, place=offset, size=size))

    async def audit_get(self, actor: Actor, seq: int) -> Proven:
        """One record with its proof. Raises Forbidden, NotFound, Unavailable."""
        await self._look(actor, f"audit/{seq}", {})
        return await self._read(lambda: self._proven(seq))

    async def audit_checkpoint(self, actor: Actor) -> Told:
        """The last checkpoint. Raises Forbidden, NotFound, Unavailable."""
        await self._look(actor, "audit/checkpoint", {})
        return await self._read(lambda: self._last(self._verifier()))

    async def audit_consistency(self, actor: Actor, old: int, new: int) -> Consistency:
        """That the tree of ``new`` records (0: as last signed) begins with that of ``old``. Raises Forbidden,
        NotFound, Invalid, Unavailable.
        """
        await self._look(actor, "audit/consistency", {"old": old, "new": new})
        return await self._read(lambda: self._consistent(old, new))

    async def _look(self, actor: Actor, what: str, detail: dict[str, Json]) -> None:
        if not permits.may(actor, "audit", (EVERYWHERE,)):
            raise Forbidden("This needs the role auditor, for everything.")
        who: dict[str, Json] = {
            "credential": actor.credential,
            "from": actor.address,
            "request_id": actor.request_id,
        }
        await self._audit.append("audit.read", actor.person, what, {**detail, **who})

    async def _read(self, read: Callable[[], _T]) -> _T:
        async with self._turn:
            try:
                return await asyncio.to_thread(read)
            except PlaceError as error:
                raise Invalid(f"offset: {error}.") from error
            except (ReadError, NoteError, OSError) as error:
                raise Unavailable(f"The audit tree cannot be read: {error}.") from error

    def _verifier(self) -> Verifier:
        try:
            return read_verifier(self._folder / PUBLIC_KEY)
        except FileNotFoundError:
            raise NotFound("There is no audit tree yet.") from None

    def _last(self, verifier: Verifier) -> Told:
        signed = last_signed(self._folder, verifier)
        if signed is None:
            raise NotFound("Nothing is signed yet.")
        return Told(signed, verifier)

    def _proven(self, seq: int) -> Proven:
        verifier = self._verifier()
        record = record_at(self._folder, seq)
        if record is None:
            raise NotFound("There is no such record.")
        signed = last_signed(self._folder, verifier)
        if signed is None or signed.checkpoint.size <= seq:
            return Proven(record, None)
        try:
            return Proven(record, prove(self._folder, verifier, seq))
        except ProofError as error:
            raise Conflict(f"There is no proof: {error}.") from error

    def _consistent(self, old: int, new: int) -> Consistency:
        verifier = self._verifier()
        last = self._last(verifier).signed
        size = new or last.checkpoint.size
        try:
            proof = prove_consistency(self._folder, old, size)
        except ProofError as error:
            raise Invalid(f"There is no such proof: {error}.") from error
        notes = {}
        for side, count in (("old_checkpoint", old), ("checkpoint", size)):
            signed = signed_at(self._folder, verifier, count)
            notes[side] = "" if signed is None else signed.note
        return Consistency(
            proof.format, proof.old_size, proof.old_root, proof.size, proof.root, proof.proof, **notes
        )
