"""TLS towards upstreams: what a context insists on, each switch in both positions, and what a change of files or settings does."""

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable
from functools import wraps
from pathlib import Path

import pytest
import uvloop

from faregate.gateway.assembly import ReadyUpstream
from faregate.gateway.balance import make_balancer
from faregate.gateway.pool import Pool
from faregate.gateway.upstream_tls import LOOK_EVERY_S, TlsClient, client_context, reason_of, said_farewell
from faregate.snapshot.data import GatewayLimits, Target, Upstream, UpstreamTls
from tests.support.script import until_close
from tests.support.tls_front import Authority, TlsFront
from tests.support.upstream import RecordingUpstream

HTTP = ("http/1.1",)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("ca"))
    made.issue("client", client=True)
    return made


def living(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @wraps(test)
    def run(**fixtures: object) -> None:
        asyncio.run(test(**fixtures))

    return run


def test_defaults_verify_the_chain_and_the_name_by_modern_tls_only() -> None:
    context = client_context(UpstreamTls(), HTTP)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.options & ssl.OP_NO_RENEGOTIATION
    for cipher in context.get_ciphers():
        assert cipher["aead"], cipher["name"]
        assert cipher["protocol"] == "TLSv1.3" or cipher["name"].startswith("ECDHE-")


def test_verify_flag_both_ways(authority: Authority) -> None:
    """CVE-2025-66491: a switch that meant the opposite."""
    on = client_context(UpstreamTls(ca=str(authority.ca), verify=True), HTTP)
    off = client_context(UpstreamTls(verify=False), HTTP)
    assert (on.verify_mode, on.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert (off.verify_mode, off.check_hostname) == (ssl.CERT_NONE, False)


def test_an_own_authority_replaces_those_of_the_system(authority: Authority) -> None:
    assert client_context(UpstreamTls(ca=str(authority.ca)), HTTP).cert_store_stats()["x509_ca"] == 1


@pytest.mark.parametrize("content", ["", "no certificate\n"])
def test_missing_option_refuses_an_empty_file_is_no_authority_and_no_excuse(
    tmp_path: Path, content: str
) -> None:
    """CVE-2022-46153 and its kind: an authority that could not be read meant that none was asked."""
    file = tmp_path / "ca.pem"
    file.write_text(content, encoding="utf-8")
    with pytest.raises((OSError, ValueError)):
        client_context(UpstreamTls(ca=str(file)), HTTP)


def test_a_leaf_is_no_authority(authority: Authority) -> None:
    with pytest.raises(ValueError, match="no authority"):
        client_context(UpstreamTls(ca=str(authority.folder / "client.pem")), HTTP)


@pytest.mark.parametrize(
    ("code", "reason"),
    [(10, "expired"), (9, "not_yet_valid"), (18, "untrusted"), (20, "untrusted"), (62, "wrong_name"), (64, "wrong_name"), (26, "wrong_purpose"),
     (23, "revoked"), (66, "key_too_weak"), (1234, "certificate")],
)  # fmt: skip
def test_why_a_certificate_was_refused_is_one_of_our_words(code: int, reason: str) -> None:
    error = ssl.SSLCertVerificationError("certificate says: $(evil)")
    error.verify_code = code
    assert reason_of(error) == "upstream_tls_" + reason


def test_any_other_fault_is_the_handshakes() -> None:
    assert reason_of(ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] x")) == "upstream_tls_handshake"


@living
async def test_settings_that_cannot_be_used_are_told_as_such_and_tried_again(
    tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "ca.pem"
    client = TlsClient(UpstreamTls(ca=str(file)))
    loop = asyncio.get_running_loop()
    for _ in range(2):
        with pytest.raises(ssl.SSLError) as raised:
            await client.context(loop)
        assert reason_of(raised.value) == "upstream_tls_settings"
    assert str(file) not in caplog.text
    file.write_bytes(authority.ca.read_bytes())
    assert (await client.context(loop)).verify_mode is ssl.CERT_REQUIRED


@living
async def test_all_who_wait_share_one_context(authority: Authority) -> None:
    client = TlsClient(UpstreamTls(ca=str(authority.ca)))
    loop = asyncio.get_running_loop()
    made = await asyncio.gather(*(client.context(loop) for _ in range(10)))
    assert len({id(each) for each in made}) == 1


@living
async def test_files_are_looked_at_now_and_then_and_a_new_generation_begins_when_they_change(
    tmp_path: Path, authority: Authority
) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(authority.ca.read_bytes())
    client = TlsClient(UpstreamTls(ca=str(file)))
    loop = asyncio.get_running_loop()
    first = await client.context(loop)

    async def look(now: float) -> int:
        client.look(now, loop)
        if client._making is not None:
            await client._making
        return client.generation

    assert await look(100.0) == 0
    os.utime(file, ns=(1, 1))
    assert await look(100.0 + LOOK_EVERY_S / 2) == 0, "not yet"
    assert await look(100.0 + LOOK_EVERY_S) == 1
    assert await client.context(loop) is not first
    second = await client.context(loop)
    file.write_text("broken", encoding="utf-8")
    assert await look(100.0 + 2 * LOOK_EVERY_S) == 1
    assert await client.context(loop) is second, "the former stays"
    assert await look(100.0 + 3 * LOOK_EVERY_S) == 1
    file.write_bytes(authority.ca.read_bytes())
    assert await look(100.0 + 4 * LOOK_EVERY_S) == 2


class Listener(asyncio.Protocol):
    """Asks for one answer and notes how it ended."""

    def __init__(self) -> None:
        self.ended = asyncio.get_running_loop().create_future()
        self.said: bool | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        transport.write(b"GET /t HTTP/1.1\r\nHost: a\r\n\r\n")  # type: ignore[attr-defined]

    def eof_received(self) -> bool:
        self.said = said_farewell(self.transport)
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.ended.set_result(None)


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("loops", ["asyncio", "uvloop"])
def test_w11_a_farewell_is_told_from_a_cut_on_either_loop(
    authority: Authority, loops: str, ragged: bool
) -> None:
    async def play(url: TlsFront) -> bool | None:
        context = client_context(UpstreamTls(ca=str(authority.ca)), HTTP)
        loop = asyncio.get_running_loop()
        _, listener = await loop.create_connection(Listener, "127.0.0.1", url.port, ssl=context)
        async with asyncio.timeout(5):
            await listener.ended
        return listener.said

    pair = authority.issue("server", "127.0.0.1")
    with RecordingUpstream() as upstream, TlsFront(upstream.address, pair) as front:
        upstream.script("/t", until_close(b"paid"))
        front.ragged = ragged
        runner = uvloop.run if loops == "uvloop" else asyncio.run
        # uvloop does not even tell the end of a stream that was cut
        assert runner(play(front)) in ((False, None) if ragged else (True,))


# reload


def ready(
    before: ReadyUpstream | None, loop: asyncio.AbstractEventLoop, *, tls: bool, **settings: str
) -> ReadyUpstream:
    declared = Upstream("u", (Target("t:1", "127.0.0.1", 1, tls=tls),), tls=UpstreamTls(**settings))
    balancer = make_balancer(declared, before.balancer if before is not None else None, 0.0)
    return ReadyUpstream(declared, balancer, loop, GatewayLimits(), before)


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        ({"tls": False}, {"tls": False}, True),
        ({"tls": True}, {"tls": True}, True),
        ({"tls": False}, {"tls": True}, False),
        ({"tls": True}, {"tls": False}, False),
        ({"tls": True}, {"tls": True, "server_name": "bank.test"}, False),
        ({"tls": True, "ca": "a.pem"}, {"tls": True, "ca": "b.pem"}, False),
        ({"tls": False, "ca": "a.pem"}, {"tls": False, "ca": "b.pem"}, True),
    ],
)
def test_a_reload_keeps_connections_only_while_they_are_spoken_to_alike(
    before: dict[str, object], after: dict[str, object], kept: bool
) -> None:
    loop = asyncio.new_event_loop()
    old = ready(None, loop, **before)  # type: ignore[arg-type]
    pool = old.pools[0]
    new = ready(old, loop, **after)  # type: ignore[arg-type]
    assert (new.pools[0] is pool) is kept
    assert pool.closed is not kept
    assert isinstance(new.balancer.targets[0].pool, Pool)
    loop.close()
