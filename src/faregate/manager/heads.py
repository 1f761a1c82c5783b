"""What uvicorn has not for request heads: a deadline, so that a caller who never ends one is let go
(http-rules.md section 3), and a problem document for one that is none.
"""

import asyncio
from email.utils import formatdate
from time import time
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from faregate.kernel.ids import IdSource
from faregate.kernel.problems import PROBLEMS
from faregate.manager.refusals import refusal_of

_IDS: Final = IdSource()
HEAD_S: Final = 5.0
"""From the connection, or from the first byte of a later request, to the end of its head."""


class DeadlineProtocol(HttpToolsProtocol):
    """uvicorn's own protocol with one timer more, and our answer to bytes that are no request."""

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_came()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        if self._head_timer is None:
            self._await_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head_came()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words
        request_id = _IDS.request_id(time())
        headers = {
            "Date": formatdate(usegmt=True),
            "X-Request-Id": request_id.decode(),
            "X-Content-Type-Options": "nosniff",
            "Connection": "close",
        }
        scope = {"request_id": request_id.decode()}
        answer = refusal_of(scope, PROBLEMS["malformed_request"], headers=headers)
        fields = b"".join(b"%b: %b\r\n" % field for field in answer.raw_headers)
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n" + fields + b"\r\n" + bytes(answer.body))
        self.transport.close()

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_S, self._head_is_late)

    def _head_came(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        self.transport.abort()
