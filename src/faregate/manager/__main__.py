"""``python -m faregate.manager``: the manager's process, started by the supervisor with its listening socket
open.

The supervisor binds the socket, so that a manager can die and return without a refused connection. One
process, one loop; SIGTERM ends it at once and with status 0, since nothing here must be finished: workers
keep what they count.
"""

import argparse
import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Final

import uvicorn
import uvloop

from faregate.kernel.events import speak_in_events
from faregate.manager.app import create_app
from faregate.manager.door import Door, Opened
from faregate.manager.facts import Facts
from faregate.manager.feed import FeedServer
from faregate.manager.heads import DeadlineProtocol
from faregate.manager.hosts import Names
from faregate.manager.people.machine import machine_token
from faregate.manager.totals import Totals

_EXPIRE_EVERY_S: Final = 600.0
_PARENT_CHECK_S: Final = 0.5
_CONNECTIONS_MAX: Final = 1024
_REPORT_S: Final = 3.0
_REPORT_LOOK_S: Final = 0.02


class _Server(uvicorn.Server):
    """uvicorn that leaves the process its exit status: it would raise the signal again after a clean end."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's signature
        self.should_exit = True
        self.force_exit = True


async def _expire(totals: Totals) -> None:
    while True:
        await asyncio.sleep(_EXPIRE_EVERY_S)
        totals.expire(time.monotonic())


async def _end_with(parent: int, server: _Server) -> None:
    """Ends the server when the supervisor is gone: a manager nobody stops would keep its port."""
    while os.getppid() == parent:  # noqa: ASYNC110 - no event tells of a parent's end
        await asyncio.sleep(_PARENT_CHECK_S)
    server.handle_exit(signal.SIGTERM, None)


async def serve(  # noqa: PLR0913, PLR0917 - as its command line
    listening: socket.socket, feed_path: Path, workers: int, parent: int, name: str, data: Path | None
) -> None:
    """Serves until SIGTERM, SIGINT or the end of process ``parent``; ``name`` is the host as configured,
    ``data`` the data folder, None for one without an admin API. Raises OSError.
    """
    totals = Totals(workers)
    feed = FeedServer(feed_path, totals, time.monotonic)
    await feed.start()
    facts = Facts(totals)
    facts.hear(0)
    if facts.held:
        await _turn(facts, totals)
    door = None
    if data is not None:
        with suppress(OSError, ValueError):  # told to whoever asks, by the door
            machine_token(data)  # scripts take it from there, and ask nobody first
        door = Door(_opening(data, totals, facts))
        if is_managed(data, facts):
            door.open_soon()
    names = Names(listening.getsockname()[0], name, public=lambda: facts.public)
    config = uvicorn.Config(
        create_app(totals, feed, names, door),
        http=DeadlineProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=_CONNECTIONS_MAX,
        timeout_keep_alive=30,
    )
    server = _Server(config)
    watching = [asyncio.create_task(_expire(totals)), asyncio.create_task(_end_with(parent, server))]
    try:
        await server.serve(sockets=[listening])
    finally:
        for task in watching:
            task.cancel()
        if door is not None:
            await door.close()
        await feed.close()


def _opening(data: Path, totals: Totals, facts: Facts) -> Callable[[], Awaitable[Opened]]:
    async def open_it() -> Opened:
        gc.disable()  # a third of the time; what is loaded stays
        try:
            from faregate.manager.house import open_house  # noqa: PLC0415 - what the door is for

            return await open_house(data, totals, facts)
        finally:
            gc.freeze()
            gc.enable()

    return open_it


def is_managed(data: Path, facts: Facts) -> bool:
    """Whether the gateway on ``data`` was managed before, or may be from another machine."""
    return facts.managing.store != "embedded" or (data / "manager.db").exists()


async def _turn(facts: Facts, totals: Totals) -> None:
    """Waits until it is our turn to answer on the socket, and a moment for the workers to report: probes wait
    in the socket meanwhile, and hear no passing "not ready".
    """
    await facts.released.wait()
    deadline = time.monotonic() + _REPORT_S
    while totals.readiness().lacks and time.monotonic() < deadline:  # noqa: ASYNC110 - a state, not an event
        await asyncio.sleep(_REPORT_LOOK_S)


def main() -> None:
    """Reads the command line and serves."""
    parser = argparse.ArgumentParser(prog="python -m faregate.manager", allow_abbrev=False)
    parser.add_argument("--fd", type=int, required=True, help="descriptor of the listening TCP socket")
    parser.add_argument(
        "--feed", type=Path, required=True, help="where to make the metrics feed's unix socket"
    )
    parser.add_argument("--workers", type=int, required=True, help="how many workers are expected")
    parser.add_argument("--parent", type=int, default=os.getppid(), help="process to end with")
    parser.add_argument("--name", default="", help="host that the socket was configured with")
    parser.add_argument("--data", type=Path, help="the data folder; without it there is no admin API")
    parser.add_argument("--events", action="store_true", help="say everything as JSON on standard output")
    options = parser.parse_args()
    if options.events:
        speak_in_events("manager", logging.WARNING)
    else:
        logging.basicConfig(level=logging.WARNING, format="faregate: %(message)s", stream=sys.stderr)
    gc.freeze()  # what is loaded stays: no collection needs to walk it, the last one least of all
    with (
        socket.socket(fileno=options.fd) as listening,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(
            serve(listening, options.feed, options.workers, options.parent, options.name, options.data)
        )


if __name__ == "__main__":
    main()
