"""The way into the admin API from the manager's listener: opened with the first request that asks for it.

FastAPI, SQLAlchemy and the compiler's child take a second of a core and 100 MiB; a gateway that nobody
manages has none of it. Where the data folder shows that it was managed before, the door is opened at the
start, for then there are revisions of other machines to follow and changes that wait for their hour. While it
cannot be opened each request is told why, and the next one tries again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, Protocol

from starlette.types import ASGIApp, Receive, Scope, Send

from faregate.kernel.problems import PROBLEMS
from faregate.manager.refusals import refusal

RETRY_S: Final = 5.0
"""Between tries to open at start, when nobody asks."""


class Opened(Protocol):
    """What lies behind the door."""

    app: ASGIApp

    async def close(self) -> None: ...


Open = Callable[[], Awaitable[Opened]]


class Door:
    """An ASGI application that opens what lies behind it when it is first needed."""

    def __init__(self, open_house: Open) -> None:
        self._open_house = open_house
        self._house: Opened | None = None
        self._turn = asyncio.Lock()
        self._opener: asyncio.Task[None] | None = None
        self._said = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            house = await self._opened()
        except Exception as error:  # noqa: BLE001 - whatever it is, this request is told and the next one tries
            await _unavailable(scope, error)(scope, receive, send)
            return
        await house.app(scope, receive, send)

    def open_soon(self) -> None:
        """Opens without being asked, and tries until it is open."""
        self._opener = asyncio.get_running_loop().create_task(self._keep_trying())

    async def close(self) -> None:
        """Closes what is open; what has begun is finished first."""
        if self._opener is not None:
            self._opener.cancel()
            with suppress(asyncio.CancelledError):
                await self._opener
        async with self._turn:
            if self._house is not None:
                await self._house.close()
                self._house = None

    async def _opened(self) -> Opened:
        house = self._house
        if house is None:
            async with self._turn:
                if self._house is None:
                    self._house = await self._try_to_open()
                house = self._house
        return house

    async def _try_to_open(self) -> Opened:
        try:
            return await self._open_house()
        except Exception as error:
            if str(error) != self._said:  # once a cause: it is tried again and again
                self._said = str(error)
                _tell(error)
            raise

    async def _keep_trying(self) -> None:
        while True:
            try:
                await self._opened()
            except Exception:  # noqa: BLE001 - told to whoever asks meanwhile
                await asyncio.sleep(RETRY_S)
            else:
                return


def _tell(error: Exception) -> None:
    """The operator's line: what is foreseen (no database) in words, what is not with where it came from."""
    from faregate.manager.cases.errors import Unavailable  # noqa: PLC0415 - small, and only needed here

    foreseen = isinstance(error, Unavailable)
    logging.error(  # noqa: LOG015 - the process's one voice
        "the admin API cannot be opened, and is tried again: %s", error, exc_info=None if foreseen else error
    )


def _unavailable(scope: Scope, error: Exception) -> ASGIApp:
    from faregate.manager.cases.errors import Unavailable  # noqa: PLC0415 - small, and only needed here

    members, headers = {"retry": "after"}, {"Retry-After": "1"}
    if isinstance(error, Unavailable):
        return refusal(scope, error.code, error.status, error.title, error.detail, headers, members)
    row = PROBLEMS["internal_error"]
    detail = "The manager could not be opened."
    return refusal(scope, row.code, row.status, row.title, detail, headers, members)
