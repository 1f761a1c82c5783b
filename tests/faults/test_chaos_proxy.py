"""The instruments themselves: each fault of the proxy does what it says, at the byte it says, and can be repeated."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.chaos import ChaosProxy, Faults
from tests.support.chaos_process import ChaosProcess


@contextmanager
def echo() -> Iterator[tuple[str, int]]:
    """A server that sends back what it gets, and ends its side when the other has ended."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve(peer: socket.socket) -> None:
            with peer:
                try:
                    while data := peer.recv(4096):
                        peer.sendall(data)
                except OSError:
                    return

        def accept() -> None:
            while True:
                try:
                    peer, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(peer,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listening.getsockname()[:2]
        listening.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy() -> Iterator[ChaosProxy]:
    with echo() as address, ChaosProxy(address, 5) as running:
        yield running


def ask(address: tuple[str, int], data: bytes, *, timeout_s: float = 3) -> tuple[bytes, str]:
    """What came back for ``data``, and how it ended: fin, reset, silence or refused."""
    try:
        with socket.create_connection(address, timeout_s) as peer:
            peer.settimeout(timeout_s)
            peer.sendall(data)
            with contextlib.suppress(OSError):  # the fault may have been quicker
                peer.shutdown(socket.SHUT_WR)
            got = b""
            while True:
                try:
                    piece = peer.recv(4096)
                except ConnectionResetError:
                    return got, "reset"
                except TimeoutError:
                    return got, "silence"
                if not piece:
                    return got, "fin"
                got += piece
    except ConnectionRefusedError:
        return b"", "refused"


DATA = bytes(range(200))


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize(
    ("faults", "bytes_back", "end"),
    [
        (Faults(), 200, "fin"),
        (Faults(slice_bytes=3), 200, "fin"),
        (Faults(cut_after=50), 50, "fin"),
        (Faults(cut_after=0), 0, "fin"),
        (Faults(reset_after=50), 50, "reset"),
        (Faults(half_close_after=50), 50, "fin"),
        (Faults(silent=True), 0, "fin"),
    ],
    ids=["none", "slices", "cut", "cut at once", "reset", "half-close", "silent"],
)
def test_a_fault_holds_at_its_byte(
    proxy: ChaosProxy, direction: str, faults: Faults, bytes_back: int, end: str
) -> None:
    setattr(proxy, direction, faults)
    got, how = ask(proxy.address, DATA)
    assert how == end or (direction == "up" and how in {"fin", "reset"})
    if direction == "down":
        assert got == DATA[:bytes_back] or (end == "reset" and DATA.startswith(got))
    else:
        assert DATA[:bytes_back].startswith(got)
        assert end == "reset" or faults.cut_after >= 0 or got == DATA[:bytes_back]
    proxy.heal()
    assert ask(proxy.address, DATA) == (DATA, "fin")


def test_bytes_are_counted_from_when_the_fault_was_set(proxy: ChaosProxy) -> None:
    with socket.create_connection(proxy.address, 3) as peer:
        peer.settimeout(3)
        peer.sendall(b"a" * 100)
        assert len(peer.recv(4096)) == 100
        proxy.down = Faults(cut_after=10)
        peer.sendall(b"b" * 100)
        assert peer.recv(4096) == b"b" * 10
        assert peer.recv(4096) == b""


def test_delay_and_rate_take_their_time(proxy: ChaosProxy) -> None:
    for faults in (Faults(delay_ms=150), Faults(bytes_per_s=1000), Faults(close_late_ms=150)):
        proxy.down = faults
        begun = time.monotonic()
        assert ask(proxy.address, DATA)[0] == DATA
        assert time.monotonic() - begun >= 0.14, faults


def test_mute_refuse_and_listen(proxy: ChaosProxy) -> None:
    proxy.mute = True
    assert ask(proxy.address, DATA, timeout_s=0.3) in [(b"", "silence"), (b"", "fin")]
    proxy.mute = False
    proxy.refuse()
    assert ask(proxy.address, DATA)[1] == "refused"
    proxy.listen()
    assert ask(proxy.address, DATA) == (DATA, "fin")


def test_the_process_obeys_the_same_orders() -> None:
    with echo() as address, ChaosProcess(address, 5) as proxy:
        place = ("127.0.0.1", proxy.port)
        assert ask(place, DATA) == (DATA, "fin")
        proxy.set(down=Faults(cut_after=50))
        assert ask(place, DATA) == (DATA[:50], "fin")
        proxy.refuse()
        assert ask(place, DATA)[1] == "refused"
        proxy.listen()
        proxy.heal()
        proxy.reset_all()
        assert ask(place, DATA) == (DATA, "fin")
