"""``python -m faregate.manager``: the manager's process, started by the supervisor with its listening socket
open.

The supervisor binds the socket, so that a manager can die and return without a refused connection. One
process, one loop; SIGTERM ends it at once and with status 0, since nothing here must be finished: workers
keep what they count.
"""

import argparse
import asyncio
import logging
import os
import signal
import socket
import time
from pathlib import Path
from types import FrameType
from typing import Final

import uvicorn
import uvloop

from faregate.kernel.events import speak_in_events
from faregate.manager.app import create_app
from faregate.manager.facts import Facts
from faregate.manager.feed import FeedServer
from faregate.manager.heads import DeadlineProtocol
from faregate.manager.hosts import Names
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


async def serve(listening: socket.socket, feed_path: Path, workers: int, parent: int, name: str) -> None:
    """Serves until SIGTERM, SIGINT or the end of process ``parent``; ``name`` is the host as configured.
    Raises OSError.
    """
    totals = Totals(workers)
    feed = FeedServer(feed_path, totals, time.monotonic)
    await feed.start()
    facts = Facts(totals)
    facts.hear(0)
    if facts.held:
        await _turn(facts, totals)
    config = uvicorn.Config(
        create_app(totals, feed, Names(listening.getsockname()[0], name)),
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
        await feed.close()


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
    parser.add_argument("--events", action="store_true", help="say everything as JSON on standard output")
    options = parser.parse_args()
    if options.events:
        speak_in_events("manager", logging.WARNING)
    with (
        socket.socket(fileno=options.fd) as listening,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(serve(listening, options.feed, options.workers, options.parent, options.name))


if __name__ == "__main__":
    main()
