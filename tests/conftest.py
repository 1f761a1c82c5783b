"""Fixtures of the end-to-end bench: one gateway with the standard configuration for all tests that do not need their own.

Gateways take about a second to start, so the shared one lives as long as the session; its upstream forgets scripts and records
before each test.
"""

import functools
import gc
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from tests.support import configuration
from tests.support.configuration import Tree
from tests.support.gateway import GATEWAYS, ROOT, GatewayProcess
from tests.support.upstream import RecordingUpstream

APART = re.compile(r"^pytestmark = .*\bpytest\.mark\.apart\b", re.MULTILINE)
pytest.register_assert_rewrite("tests.e2e.framing_checks", "tests.e2e.refusals")


def pytest_configure(config: pytest.Config) -> None:
    """Has all that this session and its children put into the temporary folder lie in one: what is killed cannot clear up.

    pytest's own folders stay where they are, for whoever looks into a failure.
    """
    if not hasattr(config, "workerinput"):  # xdist's workers inherit it
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
        folder = tempfile.mkdtemp(prefix="faregate-tests-")
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        config.add_cleanup(functools.partial(shutil.rmtree, folder, ignore_errors=True))


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """What there is once all tests are known stays to the end: no collection of garbage walks it, neither while it grows nor in each
    test that collects: a fifth of the time of the quick ones.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Names every skipped test with its reason, so that nothing is left out in silence."""
    for skipped in terminalreporter.stats.get("skipped", []):
        terminalreporter.write_line(f"not run: {skipped.nodeid}: {skipped.longrepr[2]}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds to a failure what each gateway that runs has said at last: its cause may stand nowhere else."""
    report = yield
    if report.failed:
        for gateway in list(GATEWAYS):
            if gateway.process is not None:
                said = f"{gateway.stderr[-2000:]}\n{gateway.stdout[-2000:]}".strip()
                report.sections.append((f"gateway in {gateway.folder}", said or "said nothing"))
    return report


class Scheduling(LoadFileScheduling):
    """A file's tests in one process, for its gateways; those of a file that is marked ``apart`` wherever there is room.

    xdist's own way, groups, says itself by renaming tests, which pytest 9.2 no longer lets it. The process that schedules collects
    nothing, so that it reads the mark in the text.
    """

    def _split_scope(self, nodeid: str) -> str:
        return nodeid if _is_apart(nodeid.partition("::")[0]) else super()._split_scope(nodeid)


@functools.cache
def _is_apart(path: str) -> bool:
    return APART.search((ROOT / path).read_text(encoding="utf-8")) is not None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling | None:
    return Scheduling(config, log) if config.getvalue("dist") == "loadfile" else None


@dataclass
class Bench:
    """The shared gateway and the recording upstream behind it."""

    gateway: GatewayProcess
    upstream: RecordingUpstream

    @property
    def address(self) -> tuple[str, int]:
        return self.gateway.address


@pytest.fixture(scope="session")
def shared_bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with RecordingUpstream() as upstream:

        def make(port: int, manager_port: int) -> Tree:
            return configuration.with_payments(configuration.base(port, manager_port, upstream.url))

        with GatewayProcess(tmp_path_factory.mktemp("shared"), make) as gateway:
            yield Bench(gateway, upstream)


@pytest.fixture
def bench(shared_bench: Bench) -> Bench:
    """The shared gateway with a clean upstream; it must still be alive."""
    process = shared_bench.gateway.process
    assert process is not None
    assert process.poll() is None, shared_bench.gateway.stderr[-4000:]
    shared_bench.upstream.clear()
    shared_bench.upstream.default = None
    return shared_bench


@pytest.fixture(scope="module")
def module_stack() -> Iterator[ExitStack]:
    """What a module's own gateways and upstreams are entered into."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def run_gateway(tmp_path: Path) -> Iterator[Callable[[Callable[[int, int], Tree]], GatewayProcess]]:
    """Starts gateways of a test's own; all are stopped, and checked, at its end."""
    with ExitStack() as stack:

        def start(make: Callable[[int, int], Tree]) -> GatewayProcess:
            folder = tmp_path / "gateway"
            return stack.enter_context(GatewayProcess(folder, make))

        yield start
