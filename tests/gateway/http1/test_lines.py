"""What a field line means depends on its own bytes alone, is remembered as first judged, and in bounded memory."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faregate.gateway.http1 import fields as kinds
from faregate.gateway.http1 import lines as lines_module
from faregate.gateway.http1 import request, response
from faregate.gateway.http1.fields import REQUEST_FIELDS, RESPONSE_FIELDS
from faregate.gateway.http1.lines import LINE_BYTES_LEARNED_MAX, Fact, LineError, LineMemory
from faregate.gateway.http1.response import InvalidAnswer
from faregate.kernel.problems import Refusal

NAMES = st.sampled_from(
    [b"Host", b"hOST", b"X-Note", b"Accept", b"Via", b"Content-Type", b"Authorization", b"X_Note", b"X-Consumer-Id", b"Te",
     b"Connection", b"Expect", b"", b"a b", b"\xe4", b"Upgrade", b"Date", b"Trailer", b"RateLimit"]
)  # fmt: skip
VALUES = st.one_of(
    st.binary(max_size=12),
    st.sampled_from(
        [
            b"api.test",
            b"close",
            b"100-continue",
            b"a\x00b",
            b"a\tb",
            b" ",
            b"x\ny: z",
            b"x\ry",
            b"websocket",
            b"caf\xe9",
        ]
    ),
)
LINES = st.one_of(
    st.tuples(
        NAMES,
        st.sampled_from([b":", b": ", b":\t ", b" :", b""]),
        VALUES,
        st.sampled_from([b"", b" ", b"\t"]),
    ).map(b"".join),
    st.binary(max_size=24),
    st.sampled_from(
        [
            b"X-A: 1\nX-B: 2",
            b" folded",
            b"\tfolded",
            b"X-A: 1",
            b"X-A:1 ",
            b"A: 1\n",
            b"\nA: 1",
            b": ",
            b"A: b\r",
        ]
    ),
).filter(lambda line: line and b"\r\n" not in line)
DIRECTIONS = [(REQUEST_FIELDS, request._refine), (RESPONSE_FIELDS, response._refine)]


def fresh(direction: int) -> LineMemory:
    return LineMemory(*DIRECTIONS[direction])


def judge(memory: LineMemory, lines: list[bytes]) -> list[Fact] | None:
    """The facts by the road that heads take, or None when refused."""
    unknown = [line for line in lines if memory.get(line) is None]
    try:
        learned = iter(memory.learn(unknown) if unknown else ())
    except (LineError, Refusal, InvalidAnswer):
        return None
    return [
        memory_fact if (memory_fact := known) is not None else next(learned)
        for known in _known(memory, lines, unknown)
    ]


def _known(memory: LineMemory, lines: list[bytes], unknown: list[bytes]) -> list[Fact | None]:
    absent = set(unknown)
    return [None if line in absent else memory.get(line) for line in lines]


@given(st.sampled_from([0, 1]), st.lists(LINES, min_size=1, max_size=5))
def test_lines_that_pass_together_mean_what_each_means_alone(direction: int, lines: list[bytes]) -> None:
    together = judge(fresh(direction), lines)
    alone = [judge(fresh(direction), [line]) for line in lines]
    if together is None:
        return
    assert together == [facts[0] if facts else None for facts in alone]


@given(st.sampled_from([0, 1]), st.lists(LINES, min_size=1, max_size=5))
def test_a_line_refused_alone_is_refused_in_any_company(direction: int, lines: list[bytes]) -> None:
    if any(judge(fresh(direction), [line]) is None for line in lines):
        assert judge(fresh(direction), lines) is None


@given(st.sampled_from([0, 1]), st.lists(st.lists(LINES, min_size=1, max_size=4), min_size=2, max_size=8))
def test_a_memory_that_has_seen_others_judges_as_a_fresh_one(
    direction: int, heads: list[list[bytes]]
) -> None:
    memory = fresh(direction)
    for head in (*heads, *heads):
        seen_before = judge(memory, head)
        # Company may refuse a head earlier (two lengths in one batch), never let more pass or change a meaning.
        for line, fact in zip(head, seen_before or [], strict=False):
            assert judge(fresh(direction), [line]) == [fact]
        if any(judge(fresh(direction), [line]) is None for line in head):
            assert seen_before is None


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=20, max_size=120))
def test_generations_stay_bounded_and_facts_survive_the_change(numbers: list[int]) -> None:
    memory = fresh(0)
    bound = lines_module.GENERATION_LINES
    lines_module.GENERATION_LINES = 4  # type: ignore[misc]
    try:
        for number in numbers:
            line = b"X-A: %d" % number
            assert judge(memory, [line]) == [(kinds.PASS, line + b"\r\n", b"%d" % number)]
            assert len(memory.young) <= 4
            assert len(memory._old) <= 4
            assert memory.get == memory.young.get
    finally:
        lines_module.GENERATION_LINES = bound  # type: ignore[misc]


def test_long_lines_are_judged_but_not_kept() -> None:
    memory = fresh(0)
    line = b"X-Long: " + b"a" * LINE_BYTES_LEARNED_MAX
    assert judge(memory, [line]) == [(kinds.PASS, line + b"\r\n", line[8:])]
    assert memory.get(line) is None


def test_a_refused_line_is_not_kept_and_spoils_nothing() -> None:
    memory = fresh(0)
    for bad in (b"X_A: 1", b"X-A: \x00", b"Host: a b", b"Expect: x"):
        assert judge(memory, [b"X-Good: 1", bad]) is None
        assert memory.get(bad) is None
    assert judge(memory, [b"X-Good: 1"]) == [(kinds.PASS, b"X-Good: 1\r\n", b"1")]


@pytest.mark.parametrize(
    ("line", "passed"),
    [
        (b"X-A:1", b"X-A: 1\r\n"),
        (b"X-A:  1 \t", b"X-A: 1\r\n"),
        (b"X-A:", b"X-A: \r\n"),
        (b"x-a: caf\xe9", b"x-a: caf\xe9\r\n"),
        (b"X-A: a\tb", b"X-A: a\tb\r\n"),
    ],
)
def test_a_line_passes_with_one_blank_behind_the_colon_and_its_value_untouched(
    line: bytes, passed: bytes
) -> None:
    assert judge(fresh(0), [line]) == [(kinds.PASS, passed, passed[5:-2])]


@given(st.sampled_from([REQUEST_FIELDS, RESPONSE_FIELDS]), st.data())
def test_kinds_do_not_depend_on_letter_case(table: kinds.FieldTable, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(table._known)))
    spelt = bytes(byte ^ 0x20 if 97 <= byte <= 122 and data.draw(st.booleans()) else byte for byte in name)
    assert table[spelt] == table[name] == table._known[name]


def test_the_table_of_spellings_is_bounded() -> None:
    table = kinds.FieldTable({b"host": kinds.HOST}, (b"x-consumer-",), strict=True)
    for number in range(5000):
        assert table[b"X-%d" % number] == kinds.PASS
        assert table[b"x-Consumer-%d" % number] == kinds.DROP
    assert table[b"HOST"] == kinds.HOST
    assert len(table) <= 4096
    before = len(kinds.FieldTable({}, (), strict=True))
    long = kinds.FieldTable({}, (), strict=True)
    assert long[b"x" * 65] == kinds.PASS
    assert len(long) == before


@pytest.mark.parametrize(
    "name",
    [
        b"content-length",
        b"x-consumer-id",
        b"x_consumer_id",
        b"x-forwarded-for",
        b"host",
        b"dpop",
        b"authorization",
        b"cookie",
    ],
)
def test_w02_protected_names_are_protected_in_either_spelling_of_the_dash(name: bytes) -> None:
    assert kinds.is_protected(name)


def test_w03_every_field_we_set_upstream_is_dropped_from_what_came() -> None:
    ours = [b"X-Request-Id", b"traceparent", b"X-Forwarded-For", b"X-Forwarded-Proto", b"X-Forwarded-Host", b"X-Consumer-Id",
            b"X-Consumer-Plan", b"X-Credential-Id", b"X-Api-Version", b"Via", b"Connection", b"TE", b"Transfer-Encoding", b"Content-Length",
            b"Host"]  # fmt: skip
    assert [name for name in ours if REQUEST_FIELDS[name] == kinds.PASS] == []
