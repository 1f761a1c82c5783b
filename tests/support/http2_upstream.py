"""A target that speaks HTTP/2 by jh2's own protocol engine, and what a test wants it to do with each request."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from jh2.config import H2Configuration
from jh2.connection import H2Connection
from jh2.events import DataReceived, RequestReceived, StreamEnded, StreamReset, WindowUpdated
from jh2.exceptions import ProtocolError


@dataclass
class Asked:
    """One request as it arrived."""

    stream: int
    fields: dict[bytes, bytes]
    body: bytes = b""
    ended: bool = False
    reset: int | None = None
    connection: int = 0


@dataclass
class Serving:
    """One connection: the engine, its socket, and answers that wait for windows."""

    engine: H2Connection
    sock: socket.socket
    number: int
    asked: dict[int, Asked] = field(default_factory=dict)
    waiting: dict[int, tuple[bytes, list[tuple[str, str]] | None]] = field(default_factory=dict)

    def head(self, stream: int, *fields: tuple[str, str], status: str = "200", end: bool = False) -> None:
        self.engine.send_headers(stream, [(":status", status), *fields], end_stream=end)

    def answer(self, stream: int, body: bytes, trailers: list[tuple[str, str]] | None = None) -> None:
        """The rest of an answer, as the windows allow; ``trailers`` end it in place of the last DATA."""
        self.waiting[stream] = (body, trailers)
        self.go_on()

    def go_on(self) -> None:
        for stream, (body, trailers) in list(self.waiting.items()):
            left = body
            while left:
                room = min(self.engine.local_flow_control_window(stream), self.engine.max_outbound_frame_size)
                if room <= 0:
                    break
                piece, left = left[:room], left[room:]
                self.engine.send_data(stream, piece, end_stream=not left and trailers is None)
            self.waiting[stream] = (left, trailers)
            if not left:
                del self.waiting[stream]
                if trailers is not None:
                    self.engine.send_headers(stream, trailers, end_stream=True)
                elif not body:
                    self.engine.end_stream(stream)


Play = Callable[[Serving, Asked, object], None]
"""Called for each event of a request; most look for ``ended``."""


class Http2Upstream:
    """``play`` may be changed between calls; ``asked``: every request of every connection, in order."""

    def __init__(self, play: Play, context: ssl.SSLContext | None = None, first: bytes = b"") -> None:
        self.play = play
        self.asked: list[Asked] = []
        self.connections = 0
        self._context = context
        self._first = first  # sent in place of the engine's own settings
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._socks: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def renew(self, play: Play, first: bytes = b"") -> None:
        """Ends its connections and begins anew on the same port, as if nobody had ever called: for tests that share a gateway."""
        for sock in self._socks:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive()
        self._socks, self._threads, self.asked, self.connections = [], [], [], 0
        self.play, self._first = play, first

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def url(self) -> str:
        return f"{'https' if self._context else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._socks:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        self._thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                break
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(sock, self.connections), daemon=True)
            self._threads.append(thread)
            thread.start()
        for thread in self._threads:
            thread.join(5)

    def _serve(self, sock: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError, ssl.SSLError):
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_side=True)
            self._socks.append(sock)
            engine = H2Connection(H2Configuration(client_side=False, header_encoding=None))
            engine.initiate_connection()
            serving = Serving(engine, sock, number)
            if self._first:
                engine.clear_outbound_data_buffer()
                sock.sendall(self._first)
            sock.sendall(engine.data_to_send())
            while data := sock.recv(65_536):
                try:
                    for event in engine.receive_data(data):
                        self._take(serving, event)
                except ProtocolError:
                    if self._first:
                        break  # what it really sent is not known to the engine, whose state need not fit
                    raise
                sock.sendall(engine.data_to_send())
        sock.close()

    def _take(self, serving: Serving, event: object) -> None:
        stream = getattr(event, "stream_id", 0)
        if isinstance(event, RequestReceived):
            asked = Asked(stream, dict(event.headers), connection=serving.number)
            serving.asked[stream] = asked
            self.asked.append(asked)
        found = serving.asked.get(stream or 0)
        if isinstance(event, WindowUpdated):
            serving.go_on()
        if found is None:
            return
        if isinstance(event, DataReceived):
            found.body += event.data
            serving.engine.acknowledge_received_data(event.flow_controlled_length, stream)
        elif isinstance(event, StreamEnded):
            found.ended = True
        elif isinstance(event, StreamReset):
            found.reset = int(event.error_code)
            return
        self.play(serving, found, event)


def unary(serving: Serving, asked: Asked, event: object) -> None:
    """Answers a whole request with its own body and ``grpc-status: 0``."""
    if isinstance(event, StreamEnded):
        serving.head(asked.stream, ("content-type", "application/grpc"))
        serving.answer(asked.stream, asked.body, [("grpc-status", "0")])
