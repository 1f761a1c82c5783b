"""An upstream that keeps accounts: for each request id, how often it arrived, whether whole, and what it asked for.

Its answers name the request they belong to (id, consumer, digest of the body received, filler made of the id), so that a caller knows
its own answer from every other. ``mode`` makes it misbehave. Kept small: a few hundred bytes a call, for runs of half an hour.
"""

import asyncio
import hashlib
import re
import socket
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Final, Self

from tests.support.script import head
from tests.support.wire import Body, Head, Wire, WireError, no_delay

ID: Final = "X-Request-Id"
ANSWER_BYTES: Final = "X-Answer-Bytes"
ANSWER_DELAY: Final = "X-Answer-Delay"
"""In milliseconds."""
_ID_IN_FRAGMENT: Final = re.compile(rb"\r\n[Xx]-[Rr]equest-[Ii]d: *([!-~]+)\r\n")
STALE: Final = head(200, "Content-Length: 17") + b"stale-not-for-you"
MODES: Final = (
    "echo", "garbage", "truncate", "early_reset", "interim_flood", "until_close", "stale_answer", "header_bomb",
    "endless_trailers", "bad_chunk", "close_silently", "trickle",
)  # fmt: skip
VALID_MODES: Final = frozenset({"echo", "until_close", "stale_answer", "trickle"})
"""Those under which a caller still gets a right answer."""


@dataclass(slots=True)
class Entry:
    """What arrived under one id: whole heads, whole requests, heads that broke off."""

    heads: int = 0
    complete: int = 0
    fragments: int = 0


def expected_answer(name: str, consumer: str, digest: str, answer_bytes: int) -> bytes:
    """The body that belongs to a request, and to no other."""
    first = f"{name} {consumer} {digest}\n".encode()
    filler = f"{name} ".encode()
    return first + (filler * (answer_bytes // len(filler) + 1))[:answer_bytes]


def note_fragment(entries: dict[str, Entry], data: bytes) -> None:
    """Counts a head that broke off, if as much as its id came."""
    found = _ID_IN_FRAGMENT.search(data)
    if found is not None:
        entries.setdefault(found[1].decode("latin-1"), Entry()).fragments += 1


class LedgerUpstream:
    """Use as a context manager; ``entries`` and ``mode`` may be read and set from any thread."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.mode = "echo"
        self.errors: list[str] = []
        """Requests that were not strict HTTP although they came whole."""
        self.url = ""
        self.address = ("127.0.0.1", 0)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ledger", daemon=True)
        self._accepting: set[asyncio.Task[None]] = set()
        self._serving: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        listener.setblocking(False)
        self.address = listener.getsockname()[:2]
        self.url = f"http://127.0.0.1:{self.address[1]}"
        self._loop.call_soon_threadsafe(lambda: self._track(self._accept(listener), self._accepting))
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def close_connections(self) -> None:
        """Closes every open connection; new ones are welcome."""
        asyncio.run_coroutine_threadsafe(self._close_connections(), self._loop).result(10)

    async def _close_connections(self) -> None:
        serving = list(self._serving)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    def _track(self, work: Coroutine[None, None, None], among: "set[asyncio.Task[None]]") -> None:
        task = self._loop.create_task(work)
        among.add(task)
        task.add_done_callback(among.discard)

    async def _stop(self) -> None:
        tasks = [*self._accepting, *self._serving]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, listener: socket.socket) -> None:
        try:
            while True:
                sock, _ = await self._loop.sock_accept(listener)
                self._track(self._serve(Wire(no_delay(sock))), self._serving)
        finally:
            listener.close()

    async def _serve(self, wire: Wire) -> None:
        try:
            while await self._serve_one(wire):
                pass
        except WireError as error:
            if not wire.ended:
                self.errors.append(str(error))
        except OSError:
            pass  # the other side is gone: what arrived is on record
        finally:
            wire.close()

    async def _serve_one(self, wire: Wire) -> bool:
        try:
            request = await wire.request_head()
        except WireError:
            note_fragment(self.entries, bytes(wire.buffer))
            raise
        if request is None:
            return False
        name = (request.one(ID) or b"").decode("latin-1")
        entry = self.entries.setdefault(name, Entry())
        entry.heads += 1
        body = Body()
        await wire.read_body(request, body, close_ends=False)
        if not body.complete:
            return False
        entry.complete += 1
        return await self._answer(wire, name, request, body)

    async def _answer(self, wire: Wire, name: str, request: Head, body: Body) -> bool:
        """Answers as the mode says; whether the connection goes on."""
        consumer = (request.one("x-consumer-id") or b"-").decode("latin-1")
        size = int(request.one(ANSWER_BYTES) or b"0")
        if delay := request.one(ANSWER_DELAY):
            await asyncio.sleep(int(delay) / 1000)
        content = expected_answer(name, consumer, body.digest, size)
        sized = head(200, f"Content-Length: {len(content)}")
        chunks = head(200, "Transfer-Encoding: chunked")
        match self.mode:
            case "garbage":
                await wire.send(hashlib.sha256(name.encode()).digest() * 4 + b"\r\n\r\n")
            case "truncate":
                await wire.send(sized + content[: len(content) // 2])
            case "early_reset":
                await wire.send(sized + content[: len(content) // 2])
                wire.reset_on_close()
            case "interim_flood":
                await wire.send(head(103, "Link: </a>") * 50)
            case "until_close":
                await wire.send(head(200) + content)
            case "stale_answer":  # whole and valid, and nobody asked for it
                await wire.send(sized + content + STALE)
                return True
            case "header_bomb":
                await wire.send(head(200, *(f"X-{number}: a" for number in range(5000))))
            case "endless_trailers":
                await wire.send(chunks + b"1\r\na\r\n0\r\n" + b"X-T: %b\r\n" % (b"a" * 1000) * 200)
            case "bad_chunk":
                await wire.send(chunks + b"%x\r\n%b" % (len(content) + 5, content) + b"\r\n0\r\n\r\n")
            case "close_silently":
                pass
            case "trickle":
                for at in range(0, len(content), max(1, len(content) // 5)):
                    await wire.send((sized if not at else b"") + content[at : at + max(1, len(content) // 5)])
                    await asyncio.sleep(0.02)
                return True
            case _:
                if body.length % 3:
                    await wire.send(sized + content)
                else:
                    await wire.send(chunks + b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content))
                return True
        return False
