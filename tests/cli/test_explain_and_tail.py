"""``faregate explain`` finds a call's line and says why; ``faregate tail`` follows the log over rotation."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from faregate.cli import tail
from faregate.cli.app import main
from faregate.snapshot import encoded
from tests.records.test_explaining import line, snapshot

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "snapshot").write_bytes(encoded.encode(snapshot()))
    monkeypatch.setenv("FAREGATE_DATA", str(folder))
    return folder


@pytest.fixture
def run(data: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        status = main(arguments)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def write(data: Path, *lines: dict[str, object], name: str = "access.jsonl") -> None:
    with (data / name).open("a") as file:
        file.writelines(json.dumps(one, separators=(",", ":")) + "\n" for one in lines)


DENIED = line(request_id="r2", refusal="permission_denied", reason="consumer_lacks_permission")


def test_a_call_is_explained_by_its_line_and_the_configuration(run: Run, data: Path) -> None:
    write(data, line(request_id="r1", status=200, outcome="answered"), DENIED)
    status, out, _ = run("explain", "r2")
    assert status == 0
    assert out.startswith("403 permission_denied: Permission denied.\n")
    assert "acme lacks payments:write" in out
    assert "problems.md#permission_denied" in out
    status, out, _ = run("explain", "r2", "--json")
    (one,) = json.loads(out)
    assert (status, one["line"]["request_id"], one["facts"]["caller"]) == (0, "r2", "acme by key_1")


def test_a_call_in_a_rotated_file_is_found_too(run: Run, data: Path) -> None:
    write(data, DENIED, name="access.jsonl.1")
    write(data, line(request_id="r3"))
    assert run("explain", "r2")[0] == 0


def test_all_calls_of_an_id_that_was_sent_twice_are_told(run: Run, data: Path) -> None:
    write(data, DENIED, line(request_id="r2", status=200, outcome="answered", target="a:1"))
    out = run("explain", "r2")[1]
    assert out.startswith("2 calls have this id, the newest first.\n\n200: answered by a:1.")
    assert "403 permission_denied" in out


def test_without_a_snapshot_the_line_alone_is_told(run: Run, data: Path) -> None:
    (data / "snapshot").unlink()
    write(data, DENIED)
    status, out, _ = run("explain", "r2")
    assert status == 0
    assert "lacks payments:write" not in out


def test_what_is_not_found_is_said_with_where_it_was_looked_for(run: Run, data: Path) -> None:
    assert "there is no access.jsonl" in run("explain", "r2")[2]
    write(data, DENIED)
    status, out, err = run("explain", "r9")
    assert (status, out) == (1, "")
    assert "'r9'" in err
    assert "is no folder" in run("explain", "r2", "--data", str(data / "x"))[2]


def test_the_folder_is_the_one_that_the_file_names(
    run: Run, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(data, DENIED)
    monkeypatch.delenv("FAREGATE_DATA")
    monkeypatch.chdir(data.parent)
    assert "no such file: faregate.yaml" in run("explain", "r2")[2]
    Path("faregate.yaml").write_text("gateway: {data: ./data}\n")
    assert run("explain", "r2")[0] == 0
    Path("other.yaml").write_text("gateway: {data: ./elsewhere}\n")
    assert "no gateway has run other.yaml yet" in run("explain", "r2", "--config", "other.yaml")[2]


def test_a_call_is_shown_on_one_line_that_no_terminal_obeys() -> None:
    shown = tail.in_words(
        line(
            status=429, refusal="rate_limited", reason="limit_reached", duration_us=1234, target="a:1",
            path="/\x1b[2J", idempotency="replayed",
        )
    )  # fmt: skip
    assert shown == (
        "02:49:02.500 429 POST /?[2J acme -> a:1 1.2 ms rate_limited (limit_reached) key replayed r1"
    )
    assert tail.in_words({}) == " --- - - - "


def test_the_last_calls_that_fit_are_shown_first(run: Run, data: Path) -> None:
    write(data, *(line(request_id=f"r{number}", status=200 + number) for number in range(30)))
    out = run("tail", "--no-follow")[1].splitlines()
    assert [one.split()[-1] for one in out] == [f"r{number}" for number in range(20, 30)]
    out = run("tail", "status<=205", "--before", "3", "--no-follow", "--json")[1].splitlines()
    assert [json.loads(one)["request_id"] for one in out] == ["r3", "r4", "r5"]
    assert run("tail", "--before", "0", "--no-follow")[1] == ""


def test_a_line_that_is_no_json_is_passed_over(run: Run, data: Path) -> None:
    write(data, line())
    with (data / "access.jsonl").open("a") as file:
        file.write('{"time":\n[]\n')
    assert run("tail", "--no-follow")[1].count("\n") == 1


def test_wrong_usage_of_tail_is_said(run: Run, data: Path) -> None:
    assert "there is no" in run("tail")[2]
    write(data, line())
    assert run("tail", "statu=1") == (
        2,
        "",
        "faregate: the filter: lines have no member `statu`; did you mean `status`?\n",
    )
    assert run("tail", "--before", "many")[0] == 2


def test_the_log_is_followed_over_growth_rotation_and_cutting(data: Path) -> None:
    log = data / "access.jsonl"
    write(data, line(request_id="before"))
    first = log.stat()

    def steps() -> Iterator[None]:
        write(data, line(request_id="grown"))
        yield
        with log.open("a") as file:
            file.write('{"request_id":')
        yield
        with log.open("a") as file:
            file.write('"halves"}\n')
        yield
        log.rename(data / "access.jsonl.1")
        yield
        write(data, line(request_id="late"), name="access.jsonl.1")
        write(data, line(request_id="rotated"))
        yield
        os.truncate(log, 0)
        yield
        write(data, line(request_id="cut"))
        yield

    doing = steps()
    found = []

    def sleep(_: float) -> None:
        try:
            next(doing)
        except StopIteration:
            raise KeyboardInterrupt from None

    with suppress(KeyboardInterrupt):
        for text in tail.follow(log, first.st_ino, first.st_size, sleep=sleep):
            found.append(json.loads(text)["request_id"])
    assert found == ["grown", "halves", "late", "rotated", "cut"]


def test_tail_ends_quietly_at_ctrl_c(run: Run, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(data, line())

    def interrupted(*_: object) -> Iterator[bytes]:
        yield json.dumps(line(request_id="new")).encode()
        raise KeyboardInterrupt

    monkeypatch.setattr(tail, "follow", interrupted)
    status, out, err = run("tail", "--before", "0")
    assert (status, err) == (0, "")
    assert out.endswith(" new\n")
