"""Hypothesis plays the fuzzer within the suite: seeds, changed in the ways that parsers fall for, and bytes without any form.

Fixed per run of the source (derandomised), so that a failure comes again; ``FAREGATE_PROOF=long`` tries 100 times as many.
"""

import os

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fuzz.seeds import TARGETS, seeds

LONG = os.environ.get("FAREGATE_PROOF") == "long"
SLOW = frozenset({"request_stream", "answer_stream", "h2_stream"})
SPICE = (
    b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b";", b",", b"_", b"%", b"%2f", b"..", b"//", b"\x80", b"0", b"1", b"-", b"+", b"{", b'"',
    b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: x\r\n", b"HTTP/1.1", b"chunked", b"0\r\n\r\n", b"=", b"100 ", b"close",
)  # fmt: skip
Change = tuple[int, int, int, bytes]
CHANGES = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 10**6), st.integers(0, 20), st.sampled_from(SPICE) | st.binary(max_size=3)),
    max_size=4,
)  # fmt: skip


def changed(data: bytes, changes: list[Change]) -> bytes:
    for kind, place, length, spice in changes:
        at = place % (len(data) + 1)
        if kind == 0:
            data = data[:at] + spice + data[at:]
        elif kind == 1:
            data = data[:at] + data[at + length :]
        elif kind == 2:
            data = data[:at] + spice + data[at + len(spice) :]
        else:
            data = data[: at + length] + data[at:]
    return data


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_breaks_a_promise(name: str) -> None:
    target = TARGETS[name]
    count = (60 if name in SLOW else 200) * (100 if LONG else 1)

    @settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.one_of(st.builds(changed, st.sampled_from(seeds(name)), CHANGES), st.binary(max_size=200)))
    def play(data: bytes) -> None:
        target(data)

    play()
