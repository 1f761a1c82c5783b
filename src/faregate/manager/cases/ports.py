"""What use cases need of the rest of the process, as protocols: the compiler, the publisher, the audit tree,
the envelope, the clock.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from faregate.manager.arms import Arm
from faregate.manager.cases.domain import Content, Json, Section

Diagnostic = Mapping[str, object]
"""``level``, ``code``, ``path``, ``message``, ``expected``, ``nearest``."""


class Compiler(Protocol):
    """Holds the whole declared configuration, the file's and the database's, and compiles changes of it."""

    async def check(self, changes: Sequence[Mapping[str, object]]) -> list[Diagnostic]:
        """What would be wrong; changes nothing. Raises Unavailable."""

    async def apply(self, changes: Sequence[Mapping[str, object]]) -> list[Diagnostic]:
        """Takes all changes, or none when a diagnostic is an error. Raises Unavailable."""

    async def undo(self) -> None:
        """Takes back the last ``apply``; where the compiler has begun anew since, there is nothing to take
        back.
        """

    def kept(self) -> None:
        """What was applied last is in the replica: a compiler that began anew in between does so again."""

    def anew(self) -> None:
        """What it reads from the data folder besides was changed: it is to begin anew before the next."""

    async def file_entry(self, section: Section, name: str) -> Content | None:
        """An entry that the file owns, secrets masked."""

    async def file_names(self, section: Section) -> Sequence[str]:
        """The names that the file owns in a section, sorted."""


class Publisher(Protocol):
    """Brings committed revisions into the workers of this machine, the newest first."""

    async def committed(self, number: int, changes: Sequence[Mapping[str, object]], after: int) -> None:
        """Revision ``number`` was committed, these changes after revision ``after``; it is on its way from
        now on.
        """

    def again(self) -> None:
        """What is wanted is made sure of anew."""

    async def misfit(self, message: str) -> None:
        """Another machine's revision does not fit this one's file; empty: it does."""

    async def published(self, number: int, timeout_s: float) -> bool:
        """Waits until the workers run ``number`` or a later one; False when they do not in time."""


class Trial(Protocol):
    """Runs a changed configuration for some of the calls of this machine, without committing it."""

    async def prepare(self, changes: Sequence[Mapping[str, object]], number: int) -> list[Diagnostic]:
        """Compiles it under a number; for whoever has the writer's turn. Raises Unavailable."""

    async def begin(self, number: int, percent: int, consumers: Sequence[str], lease_s: float) -> int:
        """Has the workers run it; the number that they know it by. Ends by itself after ``lease_s`` seconds
        without ``keep``. Raises Conflict, Unavailable.
        """

    async def keep(self, number: int) -> bool:
        """Whether it still runs. Raises OSError."""

    async def end(self, reason: str) -> None:
        """Raises OSError."""

    def arms(self) -> tuple[Arm, Arm]:
        """What came of the calls of the running revision meanwhile, and of its own."""


class Audit(Protocol):
    async def append(self, kind: str, actor: str, object_: str, detail: Mapping[str, Json]) -> int:
        """Durable when it returns the leaf's sequence number. Raises Unavailable: the act must not happen."""


class Envelope(Protocol):
    """Seals what must not lie readable in the database."""

    def seal(self, value: bytes, purpose: str) -> bytes: ...

    def open(self, sealed: bytes, purpose: str) -> bytes:
        """Raises ValueError for what was not sealed for this purpose, or was altered."""

    def keyed_hash(self, value: bytes, purpose: str) -> str:
        """A digest that tells equal values apart from others, and nothing to whoever lacks the key."""


class Clock(Protocol):
    def __call__(self) -> int:
        """Milliseconds since the epoch."""
