"""A canary as the supervisor keeps it: begun for the manager, and ended by itself when nobody asks for it any
more.

The manager judges; it keeps the canary by saying so again and again. One that is dead, stopped or cut off
says nothing, and after ``lease`` seconds every call is the running revision's again. A reload, another
publication and an upgrade end a canary too: what it is compared with must stay as it was. Workers that start
meanwhile get both revisions.
"""

import asyncio
import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from faregate.gateway import voice
from faregate.gateway.children import StartError
from faregate.gateway.control import Message
from faregate.gateway.revisions import put_to_work

if TYPE_CHECKING:
    from faregate.gateway.commands import Request
    from faregate.gateway.running import Running

NAME: Final = "snapshot.canary"
LEASE_S: Final = 30.0
"""Without a word of the manager's: the longest that is granted."""
_LOOK_S: Final = 0.1


class CanaryError(Exception):
    """It does not run; the text is for the operator. The running revision has all calls, as before."""


class Canarying:
    """The canary that runs. ``kept_at``: when the manager last asked for it, in monotonic seconds."""

    def __init__(self, revision: int, path: Path, lease: float) -> None:
        self.revision = revision
        self.path = path
        self.lease = min(lease, LEASE_S)
        self.kept_at = time.monotonic()


async def begin(running: "Running", compiled: bytes, request: "Request") -> int:
    """Has every worker run an encoded snapshot for a part of its calls; returns its number. Raises
    ``CanaryError``. One change at a time.
    """
    share = request.canary
    assert share is not None
    end(running, "another one begins")
    path = running.data / NAME
    try:
        current = put_to_work(compiled, path, running.numbered, request.revision)
    except (OSError, StartError) as error:
        raise CanaryError(f"cannot write {path}: {error}") from error
    running.numbered = current.revision
    running.keep_ledger(current)
    message = Message(
        "canary",
        snapshot=str(path),
        revision=current.revision,
        percent=share.percent,
        consumers=share.consumers,
    )
    begun = time.monotonic()
    if not await running.crew.divide(message):
        running.crew.unite()
        path.unlink(missing_ok=True)
        raise CanaryError(running.crew.refusal or f"canary {current.revision} was not taken by every worker")
    running.canary = canary = Canarying(current.revision, path, share.lease)
    running.keep(_ended_by_itself(running, canary))
    voice.canary_began(current.revision, share.percent, share.consumers, time.monotonic() - begun)
    return current.revision


def keep(running: "Running", revision: int) -> bool:
    """The manager is there, and wants canary ``revision``; whether it runs."""
    canary = running.canary
    if canary is None or canary.revision != revision:
        return False
    canary.kept_at = time.monotonic()
    return True


def end(running: "Running", why: str, *, promoted: bool = False) -> None:
    """Gives all calls that begin from now on to the running revision; nothing where no canary runs.
    ``promoted``: it is put to work for all calls, and keeps its part until it is.
    """
    canary, running.canary = running.canary, None
    if canary is None:
        return
    running.crew.canary = None
    if not promoted:
        running.crew.unite()
    with contextlib.suppress(OSError):
        canary.path.unlink()
    voice.canary_ended(canary.revision, why)


async def _ended_by_itself(running: "Running", canary: Canarying) -> None:
    while running.canary is canary:
        await asyncio.sleep(_LOOK_S)
        if time.monotonic() - canary.kept_at >= canary.lease and running.canary is canary:
            end(running, f"the manager has not asked for it in {canary.lease:g} s")
