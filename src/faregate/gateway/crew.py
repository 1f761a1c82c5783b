"""The workers of one gateway: started, replaced when they die, told what to do, counted up and down.

The crew knows processes and their lines, nothing of configurations: how a worker is started is told to it by
``settings``. A worker that dies is replaced at once, its shared places freed first. Another generation of
workers may be alive on the same counters while a new version takes over, so an index is only taken when no
living process holds it, and calls go without locks only in a worker that was told that it is alone.
"""

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Collection, Coroutine, Mapping
from typing import TYPE_CHECKING, Final

from faregate.gateway import voice
from faregate.gateway.children import StartError, is_stopped, start_worker
from faregate.gateway.control import IDLE_S, IDLE_SUCCEEDED_S, Message, WorkerSettings
from faregate.gateway.line import Line
from faregate.gateway.places import WorkerPlace
from faregate.stores.counters_head import CountersError, LockHeldError
from faregate.stores.counters_layout import WORKERS_MAX
from faregate.stores.counters_prepare import clear_worker

if TYPE_CHECKING:
    from faregate.stores.shared_counts import SharedCounts

START_S: Final = 30.0
"""How long a worker may take from its start to ready, and to take a revision; 100,000 keys take about two
seconds.
"""
RESTART_PAUSE_MAX_S: Final = 5.0
_ANSWER_S: Final = 5.0
_QUICK_DEATH_S: Final = 2.0
_FREE_DEATHS: Final = 10
"""So many quick deaths in a row of workers that served are followed by another at once."""
_STARTS_TRIED: Final = 2
"""A worker that never became ready in as many tries ends the start; one that once served is always tried."""
_LOOK_S: Final = 0.01
_FREE_LOOK_S: Final = 0.5

Settings = Callable[[int, int], WorkerSettings]
"""From a worker's index and its end of the line to what it is started with."""
Keep = Callable[[Coroutine[object, object, None]], None]


class Crew:
    """``memory``: the counters' descriptor. ``keep`` runs a coroutine for as long as the supervisor lives."""

    def __init__(self, settings: Settings, keep: Keep) -> None:
        self.memory = -1
        self.connections: SharedCounts | None = None
        self._settings = settings
        self._keep = keep
        self._offered: Message | None = None
        self.canary: Message | None = None
        self.refusal = ""  # why a worker did not take the last revision offered
        self.places: list[WorkerPlace] = []
        self.retired: list[WorkerPlace] = []  # of those that end for good and have not yet
        self.foreign: set[int] = set()  # indexes that workers of another generation may still hold
        self.sharers = 0  # processes of this and another generation that use the counters
        self.cut = 0  # calls that were running when their grace time ended
        self.stopping = asyncio.Event()
        self.hopeless = asyncio.Event()

    # how many

    def start(self, count: int) -> None:
        """Starts ``count`` workers more under indexes that nobody holds. Raises StartError when there are too
        few.
        """
        taken = self.held()
        try:
            free = [index for index in range(WORKERS_MAX) if index not in taken and self._is_freed(index)]
        except OSError as error:
            raise StartError(f"cannot look who uses the counters: {error.strerror}") from error
        free = free[:count]
        if len(free) < count:
            raise StartError(f"{count} workers are more than may run beside those that do: {WORKERS_MAX}")
        for index in free:
            place = WorkerPlace(index)
            self.places.append(place)
            self._keep(self._keep_worker(place))

    def held(self) -> set[int]:
        """The indexes that are not to be taken, whether or not their workers hold them yet, or still."""
        return self.foreign.union(place.index for place in self._all())

    def _all(self) -> list[WorkerPlace]:
        return [*self.places, *self.retired]

    def speaker(self) -> int:
        """The index of the worker that tells what all find alike: the eldest place, which no resize takes."""
        return self.places[0].index if self.places else 0

    async def all_ready(self) -> None:
        for place in self.places:
            await place.ready.wait()

    async def resize(self, count: int, grace: float) -> None:
        """Starts workers, or drains the youngest, until there are ``count``. Raises StartError when not all
        of them can start; then those that can go on, and nobody tries the others again.
        """
        if count > len(self.places):
            await self._grow(count - len(self.places))
        else:
            for place in self.places[count:]:
                self._retire(place)
                place.send(Message("drain", grace=grace, idle=IDLE_SUCCEEDED_S))

    def _retire(self, place: WorkerPlace) -> None:
        place.retired = True
        self.places.remove(place)
        self.retired.append(place)

    async def _grow(self, more: int) -> None:
        before = len(self.places)
        if not await self.share(self.sharers + more):
            await self.share(self.sharers - more)
            raise StartError("a worker does not answer")
        self.hopeless.clear()
        try:
            self.start(more)
        except StartError:
            await self.share(self.sharers - more)
            raise
        ready, hopeless = asyncio.ensure_future(self.all_ready()), asyncio.ensure_future(self.hopeless.wait())
        await asyncio.wait([ready, hopeless], return_when=asyncio.FIRST_COMPLETED, timeout=START_S)
        ready.cancel()
        hopeless.cancel()
        late = [place for place in self.places[before:] if not place.was_ready]
        if not late or self.stopping.is_set():
            return
        for place in late:
            self._retire(place)
            place.retire()
        few = "a new worker" if len(late) == 1 else f"{len(late)} new workers"
        raise StartError(f"{few} cannot start; what was said of it stands above")

    async def share(self, sharers: int) -> bool:
        """Tells all workers how many processes use the counters; whether all have heard it.

        With one, calls take no lock: so this comes before another is started, and after it has ended. What
        others do meanwhile may change the number too: it is told from ``self.sharers``, never from how many
        places there are, for who drains counts on.
        """
        self.sharers = sharers
        return await self._ask(Message("share", workers=sharers), "shared")

    async def outlive(self, indexes: Collection[int], sharers: int) -> None:
        """Waits until no worker of another generation holds any of ``indexes``; then there are ``sharers``
        fewer. Until then none of ours takes one.
        """
        left = set(indexes) - {place.index for place in self._all()}
        self.foreign |= left
        while left:
            free = {index for index in left if self.is_free(index)}
            self.foreign -= free
            left -= free
            if left:
                await asyncio.sleep(_FREE_LOOK_S)
        await self.share(self.sharers - sharers)

    def is_free(self, index: int) -> bool:
        """Whether no living process holds ``index``; what a dead one left there is freed. False too when that
        cannot be told.
        """
        try:
            return self._is_freed(index)
        except OSError:
            return False

    def _is_freed(self, index: int) -> bool:
        """Raises OSError when it cannot be told."""
        try:
            clear_worker(self.memory, index)
        except CountersError:
            return False
        self._forget_connections(index)
        return True

    # what they are told

    async def offer(self, message: Message) -> bool:
        """Whether every worker took the revision. Only then does it become what a new worker starts with."""
        self._offered = message
        self.refusal = ""
        try:
            for place in self.places:
                place.send(message)
            deadline = time.monotonic() + START_S
            while time.monotonic() < deadline and not self.stopping.is_set() and self._offered is message:
                if all(place.revision == message.revision for place in self.places):
                    return True
                await asyncio.sleep(_LOOK_S)
            return False
        finally:
            self._offered = None

    async def divide(self, message: Message) -> bool:
        """Whether every worker took the canary. Workers that start later get it too, until ``unite``."""
        self.canary = message
        self.refusal = ""
        for place in self.places:
            place.said.pop("canary", None)
            place.send(message)
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and not (self.stopping.is_set() or self.refusal):
            said = [place.said.get("canary") for place in self.places]
            if all(one is not None and one.revision == message.revision for one in said):
                return True
            await asyncio.sleep(_LOOK_S)
        return False

    def unite(self) -> None:
        """There is no canary any more."""
        self.canary = None
        self.tell(Message("canary"))

    def tell(self, message: Message) -> None:
        for place in self.places:
            place.send(message)

    async def listen(self, listen: list[str], fresh: Mapping[str, socket.socket]) -> bool:
        """Has every worker take calls on exactly ``listen``, of which ``fresh`` are new to it; whether all
        do.
        """
        message = Message("listen", listen=listen, fresh=list(fresh))
        return await self._ask(message, "listening", [sock.fileno() for sock in fresh.values()])

    async def _ask(self, message: Message, answer: str, descriptors: Collection[int] = ()) -> bool:
        asked = []
        for place in self.places:
            place.said.pop(answer, None)
            if place.ready.is_set() and place.send(message, tuple(descriptors)):
                asked.append((place, place.pid))
        deadline = time.monotonic() + _ANSWER_S
        while time.monotonic() < deadline:
            # one that died meanwhile is replaced by one that starts with the new state
            waited_for = [place for place, pid in asked if place.pid == pid and answer not in place.said]
            if not waited_for:
                return True
            await asyncio.sleep(_LOOK_S)
        return False

    def heard(self, place: WorkerPlace, message: Message) -> None:
        """What a worker says."""
        place.heard(message)
        if message.what in {"ready", "reloaded"}:
            place.revision = message.revision
            place.was_ready = True
            place.ready.set()
            offered = self._offered
            if message.what == "ready" and self.sharers == 1:  # it started with locks, whoever came meanwhile
                place.send(Message("share", workers=1))
            if offered is not None and message.what == "ready":  # it started while the others were asked
                place.send(offered)
            if self.canary is not None and message.what == "ready":
                place.send(self.canary)
        elif message.what == "stuck":
            self._end_stopped()
        elif message.what == "cut":
            self.cut += message.calls
            if not self.stopping.is_set():  # else all are said together, at the end
                voice.calls_cut(message.calls)
        elif message.what == "failed":
            voice.say(f"worker {place.index}: {message.reason}", "worker_failed", worker=place.index)
            self.refusal = message.reason
            self._offered = None

    # processes

    async def _keep_worker(self, place: WorkerPlace) -> None:
        """Runs one worker, and another in its place whenever it ends before we are stopping."""
        loop = asyncio.get_running_loop()
        while not (self.stopping.is_set() or place.retired):
            ours, theirs = socket.socketpair()
            place.started_at = time.monotonic()
            try:
                place.process = process = await start_worker(self._settings(place.index, theirs.fileno()))
            except OSError as error:
                ours.close()
                await self._pause(f"cannot start worker {place.index}: {error.strerror}")
                continue
            finally:
                theirs.close()
            if place.retired:  # while it was being started
                place.retire()
            place.line = line = Line(ours, loop, lambda message, _: self.heard(place, message), lambda: None)
            status = await process.wait()
            line.close()
            served = place.ready.is_set()
            place.left()
            self._free_places(place.index)
            if self.stopping.is_set() or place.retired:
                break
            lived = time.monotonic() - place.started_at
            place.quick_deaths = place.quick_deaths + 1 if lived < _QUICK_DEATH_S else 0
            if place.quick_deaths >= _STARTS_TRIED and not place.was_ready:
                self.hopeless.set()
            pause = restart_pause_s(place.quick_deaths, served=served)
            voice.worker_ended(place.index, status, pause)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), pause or 0.001)
        if place.retired:
            self.retired.remove(place)
            if not self.stopping.is_set():
                await self.share(self.sharers - 1)

    def _forget_connections(self, index: int) -> None:
        """Those of a worker that is gone."""
        if self.connections is not None:
            self.connections.clear(index)

    def _free_places(self, index: int) -> None:
        """Those of a worker that is gone; where that fails, its successor does it at its start."""
        self._forget_connections(index)
        try:
            clear_worker(self.memory, index)
        except LockHeldError:
            self._end_stopped()
        except (CountersError, OSError):
            pass

    def _end_stopped(self) -> None:
        """Calls wait for a lock that does not move: whoever holds it is stopped, and is ended, which frees
        it. A worker that is stopped without anybody's harm is left alone.
        """
        for place in self._all():
            pid = place.pid
            if pid is not None and is_stopped(pid):
                text = f"worker {place.index} is stopped and holds a lock that others need; it is ended"
                voice.say(text, "worker_stuck", worker=place.index)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    async def _pause(self, why: str) -> None:
        """Says why, and waits before the next try."""
        voice.say(why, level="warning")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.stopping.wait(), RESTART_PAUSE_MAX_S)

    # ends

    def stop(self) -> None:
        """All calls end now."""
        self.stopping.set()
        for place in self._all():
            place.send(Message("stop"))

    async def drain(self, grace: float, idle: float = IDLE_S) -> bool:
        """Whether all workers ended by ``grace`` and a moment more; those that are left are still running."""
        self.stopping.set()
        self.tell(Message("drain", grace=grace, idle=idle))
        return await self.wait(grace + 1.0)

    async def wait(self, seconds: float) -> bool:
        """Whether all workers have ended within that time."""
        waits = [
            asyncio.ensure_future(place.process.wait())
            for place in self._all()
            if place.process is not None and place.pid is not None
        ]
        if not waits:
            return True
        _, late = await asyncio.wait(waits, timeout=seconds)
        for wait in late:
            wait.cancel()
        return not late

    async def kill(self) -> None:
        """Ends what is left, at once."""
        self.stopping.set()
        for place in self._all():
            if place.process is not None and place.pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    place.process.kill()
        await self.wait(2.0)
        for place in self._all():
            if place.line is not None:
                place.line.close()


def restart_pause_s(quick_deaths: int, *, served: bool) -> float:
    """Before another worker follows one that died quickly, as did so many before it. ``served``: it had
    become ready.
    """
    counted = min(quick_deaths - (_FREE_DEATHS if served else 0), 10)
    return min(RESTART_PAUSE_MAX_S, 0.2 * (2**counted - 1)) if counted > 1 else 0.0
