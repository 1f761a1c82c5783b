"""http-rules.md section 2.1: the path function's answer is a fixed point and decodes as the forwarded target does."""

import string
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from faregate.gateway.http1.paths import normalise
from faregate.gateway.http1.request import parse_line
from faregate.kernel.problems import Refusal

VISIBLE = [chr(code) for code in range(0x21, 0x7F) if chr(code) not in "#\\?"]
PIECES = st.one_of(
    st.sampled_from(VISIBLE),
    st.sampled_from(
        ["/", "%", "%2", "%25", "%2F", "%2e", ".", "..", ";", "%41", "%7e", "%C3%A9", "%c3", "4", "1"]
    ),
    st.binary(min_size=1, max_size=2).map(lambda data: "".join(f"%{byte:02x}" for byte in data)),
)
PATHS = st.lists(PIECES, max_size=12).map(lambda pieces: ("/" + "".join(pieces)).encode())
UNRESERVED = (string.ascii_letters + string.digits + "-._~").encode()


def accepted(path: bytes) -> bytes | None:
    try:
        return normalise(path)
    except Refusal:
        return None


@given(PATHS)
@example(b"/%25%34%31")  # was "/%2541", which a second run refused
@example(b"/%252%66")
def test_a_second_run_changes_nothing(path: bytes) -> None:
    decision = accepted(path)
    if decision is not None:
        assert normalise(decision) == decision


@given(PATHS)
def test_the_target_as_received_decodes_to_what_the_decision_decodes_to(path: bytes) -> None:
    decision = accepted(path)
    if decision is not None:
        assert unquote_to_bytes(path) == unquote_to_bytes(decision)


@given(PATHS)
@example(b"/%25%34%31")
def test_nothing_on_the_list_is_left_in_a_decision(path: bytes) -> None:
    decision = accepted(path)
    if decision is None:
        return
    decoded = unquote_to_bytes(decision)
    decoded.decode()
    assert not set(decoded.split(b"/")) & {b".", b".."}
    assert b"//" not in decision
    assert not set(b";\\#") & set(decision)
    assert decoded.count(b"/") == decision.count(b"/")
    assert b"\\" not in decoded
    assert not any(byte < 0x20 or byte == 0x7F for byte in decoded)
    twice = unquote_to_bytes(decoded)
    assert twice == decoded, "a target that decodes further would mean two things"


@given(PATHS)
def test_unreserved_characters_are_spelt_one_way(path: bytes) -> None:
    decision = accepted(path)
    if decision is None:
        return
    encoded_all = b"/" + b"".join(
        b"%%%02x" % byte if byte in UNRESERVED else bytes((byte,)) for byte in decision[1:]
    )
    if b"%" not in decision:
        assert normalise(encoded_all) == decision


@pytest.mark.parametrize(
    ("path", "decision"),
    [
        (b"/", b"/"),
        (b"/a/", b"/a/"),
        (b"/%41%7a%2D%2e%5F%7e", b"/Az-._~"),
        (b"/%7Euser", b"/~user"),
        (b"/caf%c3%a9", b"/caf%C3%A9"),
        (b"/a%25", b"/a%25"),
        (b"/a%25zz", b"/a%25zz"),
        (b"/a%20b", b"/a%20b"),
        (b"/.well-known", b"/.well-known"),
        (b"/...", b"/..."),
        (b"/a..b", b"/a..b"),
        (b"/a%3fb", b"/a%3Fb"),
    ],
)
def test_decisions(path: bytes, decision: bytes) -> None:
    assert normalise(path) == decision


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (b"/a%2fb", "path_encoding"),
        (b"/a%5Cb", "path_encoding"),
        (b"/%00", "path_encoding"),
        (b"/%1f", "path_encoding"),
        (b"/%7F", "path_encoding"),
        (b"/%252e", "path_encoding"),
        (b"/%25%34%31", "path_encoding"),
        (b"/%2541", "path_encoding"),
        (b"/a;b", "path_ambiguous"),
        (b"//a", "path_ambiguous"),
        (b"/a//", "path_ambiguous"),
        (b"/.", "path_dot_segment"),
        (b"/a/..", "path_dot_segment"),
        (b"/%2e%2E/a", "path_dot_segment"),
        (b"/.%2e", "path_dot_segment"),
        (b"/%ff", "path_not_utf8"),
        (b"/%c0%af", "path_not_utf8"),
        (b"/%ed%a0%80", "path_not_utf8"),
        (b"/%", "target_percent"),
        (b"/%4", "target_percent"),
        (b"/%zz", "target_percent"),
    ],
)
def test_refused_spellings_with_their_reasons(path: bytes, reason: str) -> None:
    with pytest.raises(Refusal) as caught:
        normalise(path)
    assert caught.value.reason == reason


@given(PATHS, st.sampled_from([b"", b"?", b"?a=%2e%2e//;", b"?%41"]))
def test_the_request_line_hands_the_target_on_as_it_came(path: bytes, query: bytes) -> None:
    target = path + query
    try:
        method, forwarded, decision, minor = parse_line(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")[
            :4
        ]
    except Refusal:
        assert accepted(path) is None
        return
    assert (method, forwarded, minor) == (b"GET", target, b"1")
    assert decision == accepted(path)
