"""A TLS caller on a blocking socket: every part of its handshake is the test's to choose."""

import http.client
import json
import socket
import ssl
from pathlib import Path
from typing import Self

TIMEOUT_S = 8.0


class Reply:
    def __init__(self, raw: http.client.HTTPResponse) -> None:
        self.status = raw.status
        self.body = raw.read()
        self.headers = raw.headers

    @property
    def code(self) -> str:
        return str(json.loads(self.body)["code"])


class TlsCaller:
    """One connection to ``port``. ``name`` None: no SNI. ``sock``: made before, and taken over. Raises what the
    handshake raises.
    """

    def __init__(
        self,
        port: int,
        name: str | None = "api.test",
        *,
        certificate: tuple[Path, Path] | None = None,
        context: ssl.SSLContext | None = None,
        alpn: tuple[str, ...] = ("http/1.1",),
        session: ssl.SSLSession | None = None,
        sock: socket.socket | None = None,
    ) -> None:
        context = context or plain_context()
        if certificate is not None:
            context.load_cert_chain(*certificate)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        sock = sock or socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        try:
            self.sock = context.wrap_socket(sock, server_hostname=name, session=session)
        except BaseException:
            sock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    @property
    def served(self) -> bytes:
        """The server's certificate, DER."""
        found = self.sock.getpeercert(binary_form=True)
        assert found is not None
        return found

    def ask(
        self, path: str, *headers: str, method: str = "GET", host: str = "api.test", body: bytes = b""
    ) -> Reply:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *headers]
        if body or method == "POST":
            lines.append(f"Content-Length: {len(body)}")
        self.sock.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        return self.reply(method)

    def reply(self, method: str = "GET") -> Reply:
        response = http.client.HTTPResponse(self.sock, method=method)
        try:
            response.begin()
            return Reply(response)
        finally:
            response.close()

    def ended(self) -> bool:
        """Whether the other side closes within the timeout."""
        try:
            return self.sock.recv(1) == b""
        except (ConnectionError, ssl.SSLError):
            return True
        except TimeoutError:
            return False


def plain_context() -> ssl.SSLContext:
    """Believes every server: the tests look at the certificate themselves."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def tls12_context() -> ssl.SSLContext:
    context = plain_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


def refused(
    port: int,
    name: str | None = "api.test",
    *,
    certificate: tuple[Path, Path] | None = None,
    context: ssl.SSLContext | None = None,
) -> bool:
    """Whether a call on a new connection gets no answer: the handshake fails, or what follows it is cut."""
    try:
        with TlsCaller(port, name, certificate=certificate, context=context) as caller:
            caller.ask("/open/v1/x")
    except (ssl.SSLError, ConnectionError, http.client.HTTPException):
        return True
    return False
