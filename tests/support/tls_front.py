"""TLS in front of a recording upstream: certificates made on the spot, and endings that only TLS has.

``TlsFront`` takes TLS off and hands the bytes on, so that everything a recording upstream can play is played over TLS too. How it
ends a connection is the test's choice: with ``close_notify``, or without, as when somebody cuts the wire.
"""

import asyncio
import contextlib
import datetime as dt
import ipaddress
import os
import socket
import ssl
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, in two PEM files."""

    chain: Path
    key: Path


class Authority:
    """A certificate authority that lives in ``folder``; ``ca`` is its certificate."""

    def __init__(self, folder: Path, name: str = "test CA") -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        self.ca = folder / "ca.pem"
        certificate = (
            _builder(self._name, self._name, self._key.public_key(), 0)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.ca.write_bytes(certificate.public_bytes(Encoding.PEM))

    def issue(
        self, file: str, *names: str, client: bool = False, days: int = 30, started_days_ago: int = 1
    ) -> Pair:
        """A certificate for DNS ``names`` or addresses; ``days`` from now may be negative."""
        key = ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        builder = _builder(
            _name(names[0] if names else "client"), self._name, key.public_key(), days, started_days_ago
        ).add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=False
            )
        pair = Pair(self.folder / f"{file}.pem", self.folder / f"{file}.key")
        pair.chain.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))
        pair.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return pair


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    days: int,
    started_days_ago: int = 1,
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=started_days_ago))
        .not_valid_after(now + dt.timedelta(days=days or 30))
    )


class TlsFront:
    """Ends TLS before ``behind``. ``ragged``: connections end without close_notify. ``names``: the SNI of each handshake."""

    def __init__(
        self,
        behind: tuple[str, int],
        pair: Pair,
        *,
        client_ca: Path | None = None,
        versions: Sequence[ssl.TLSVersion] = (),
    ) -> None:
        self._behind = behind
        self._context = context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.chain, pair.key)
        context.sni_callback = self._named
        if client_ca is not None:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        for version in versions:
            context.minimum_version = context.maximum_version = version
        self.ragged = False
        self.names: list[str | None] = []
        self.subjects: list[object] = []
        self.handshakes = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tls front", daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @property
    def live(self) -> int:
        """Connections that have not been ended."""
        return len(self._tasks)

    def use(self, pair: Pair) -> None:
        """New handshakes get this certificate."""
        self._context.load_cert_chain(pair.chain, pair.key)

    def _named(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        self.names.append(name)

    async def _listen(self) -> None:
        self._loop.set_exception_handler(lambda loop, context: None)  # failed handshakes are what we are for
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.handshakes += 1
        self.subjects.append((writer.get_extra_info("peercert") or {}).get("subject"))
        sock = socket.socket()
        sock.setblocking(False)
        behind_writer: asyncio.StreamWriter | None = None
        try:
            await self._loop.sock_connect(sock, self._behind)
            behind_reader, behind_writer = await asyncio.open_connection(sock=sock)
            up = asyncio.create_task(_pump(reader, behind_writer))
            down = asyncio.create_task(_pump(behind_reader, writer))
            _, pending = await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
            for each in pending:
                each.cancel()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            if behind_writer is not None:
                behind_writer.transport.abort()
            if self.ragged:
                # the records that are on their way go out, the farewell does not
                raw = writer.get_extra_info("socket")
                with contextlib.suppress(OSError), socket.socket(fileno=os.dup(raw.fileno())) as copy:
                    copy.shutdown(socket.SHUT_WR)
                await asyncio.sleep(0.05)
                writer.transport.abort()
            else:
                writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(64 << 10):
            writer.write(data)
            await writer.drain()
