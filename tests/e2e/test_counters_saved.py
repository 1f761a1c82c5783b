"""What a consumer has used of its limits is still used after a stop, an upgrade, a crash and a full disk.

``hasty`` may call twice a minute, ``spent`` twice a month. Each uses half, the gateway's processes change, and exactly one call is left.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.client import ask, request
from tests.support.configuration import base, changed, key_line, with_payments
from tests.support.gateway import until
from tests.support.live import LiveGateway
from tests.support.upstream import RecordingUpstream


@pytest.fixture(scope="module")
def upstream() -> Iterator[RecordingUpstream]:
    with RecordingUpstream() as made:
        yield made


@pytest.fixture
def gateway(tmp_path: Path, upstream: RecordingUpstream) -> Iterator[LiveGateway]:
    def tree(port: int, manager: int):
        return with_payments(base(port, manager, upstream.url, workers=2))

    gateway = LiveGateway(tmp_path, tree)
    gateway.launch()
    try:
        gateway.wait_ready()
        until((tmp_path / "data" / "control").exists, "the control socket")
        yield gateway
    finally:
        gateway.kill()


def status_of(gateway: LiveGateway, consumer: str) -> int:
    get = request("GET", "/v2/payments/pay_1", key_line(consumer))
    return asyncio.run(ask(gateway.address, get)).status


def use_half(gateway: LiveGateway) -> None:
    assert [status_of(gateway, name) for name in ("hasty", "spent")] == [200, 200]


def left(gateway: LiveGateway, consumer: str) -> int:
    return [status_of(gateway, consumer) for _ in range(3)].index(429)


def test_a_stop_and_a_start_leave_what_was_left(gateway: LiveGateway) -> None:
    use_half(gateway)
    gateway.stop()
    gateway.launch()
    gateway.wait_ready()
    assert (left(gateway, "hasty"), left(gateway, "spent")) == (1, 1)


def test_an_upgrade_leaves_what_was_left(gateway: LiveGateway) -> None:
    use_half(gateway)
    before = gateway.supervisor
    gateway.told("upgrade")
    assert gateway.supervisor != before
    assert (left(gateway, "hasty"), left(gateway, "spent")) == (1, 1)


def test_a_quota_outlives_a_crash_of_all_processes_once_it_was_saved(gateway: LiveGateway) -> None:
    use_half(gateway)
    saved = gateway.folder / "data" / "counters.bin"
    until(saved.exists, "the quota to be saved while calls go on", 15)
    gateway.kill()
    gateway.launch()
    gateway.wait_ready()
    assert left(gateway, "spent") == 1
    assert left(gateway, "hasty") == 2, "a window of a minute lies in memory alone"


def test_a_reload_that_changes_another_limit_leaves_what_was_left(gateway: LiveGateway) -> None:
    use_half(gateway)
    gateway.reload_and_wait(changed(gateway.tree, "plans", "roomy", "limits", to=["90000/second"]))
    assert (left(gateway, "hasty"), left(gateway, "spent")) == (1, 1)
