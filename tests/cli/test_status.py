"""What ``faregate status`` prints of a gateway in each of its states."""

from faregate.cli.status import _lines

WORKER = {"index": 0, "pid": 71, "ready": True, "revision": 3, "seconds": 4.2}
STATUS: dict[str, object] = {
    "version": "1",
    "pid": 7,
    "config": "/c.yaml",
    "data": "/data",
    "revision": 3,
    "routes": 2,
    "stale": "",
    "stopping": False,
    "listen": ["127.0.0.1:80"],
    "manager": None,
    "workers": [WORKER],
}


def test_a_gateway_that_runs_what_the_file_says() -> None:
    lines = _lines(STATUS)
    assert "listening on   127.0.0.1:80" in lines
    assert lines[-1] == "worker 0       process 71, ready, revision 3, for 4 s"
    assert not any("STOPPING" in line or "NOT THE FILE" in line for line in lines)


def test_one_that_ends_and_runs_another_revision_than_the_file_says() -> None:
    ended = {**WORKER, "pid": None}
    lines = _lines({**STATUS, "stopping": True, "listen": [], "stale": "no such file: x", "workers": [ended]})
    assert lines[1].startswith("STOPPING ")
    assert any(line.startswith("NOT THE FILE   no such file: x;") for line in lines)
    assert "listening on   nothing any more" in lines
    assert lines[-1].startswith("worker 0       ended, ")
