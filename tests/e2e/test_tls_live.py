"""Certificate files that change under a running gateway: taken up by themselves, never at the price of a connection."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.certificates import Authority, Issued, replace
from tests.support.configuration import Tree, base
from tests.support.gateway import GatewayProcess, until
from tests.support.script import Gate, raw, sized
from tests.support.tls_client import TlsCaller, refused
from tests.support.upstream import RecordingUpstream

pytestmark = pytest.mark.apart

HOST = "api.test"


class World:
    def __init__(self, folder: Path, upstream: RecordingUpstream) -> None:
        self.folder, self.upstream = folder, upstream
        self.authority, self.other = Authority("CN=one"), Authority("CN=two")
        self.server = self.issue()
        self.server.write(folder / "certs", "server")
        self.trust(self.authority, self.other)
        self.callers = {
            "one": self.authority.issue("CN=one-caller", client=True),
            "two": self.other.issue("CN=two-caller", client=True),
        }
        for who, issued in self.callers.items():
            issued.write(folder / "callers", who)
        self.revoke()
        self.gateway = GatewayProcess(folder, self.make)

    def issue(self) -> Issued:
        return self.authority.issue("CN=server", dns=(HOST,), client=False)

    def trust(self, *authorities: Authority) -> None:
        replace(self.folder / "certs" / "partners.pem", b"".join(one.pem for one in authorities))

    def revoke(self) -> None:
        replace(
            self.folder / "certs" / "partners.crl", self.authority.revocations() + self.other.revocations()
        )

    def files(self, who: str) -> tuple[Path, Path]:
        return self.folder / "callers" / f"{who}.pem", self.folder / "callers" / f"{who}.key"

    def caller(self, who: str) -> TlsCaller:
        return TlsCaller(self.gateway.port, HOST, certificate=self.files(who))

    def turns_away(self, who: str) -> bool:
        return all(refused(self.gateway.port, HOST, certificate=self.files(who)) for _ in range(6))

    def served(self) -> bytes:
        with TlsCaller(self.gateway.port, HOST) as caller:
            return caller.served

    def make(self, port: int, manager_port: int) -> Tree:
        tree = base(port, manager_port, self.upstream.url, workers=2)
        clients = {"mode": "optional", "ca": "certs/partners.pem", "crl": "certs/partners.crl"}
        tls = {
            "certificates": [{"chain": "certs/server.pem", "key": "certs/server.key"}],
            "client_certificates": clients,
        }
        tree["gateway"]["listen"] = [{"address": f"127.0.0.1:{port}", "tls": tls}]  # type: ignore[index,call-overload]
        tree["consumers"] = {
            who: {"credentials": [{"mtls": {"sha256": issued.fingerprint}}]}
            for who, issued in self.callers.items()
        }
        tree["apis"]["certain"] = {  # type: ignore[index,call-overload]
            "upstream": "main",
            "authenticate": ["mtls"],
            "versions": {"v1": {"path": "/certain/v1"}},
            "routes": [{"match": "GET /{rest...}"}],
        }
        return tree


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with RecordingUpstream() as upstream:
        made = World(tmp_path, upstream)
        with made.gateway:
            yield made


def der(issued: Issued) -> bytes:
    return issued.certificate.public_bytes(Encoding.DER)


def test_a_renewed_certificate_is_served_and_old_connections_go_on(world: World) -> None:
    with TlsCaller(world.gateway.port, HOST) as kept:
        assert kept.ask("/open/v1/x").status == 200
        renewed = world.issue()
        replace(world.folder / "certs" / "server.pem", renewed.pem)  # not its key yet: as a script does it
        time.sleep(2.5)
        assert world.served() == der(world.server)
        replace(world.folder / "certs" / "server.key", renewed.key_pem)
        until(
            lambda: all(world.served() == der(renewed) for _ in range(8)),
            "the renewed certificate in both workers",
        )
        assert kept.ask("/open/v1/x").status == 200
    assert "stay in use" in world.gateway.stderr
    assert "were read again" in world.gateway.stderr


def test_a_broken_file_leaves_the_former_certificate(world: World) -> None:
    replace(world.folder / "certs" / "server.pem", b"nothing")
    until(lambda: "stay in use" in world.gateway.stderr, "what is said of it")
    assert world.served() == der(world.server)
    world.gateway.reload()
    until(lambda: "configuration has errors" in world.gateway.stderr, "the refused reload")
    assert world.served() == der(world.server)


def test_connections_that_rest_on_an_authority_taken_away_are_closed_and_others_are_not(world: World) -> None:
    gate = Gate()
    world.upstream.script("/certain/v1/slow", raw(gate, *sized().actions))
    with world.caller("one") as one, world.caller("two") as two, world.caller("two") as busy:
        for caller in (one, two):
            assert caller.ask("/certain/v1/x").status == 200
        busy.sock.sendall(f"GET /certain/v1/slow HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        world.upstream.wait(lambda: bool(world.upstream.of_path("/certain/v1/slow")), "the slow call")
        world.trust(world.authority)
        assert two.ended()
        gate.open()
        assert busy.reply().status == 200  # the call that was in progress is answered
        assert busy.ended()
        assert one.ask("/certain/v1/x").status == 200
    until(lambda: world.turns_away("two"), "both workers to refuse it")


def test_a_certificate_revoked_since_its_handshake_is_let_go(world: World) -> None:
    with world.caller("one") as one, world.caller("two") as two:
        for caller in (one, two):
            assert caller.ask("/certain/v1/x").status == 200
        world.other.revoke(world.callers["two"])
        world.revoke()
        assert two.ended()
        assert one.ask("/certain/v1/x").status == 200
    until(lambda: world.turns_away("two"), "both workers to refuse it")


def test_a_reload_changes_how_a_listener_speaks(world: World) -> None:
    tree = world.make(world.gateway.port, world.gateway.manager_port)
    listener = tree["gateway"]["listen"][0]  # type: ignore[index,call-overload]
    del listener["tls"]["client_certificates"]  # type: ignore[union-attr]
    del tree["apis"]["certain"]  # type: ignore[union-attr,attr-defined]
    with world.caller("one") as one:
        assert one.ask("/open/v1/x").status == 200
        world.gateway.reload_and_wait(tree)
        assert one.ended()  # nobody is trusted any more
    with TlsCaller(world.gateway.port, HOST) as caller:
        assert caller.ask("/open/v1/x").status == 200
