"""Long work in the worker's loop, done in slices between calls, and what is left of a revision freed the same
way.

A reload of 10,000 routes and 100,000 keys is half a second of work, and freeing the former one a tenth; in
one piece either would be a pause for every call. The work is a generator; it runs for half a millisecond,
then whoever waits has the loop, for as long as they need and four times as long at least. How long each piece
kept the loop is measured, and the longest is shown (``Pauses``).
"""

import asyncio
import gc
import time
import types
from collections.abc import Coroutine, Generator, Iterable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from faregate.records.frames import Reading

if TYPE_CHECKING:
    import weakref

    from faregate.gateway.listener import ClientConnection

ResultT = TypeVar("ResultT")

SLICE_S: Final = 0.0005
PAUSE_S: Final = 0.002
"""So a change takes a fifth of the loop, and of the core, at most. With slices and pauses of a millisecond
the p99 of calls was 2.4 times the calm one while a revision was built, with these 1.1 times (500 calls/s).
"""
_FREED_AT_ONCE: Final = 16
_TOLD_AT_ONCE: Final = 64
_LOOK_S: Final = 0.5


async def in_slices(work: Generator[None, None, ResultT]) -> ResultT:
    """Runs ``work`` to its end and returns its result."""
    while True:
        until = time.perf_counter() + SLICE_S
        try:
            while time.perf_counter() < until:
                next(work)
        except StopIteration as done:
            result: ResultT = done.value
            return result
        await asyncio.sleep(PAUSE_S)


class Pauses:
    """How long the pieces of the last change kept the loop. ``wall_s``: the longest by the clock, in which
    other processes may have had the core. ``processor_s``: the longest in processor time of the loop's
    thread.
    """

    __slots__ = ("processor_s", "wall_s")

    def __init__(self) -> None:
        self.wall_s = 0.0
        self.processor_s = 0.0

    def forget(self) -> None:
        """Another change begins."""
        self.wall_s = self.processor_s = 0.0

    @types.coroutine
    def over(self, work: Coroutine[object, None, ResultT]) -> Generator[object, None, ResultT]:
        """Runs ``work`` to its end and notes each stretch between two of its waits."""
        failure: BaseException | None = None
        while True:
            wall, processor = time.perf_counter(), time.thread_time()
            try:
                waits_for = work.send(None) if failure is None else work.throw(failure)
            except StopIteration as done:
                result: ResultT = done.value
                return result
            finally:
                self.wall_s = max(self.wall_s, time.perf_counter() - wall)
                self.processor_s = max(self.processor_s, time.thread_time() - processor)
            failure = None
            try:
                yield waits_for
            except BaseException as error:  # noqa: BLE001 - the work's own, to be answered there
                failure = error

    def readings(self) -> list[Reading]:
        return [
            Reading("faregate_reload_pause_seconds", ("wall",), self.wall_s),
            Reading("faregate_reload_pause_seconds", ("processor",), self.processor_s),
        ]


class quiet_gc:  # noqa: N801 - used like a function
    """While it lasts no collection runs: it would walk all that is being built, again and again, in one
    piece. What was built is put where no collection looks.
    """

    def __enter__(self) -> None:
        gc.disable()

    def __exit__(self, *_: object) -> None:
        gc.freeze()
        gc.enable()


async def free(owner: "weakref.ref[object]", large: "list[dict[Any, Any] | list[Any]]") -> None:
    """Empties ``large`` piece by piece once ``owner`` is gone: till then calls may look into it."""
    while owner() is not None:  # noqa: ASYNC110 - nothing tells of an end that must not be waited for
        await asyncio.sleep(_LOOK_S)
    await in_slices(_emptied(large))


def told(clients: "Iterable[ClientConnection]") -> Generator[None, None, None]:
    """Has connections forget what they know of the former configuration. A proxy that is trusted no more is
    found out before, with its next call; one newly trusted is believed once it is told.
    """
    for number, client in enumerate(clients, 1):
        client.forget()
        if not number % _TOLD_AT_ONCE:
            yield


def _emptied(large: "list[dict[Any, Any] | list[Any]]") -> Generator[None, None, None]:
    while large:
        one = large.pop()
        while one:
            for _ in range(min(_FREED_AT_ONCE, len(one))):
                one.popitem() if isinstance(one, dict) else one.pop()
            yield
