"""Fixtures of the end-to-end bench: one gateway with the standard configuration for all tests that do not need their own.

Gateways take about a second to start, so the shared one lives as long as the session; its upstream forgets scripts and records
before each test.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import configuration
from tests.support.configuration import Tree
from tests.support.gateway import GatewayProcess
from tests.support.upstream import RecordingUpstream

pytest.register_assert_rewrite("tests.e2e.framing_checks", "tests.e2e.refusals")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Names every skipped test with its reason, so that nothing is left out in silence."""
    for skipped in terminalreporter.stats.get("skipped", []):
        terminalreporter.write_line(f"not run: {skipped.nodeid}: {skipped.longrepr[2]}")


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
