"""Whether what callers of active versions were promised still holds: their OpenAPI documents, old by new.

Documents are anybody's who may change an API, and they may be made to take long; so they are compared in a
process of its own, bounded in size, time and memory, while the manager serves others and others commit: under
the writer's turn it is only looked whether what was compared is what stands there. What cannot be told in
time is refused, and force says that it shall be all the same.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from faregate.manager.cases.domain import Content
from faregate.manager.cases.errors import Conflict, Invalid
from faregate.manager.cases.tools import answered

COMPARE_S: Final = 10.0
DOCUMENTS_BYTES_MAX: Final = 16 << 20
"""Of all documents that one change compares."""
SHOWN_MAX: Final = 50
_TOOLS: Final = ("-m", "faregate.compile.tools")


class Breaking(Conflict):
    """An active version's contract would be broken, or it cannot be told; ``changes`` names each break."""

    code, title = "breaking_change", "Breaking change"


class Pair(NamedTuple):
    """The contract of ``where``, such as ``payments/v1``: a document, or the name of its file."""

    where: str
    old: Content | str
    new: Content | str

    @property
    def digest(self) -> str:
        """What was compared: the same for the same documents at the same place."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()


class _Change(msgspec.Struct):
    pointer: str
    operation: str
    message: str


class _Answer(msgspec.Struct):
    """``at``: the number of the pair, -1 for none."""

    at: int
    wrong: str
    changes: list[_Change]


async def demand_compatible(
    pairs: Sequence[Pair], turn: asyncio.Semaphore, folder: str = "/nonexistent"
) -> None:
    """Raises Breaking; Invalid for what is no OpenAPI document. ``turn``: how many are compared at once;
    ``folder``: below which the files lie that are named.
    """
    async with turn:
        found = await _compared(pairs, folder)
    if found is None:
        names = ", ".join(pair.where for pair in pairs[:SHOWN_MAX])
        raise Breaking(
            f"{names}: the change of an active contract cannot be judged in {COMPARE_S:.0f} seconds and "
            f"{DOCUMENTS_BYTES_MAX >> 20} MiB of documents; change fewer at once, or force it.",
            changes=[],
        )
    if found.at < 0:
        return
    where = pairs[found.at].where
    if found.wrong:
        raise Invalid(f"{where}: {found.wrong}")
    shown = [
        {"path": one.pointer, "operation": one.operation, "message": one.message}
        for one in found.changes[:SHOWN_MAX]
    ]
    first = found.changes[0].message
    raise Breaking(f"{where} is active, and this would break its callers: {first}", changes=shown)


async def _compared(pairs: Sequence[Pair], folder: str) -> _Answer | None:
    """None: it cannot be told."""
    try:
        asked = {"op": "break", "pairs": [(pair.old, pair.new) for pair in pairs], "folder": folder}
        sent = msgspec.json.encode(asked)
        if len(sent) > DOCUMENTS_BYTES_MAX:
            return None
        status, told, _ = await answered(_TOOLS, sent, COMPARE_S)
        return msgspec.json.decode(told, type=_Answer) if status == 0 else None
    except (Invalid, OverflowError, UnicodeEncodeError, RecursionError, msgspec.MsgspecError):
        return None
