"""A caller that speaks HTTP/2 over TLS by an implementation that is not ours: jh2's own protocol engine on a blocking socket."""

import json
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Self

from jh2.config import H2Configuration
from jh2.connection import H2Connection
from jh2.events import (
    ConnectionTerminated,
    DataReceived,
    InformationalResponseReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)

from tests.support.tls_client import TlsCaller


class Reply:
    """What came for one stream so far."""

    def __init__(self) -> None:
        self.headers: dict[bytes, bytes] = {}
        self.interim: list[dict[bytes, bytes]] = []
        self.trailers: dict[bytes, bytes] = {}
        self.body = b""
        self.ended = False
        self.reset: int | None = None

    @property
    def status(self) -> int:
        return int(self.headers[b":status"])

    @property
    def code(self) -> str:
        return str(json.loads(self.body)["code"])


class Http2Caller(TlsCaller):
    """One connection to ``port``; blocking, so a test reads when it says so."""

    def __init__(
        self,
        port: int,
        name: str | None = "api.test",
        *,
        context: ssl.SSLContext | None = None,
        certificate: tuple[Path, Path] | None = None,
        sock: socket.socket | None = None,
    ) -> None:
        super().__init__(
            port, name, alpn=("h2", "http/1.1"), context=context, certificate=certificate, sock=sock
        )
        assert self.sock.selected_alpn_protocol() == "h2"
        self.engine = H2Connection(H2Configuration(client_side=True, header_encoding=None))
        self.engine.initiate_connection()
        self.replies: dict[int, Reply] = {}
        self.goaways: list[tuple[int, int]] = []
        self.over = False
        self.flush()

    def __enter__(self) -> Self:
        return self

    def flush(self) -> None:
        self.sock.sendall(self.engine.data_to_send())

    def begin(
        self,
        path: str,
        *headers: str,
        method: str = "GET",
        host: str = "api.test",
        body: bytes | None = None,
        sized: bool = True,
        open_body: bool = False,
    ) -> int:
        """Sends a request and all of its body; ``open_body``: the body is the test's to send. The stream's
        number.
        """
        stream = int(self.engine.get_next_available_stream_id())
        fields = [(":method", method), (":scheme", "https"), (":authority", host), (":path", path)]
        for line in headers:
            name, _, value = line.partition(": ")
            fields.append((name.lower(), value))
        if body is not None and sized:
            fields.append(("content-length", str(len(body))))
        self.replies[stream] = Reply()
        self.engine.send_headers(stream, fields, end_stream=body is None and not open_body)
        self.flush()
        at = 0
        while body is not None:
            room = min(self.engine.local_flow_control_window(stream), self.engine.max_outbound_frame_size)
            if room == 0 and at < len(body):
                self.read()
                continue
            piece = body[at : at + room]
            at += len(piece)
            self.engine.send_data(stream, piece, end_stream=at == len(body))
            self.flush()
            if at == len(body):
                break
        return stream

    def ask2(self, path: str, *headers: str, **more: object) -> Reply:
        """One call, answered."""
        return self.finish(self.begin(path, *headers, **more))  # type: ignore[arg-type]

    def finish(self, stream: int) -> Reply:
        reply = self.replies[stream]
        while not reply.ended and reply.reset is None and not self.over:
            self.read()
        return reply

    def read(self) -> None:
        """What comes next, at least one read of the socket."""
        data = self.sock.recv(65_536)
        if not data:
            self.over = True
            return
        for event in self.engine.receive_data(data):
            self._take(event)
        self.flush()

    def see_out(self, stream: int, told: Callable[[], None]) -> tuple[list[int], bytes]:
        """Reads to the connection's end, past GOAWAY, where the engine stops: the last stream that each GOAWAY
        named, ``told`` being called for each, and the body that came for ``stream``. Pings are answered.
        """
        lasts: list[int] = []
        body = buffer = b""
        while data := self.sock.recv(65_536):
            buffer += data
            while len(buffer) >= 9 and len(buffer) >= 9 + int.from_bytes(buffer[:3], "big"):
                length = int.from_bytes(buffer[:3], "big")
                kind, flags, number, payload = buffer[3], buffer[4], buffer[8], buffer[9 : 9 + length]
                buffer = buffer[9 + length :]
                if kind == 7:
                    lasts.append(int.from_bytes(payload[:4], "big"))
                    told()
                elif kind == 6 and not flags:
                    self.sock.sendall(b"\0\0\x08\x06\x01\0\0\0\0" + payload)
                elif kind == 0 and number == stream:
                    body += payload
        return lasts, body

    def _take(self, event: object) -> None:
        if isinstance(event, ConnectionTerminated):
            self.goaways.append((event.last_stream_id, int(event.error_code)))
            return
        reply = self.replies.get(getattr(event, "stream_id", 0))
        if reply is None:
            return
        if isinstance(event, ResponseReceived):
            reply.headers = dict(event.headers)
        elif isinstance(event, InformationalResponseReceived):
            reply.interim.append(dict(event.headers))
        elif isinstance(event, TrailersReceived):
            reply.trailers = dict(event.headers)
        elif isinstance(event, DataReceived):
            reply.body += event.data
            self.engine.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamEnded):
            reply.ended = True
        elif isinstance(event, StreamReset):
            reply.reset = int(event.error_code)
