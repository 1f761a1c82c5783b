"""The arithmetic and the parsing that the benchmark's figures rest on; no proxy runs here."""

import base64
import json
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from benchmarks.__main__ import clear_work, make_plan, parse_arguments
from benchmarks.contenders.base import CONFIGS, fill
from benchmarks.contenders.faregate import role_of
from benchmarks.peers import CONTENDERS
from benchmarks.plot import bar_chart
from benchmarks.rounds import Round
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from benchmarks import (
    accounting,
    bootstrap,
    calls,
    figures,
    load,
    machine,
    open_loop,
    processes,
    report,
    scale,
    summary,
    tokens,
)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.01, 1.0), (0.5, 50.0), (0.501, 51.0), (0.99, 99.0), (1.0, 100.0)]
)
def test_percentile_is_the_nearest_rank(share: float, expected: float) -> None:
    assert figures.percentile([float(value) for value in range(1, 101)], share) == expected


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1])
def test_percentile_refuses_a_share_outside_its_range(share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        figures.percentile([1.0], share)


def test_ratios_pair_the_rounds_by_number() -> None:
    ours, theirs = {0: 10.0, 1: 30.0, 2: 20.0, 9: 1.0}, {0: 20.0, 1: 30.0, 2: 80.0}
    assert figures.paired_ratio(ours, theirs) == figures.Spread(0.5, 0.25, 1.0)


def test_no_rounds_in_common_is_an_error() -> None:
    with pytest.raises(ValueError, match="no rounds"):
        figures.paired_ratio({0: 1.0}, {1: 1.0})


def test_spread_reads_as_median_and_range() -> None:
    assert figures.spread([3.0, 1.0, 2.0]).text() == "2.0 (1.0-3.0)"


def test_parent_is_found_behind_a_name_with_spaces_and_brackets() -> None:
    assert accounting.parse_stat_parent("12 (tmux: (a) b) S 7 12 12 0 -1") == 7


@pytest.mark.parametrize(
    ("text", "expected"), [("Name:\tx\nVmRSS:\t  1024 kB\n", 1 << 20), ("Name:\tkthread\n", 0)]
)
def test_resident_memory_is_read_in_bytes(text: str, expected: int) -> None:
    assert accounting.parse_resident_bytes(text) == expected


def test_own_cpu_time_grows_with_work() -> None:
    me = [os.getpid()]
    before = {"me": accounting.cpu_ns(me)}
    began = time.thread_time_ns()
    while time.thread_time_ns() - began < 30_000_000:
        sum(range(1000))
    used = accounting.cpu_used_us(before, {"me": accounting.cpu_ns(me)})
    assert 20_000 < used["me"] < 5_000_000


def test_a_process_tree_holds_the_children_and_nobody_else() -> None:
    with subprocess.Popen(["sleep", "30"]) as child:
        try:
            tree = accounting.process_tree(os.getpid())
            assert tree[0] == os.getpid()
            assert child.pid in tree
            assert os.getppid() not in tree
        finally:
            child.kill()
    assert accounting.process_tree(child.pid) == []


def test_a_process_that_ended_is_no_saving() -> None:
    with pytest.raises(ValueError, match="ended"):
        accounting.cpu_used_us({"proxy": 5_000}, {"proxy": 4_000})


def test_wrk_result_is_read_and_errors_are_summed() -> None:
    line = '{"calls":10,"duration_us":2000000,"connect":1,"read":2,"write":0,"status":3,"timeout":1,"p50_us":9,"p99_us":20}'
    result = load.parse_wrk(f"Running 60s test\nRESULT {line}\n")
    assert (result.calls, result.calls_per_second, result.errors) == (10, 5.0, 7)


@pytest.mark.parametrize(
    "output",
    [
        "unable to connect to 127.0.0.1:1 Connection refused",
        'RESULT {"calls":0,"duration_us":5,"connect":0,"read":0,"write":0,"status":0,"timeout":0,"p50_us":0,"p99_us":0}',
    ],
)
def test_a_run_without_answers_is_an_error(output: str) -> None:
    with pytest.raises(load.LoadError):
        load.parse_wrk(output)


def test_payment_bodies_have_their_size_whatever_the_serial() -> None:
    sizes = {len(calls.payment_body(serial)) for serial in (0, 7, 999, 123_456_789)}
    assert sizes == {calls.BODY_BYTES}
    assert json.loads(calls.payment_body(7))["reference"] == "order-000000007"


def test_payment_ids_differ_and_never_look_like_card_numbers() -> None:
    ids = [calls.payment_id(serial) for serial in range(5_000)]
    assert len(set(ids)) == len(ids)
    assert not [each for each in ids if re.search(r"\d{13}", each)]


def test_calls_survive_the_file(tmp_path: Path) -> None:
    made = calls.payment_calls(["a.b.c"], 4, 10)
    calls.write_calls(tmp_path / "calls", made)
    assert calls.read_calls(tmp_path / "calls") == made


def test_a_file_cut_short_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "calls").write_bytes(b"5\nabc")
    with pytest.raises(ValueError, match="cut short"):
        calls.read_calls(tmp_path / "calls")


def test_repeated_tokens_serve_reads_and_payments_alike() -> None:
    seen = {
        (call[:4], call.split(b"Bearer ")[1].split(b"\r")[0])
        for call in calls.payment_calls(["a", "b"], 8, 0)
    }
    assert seen == {(method, token) for method in (b"GET ", b"POST") for token in (b"a", b"b")}


def test_unique_tokens_are_sent_once_each() -> None:
    made = calls.payment_calls([f"t{n}" for n in range(6)], 6, 0)
    assert len({call.split(b"Bearer ")[1].split(b"\r")[0] for call in made}) == 6


def test_token_slices_never_overlap_and_never_run_out_silently() -> None:
    assert tokens.token_slice(list("abcdef"), 1, 3) == list("def")
    with pytest.raises(ValueError, match="unique tokens"):
        tokens.token_slice(list("abcdef"), 1, 4)


def test_tokens_verify_with_the_issuers_key() -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    token = tokens.sign_token(key, tokens.token_claims("merchant-001", 4, 1_800_000_000))
    signed, _, signature = token.rpartition(".")
    padded = signature + "=" * (-len(signature) % 4)
    key.public_key().verify(
        base64.urlsafe_b64decode(padded), signed.encode(), padding.PKCS1v15(), hashes.SHA256()
    )


def test_token_files_are_kept_until_too_few(tmp_path: Path) -> None:
    first = tokens.load_tokens(tmp_path, 20, 1)
    assert len(set(first.unique)) == 20
    assert tokens.load_tokens(tmp_path, 10, 1) == first
    assert len(tokens.load_tokens(tmp_path, 30, 1).unique) == 30
    assert (tmp_path / "private.pem").stat().st_mode & 0o077 == 0
    loaded = serialization.load_pem_public_key(first.public_key.read_bytes())
    assert isinstance(loaded, rsa.RSAPublicKey)


def test_poisson_arrivals_rise_repeat_and_keep_the_rate() -> None:
    times = open_loop.due_times(1000, 10, seed=3)
    assert times == sorted(times)
    assert times == open_loop.due_times(1000, 10, seed=3)
    assert 9_500 < len(times) < 10_500
    assert times[-1] < 10


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", (200, 41)),
        (b"HTTP/1.1 429 x\r\nA: b\r\nContent-Length:0\r\n\r\n", (429, 42)),
        (b"HTTP/1.1 200 OK\r\nContent-Le", (0, 0)),
    ],
)
def test_answers_are_measured_by_their_length(data: bytes, expected: tuple[int, int]) -> None:
    assert processes.answer_length(data) == expected


def test_an_answer_without_length_is_an_error() -> None:
    with pytest.raises(ValueError, match="Content-Length"):
        processes.answer_length(b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n")


class StallingServer:
    """Answers each call with 200 but takes ``stall`` seconds over the very first one, as a proxy that hangs
    would.
    """

    def __init__(self, stall: float) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._stalled = threading.Event()
        self._stall = stall
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        for _ in range(load.CONNECTIONS):
            connection, _ = self._listener.accept()
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            while connection.recv(65536):
                if not self._stalled.is_set():
                    self._stalled.set()
                    threading.Event().wait(self._stall)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    def close(self) -> None:
        self._threads[0].join()
        for thread in self._threads[1:]:
            thread.join()
        self._listener.close()


@pytest.fixture
def stalling_server() -> Iterator[StallingServer]:
    server = StallingServer(stall=0.2)
    yield server
    server.close()


def test_the_fixed_rate_driver_counts_from_due_time_and_misses_no_call(
    stalling_server: StallingServer,
) -> None:
    driver = open_loop.Driver(stalling_server.port, calls.payment_calls(["a"], 10, 0))
    try:
        times = open_loop.due_times(300, 0.5, seed=1)
        driver.run(times)
        result = open_loop.summarise(300, driver)
    finally:
        driver.close()
    assert result.calls == len(times)
    assert result.errors == 0
    assert result.max_us >= 200_000
    assert result.p50_us < 100_000


def test_marks_are_filled_and_a_forgotten_one_is_an_error() -> None:
    assert fill("listen @PORT@ $remote_addr a@b", {"PORT": 80}) == "listen 80 $remote_addr a@b"
    with pytest.raises(KeyError):
        fill("@NOBODY@", {})


@pytest.mark.parametrize(
    ("command_line", "role"),
    [
        (b"python\0-m\0faregate.gateway.worker\0{}\0", "worker"),
        (b"python\0-m\0faregate.manager\0--fd\x003\0", "manager"),
        (b"python\0-m\0faregate\0run\0faregate.yaml\0", "supervisor"),
    ],
)
def test_faregates_processes_are_told_apart(command_line: bytes, role: str) -> None:
    assert role_of(command_line) == role


def _round(contender: str, series: str, number: int, cpu: float) -> Round:
    return Round(contender, series, number, 1000, 5000.0, cpu, {"proxy": cpu}, 0.9, 1000, {"proxy": 1 << 20})


ROUNDS = [
    _round(contender, "repeated", number, cpu)
    for contender, figures_ in (("faregate", (24, 26, 25)), ("nginx", (20, 20, 20)), ("envoy", (30, 30, 30)))
    for number, cpu in enumerate(figures_)
]


def test_promises_are_judged_by_the_median_of_paired_ratios() -> None:
    verdicts = {ratio.against: (ratio.ratio.median, ratio.verdict) for ratio in summary.ratios(ROUNDS)}
    assert verdicts == {"nginx": (1.25, "kept"), "envoy": (25 / 30, "broken")}


def test_without_faregate_there_are_no_ratios() -> None:
    assert summary.ratios([each for each in ROUNDS if each.contender != "faregate"]) == []


def test_every_promise_names_a_contender_that_runs() -> None:
    assert {contender for _, contender, _ in summary.PROMISES} <= CONTENDERS.keys()


def test_results_are_written_whole(tmp_path: Path) -> None:
    result = report.PeersResult(rounds=ROUNDS)
    path = report.write_results(tmp_path, "run", {"taken_at": "2026-11-01"}, result, None)
    document = json.loads(path.read_text())
    assert document["summary"]["peers"]["lines"][0]["cpu_us"] == {"median": 25, "low": 24, "high": 26}
    assert len(document["peers"]["rounds"]) == len(ROUNDS)
    assert "faregate / nginx" in (tmp_path / "run.txt").read_text()
    ET.fromstring((tmp_path / "run.svg").read_text())


def test_the_plot_escapes_names() -> None:
    chart = bar_chart("a < b", "n & m", summary.lines(ROUNDS), {"nginx": "<nginx>"})
    assert "&lt;nginx&gt;" in {line for part in chart.split("<text") for line in part.split("</text>") for line in [line.rpartition(">")[2]]}  # fmt: skip


def test_the_large_configuration_has_its_size_and_distinct_routes() -> None:
    tree = scale.configuration({}, 250, 1000, ["http://127.0.0.1:1"])
    consumers, apis = tree["consumers"], tree["apis"]
    assert isinstance(consumers, dict)
    assert isinstance(apis, dict)
    assert len(consumers) == 250
    assert sum(len(api["routes"]) for api in apis.values()) == 1000
    assert len(set(scale.route_paths(scale.LARGE_ROUTES))) == scale.LARGE_ROUTES


def test_a_finished_run_leaves_tokens_and_quick_results_only(tmp_path: Path) -> None:
    for folder in ("tokens", "quick", "faregate-data"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "file").write_text("x")
    (tmp_path / "envoy.log").write_text("x")
    clear_work(tmp_path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["quick", "tokens"]


def test_quick_is_short_and_unknown_contenders_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    plan = make_plan(parse_arguments(["--quick"]))
    assert (plan.rounds, plan.contenders) == (1, tuple(CONTENDERS))
    with pytest.raises(SystemExit):
        parse_arguments(["--contenders", "faregate,apache"])
    assert "apache" in capsys.readouterr().err


def test_missing_programs_are_all_named_with_the_way_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        bootstrap, "find_program", lambda name: None if name in {"wrk", "haproxy"} else f"/usr/bin/{name}"
    )
    with pytest.raises(
        bootstrap.MissingProgramError, match=r"missing haproxy, wrk; install with: apt-get .*haproxy wrk"
    ):
        bootstrap.require_programs()


def test_nothing_is_installed_without_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        bootstrap, "find_program", lambda name: "/usr/bin/apt-get" if name == "apt-get" else None
    )
    monkeypatch.setattr(bootstrap.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(bootstrap.subprocess, "run", lambda *_, **__: pytest.fail("apt-get was run"))
    bootstrap.install_missing()


def test_versions_of_machine_files_are_read() -> None:
    assert machine.parse_processor("processor\t: 0\nmodel name\t: AMD EPYC 9\n") == "AMD EPYC 9"
    assert machine.parse_memory_bytes("MemTotal:       1024 kB\n") == 1 << 20


@pytest.mark.parametrize(
    "name", ["upstream.conf", "nginx.conf", "haproxy.cfg", "envoy.yaml", "faregate.yaml", "load.lua"]
)
def test_every_configuration_begins_by_saying_what_it_is(name: str) -> None:
    assert (CONFIGS / name).read_text().startswith(("# ", "-- "))
