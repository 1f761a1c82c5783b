"""What happens to the payment servers while the demo runs, over and over: slow, quick again, killed, back.

The scenes change the servers only, from outside, as life does: the gateway is told nothing. How long a
scene lasts follows from the demo's duration, so that a short demo shows all of them too.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec

from faregate.demo.http_client import Connection, NoAnswerError, Request
from faregate.demo.processes import Child

USUAL_DELAY_MS: Final = 5
SLOW_DELAY_MS: Final = 10 * USUAL_DELAY_MS

SCENE_S_MIN: Final = 3.0
SCENE_S_MAX: Final = 12.0


class Server:
    """A payment server on the demo's stage; ``number`` counts from 1."""

    def __init__(self, number: int, port: int, child: Child) -> None:
        self.number = number
        self.port = port
        self.child = child

    @property
    def address(self) -> str:
        """``host:port``, as the gateway names the target."""
        return f"127.0.0.1:{self.port}"

    async def set_delay(self, delay_ms: int) -> None:
        """Makes each payment call of this server take ``delay_ms`` longer. Raises NoAnswerError."""
        connection = Connection(self.port, timeout_s=5.0)
        try:
            body = msgspec.json.encode({"delay_ms": delay_ms})
            answer = await connection.call(Request("POST", "/_control", body=body))
        finally:
            connection.close()
        if answer.status != 200:
            raise NoAnswerError(f"/_control answered {answer.status}")


class Scenario:
    """Plays the scenes on the first server; ``scene`` says in words what is so now."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self._first = servers[0]
        self.scene = "both targets alike"

    async def play(self, scene_s: float) -> None:
        """Plays until cancelled, a scene every ``scene_s`` seconds. Raises NoAnswerError."""
        while True:
            await asyncio.sleep(scene_s)
            await self._first.set_delay(SLOW_DELAY_MS)
            self.scene = f"target 1 made 10x slower ({USUAL_DELAY_MS} -> {SLOW_DELAY_MS} ms a call)"
            await asyncio.sleep(scene_s)
            await self._first.set_delay(USUAL_DELAY_MS)
            self.scene = "target 1 quick again"
            await asyncio.sleep(scene_s)
            self._first.child.kill()
            self.scene = "target 1 killed"
            await asyncio.sleep(scene_s)
            self._first.child.start()
            self.scene = "target 1 back"


def scene_seconds(duration_s: float) -> float:
    """How long a scene lasts so that ``duration_s`` holds all five, within 3 and 12 seconds."""
    return min(SCENE_S_MAX, max(SCENE_S_MIN, duration_s / 5))
