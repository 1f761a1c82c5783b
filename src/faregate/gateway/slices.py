"""Long work in the worker's loop, done in slices between calls, and what is left of a revision freed the same
way.

A reload of 10,000 routes and 100,000 keys is half a second of work, and freeing the former one a tenth; in
one piece either would be a pause for every call. The work is a generator; it runs for a millisecond, then
whoever waits has the loop, for as long as they need and a pause of the same length at least.
"""

import asyncio
import gc
import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    import weakref

ResultT = TypeVar("ResultT")

SLICE_S: Final = 0.001
"""Less than the loop takes for a burst of calls; so nobody notices."""
PAUSE_S: Final = 0.001
_FREED_AT_ONCE: Final = 16
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


def _emptied(large: "list[dict[Any, Any] | list[Any]]") -> Generator[None, None, None]:
    while large:
        one = large.pop()
        while one:
            for _ in range(min(_FREED_AT_ONCE, len(one))):
                one.popitem() if isinstance(one, dict) else one.pop()
            yield
