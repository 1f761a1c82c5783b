"""``faregate ledger``: which records it finds, what it shows of them, and that a verdict is never without a trace."""

import json
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from faregate.cli import ledger_opening
from faregate.cli.app import main
from faregate.cli.ledger_records import in_words, table
from faregate.manager.ledger.asking import _without
from faregate.manager.ledger.shown import as_object
from faregate.records.stored_answer import pack_answer
from faregate.snapshot import encoded
from faregate.snapshot.data import FORMAT, Consumer, Gateway, Listener, Route, Snapshot, Version
from faregate.snapshot.idempotency import Idempotency
from faregate.snapshot.idempotency import Ledger as LedgerSettings
from faregate.stores.ledger.about import About, encode_about
from faregate.stores.ledger.protocol import (
    COMPLETED,
    RELEASED,
    SENT,
    STATE_NAMES,
    UNKNOWN,
    Claim,
    Entry,
    Ledger,
    Scope,
)
from faregate.stores.ledger.sealing import Sealer
from faregate.stores.ledger.secrets import Secrets, load_or_make
from tests.support.model_ledger import ModelBook, ModelLedger

LABEL = "POST /payments"
CARD = "4242424242424242"
Run = Callable[..., tuple[int, str, str]]


class Shop:
    """A data folder with a last good revision and secrets, and a ledger in memory in the place of its own."""

    def __init__(self, folder: Path, settings: LedgerSettings = LedgerSettings()) -> None:  # noqa: B008 - frozen
        self.data = folder / "data"
        self.data.mkdir()
        gateway = Gateway((Listener("127.0.0.1", 0),), None, 1, str(self.data), ledger=settings)
        routes = (Route("payments", 0, "POST", "/v2/payments", LABEL, "u", idempotency=Idempotency()),)
        consumers = (Consumer("acme"), Consumer("northwind"))
        versions = (Version("v2", "/v2"),)
        snapshot = Snapshot(FORMAT, 1, gateway, (), (), (), consumers, versions, routes, needs_ledger=True)
        (self.data / "snapshot").write_bytes(encoded.encode(snapshot))
        self.secrets: Secrets = load_or_make(self.data)
        self.ledger = ModelLedger(ModelBook(time.time))
        self.opened = 0

    @asynccontextmanager
    async def open(self, _place: object) -> AsyncIterator[Ledger]:
        self.opened += 1
        yield self.ledger

    def add(self, state: int, key: bytes = b"order-1", consumer: str = "acme", answer: bytes = b"") -> str:
        """A record in this state; its ident."""
        found = self.secrets.locate(Scope(consumer, "payments", LABEL, key))
        attempt = os.urandom(16)
        about = About(
            consumer, "payments", "v2", LABEL, "req-7", "POST", f"/v2/payments/{CARD}", time.time() - 60.0,
            Sealer(self.secrets).seal(found, attempt, key),
        )  # fmt: skip
        book = self.ledger.book
        claim = Claim(found, attempt, b"f" * 32, 3600, encode_about(about), sends=True, resolves=True)
        book.claim(claim, self.ledger._owner)
        if state != SENT:
            sealed = Sealer(self.secrets).seal(found, attempt, answer) if answer else b""
            book.settle(found, attempt, state, sealed)
        return found.hex()

    def state(self, ident: str) -> str:
        record = self.ledger.book.find(bytes.fromhex(ident))
        return "absent" if record is None else STATE_NAMES[record.state]

    def verdicts(self) -> list[dict[str, object]]:
        file = self.data / "verdicts.jsonl"
        if not file.exists():
            return []
        assert file.stat().st_mode & 0o077 == 0
        return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    shop = Shop(tmp_path)
    monkeypatch.setattr(ledger_opening, "opened", shop.open)
    for name in ("FAREGATE_ID", "FAREGATE_KEY", "FAREGATE_JSON", "SUDO_USER"):
        monkeypatch.delenv(name, raising=False)
    return shop


@pytest.fixture
def run(shop: Shop, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        status = main(["ledger", *arguments, "--data", str(shop.data)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


# -- list


def test_unknown_ones_are_listed_and_others_when_asked_for(shop: Shop, run: Run) -> None:
    unknown, sent = shop.add(UNKNOWN), shop.add(SENT, b"order-2")
    done = shop.add(COMPLETED, b"order-3", "northwind")
    status, out, err = run("list")
    heading, line = out.splitlines()
    assert (status, err) == (0, "1 unknown record\n")
    assert heading.split() == ["id", "state", "since", "consumer", "api", "route", "request_id", "tries"]
    assert line.startswith(f"{unknown}  unknown  ")
    assert line.split()[-6:] == ["acme", "payments", "POST", "/payments", "req-7", "0"]
    assert {each["id"] for each in json.loads(run("list", "--state", "all", "--json")[1])["records"]} == {
        unknown,
        sent,
        done,
    }
    status, out, err = run("list", "--state", "all", "--consumer", "northwind")
    assert (out.splitlines()[1][:32], err) == (done, "1 record of northwind\n")
    assert run("list", "--consumer", "acme", "--state", "claimed") == (0, "", "0 claimed records of acme\n")
    status, out, err = run("list", "--consumer", "northwnd")
    assert (status, out) == (2, "")
    assert "--consumer: the configuration has no consumer 'northwnd'; did you mean 'northwind'?" in err
    gone = shop.add(UNKNOWN, b"order-4", "closed-shop")
    assert run("list", "--consumer", "closed-shop")[1].splitlines()[1].startswith(gone)


def test_a_list_is_bounded_and_says_that_there_are_more(
    shop: Shop, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faregate.manager.ledger.asking.PAGE", 3)
    ids = {shop.add(UNKNOWN, b"order-%d" % number) for number in range(10)}
    told = json.loads(run("list", "--limit", "7", "--json")[1])
    assert (len(told["records"]), told["more"]) == (7, True)
    assert "there are more" in run("list", "--limit", "7")[2]
    told = json.loads(run("list", "--limit", "10", "--json")[1])
    assert {each["id"] for each in told["records"]} == ids
    assert told["more"] is False


def test_a_record_in_json_has_these_members_and_no_card_number(shop: Shop, run: Run) -> None:
    ident = shop.add(UNKNOWN)
    (record,) = json.loads(run("list", "--json")[1])["records"]
    assert record | {"since": 0, "age_s": 0, "called": 0} == {
        "id": ident, "state": "unknown", "since": 0, "age_s": 0, "expires": None, "consumer": "acme", "api": "payments",
        "version": "v2", "route": LABEL, "method": "POST", "path": "/v2/payments/424242******4242",
        "request_id": "req-7", "called": 0, "resolves": True, "tries": 0, "by": None, "note": None,
    }  # fmt: skip
    assert time.time() - record["called"] == pytest.approx(60.0, abs=30.0)


# -- show


def test_a_record_is_found_by_its_id_and_by_the_callers_key(shop: Shop, run: Run) -> None:
    ident = shop.add(UNKNOWN)
    by_key = ("--key", "order-1", "--consumer", "acme", "--api", "payments", "--route", LABEL)
    status, out, err = run("show", ident)
    assert (status, err) == (0, "")
    assert run("show", ident.upper())[1] == out == run("show", *by_key)[1]
    assert f"record      {ident}\n" in out
    assert "expires     not before it is settled\n" in out
    assert "resolver    0 queries without a verdict\n" in out
    assert CARD not in out
    other = ("--key", "order-1", "--consumer", "northwind", "--api", "payments", "--route", LABEL)
    status, out, err = run("show", *other)
    assert (status, out) == (1, "")
    assert "there is no record" in err


def test_a_key_is_taken_as_its_route_takes_it(shop: Shop, run: Run) -> None:
    def shown(route: str, *keys: str) -> tuple[int, str, str]:
        given = [part for key in keys for part in ("--key", key)]
        return run("show", *given, "--consumer", "acme", "--api", "payments", "--route", route)

    ident = shop.add(UNKNOWN)
    assert f"record      {ident}\n" in shown(LABEL, '"order-1"')[1]
    status, _, err = shown("POST /payment", "order-1")
    assert (status, "did you mean 'POST /payments'?" in err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name a record by its ID, or by --key"),
        (("ab" * 16, "--key", "k"), "name a record by its ID, or by --key"),
        (("--key", "k", "--consumer", "acme"), "name a record by its ID, or by --key"),
        (("abc",), "32 hexadecimal digits"),
        (("zz" * 16,), "32 hexadecimal digits"),
    ],
)
def test_what_names_no_record_is_wrong_usage(run: Run, arguments: tuple[str, ...], said: str) -> None:
    status, _, err = run("show", *arguments)
    assert status == 2
    assert said in err


def test_a_stored_answer_is_told_in_short_and_shown_masked_only_when_asked_for(shop: Shop, run: Run) -> None:
    body = b'{"id":"pay_1","email":"ada@example.com"}'
    packed = pack_answer(201, [b"Content-Type: application/json\r\n", b"Location: /p/1\r\n"], body)
    ident = shop.add(COMPLETED, answer=packed)
    out = run("show", ident)[1]
    assert "answer      status 201, 40 bytes\n" in out
    assert "pay_1" not in out
    assert "ada" not in out
    shown = run("show", ident, "--answer")[1]
    assert "Location: /p/1\n" in shown
    assert '"id":"pay_1"' in shown
    assert "ada@" not in shown
    told = json.loads(run("show", ident, "--answer", "--json")[1])["answer"]
    assert (told["kept"], told["status"], told["body_bytes"]) == (True, 201, 40)
    assert json.loads(told["body"])["id"] == "pay_1"
    assert set(json.loads(run("show", ident, "--json")[1])["answer"]) == {"kept", "status", "body_bytes"}


def test_an_answer_that_was_not_kept_or_does_not_open_says_so(shop: Shop, run: Run) -> None:
    kept, other = shop.add(COMPLETED), shop.add(COMPLETED, b"order-2", answer=b"no packed answer")
    assert "answer      not kept: it is too long, shows card data" in run("show", kept)[1]
    asked = shop.add(UNKNOWN, b"order-4")
    assert run("settle", asked, "completed", "--reason", "r", "--by", "ada", "--yes")[0] == 0
    assert "answer      not kept: it was settled without one\n" in run("show", asked)[1]
    assert _without("resolver") == "the query settled the call, not its answer"
    assert "does not open" in run("show", other, "--answer")[1]
    assert json.loads(run("show", other, "--json")[1])["answer"]["kept"] is False
    assert json.loads(run("show", shop.add(SENT, b"order-3"), "--json")[1])["answer"] is None


# -- settle


@pytest.mark.parametrize(("verdict", "left"), [("completed", "completed"), ("released", "absent")])
def test_a_verdict_is_stored_with_its_name_and_reason_and_leaves_a_trace(
    shop: Shop, run: Run, verdict: str, left: str
) -> None:
    ident = shop.add(UNKNOWN)
    reason = f"seen in the  bank's file, card {CARD}"
    status, out, err = run("settle", ident, verdict, "--reason", reason, "--by", "ada", "--yes")
    masked = "seen in the bank's file, card 424242******4242"
    assert (status, out, err) == (0, f"{ident} is {verdict} now, by ada: {masked}\n", "")
    assert shop.state(ident) == left
    if left == "completed":
        assert f"settled by  ada: {masked}\n" in run("show", ident)[1]
    asked, settled = shop.verdicts()
    assert (asked["step"], settled["step"]) == ("asked", "settled")
    for line in (asked, settled):
        assert (line["id"], line["verdict"], line["by"], line["reason"]) == (ident, verdict, "ada", masked)
        assert (line["consumer"], line["api"], line["route"], line["request_id"]) == (
            "acme", "payments", LABEL, "req-7",
        )  # fmt: skip


def test_in_json_the_record_and_its_verdict_are_one_object(shop: Shop, run: Run) -> None:
    ident = shop.add(UNKNOWN)
    told = json.loads(run("settle", ident, "released", "--reason", "r", "--by", "ada", "--yes", "--json")[1])
    assert (told["id"], told["was"], told["state"], told["by"], told["note"]) == (
        ident, "unknown", "released", "ada", "r",
    )  # fmt: skip


def test_who_calls_decides_unless_another_is_named(
    shop: Shop, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faregate.cli.ledger_settling.getpass.getuser", lambda: "grace")
    assert run("settle", shop.add(UNKNOWN), "completed", "--reason", "r", "--yes")[0] == 0
    monkeypatch.setenv("SUDO_USER", "ada")
    assert run("settle", shop.add(UNKNOWN, b"order-2"), "completed", "--reason", "r", "--yes")[0] == 0
    assert [line["by"] for line in shop.verdicts()] == ["grace", "grace", "ada", "ada"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("released", "--yes"), "--reason says why"),
        (("released", "--reason", "x" * 301, "--yes"), "--reason says why"),
        (("sent", "--reason", "r", "--yes"), "completed or released, not as 'sent'"),
        (("--reason", "r", "--yes"), "completed or released; say which"),
        (("released", "--reason", "r", "--by", "resolver", "--yes"), "--by"),
        (("released", "--reason", "r", "--by", "a\nb", "--yes"), "--by"),
        (("released", "--reason", "r"), "--yes is needed"),
    ],
)
def test_a_verdict_that_is_not_whole_changes_nothing(
    shop: Shop, run: Run, arguments: tuple[str, ...], said: str
) -> None:
    ident = shop.add(UNKNOWN)
    status, _, err = run("settle", ident, *arguments)
    assert (status, shop.state(ident), shop.verdicts()) == (2, "unknown", [])
    assert said in err


@pytest.mark.parametrize("state", [SENT, COMPLETED, RELEASED])
def test_only_an_unknown_record_is_settled(shop: Shop, run: Run, state: int) -> None:
    ident = shop.add(state)
    status, _, err = run("settle", ident, "released", "--reason", "r", "--yes")
    assert (status, shop.verdicts()) == (1, [])
    assert ("there is no record" if state == RELEASED else "only unknown ones are settled") in err


@pytest.mark.parametrize("answer", [True, False])
def test_at_a_terminal_it_asks_while_the_ledger_is_closed(
    shop: Shop, run: Run, monkeypatch: pytest.MonkeyPatch, answer: bool
) -> None:
    ident, asked = shop.add(UNKNOWN), []

    def confirm(text: str) -> bool:
        asked.append((text, shop.opened))
        return answer

    monkeypatch.setattr("faregate.cli.ledger.typer.confirm", confirm)
    monkeypatch.setattr("sys.stdin", type("Terminal", (), {"isatty": lambda _: True})())
    status, _, err = run("settle", ident, "released", "--reason", "r")
    ((text, opened),) = asked
    assert "a repeat with this key is SENT" in text
    assert text.endswith("Settle it as released?")
    assert (opened, shop.opened) == (1, 2 if answer else 1)
    assert (status, shop.state(ident)) == ((0, "absent") if answer else (1, "unknown"))
    assert answer or "nothing was changed" in err


def test_a_record_that_is_settled_meanwhile_stays_so_and_the_trace_says_it(
    shop: Shop, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    ident = shop.add(UNKNOWN)

    async def decide(*_: object) -> bool:
        return False

    monkeypatch.setattr(shop.ledger, "decide", decide)
    status, _, err = run("settle", ident, "released", "--reason", "r", "--yes")
    assert status == 1
    assert "was settled by another meanwhile" in err
    assert [line["step"] for line in shop.verdicts()] == ["asked", "too_late"]


def test_without_a_trace_there_is_no_verdict(shop: Shop, run: Run) -> None:
    ident = shop.add(UNKNOWN)
    (shop.data / "verdicts.jsonl").mkdir()
    status, _, err = run("settle", ident, "released", "--reason", "r", "--yes")
    assert (status, shop.state(ident)) == (1, "unknown")
    assert "the verdict cannot be noted" in err


# -- the store


def test_a_store_that_is_away_is_said_in_one_line(shop: Shop, run: Run) -> None:
    shop.ledger.away = "store_away"
    status, out, err = run("list")
    assert (status, out) == (1, "")
    where = f"embedded ledger in {shop.data}/ledger"
    assert err == f"faregate: {where}: the ledger cannot be asked: store_away\n"
    error = json.loads(run("list", "--json")[2])["error"]
    assert (error["command"], error["status"]) == ("ledger", 1)


def test_a_folder_in_which_nothing_ran_is_named(shop: Shop, run: Run, tmp_path: Path) -> None:
    (shop.data / "snapshot").unlink()
    status, _, err = run("list")
    assert status == 1
    assert f"no revision ran on {shop.data} yet" in err


def test_lost_secrets_are_never_made_anew(shop: Shop, run: Run) -> None:
    (shop.data / "ledger" / "secrets").unlink()
    by_key = ("--key", "order-1", "--consumer", "acme", "--api", "payments", "--route", LABEL)
    status, _, err = run("show", *by_key)
    assert status == 1
    assert "restore it" in err
    assert not (shop.data / "ledger" / "secrets").exists()


def test_a_record_whose_call_cannot_be_read_is_shown_all_the_same() -> None:
    entry = Entry(b"k" * 16, b"a" * 16, UNKNOWN, b"", b"\xff", 1000.0, 0.0, False, 2, "", "")
    assert as_object(entry, 1060.0)["consumer"] == ""
    assert b"k".hex() * 16 in table([entry], 1060.0)[1]
    assert "resolver    the route has no query: an operator settles it" in in_words(
        entry, None, 1060.0, shown=False
    )
