"""X1: delay, cut, reset, half-close, slicing, rate and silence between gateway and upstream. Deadlines hold, nothing is sent twice.

What one call is told under a cut, a reset and slices of 1, 3 and 7 bytes stands in tests/e2e/test_faults.py; here are the deadlines by the
clock, both directions, and the faults that came later.
"""

import time

import pytest

from faregate.gateway.listener import ClientConnection
from tests.faults.conftest import FIRST_BYTE_S, Rig
from tests.gateway.fakes import FakeTransport, World
from tests.support.chaos import Faults

SLACK_S = 0.25
"""What a busy machine may add to the ten per cent of the table, beside the wheel's own tick."""
FAULTS = {
    "cut": Faults(cut_after=30),
    "reset": Faults(reset_after=30),
    "half-close": Faults(half_close_after=30),
    "silence": Faults(silent=True),
}


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("fault", FAULTS)
def test_x1_what_breaks_a_call_leaves_it_unknown_and_sent_once(rig: Rig, fault: str, direction: str) -> None:
    name = f"x1-{fault}-{direction}"
    setattr(rig.proxy, direction, FAULTS[fault])
    answer = rig.post(name)
    assert (answer.status, answer.problem["outcome"]) in {(502, "unknown"), (504, "unknown")}
    assert rig.seen(name)[0] <= 1
    assert rig.gateway.log.of(name)["outcome"] == "unknown"
    rig.proxy.heal()
    assert rig.post(name + "-after").status == 200, "the broken connection was used again"


@pytest.mark.parametrize("direction", ["up", "down"])
def test_x1_the_first_byte_deadline_holds_within_ten_per_cent(rig: Rig, direction: str) -> None:
    setattr(rig.proxy, direction, Faults(silent=True))
    begun = time.monotonic()
    answer = rig.post(f"x1-late-{direction}")
    lasted = time.monotonic() - begun
    assert (answer.status, answer.code) == (504, "upstream_timeout")
    assert FIRST_BYTE_S <= lasted <= FIRST_BYTE_S * 1.1 + SLACK_S, lasted


def test_x1_a_target_that_accepts_and_says_nothing_is_a_timeout_not_a_hang(rig: Rig) -> None:
    rig.proxy.mute = True
    rig.proxy.reset_all()
    answer = rig.post("x1-mute")
    assert (answer.status, answer.problem["outcome"]) == (504, "unknown")
    assert rig.seen("x1-mute") == (0, 0)


@pytest.mark.parametrize(
    "faults",
    [Faults(slice_bytes=5), Faults(delay_ms=30, jitter_ms=50), Faults(bytes_per_s=60_000), Faults(close_late_ms=200)],
    ids=["slices", "delay", "rate", "late close"],
)  # fmt: skip
def test_x1_what_only_slows_a_call_changes_no_byte_of_it(rig: Rig, faults: Faults) -> None:
    rig.proxy.up = rig.proxy.down = faults
    name = f"x1-slow-{faults.slice_bytes}-{faults.delay_ms}-{faults.bytes_per_s}-{faults.close_late_ms}"
    answer = rig.post(name, "/open/v1/pay", bytes(range(256)) * 8, "X-Answer-Bytes: 3000")
    assert answer.status == 200
    assert answer.body.length > 3000
    assert answer.text.startswith(f"{name} ".encode())
    assert rig.seen(name) == (1, 1)


def test_x1_an_answer_that_stops_half_way_is_broken_off_within_the_idle_deadline(rig: Rig) -> None:
    rig.proxy.down = Faults(half_close_after=-1, silent=False, cut_after=2000)
    answer = rig.post("x1-half", "/open/v1/pay", b"{}", "X-Answer-Bytes: 9000")
    assert answer.status == 200
    assert not answer.body.complete, "a part passed for the whole"
    assert rig.gateway.log.of("x1-half")["outcome"] == "unknown"


class _Gone(FakeTransport):
    """A connection whose peer reset it before it was taken: the kernel knows no address any more."""

    def get_extra_info(self, name: str) -> object:
        return None


def test_x1_a_caller_that_reset_before_it_was_taken_is_let_go_unread() -> None:
    """Found by the soak: its call was forwarded, and logged, without an address."""
    with World() as world:
        caller = _Gone(world.loop, ClientConnection(world.plane))
        assert caller.aborted
        world.run()
        assert not world.plane.clients
        caller.protocol.data_received(b"GET /v1/payments/p1 HTTP/1.1\r\nHost: a\r\n\r\n")
        world.run()
        assert (world.calls, world.pool.asked) == ([], [])
