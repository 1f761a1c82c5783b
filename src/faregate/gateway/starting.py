"""How a gateway comes up: configuration compiled, data folder taken, sockets opened, workers made ready.

With a broken file, though not with a missing one, it starts on the last good snapshot, loudly, unless told to
be strict: a machine that restarts at night must not stay dark for a typing error. A successor of a running
gateway comes up on what that one hands over, and is always strict.
"""

import asyncio
import fcntl
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from faregate.gateway import voice
from faregate.gateway.budget import usable_cores
from faregate.gateway.children import StartError, listen_or_say
from faregate.gateway.counting import Counting
from faregate.gateway.crew import START_S
from faregate.gateway.listening import key_of
from faregate.gateway.manager_keeper import ManagerKeeper
from faregate.gateway.revisions import (
    NICE,
    CompileError,
    compile_file,
    last_good,
    make_digest_key,
    put_to_work,
    revision_on_disk,
)
from faregate.kernel.processes import processes_with
from faregate.policies.limits import capacity
from faregate.snapshot import data as snapshots
from faregate.snapshot import encoded
from faregate.stores.counters_head import CountersError
from faregate.stores.shared_counts import taken_or_made

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from faregate.gateway.handover import Inheritance
    from faregate.gateway.running import Running

STARTING: Final = "snapshot.starting"
"""The revision of a start whose workers are not ready yet: only what has served is the last good one."""
SUCCEEDING: Final = "snapshot.succeeding"
"""The revision of a successor that does not run the gateway yet."""


async def start(running: "Running", stopping: asyncio.Event, inherited: "Inheritance | None" = None) -> float:
    """Brings everything up; returns the seconds it took. Returns early when ``stopping`` is set. Raises
    ``StartError``.
    """
    begun = time.monotonic()
    snapshot = await _unless_stopping(_configuration(running, inherited), stopping)
    if snapshot is None:
        return time.monotonic() - begun
    gateway = snapshot.gateway
    made = running.listening.open_missing(gateway.listen)
    running.listening.settle(gateway.listen, made)
    count = gateway.workers or usable_cores()
    _prepare_counters(running, inherited)
    try:
        make_digest_key(running.data / "digest.key")
    except OSError as error:
        raise StartError(f"cannot use the data folder {running.data}: {error.strerror}") from error
    running.crew.sharers = count
    if inherited is not None:
        running.crew.sharers += inherited.sharers
        running.crew.foreign.update(inherited.indexes)
    running.keep_ledger(snapshot, follows=inherited is not None)
    running.keep_audit(snapshot)
    running.crew.start(count)
    _start_manager(running, gateway, inherited)
    await _wait_ready(running, stopping)
    if inherited is None and not stopping.is_set():
        try:
            running.served()
        except OSError as error:
            raise StartError(f"cannot write {running.data / 'snapshot'}: {error.strerror}") from error
    return time.monotonic() - begun


async def _unless_stopping(
    making: "Coroutine[object, object, snapshots.Outline]", stopping: asyncio.Event
) -> snapshots.Outline | None:
    """What ``making`` returns; None when we are to stop before, and then nothing of it goes on."""
    made, stop = asyncio.ensure_future(making), asyncio.ensure_future(stopping.wait())
    await asyncio.wait([made, stop], return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if made.done():
        return await made
    made.cancel()
    await asyncio.gather(made, return_exceptions=True)
    return None


async def _configuration(running: "Running", inherited: "Inheritance | None") -> snapshots.Outline:
    """The outline of what to run, laid where workers find it, in the data folder that is ours from now on."""
    try:
        nice = 0 if inherited is None else NICE  # at a first start no call would be kept waiting
        compiled = await compile_file(running.config, running.runtime / "compiled", nice=nice)
    except CompileError as error:
        running.files = error.report.files
        if running.options.strict or inherited is not None or error.missing:
            failure = StartError(f"{error}; nothing was started")
            failure.report = error.report
            raise failure from None
        return _last_good(running, error)
    running.files = compiled.report.files
    data = Path(encoded.decode_outline(compiled.snapshot).gateway.data)
    if inherited is not None and data != inherited.data:
        raise StartError(f"the gateway that runs has its data in {inherited.data}, not in {data}")
    take_data_folder(running, data, inherited)
    last = revision_on_disk(data / "snapshot")
    path = data / (SUCCEEDING if inherited is not None else STARTING)
    try:
        snapshot = put_to_work(compiled.snapshot, path, max(last, running.numbered))
    except OSError as error:
        raise StartError(f"cannot write {path}: {error.strerror}") from error
    running.snapshot, running.numbered = snapshot, snapshot.revision
    running.snapshot_path = running.unserved = path
    running.base = compiled.base
    return snapshot


def _last_good(running: "Running", error: CompileError) -> snapshots.Outline:
    snapshot = last_good(error.report.data)
    if snapshot is None:
        raise StartError(f"{error}; nothing was started") from None
    take_data_folder(running, Path(snapshot.gateway.data))
    running.snapshot, running.numbered = snapshot, snapshot.revision
    running.set_stale(str(error))
    voice.last_good(str(error), snapshot.revision, running.snapshot_path)
    return snapshot


def take_data_folder(running: "Running", data: Path, inherited: "Inheritance | None" = None) -> None:
    """Two gateways on one folder would ruin each other's counters. Raises ``StartError``."""
    running.enter_data_folder(data)
    if inherited is not None:
        running.lock = os.fdopen(inherited.lock, "ab")  # its lock is ours as well: one open file
        return
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        running.lock = (data / "lock").open("ab")
    except OSError as error:
        raise StartError(f"cannot use the data folder {data}: {error.strerror}") from error
    try:
        fcntl.flock(running.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = _holder(data / "lock")
        raise StartError(f"another gateway is using the data folder {data}{holder}") from error


def _holder(lock: Path) -> str:
    """Who has the lock open, as far as this user may see."""
    others = [pid for pid, _ in processes_with({str(lock.resolve())}) if pid != os.getpid()]
    return f": process {others[0]}" if others else ""


def _prepare_counters(running: "Running", inherited: "Inheritance | None") -> None:
    """Those of the gateway that runs, or new ones, filled with what was saved. Raises ``StartError``."""
    try:
        running.connect_with(taken_or_made(-1 if inherited is None else inherited.connections))
    except OSError as error:
        raise StartError(f"cannot share memory between workers: {error.strerror}") from error
    saved = running.data / "counters.bin"
    if inherited is not None:
        running.count_with(Counting(saved, inherited.counters))
        return
    counted = encoded.decode_counted(running.snapshot_path.read_bytes())
    try:
        running.count_with(Counting.begin(saved, capacity(counted)))
    except (OSError, CountersError) as error:
        raise StartError(f"cannot make the counters, saved in {running.data}: {error}") from error


def _start_manager(running: "Running", gateway: snapshots.Gateway, inherited: "Inheritance | None") -> None:
    configured = gateway.manager
    sockets = {} if inherited is None else inherited.manager
    if configured is not None:
        sock = sockets.pop(key_of(configured), None) or listen_or_say(configured)
        keeper = ManagerKeeper(sock, configured.host, running.feed, running.data, gateway.managing)
        if inherited is not None:
            keeper.tell(hold=True)  # the former one answers until we have taken over
        running.run_manager(keeper)
    for sock in sockets.values():
        sock.close()


async def _wait_ready(running: "Running", stopping: asyncio.Event) -> None:
    crew = running.crew
    stop = asyncio.ensure_future(stopping.wait())
    hopeless = asyncio.ensure_future(crew.hopeless.wait())
    all_ready = asyncio.ensure_future(crew.all_ready())
    await asyncio.wait([all_ready, stop, hopeless], return_when=asyncio.FIRST_COMPLETED, timeout=START_S)
    stop.cancel()
    hopeless.cancel()
    done = all_ready.done()
    all_ready.cancel()
    if not done and not stopping.is_set():
        raise StartError(
            "a worker cannot start; what it said stands above"
            if crew.hopeless.is_set()
            else f"the workers were not ready within {START_S:.0f} s"
        )
