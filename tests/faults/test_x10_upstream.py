"""X10: an upstream that talks nonsense or never ends. 502 with a reason, or a visible break, and the pool stays clean."""

import asyncio
import time

import pytest

from tests.faults.conftest import TOTAL_S, Rig
from tests.support.chaos import Faults
from tests.support.client import RawClient, attempt
from tests.support.ledger import STALE, expected_answer

INVALID = {
    "garbage": "status_line",
    "interim_flood": "too_many_interim",
    "header_bomb": "",
    "close_silently": "upstream_closed",
}
BROKEN_OFF = ("truncate", "early_reset", "endless_trailers", "bad_chunk")
DIGEST_OF_BRACES = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


def clean(rig: Rig, after: str) -> None:
    """Four calls right after the fault get their own answers, and nobody else's."""
    rig.ledger.mode = "echo"

    async def play() -> None:
        async with RawClient(rig.gateway.address) as client:
            for number in range(4):
                name = f"x10-clean-{after}-{number}"
                answer = await client.ask(rig.call(name), "POST")
                assert (answer.status, answer.text) == (200, expected_answer(name, "-", DIGEST_OF_BRACES, 0))

    asyncio.run(play())


@pytest.mark.parametrize("mode", INVALID)
def test_x10_nonsense_is_502_with_its_reason_and_leaves_the_pool_clean(rig: Rig, mode: str) -> None:
    rig.ledger.mode = mode
    answer = rig.post(f"x10-{mode}")
    assert (answer.status, answer.code) == (502, "upstream_invalid_response")
    assert answer.problem["outcome"] == "unknown"
    line = rig.gateway.log.of(f"x10-{mode}")
    assert line["outcome"] == "unknown"
    assert str(line["reason"]).startswith(INVALID[mode])
    clean(rig, mode)


@pytest.mark.parametrize("mode", BROKEN_OFF)
def test_x10_an_answer_that_begins_well_and_ends_badly_is_broken_off(rig: Rig, mode: str) -> None:
    rig.ledger.mode = mode
    answer = rig.post(f"x10-{mode}", "/open/v1/pay", b"{}", "X-Answer-Bytes: 50000")
    if answer.status == 200:
        assert not answer.body.complete, "a part passed for the whole"
    else:
        assert (answer.status, answer.code) == (502, "upstream_invalid_response")
    assert rig.gateway.log.of(f"x10-{mode}")["outcome"] == "unknown"
    clean(rig, mode)


def test_x10_no_length_and_a_clean_close_is_a_whole_answer(rig: Rig) -> None:
    rig.ledger.mode = "until_close"
    answer = rig.post("x10-close", "/open/v1/pay", b"{}", "X-Answer-Bytes: 20000")
    assert answer.body.complete
    assert answer.text == expected_answer("x10-close", "-", DIGEST_OF_BRACES, 20_000)
    clean(rig, "until_close")


def test_x10_a_second_answer_that_nobody_asked_for_reaches_nobody(rig: Rig) -> None:
    rig.ledger.mode = "stale_answer"

    async def play() -> list[bytes]:
        async with RawClient(rig.gateway.address) as client:
            return [(await client.ask(rig.call(f"x10-stale-{number}"), "POST")).text for number in range(20)]

    texts = asyncio.run(play())
    assert texts == [expected_answer(f"x10-stale-{number}", "-", DIGEST_OF_BRACES, 0) for number in range(20)]
    assert not any(STALE.partition(b"\r\n\r\n")[2] in text for text in texts)
    clean(rig, "stale")


def test_x10_a_target_that_reads_nothing_ends_at_the_deadline(rig: Rig) -> None:
    """A zero window: the body has nowhere to go, and the call is given up as unknown."""
    rig.proxy.up = rig.proxy.down = Faults(delay_ms=60_000)
    rig.proxy.reset_all()
    begun = time.monotonic()
    call = rig.call("x10-window", "/open/v1/pay", bytes(12 << 20))
    (answer,) = asyncio.run(attempt(rig.gateway.address, call)).answers
    assert (answer.status, answer.problem["outcome"]) == (504, "unknown")
    assert time.monotonic() - begun < TOTAL_S * 1.1 + 1
    assert rig.gateway.log.of("x10-window")["reason"] == "upstream_not_reading"
    assert rig.seen("x10-window") == (0, 0)
