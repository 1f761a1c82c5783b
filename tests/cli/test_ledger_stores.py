"""``faregate ledger`` and ``doctor`` on an embedded ledger as it lies on the disk: through its process, and alone."""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from faregate.cli.app import main
from faregate.cli.doctor_ledger import check_ledger, judged
from faregate.snapshot import encoded
from faregate.snapshot.data import Snapshot
from faregate.stores.ledger.about import About, encode_about
from faregate.stores.ledger.embedded.client import EmbeddedLedger
from faregate.stores.ledger.protocol import DONE, GRANTED, UNKNOWN, Claim, Figures, Standing, Teller
from tests.cli.test_ledger import LABEL, Shop

DISK_BYTES = 64 << 20
PATIENCE_S = 30.0
KEY = b"k" * 16


class Told(Teller):
    def __init__(self) -> None:
        self.standing: asyncio.Future[Standing] = asyncio.get_running_loop().create_future()

    def ledger_told(self, standing: Standing) -> None:
        self.standing.set_result(standing)


def answers(path: Path) -> bool:
    """Whether somebody listens there; a socket that was left there is none."""
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(str(path))
        except OSError:
            return False
        return True


@contextmanager
def process(data: Path) -> Iterator[None]:
    """The ledger's own process, and its end."""
    command = [
        sys.executable,
        "-m",
        "faregate.stores.ledger.embedded.program",
        str(data / "ledger"),
        str(DISK_BYTES),
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
        try:
            until = time.monotonic() + PATIENCE_S
            while not answers(data / "ledger" / "socket"):
                assert child.poll() is None
                assert time.monotonic() < until
                time.sleep(0.02)
            yield
        finally:
            child.terminate()
            assert child.wait(PATIENCE_S) == 0


async def leave_unknown(data: Path) -> None:
    ledger = EmbeddedLedger(data)
    await ledger.start()
    about = encode_about(About("acme", "payments", "v2", LABEL, "req-7", "POST", "/v2/payments", 1.0))
    claimed, settled = Told(), Told()
    ledger.claim(Claim(KEY, b"a" * 16, b"f" * 32, 3600, about, sends=True, resolves=False), claimed)
    assert (await asyncio.wait_for(claimed.standing, PATIENCE_S)).kind == GRANTED
    ledger.settle(KEY, b"a" * 16, UNKNOWN, b"", settled)
    assert (await asyncio.wait_for(settled.standing, PATIENCE_S)).kind == DONE
    await ledger.close()


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("FAREGATE_ID", "FAREGATE_KEY", "FAREGATE_JSON", "FAREGATE_DATA"):
        monkeypatch.delenv(name, raising=False)
    return Shop(tmp_path).data


def ids(capsys: pytest.CaptureFixture[str], data: Path) -> list[str]:
    assert main(["ledger", "list", "--json", "--data", str(data)]) == 0
    return [record["id"] for record in json.loads(capsys.readouterr().out)["records"]]


def test_it_is_read_and_settled_with_and_without_its_process(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with process(data):
        asyncio.run(leave_unknown(data))
        assert ids(capsys, data) == [KEY.hex()]
    assert ids(capsys, data) == [KEY.hex()]
    settle = ["ledger", "settle", KEY.hex(), "completed", "--reason", "paid", "--by", "ada", "--yes"]
    assert main([*settle, "--data", str(data)]) == 0
    capsys.readouterr()
    with process(data):
        assert ids(capsys, data) == []
        assert main(["ledger", "show", KEY.hex(), "--data", str(data)]) == 0
        assert "settled by  ada: paid\n" in capsys.readouterr().out


def test_a_ledger_of_another_user_is_not_touched(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(data.rglob("*"))
    monkeypatch.setattr("faregate.manager.ledger.asking.os.geteuid", lambda: os.getuid() + 1)
    assert main(["ledger", "list", "--data", str(data)]) == 1
    assert f"run this as uid {os.getuid()}" in capsys.readouterr().err
    assert sorted(data.rglob("*")) == before


def test_where_none_was_kept_yet_nothing_is_made(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(data / "ledger")
    for words in (["list"], ["show", KEY.hex()]):
        assert main(["ledger", *words, "--data", str(data)]) == 1
        assert "no gateway has kept one here yet" in capsys.readouterr().err
    by_key = ["--key", "k", "--consumer", "c", "--api", "a", "--route", "r"]
    assert main(["ledger", "show", *by_key, "--data", str(data)]) == 1
    assert "no gateway has kept a ledger" in capsys.readouterr().err
    assert not (data / "ledger").exists()


def findings(data: Path) -> list[tuple[str, str, str]]:
    snapshot: Snapshot = encoded.decode((data / "snapshot").read_bytes())
    return [(one.level, one.check, one.message) for one in asyncio.run(check_ledger(snapshot))]


def test_doctor_tells_how_the_ledger_stands(data: Path) -> None:
    where = f"embedded ledger in {data}/ledger"
    assert findings(data) == [("ok", "ledger", f"{where}: none yet; the first start makes it")]
    with process(data):
        asyncio.run(leave_unknown(data))
        (stands, unknown) = findings(data)
        assert stands[:2] == ("ok", "ledger")
        assert stands[2].startswith(f"{where}: 1 record, 0 in flight, ")
        assert unknown[:2] == ("warning", "ledger_unknown")
        assert unknown[2].startswith("1 call of unknown outcome, the oldest for ")
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*")}
    assert findings(data) == [("ok", "ledger", f"{where}: no gateway runs that could be asked")]
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*")} == before
    (data / "ledger" / "secrets").unlink()
    ((level, check, message),) = findings(data)
    assert (level, check) == ("problem", "ledger")
    assert "restore it" in message


def test_doctor_says_nothing_of_a_ledger_that_no_route_needs(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    snapshot = encoded.decode((shop.data / "snapshot").read_bytes())
    assert asyncio.run(check_ledger(snapshot.__class__(**{**_fields(snapshot), "needs_ledger": False}))) == []


def _fields(snapshot: Snapshot) -> dict[str, object]:
    return {name: getattr(snapshot, name) for name in snapshot.__struct_fields__}


@pytest.mark.parametrize(
    ("figures", "levels", "said"),
    [
        (Figures(0, 0, 0, 0.0), ["ok"], "l: 0 records, 0 in flight"),
        (Figures(9, 1, 0, 0.0, 799, 1000), ["ok"], "l: 9 records, 1 in flight, "),
        (Figures(9, 1, 0, 0.0, 800, 1000), ["warning"], "nearly full"),
        (
            Figures(9, 1, 2, 7300.0, 1, 1000),
            ["ok", "warning"],
            "2 calls of unknown outcome, the oldest for 2h01m",
        ),
    ],
)
def test_figures_are_judged(figures: Figures, levels: list[str], said: str) -> None:
    found = judged("l", figures)
    assert [one.level for one in found] == levels
    assert said in found[-1].message
