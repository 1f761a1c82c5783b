"""How the gateway's processes report to the audit tree.

An act of administration, and a call that must not be made unrecorded, is appended and awaited: durable when
``append`` returns, else ``AuditError``. Ended calls are put, and never wait. What is written of persons is a
keyed hash (``personal``), and what looks like a card number, a key or a token is masked on its way in.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from faregate.records.audit import leaf
from faregate.records.audit.calls import shortened
from faregate.records.audit.leaf import LeafError
from faregate.records.audit.line import Line, Waiting
from faregate.records.audit.masked import masked_detail, masked_text
from faregate.records.audit.places import folder_in
from faregate.records.audit.wire import AWAY
from faregate.records.masking import keyed_digest

WITHIN_S: Final = 2.0
CLOSE_S: Final = 2.0
_GRACE_S: Final = 0.25
FULL: Final = "audit_busy"


class AuditError(Exception):
    """The record is not known to be durable: what it stands for must not happen. ``reason``: a word."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"no audit record can be kept: {reason}")
        self.reason = reason


class Appended(NamedTuple):
    """Where a record stands in the tree, and the hash of its leaf."""

    seq: int
    leaf_hash: bytes


class Audit:
    """Reports to the tree of the data folder ``data``. Costs nothing until it is first used; one for each
    process. ``wall``: seconds since the epoch.
    """

    def __init__(
        self, data: Path, *, wall: Callable[[], float] = time.time, line: Line | None = None
    ) -> None:
        self._data = data
        self._wall = wall
        self._line = line or Line(folder_in(data))
        self._digest_key = b""

    @property
    def records(self) -> int:
        """Ended calls whose records are durable, since the start."""
        return self._line.records

    @property
    def lost(self) -> int:
        """Ended calls of which no record was kept, since the start."""
        return self._line.lost

    async def append(
        self,
        type: str,  # noqa: A002 - the member's name
        actor: str,
        object: str,  # noqa: A002 - likewise
        detail: Mapping[str, object],
        *,
        within_s: float = WITHIN_S,
    ) -> Appended:
        """Appends a record and waits until it is durable; ``within_s`` seconds at most.

        ``type``: such as ``revision.applied``. ``actor``: who did it; ``object``: to what. ``detail``: text,
        whole numbers, booleans, null, lists and objects; secrets and card numbers in it are masked. Raises
        ``AuditError`` when it is not known to be durable (it may be all the same), ``LeafError`` for what is
        no record.
        """
        made = leaf.entry(
            type,
            masked_text(actor),
            masked_text(object),
            masked_detail(detail),
            leaf.time_text(self._wall()),
        )
        loop = asyncio.get_running_loop()
        future: asyncio.Future[tuple[int, bytes] | str] = loop.create_future()

        def tell(what: tuple[int, bytes] | str) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(_set, future, what)

        waiting = Waiting(made, time.monotonic() + within_s, tell)
        if not self._line.put(waiting):
            raise AuditError(FULL)
        try:
            async with asyncio.timeout(within_s + _GRACE_S):
                told = await future
        except TimeoutError:
            raise AuditError(AWAY) from None
        finally:
            waiting.over = True  # what was not sent yet need not be, where nobody waits any more
        if isinstance(told, str):
            raise AuditError(told)
        return Appended(*told)

    def put_calls(self, lines: list[str]) -> None:
        """Reports ended calls by their lines of the access log. Never waits."""
        text = "".join(shortened(lines))
        self._line.put_calls(text.encode(), len(lines))

    def personal(self, value: str) -> str:
        """What stands for a personal value in a record: the same for the same value on this data folder.
        Raises OSError where the folder has no ``digest.key``.
        """
        if not self._digest_key:
            self._digest_key = (self._data / "digest.key").read_bytes()
        return f"hmac:{keyed_digest(self._digest_key, value.encode())}"

    def close(self, timeout_s: float = CLOSE_S) -> bool:
        """Sends what is queued; False when that took longer than ``timeout_s``."""
        return self._line.close(timeout_s)


def _set(future: "asyncio.Future[tuple[int, bytes] | str]", what: tuple[int, bytes] | str) -> None:
    if not future.done():
        future.set_result(what)


__all__ = ["Appended", "Audit", "AuditError", "LeafError"]
