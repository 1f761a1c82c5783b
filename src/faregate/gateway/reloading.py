"""A changed configuration brought into a running gateway, or refused while the running one stays.

Whatever can fail is done before anything changes: the file compiles, new addresses can be bound, the snapshot
can be written, every worker has taken it. Only then do sockets, workers and the manager follow.
"""

import contextlib
import time
from typing import TYPE_CHECKING

import msgspec

from faregate.gateway import voice
from faregate.gateway.budget import usable_cores
from faregate.gateway.children import StartError, listen_or_say
from faregate.gateway.control import Message
from faregate.gateway.listening import key_of
from faregate.gateway.manager_keeper import ManagerKeeper
from faregate.gateway.revisions import CompileError, Report, compile_file, put_to_work
from faregate.snapshot import data as snapshots
from faregate.snapshot import encoded

if TYPE_CHECKING:
    import socket

    from faregate.gateway.running import Running


class Reloaded(msgspec.Struct):
    """What came of a reload. ``revision``: the one that runs now. ``message``: in words."""

    ok: bool
    revision: int
    message: str
    seconds: float = 0.0
    diagnostics: list[dict[str, object]] = []
    text: str = ""


async def reload(running: "Running") -> Reloaded:
    """Reads the file again and puts it to work, one change at a time."""
    if not running.over:
        async with running.changing:
            if not running.over:
                return await _reload(running)
    revision = 0 if running.snapshot is None else running.snapshot.revision
    return Reloaded(ok=False, revision=revision, message=running.over)


async def _reload(running: "Running") -> Reloaded:
    begun = time.monotonic()
    before = running.snapshot
    assert before is not None
    report = Report()

    def stays(why: str) -> Reloaded:
        running.set_stale(why)
        voice.stays(why, before.revision)
        return Reloaded(
            ok=False,
            revision=before.revision,
            message=f"{why}; revision {before.revision} stays",
            diagnostics=report.diagnostics,
            text=report.text,
        )

    try:
        compiled = await compile_file(running.config, running.runtime / "compiled")
    except CompileError as error:
        report = error.report
        running.files = report.files or running.files
        return stays(str(error))
    report = compiled.report
    running.files = report.files
    gateway = encoded.decode_outline(compiled.snapshot).gateway
    if gateway.data != before.gateway.data:
        return stays("gateway.data cannot change while the gateway runs; restart it")
    try:
        made = running.listening.open_missing(gateway.listen)
    except StartError as error:
        return stays(str(error))
    offered = running.data / "snapshot.offered"
    try:
        manager = _manager(running, before.gateway.manager, gateway.manager)
        current = put_to_work(compiled.snapshot, offered, running.numbered)
    except (OSError, StartError) as error:
        for sock in made.values():
            sock.close()
        return stays(
            str(error) if isinstance(error, StartError) else f"cannot write {offered}: {error.strerror}"
        )
    del compiled
    running.numbered = current.revision
    running.keep_ledger(current)
    if not await running.crew.offer(Message("reload", snapshot=str(offered), revision=current.revision)):
        for sock in made.values():
            sock.close()
        if manager is not None:
            manager.sock.close()
        running.crew.tell(Message("reload", snapshot=str(running.snapshot_path), revision=before.revision))
        return stays(running.crew.refusal or f"revision {current.revision} was not taken by every worker")
    with contextlib.suppress(OSError):
        offered.replace(running.snapshot_path)
    running.snapshot = current
    running.set_stale("")
    await _follow(running, before.gateway, made, manager)
    seconds = time.monotonic() - begun
    voice.reloaded(current.revision, seconds)
    return Reloaded(
        ok=True,
        revision=current.revision,
        message=f"revision {current.revision} in all workers",
        seconds=round(seconds, 3),
        diagnostics=report.diagnostics,
        text=report.text,
    )


def _manager(
    running: "Running", before: snapshots.Listener | None, after: snapshots.Listener | None
) -> ManagerKeeper | None:
    """A manager for its new address, with its socket bound; None when the address stays. Raises
    StartError.
    """
    if after is None or after == before:
        return None
    return ManagerKeeper(listen_or_say(after), after.host, running.feed)


async def _follow(
    running: "Running",
    before: snapshots.Gateway,
    made: "dict[str, socket.socket]",
    manager: ManagerKeeper | None,
) -> None:
    """Sockets, workers and the manager become what the revision that now runs says."""
    assert running.snapshot is not None
    gateway = running.snapshot.gateway
    crew = running.crew
    if gateway.listen != before.listen:
        keys = [key_of(listener) for listener in gateway.listen]
        running.listening.settle(gateway.listen, made)
        if not await crew.listen(keys, made):
            voice.say("not every worker has said that it follows the listeners", "listeners_late")
        voice.listening(running.listening.names)
    count = gateway.workers or usable_cores()
    if count != len(crew.places):
        try:
            await crew.resize(count, running.options.grace)
        except StartError as error:
            voice.say(f"{error}; {len(crew.places)} go on", "restart_needed", key="workers")
            crew.tell(Message("bound", workers=len(crew.places)))  # they count on as many as were wanted
        if running.manager is not None:
            running.manager.tell(workers=len(crew.places))
    running.say_bound()
    if gateway.manager != before.manager:
        former = running.manager
        running.manager = None
        if former is not None:
            await former.end()
        if manager is not None:
            running.run_manager(manager)
            voice.say(f"manager {manager.url}", "manager_moved", manager=manager.url)
