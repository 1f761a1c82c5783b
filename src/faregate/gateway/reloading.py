"""A changed configuration brought into a running gateway, or refused while the running one stays.

It comes from the file, compiled anew (``reload``), or compiled from the manager (``publish``). Whatever can
fail is done before anything changes: the file compiles, new addresses can be bound, the snapshot can be
written, every worker has taken it. Only then do sockets, workers and the manager follow.
"""

import contextlib
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from faregate.gateway import canarying, voice
from faregate.gateway.budget import usable_cores
from faregate.gateway.canarying import CanaryError
from faregate.gateway.children import StartError, listen_or_say
from faregate.gateway.commands import Request
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


class Kept(msgspec.Struct):
    """``ok``: the canary ``revision`` runs."""

    ok: bool
    revision: int
    message: str = ""


async def reload(running: "Running") -> Reloaded:
    """Reads the file again and puts it to work, one change at a time."""
    return await _one_at_a_time(running, lambda: _reload(running))


async def publish(running: "Running", request: Request) -> Reloaded:
    """Puts an encoded snapshot to work, under the number that is asked for where that is beyond the last."""
    return await _one_at_a_time(running, lambda: _publish(running, request))


async def _one_at_a_time(running: "Running", change: Callable[[], Awaitable[Reloaded]]) -> Reloaded:
    if not running.over:
        async with running.changing:
            if not running.over:
                return await change()
    revision = 0 if running.snapshot is None else running.snapshot.revision
    return Reloaded(ok=False, revision=revision, message=running.over)


async def _reload(running: "Running") -> Reloaded:
    begun = time.monotonic()
    before = running.snapshot
    assert before is not None

    def stays(why: str, report: Report) -> Reloaded:
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
        running.files = error.report.files or running.files
        return stays(str(error), error.report)
    report = compiled.report
    running.files = report.files
    try:
        revision = await _take(running, compiled.snapshot)
    except RefusedError as error:
        return stays(str(error), report)
    running.lay_base(compiled.base)
    running.set_stale("")
    running.tell_revision(file=True)
    seconds = time.monotonic() - begun
    voice.reloaded(revision, seconds)
    return Reloaded(
        ok=True,
        revision=revision,
        message=f"revision {revision} in all workers",
        seconds=round(seconds, 3),
        diagnostics=report.diagnostics,
        text=report.text,
    )


async def _publish(running: "Running", request: Request) -> Reloaded:
    begun = time.monotonic()
    path, revision = Path(request.path), request.revision
    before = running.snapshot
    assert before is not None
    try:
        compiled = path.read_bytes()  # noqa: ASYNC240 - the supervisor handles no calls
        _check_file(running, request.base, compiled)
        if request.canary is not None:
            taken = await canarying.begin(running, compiled, request)
        else:
            taken = await _take(running, compiled, revision)
    except (OSError, ValueError, msgspec.MsgspecError, RefusedError, CanaryError) as error:
        why = str(error) if isinstance(error, RefusedError | CanaryError) else f"{path}: no snapshot: {error}"
        voice.publish_failed(why, before.revision)
        return Reloaded(
            ok=False, revision=before.revision, message=f"{why}; revision {before.revision} stays"
        )
    if request.canary is not None:
        return Reloaded(ok=True, revision=taken, message=f"canary {taken} in all workers")
    running.tell_revision()
    seconds = time.monotonic() - begun
    voice.published(taken, revision, seconds)
    said = "" if taken == revision else f", as {revision} is not beyond the last"
    return Reloaded(
        ok=True,
        revision=taken,
        message=f"revision {taken} in all workers{said}",
        seconds=round(seconds, 3),
    )


def _check_file(running: "Running", base: str, compiled: bytes) -> None:
    """Whoever published must know the file as it runs, or would take back what a reload has brought. Raises
    ``RefusedError``.
    """
    assert running.snapshot is not None
    if base != running.base_digest() or encoded.decode_outline(compiled).gateway != running.snapshot.gateway:
        raise RefusedError("the file was put to work since this snapshot was compiled; compile it again")


class RefusedError(Exception):
    """A configuration that cannot come to work; the text is for the operator. Nothing has changed."""


async def _take(running: "Running", compiled: bytes, wanted: int = 0) -> int:
    """Brings an encoded snapshot into every worker, then what follows from it; returns its number. Raises
    ``RefusedError``.
    """
    before = running.snapshot
    assert before is not None
    gateway = encoded.decode_outline(compiled).gateway
    if gateway.data != before.gateway.data:
        raise RefusedError("gateway.data cannot change while the gateway runs; restart it")
    try:
        made = running.listening.open_missing(gateway.listen)
    except StartError as error:
        raise RefusedError(str(error)) from error
    offered = running.data / "snapshot.offered"
    promoted = running.canary is not None and wanted == running.canary.revision
    why = "it gets all calls" if promoted else "another revision is put to work"
    canarying.end(running, why, promoted=promoted)
    running.numbered -= promoted  # its number becomes the revision's
    try:
        manager = _manager(running, before.gateway.manager, gateway)
        current = put_to_work(compiled, offered, running.numbered, wanted)
    except (OSError, StartError) as error:
        for sock in made.values():
            sock.close()
        raise RefusedError(
            str(error) if isinstance(error, StartError) else f"cannot write {offered}: {error.strerror}"
        ) from error
    del compiled
    running.numbered = current.revision
    running.keep_ledger(current)
    if not await running.crew.offer(Message("reload", snapshot=str(offered), revision=current.revision)):
        for sock in made.values():
            sock.close()
        if manager is not None:
            manager.sock.close()
        running.crew.tell(Message("reload", snapshot=str(running.snapshot_path), revision=before.revision))
        if promoted:
            running.crew.unite()
        raise RefusedError(
            running.crew.refusal or f"revision {current.revision} was not taken by every worker"
        )
    with contextlib.suppress(OSError):
        offered.replace(running.snapshot_path)
    running.snapshot = current
    await _follow(running, before.gateway, made, manager)
    return current.revision


def _manager(
    running: "Running", before: snapshots.Listener | None, gateway: snapshots.Gateway
) -> ManagerKeeper | None:
    """A manager for its new address, with its socket bound; None when the address stays. Raises
    StartError.
    """
    after = gateway.manager
    if after is None or after == before:
        return None
    return ManagerKeeper(listen_or_say(after), after.host, running.feed, running.data, gateway.managing)


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
    if running.manager is not None and gateway.manager == before.manager:
        running.manager.manage(gateway.managing)
    if gateway.manager != before.manager:
        former = running.manager
        running.manager = None
        if former is not None:
            await former.end()
        if manager is not None:
            running.run_manager(manager)
            voice.say(f"manager {manager.url}", "manager_moved", manager=manager.url)
