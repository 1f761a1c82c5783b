"""``faregate doctor``: each check says what is so, what to do, and nothing secret."""

import asyncio
import errno
import fcntl
import json
import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from faregate.cli.app import main
from faregate.cli.doctor_findings import Finding, Level, ok, problem, verdict, warning
from faregate.cli.doctor_machine import Machine, check_machine
from faregate.cli.doctor_network import check_network
from faregate.cli.doctor_places import check_data, check_ports, counters_bytes_max, listening_processes
from faregate.compile import compile_config
from faregate.gateway import side_call
from faregate.model.load import load
from faregate.policies.limits import capacity
from faregate.policies.rate_limit.step import Window
from faregate.snapshot.data import (
    ApiKeyCredential,
    Consumer,
    Gateway,
    Issuer,
    Listener,
    Plan,
    Rate,
    Snapshot,
    Target,
    Upstream,
)
from faregate.stores.counters import Counters
from faregate.stores.counters_layout import SLOT_BYTES
from faregate.stores.counters_prepare import prepare
from faregate.stores.counters_saved import save
from tests.conftest import Bench
from tests.model.configs import API, UPSTREAM, write

FIT = Machine(
    python=(3, 13, 1), optimised=True, debug_build=False, libraries={"uvloop": "0.23.0", "httptools": "0.9.0"},
    open_files=65_536, processors=4, quota=0.0, somaxconn=4096, temporary="/tmp", temporary_writable=True,
    wall=1_800_000_000.0, written_at=1_799_999_000.0, monotonic_step=0.001, time_zone="CET",
)  # fmt: skip


def snapshot_of(folder: Path, **changes: object) -> Snapshot:
    gateway = Gateway(listen=(Listener("127.0.0.1", 0),), manager=None, workers=1, data=str(folder))
    empty: dict[str, object] = dict.fromkeys(
        ("issuers", "upstreams", "plans", "consumers", "versions", "routes"), ()
    )
    return Snapshot(**{"format": 1, "revision": 1, "gateway": gateway, **empty, **changes})  # type: ignore[arg-type]


def upstream(*ports: int) -> Upstream:
    return Upstream("pay", tuple(Target(f"127.0.0.1:{port}", "127.0.0.1", port) for port in ports))


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed() -> Iterator[int]:
    """A port that stays closed: bound, so that nobody else gets it, and not listening."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


def one(findings: list[Finding], check: str) -> Finding:
    (found,) = [finding for finding in findings if finding.check == check]
    return found


def test_a_fit_machine_has_no_finding_but_ok() -> None:
    assert {finding.level for finding in check_machine(FIT, None)} == {Level.OK}


@pytest.mark.parametrize(
    ("changes", "check", "level", "words"),
    [
        ({"python": (3, 10, 9)}, "python", Level.PROBLEM, "3.11"),
        ({"optimised": False}, "python", Level.WARNING, "--enable-optimizations"),
        ({"debug_build": True}, "python", Level.WARNING, "debug"),
        ({"open_files": 128}, "open_files", Level.PROBLEM, "ulimit -n"),
        ({"open_files": 1024}, "open_files", Level.WARNING, "LimitNOFILE"),
        ({"open_files": -1}, "open_files", Level.OK, "no limit"),
        ({"quota": 0.5}, "processors", Level.WARNING, "grants 0.5"),
        ({"somaxconn": 128}, "backlog", Level.WARNING, "4096"),
        ({"somaxconn": 0}, "backlog", Level.OK, "cannot be read"),
        ({"temporary": "/tmp/" + "x" * 100}, "temporary", Level.PROBLEM, "TMPDIR"),
        ({"temporary_writable": False}, "temporary", Level.PROBLEM, "TMPDIR"),
        ({"wall": 1_799_990_000.0}, "clock", Level.PROBLEM, "9000 s behind"),
        ({"monotonic_step": 0.0}, "clock", Level.PROBLEM, "does not advance"),
        ({"time_zone": "Pacific/Chatham"}, "time_zone", Level.OK, "UTC"),
    ],
)  # fmt: skip
def test_each_reading_out_of_bounds_is_told(
    changes: dict[str, object], check: str, level: Level, words: str
) -> None:
    finding = one(list(check_machine(replace(FIT, **changes), None)), check)  # type: ignore[arg-type]
    assert finding.level is level
    assert words in finding.message + finding.advice
    assert bool(finding.advice) == (level is not Level.OK)


def test_an_absent_library_is_a_problem() -> None:
    machine = replace(FIT, libraries={"uvloop": "", "httptools": "0.9.0"})
    levels = [finding.level for finding in check_machine(machine, None) if finding.check == "libraries"]
    assert levels == [Level.PROBLEM, Level.OK]


def test_the_pools_of_the_upstreams_count_against_the_open_files(tmp_path: Path) -> None:
    snapshot = snapshot_of(tmp_path, upstreams=(upstream(1, 2, 3),))
    finding = one(list(check_machine(replace(FIT, open_files=2048), snapshot)), "open_files")
    assert (finding.level, "(1536), 448 are left" in finding.message) == (Level.WARNING, True)
    full = one(list(check_machine(replace(FIT, open_files=1024), snapshot)), "open_files")
    assert "none is left for callers" in full.message


def test_more_workers_than_processors_is_told(tmp_path: Path) -> None:
    gateway = Gateway(listen=(), manager=None, workers=8, data=str(tmp_path))
    finding = one(list(check_machine(FIT, snapshot_of(tmp_path, gateway=gateway))), "processors")
    assert finding.level is Level.WARNING


def test_this_machine_can_be_read() -> None:
    machine = Machine.read(Path(__file__))
    assert machine.python == sys.version_info[:3]
    assert all(machine.libraries.values())
    assert machine.monotonic_step > 0
    assert machine.written_at >= Path(__file__).stat().st_mtime


def test_ports_free_and_held(tmp_path: Path, listening: int, closed: int) -> None:
    def told(host: str, port: int) -> Finding:
        gateway = Gateway(listen=(Listener(host, port),), manager=None, workers=1, data=str(tmp_path))
        return one(list(check_ports(snapshot_of(tmp_path, gateway=gateway))), "port")

    assert told("127.0.0.1", 0).level is Level.OK
    assert told("198.51.100.7", 8080).level is Level.PROBLEM
    held = told("127.0.0.1", listening)
    assert (held.level, f"process {os.getpid()} " in held.message) == (Level.PROBLEM, True)
    assert [pid for pid, _ in listening_processes(listening)] == [os.getpid()]
    assert listening_processes(closed) == []


def test_a_port_held_by_faregate_is_fine(
    tmp_path: Path, listening: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = Gateway(listen=(), manager=Listener("127.0.0.1", listening), workers=1, data=str(tmp_path))
    command = b"python\0-m\0faregate\0run\0"
    monkeypatch.setattr("faregate.cli.doctor_places.listening_processes", lambda _: [(7, command), (9, b"x")])
    finding = one(list(check_ports(snapshot_of(tmp_path, gateway=gateway))), "manager_port")
    assert finding == ok("manager_port", f"127.0.0.1:{listening} is held by a running Faregate (process 7)")


def test_a_private_data_folder_is_fine_and_an_open_one_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    assert {finding.level for finding in check_data(snapshot_of(folder))} == {Level.OK}
    folder.chmod(0o755)
    assert one(list(check_data(snapshot_of(folder))), "privacy").level is Level.WARNING
    (folder / "snapshot").write_bytes(b"")
    (folder / "snapshot").chmod(0o644)
    assert one(list(check_data(snapshot_of(folder))), "privacy").level is Level.PROBLEM


def test_a_data_folder_to_be_made_is_judged_by_its_parent_and_not_made(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    findings = list(check_data(snapshot_of(folder)))
    assert {finding.level for finding in findings} == {Level.OK}
    assert "does not exist yet" in one(findings, "data").message
    assert list(tmp_path.iterdir()) == []


def test_a_data_folder_that_is_no_folder_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"")
    assert one(list(check_data(snapshot_of(tmp_path / "data"))), "data").level is Level.PROBLEM


def test_a_full_disk_wants_room_and_no_other_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("faregate.cli.doctor_places.tempfile.TemporaryFile", full)
    finding = one(list(check_data(snapshot_of(tmp_path))), "data")
    assert (finding.level, finding.advice) == (Level.PROBLEM, "free some space")


def test_a_data_folder_in_use_is_told(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "in use by a running gateway" in one(list(check_data(snapshot_of(tmp_path))), "data").message


@pytest.mark.parametrize(
    ("free", "level"), [(0, Level.PROBLEM), (1 << 29, Level.WARNING), (1 << 40, Level.OK)]
)
def test_too_little_free_space_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, level: Level
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": free}))
    assert one(list(check_data(snapshot_of(tmp_path))), "disk").level is level


@pytest.mark.parametrize("consumers", [2_000, 20_000])
def test_the_room_told_for_counters_is_enough_and_not_far_off(tmp_path: Path, consumers: int) -> None:
    """The copy and the one before it, when every counter that the configuration can use is in use."""
    plan = Plan("p", (Rate("a", "plan", 1, 1000), Rate("b", "plan", 1, 60_000)), concurrency=3)
    names = tuple(Consumer(str(index), plan="p") for index in range(consumers))
    snapshot = snapshot_of(tmp_path, plans=(plan,), consumers=names)
    used, _ = capacity(snapshot)
    memory = prepare(tmp_path / "counters.bin", capacity(snapshot), now=1, wall=1.0).memory
    counters = Counters.open(memory, 0, 1)
    os.close(memory)
    for number in range(used):
        window = Window(counters, counters.owner(b"%d" % (number // 3)), str(number), 1, 60_000)
        assert window.check(1_000, 1.0) == 0
        window.take()
    save(counters, tmp_path / "counters.bin", now=1_000, wall=1.0, everything=True)
    counters.close()
    made = 2 * (tmp_path / "counters.bin").stat().st_size
    addresses = 2 * capacity(snapshot).address_counters * SLOT_BYTES
    assert made - 200 <= counters_bytes_max(snapshot) - addresses <= made


def test_targets_that_accept_and_that_do_not(tmp_path: Path, listening: int, closed: int) -> None:
    def told(*ports: int) -> Finding:
        snapshot = snapshot_of(tmp_path, upstreams=(upstream(*ports),))
        return one(asyncio.run(check_network(snapshot, online=False)), "targets")

    assert told(listening) == ok("targets", "pay: 1 of 1 accept connections")
    some = told(listening, closed)
    assert (some.level, f"127.0.0.1:{closed} (refused)" in some.message) == (Level.WARNING, True)
    assert told(*[closed] * 5).message.endswith("and 2 more (refused)")
    assert told(closed).level is Level.PROBLEM


def test_key_sets_are_read_and_fetched_only_online(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    async def get(url: str, _: object) -> bytes:
        asked.append(url)
        return b'{"keys": []}'

    monkeypatch.setattr(side_call, "_get", get)
    url = "https://id.example/jwks?hush=hunter2"
    remote = Issuer("far", "https://id.example", ("a",), ("ES256",), jwks_url=url)
    near = Issuer("near", "https://near.example", ("a",), ("ES256",), jwks=b"{}")
    shared = Issuer("shared", "https://s.example", ("a",), ("HS256",), secret=b"hunter2" * 8)
    snapshot = snapshot_of(tmp_path, issuers=(remote, near, shared))
    offline = asyncio.run(check_network(snapshot, online=False))
    assert ([finding.level for finding in offline], asked) == ([Level.OK, Level.PROBLEM, Level.OK], [])
    online = asyncio.run(check_network(snapshot, online=True))
    assert (online[0].level, asked) == (Level.PROBLEM, [url])
    assert "hunter2" not in str(offline + online)


def test_a_key_set_that_cannot_be_fetched_is_a_problem_with_its_cause(tmp_path: Path, closed: int) -> None:
    issuer = Issuer(
        "far", "https://id.example", ("a",), ("ES256",), jwks_url=f"https://127.0.0.1:{closed}/jwks"
    )
    (finding,) = asyncio.run(check_network(snapshot_of(tmp_path, issuers=(issuer,)), online=True))
    assert (finding.level, "(unreachable)" in finding.message) == (Level.PROBLEM, True)


def configuration(folder: Path, port: int) -> Path:
    gateway = "gateway: {listen: [{address: 127.0.0.1:0}], manager: off, data: ./data}\n"
    return write(folder, gateway + UPSTREAM.replace("9001", str(port)) + API)


def test_the_command_says_fit_with_status_zero(
    tmp_path: Path, listening: int, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["doctor", str(configuration(tmp_path, listening)), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert (status, told["problems"]) == (0, 0), told
    checks = {finding["check"] for finding in told["findings"]}
    assert checks >= {
        "python",
        "libraries",
        "open_files",
        "processors",
        "backlog",
        "temporary",
        "clock",
        "time_zone",
    }
    assert checks >= {"configuration", "data", "disk", "port", "targets"}


def test_the_command_says_not_fit_with_status_one(
    tmp_path: Path, closed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", str(configuration(tmp_path, closed))]) == 1
    *lines, last = capsys.readouterr().out.splitlines()
    assert last.startswith("not fit to run the gateway: 1 problem")
    assert any(line.startswith("problem  targets: pay: 0 of 1") for line in lines)
    assert all(line.startswith(("ok       ", "warning  ", "problem  ", "         ")) for line in lines)


def test_errors_of_the_configuration_are_placed_and_not_quoted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, "gateway: {store: 'mysql://root:hunter2@db/x'}\nhunter2: 1\n")
    assert main(["doctor", str(file)]) == 1
    told = capsys.readouterr().out
    assert f"{file}:2:1 unknown_key" in told
    assert "hunter2" not in told


def test_a_file_that_is_not_there_is_a_problem_and_none_named_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["doctor", "absent.yaml"]) == 1
    assert "problem  configuration" in capsys.readouterr().out
    assert main(["doctor"]) == 0
    assert "warning  configuration: none given" in capsys.readouterr().out


def test_the_last_line_counts() -> None:
    assert verdict([ok("a", "b")]) == "fit to run the gateway"
    assert verdict([warning("a", "b", "c")]) == "fit to run the gateway: 1 warning"
    assert verdict([problem("a", "b", "c")] * 2) == "not fit to run the gateway: 2 problems"


def test_no_value_of_a_compiled_configuration_that_is_secret_is_shown(
    tmp_path: Path, listening: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, digest = "hunter2hunter2hunter2hunter2hunter2", "ab" * 32
    monkeypatch.setenv("SHARED_SECRET", secret)
    file = configuration(tmp_path, listening)
    issuer = "issuers: {dev: {issuer: 'https://dev', audience: a, algorithms: [HS256], secret: '${SHARED_SECRET}'}}\n"
    consumer = f"consumers: {{acme: {{credentials: [{{api_key: {{id: k1, sha256: {digest}}}}}]}}}}\n"
    file.write_text(file.read_text() + issuer + consumer)
    snapshot, _ = compile_config(load(file, os.environ), 0)
    assert snapshot is not None, "the secrets must be in what doctor looks at"
    assert snapshot.issuers[0].secret == secret.encode()
    assert isinstance(snapshot.consumers[0].credentials[0], ApiKeyCredential)
    main(["doctor", str(file)])
    main(["doctor", str(file), "--json"])
    told = capsys.readouterr().out
    assert [hidden for hidden in (secret, digest, "hunter2") if hidden in told] == []


def test_a_running_gateway_is_found_fit(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """Its own ports and data folder are no obstacles."""
    assert main(["doctor", str(bench.gateway.file), "--json"]) == 0
    told = {one["check"]: one["message"] for one in json.loads(capsys.readouterr().out)["findings"]}
    assert told["data"].endswith("is in use by a running gateway")
    assert told["port"].startswith(f"127.0.0.1:{bench.gateway.port} is held by a running Faregate (process ")
    assert told["manager_port"].startswith(
        f"127.0.0.1:{bench.gateway.manager_port} is held by a running Faregate"
    )
    assert told["privacy"].endswith("is for its owner alone")
