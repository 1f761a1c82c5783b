"""Whether what callers of active versions were promised still holds: their OpenAPI documents, old by new.

Documents are anybody's who may change an API, and they may be made to take long; so they are compared in a
process of its own, bounded in size, time and memory, while the manager serves others. The writer's turn is
held meanwhile: what cannot be told in time is refused, and force says that it shall be all the same.
"""

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
    """The contract of ``where``, such as ``payments/v1``."""

    where: str
    old: Content
    new: Content


class _Change(msgspec.Struct):
    pointer: str
    operation: str
    message: str


class _Answer(msgspec.Struct):
    """``at``: the number of the pair, -1 for none."""

    at: int
    wrong: str
    changes: list[_Change]


async def demand_compatible(pairs: Sequence[Pair]) -> None:
    """Raises Breaking; Invalid for what is no OpenAPI document."""
    if not pairs:
        return
    found = await _compared(pairs)
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


async def _compared(pairs: Sequence[Pair]) -> _Answer | None:
    """None: it cannot be told."""
    try:
        sent = msgspec.json.encode({"op": "break", "pairs": [(pair.old, pair.new) for pair in pairs]})
        if len(sent) > DOCUMENTS_BYTES_MAX:
            return None
        status, told, _ = await answered(_TOOLS, sent, COMPARE_S)
        return msgspec.json.decode(told, type=_Answer) if status == 0 else None
    except (Invalid, OverflowError, UnicodeEncodeError, RecursionError, msgspec.MsgspecError):
        return None
