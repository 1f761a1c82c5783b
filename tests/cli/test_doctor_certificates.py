"""``faregate doctor`` says how long each certificate file lasts, in time."""

import time
from pathlib import Path

import pytest

from faregate.cli.doctor_certificates import check_certificates
from faregate.cli.doctor_findings import Level
from faregate.snapshot.data import Gateway, Listener, ListenerTls, ServerCertificate, Snapshot
from tests.support.certificates import Authority

DAY = 86_400


def snapshot_of(folder: Path) -> Snapshot:
    tls = ListenerTls(
        (ServerCertificate(f"{folder}/a.pem", f"{folder}/a.key"),),
        "optional",
        f"{folder}/ca.pem",
        f"{folder}/ca.crl",
    )
    gateway = Gateway((Listener("127.0.0.1", 1, tls), Listener("127.0.0.1", 2)), None, 1, str(folder))
    return Snapshot(1, 1, gateway, (), (), (), (), (), ())


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    authority = Authority()  # for 365 days
    authority.issue("CN=a", dns=("a.test",), days=(-1, 200)).write(tmp_path, "a")
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    (tmp_path / "ca.crl").write_bytes(authority.revocations(days=(-1, 190)))
    return snapshot_of(tmp_path)


@pytest.mark.parametrize(
    ("after_days", "server", "authority", "revocations"),
    [
        (0, Level.OK, Level.OK, Level.OK),
        (175, Level.WARNING, Level.OK, Level.OK),
        (189.5, Level.WARNING, Level.OK, Level.WARNING),
        (195, Level.WARNING, Level.OK, Level.PROBLEM),
        (201, Level.PROBLEM, Level.OK, Level.PROBLEM),
        (340, Level.PROBLEM, Level.WARNING, Level.PROBLEM),
    ],
)
def test_each_file_is_told_of(
    snapshot: Snapshot, after_days: float, server: Level, authority: Level, revocations: Level
) -> None:
    found = list(check_certificates(snapshot, time.time() + after_days * DAY))
    assert [one.level for one in found] == [server, authority, revocations]
    assert {one.check for one in found} == {"certificate"}
    assert all(one.advice for one in found if one.level is not Level.OK)


def test_a_file_that_is_gone_or_broken_is_a_problem(snapshot: Snapshot, tmp_path: Path) -> None:
    (tmp_path / "a.pem").unlink()
    (tmp_path / "ca.crl").write_bytes(b"")
    levels = [one.level for one in check_certificates(snapshot, time.time())]
    assert levels == [Level.PROBLEM, Level.OK, Level.PROBLEM]
