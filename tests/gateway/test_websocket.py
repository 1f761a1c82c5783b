"""The handshake of RFC 6455 judged field by field, and frames followed whatever the pieces they come in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.gateway.http1.response import parse_response
from faregate.gateway.websocket import Frames, accept_value, close_frame, read_handshake
from tests.support.websocket import ACCEPT, CLOSE, KEY, PING, TEXT, closing, frame, said

FIELDS = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}


def section(*extra: str, **changes: str | None) -> bytes:
    """A field section for a WebSocket; ``changes`` by name with ``_`` for ``-``, None leaves out."""
    changed = {name.replace("_", "-"): value for name, value in changes.items()}
    fields = [(name, changed.get(name, value)) for name, value in FIELDS.items()]
    lines = [f"{name}: {value}" for name, value in fields if value is not None]
    return "\r\n".join(["Host: api.test", *lines, *extra, "", ""]).encode()


def test_the_accept_value_is_that_of_the_rfc() -> None:
    assert accept_value(KEY.encode()) == ACCEPT.encode()


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (section(), ""),
        (section(Upgrade="WebSocket"), ""),
        (section(Upgrade="h2c, websocket"), ""),
        (section(Connection="keep-alive, Upgrade"), ""),
        (section("Origin: https://app.example"), ""),
        (section(Connection="keep-alive"), "upgrade_not_in_connection"),
        (section(Connection=None), "upgrade_not_in_connection"),
        (section(Sec_WebSocket_Version="8"), "websocket_version"),
        (section(Sec_WebSocket_Version="13, 8"), "websocket_version"),
        (section(Sec_WebSocket_Version=None), "websocket_version"),
        (section("Sec-WebSocket-Version: 13"), "websocket_version"),
        (section(Sec_WebSocket_Key=None), "websocket_key"),
        (section("Sec-WebSocket-Key: " + KEY), "websocket_key"),
        (section(Sec_WebSocket_Key="dGhlIHNhbXBsZQ=="), "websocket_key"),
        (section(Sec_WebSocket_Key=KEY + "AAAA"), "websocket_key"),
        (section(Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZR=="), "websocket_key"),
        (section(Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ"), "websocket_key"),
        (section("Origin: https://a.example", "Origin: https://b.example"), "origin_doubled"),
    ],
)
def test_w13_a_handshake_has_one_right_key_the_right_version_and_a_connection_that_names_it(
    raw: bytes, fault: str
) -> None:
    handshake = read_handshake(raw)
    assert handshake is not None
    assert handshake.fault == fault
    assert handshake.accept == (b"" if fault else ACCEPT.encode())


@pytest.mark.parametrize(
    "raw", [section(Upgrade="h2c"), section(Upgrade="websockets"), section(Upgrade=None)]
)
def test_f30_another_protocol_asks_for_no_websocket(raw: bytes) -> None:
    assert read_handshake(raw) is None


def answer(
    *lines: str, accept: str = ACCEPT, upgrade: str = "websocket", connection: str = "Upgrade"
) -> bytes:
    given_lines = [
        f"Upgrade: {upgrade}",
        f"Connection: {connection}",
        f"Sec-WebSocket-Accept: {accept}",
        *lines,
    ]
    return "\r\n".join(["HTTP/1.1 101 Switching Protocols", *given_lines, "", ""]).encode()


@pytest.mark.parametrize(
    ("head", "fault"),
    [
        (answer(), ""),
        (answer(upgrade="WebSocket", connection="keep-alive, upgrade"), ""),
        (answer("Sec-WebSocket-Protocol: chat"), ""),
        (answer("Sec-WebSocket-Extensions: permessage-deflate"), ""),
        (answer(accept=ACCEPT.lower()), "websocket_accept"),
        (answer("Sec-WebSocket-Accept: " + ACCEPT), "websocket_accept"),
        (answer(connection="Upgrade, Sec-WebSocket-Accept"), "websocket_accept"),
        (b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "websocket_accept"),
        (answer(upgrade="h2c"), "switching_to_another"),
        (answer(upgrade="websocket, h2c"), "switching_to_another"),
        (answer(connection="keep-alive"), "switching_to_another"),
        (answer("Sec-WebSocket-Protocol: other"), "websocket_protocol"),
        (answer("Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Protocol: chat"), "websocket_protocol"),
        (answer("Content-Length: 5"), "interim_with_body"),
        (answer("Transfer-Encoding: chunked"), "interim_with_body"),
    ],
)
def test_w12_only_the_101_that_was_asked_for_is_taken(head: bytes, fault: str) -> None:
    handshake = read_handshake(
        section("Sec-WebSocket-Protocol: chat, superchat", "Sec-WebSocket-Extensions: permessage-deflate")
    )
    assert handshake is not None
    assert handshake.refuses(parse_response(head, 128)) == fault


def test_w12_what_the_caller_did_not_offer_the_upstream_may_not_choose() -> None:
    plain = read_handshake(section())
    assert plain is not None
    for line, fault in (
        ("Sec-WebSocket-Protocol: chat", "websocket_protocol"),
        ("Sec-WebSocket-Extensions: x", "websocket_extension"),
    ):
        assert plain.refuses(parse_response(answer(line), 128)) == fault


LONG = b"x" * 200
LONGER = b"y" * 70_000
CONVERSATION = b"".join(
    [
        said(TEXT, b"hello"), said(TEXT, b""), said(TEXT, b"be", final=False), said(PING, b"p"),
        said(0, b"gun", final=False), said(0, LONG), said(2, LONGER), said(CLOSE, closing(1000)),
    ]
)  # fmt: skip


@given(st.lists(st.integers(1, 400), min_size=1, max_size=60))
def test_frames_pass_byte_for_byte_in_whatever_pieces_they_come(sizes: list[int]) -> None:
    frames = Frames(masked=True, extended=False)
    passed = bytearray()
    at = 0
    for size in sizes:
        passed += frames.feed(CONVERSATION[at : at + size])
        at += size
        assert CONVERSATION.startswith(passed)
        assert len(CONVERSATION[:at]) - len(passed) < 14, "more than a frame's head is held back"
    passed += frames.feed(CONVERSATION[at:])
    assert bytes(passed) == CONVERSATION
    assert frames.said_close
    assert not frames.fault


@given(st.binary(max_size=400), st.lists(st.integers(1, 60), max_size=40), st.booleans())
def test_any_bytes_pass_the_same_however_they_are_cut(data: bytes, sizes: list[int], masked: bool) -> None:
    whole, cut = Frames(masked=masked, extended=False), Frames(masked=masked, extended=False)
    expected = whole.feed(data)
    passed = bytearray()
    at = 0
    for size in [*sizes, len(data)]:
        passed += cut.feed(data[at : at + size])
        at += size
    assert data.startswith(bytes(passed))
    assert bytes(passed) == expected
    assert (cut.fault, cut.closed, cut.left) == (whole.fault, whole.closed, whole.left)


def test_a_receiver_is_never_left_within_a_frames_head() -> None:
    for cut in range(1, 14):
        frames = Frames(masked=True, extended=False)
        passed = frames.feed(said(2, LONGER)[:cut])
        assert passed == b""
        assert frames.left == 0


def test_left_tells_how_much_of_a_payload_is_due() -> None:
    frames = Frames(masked=False, extended=False)
    assert frames.feed(frame(TEXT, LONG)[:104]) == frame(TEXT, LONG)[:104]
    assert frames.left == 100
    frames.feed(LONG[:100])
    assert frames.left == 0


MASK = b"\x01\x02\x03\x04"
BEGUN = frame(TEXT, b"a", mask=MASK, final=False)


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        (frame(TEXT, b"a"), "frame_mask"),
        (frame(TEXT, b"a", mask=MASK, bits=0x40), "frame_reserved_bits"),
        (frame(3, b"a", mask=MASK), "frame_opcode"),
        (frame(11, b"a", mask=MASK), "frame_opcode"),
        (frame(PING, b"a" * 126, mask=MASK), "frame_control"),
        (frame(PING, b"a", mask=MASK, final=False), "frame_control"),
        (frame(CLOSE, b"a", mask=MASK), "frame_control"),
        (frame(0, b"a", mask=MASK), "frame_continuation"),
        (BEGUN + frame(TEXT, b"b", mask=MASK), "frame_continuation"),
        (b"\x81\xfe\x00\x05" + MASK + b"hello", "frame_length"),
        (b"\x81\xff\x00\x00\x00\x00\x00\x00\x00\x05" + MASK + b"hello", "frame_length"),
        (b"\x81\xff\x80\x00\x00\x00\x00\x00\x00\x05" + MASK, "frame_length"),
    ],
)
def test_what_no_client_may_send_is_a_fault_and_does_not_pass(bad: bytes, fault: str) -> None:
    good = said(TEXT, b"good")
    for size in (1, 3, 1000):
        frames = Frames(masked=True, extended=False)
        passed = b"".join(frames.feed((good + bad)[at : at + size]) for at in range(0, len(good + bad), size))
        assert frames.fault == fault
        right = BEGUN if bad.startswith(BEGUN) else b""
        assert passed == good + right
        assert frames.feed(good) == b"", "nothing passes behind a fault"


def test_a_server_may_not_mask() -> None:
    frames = Frames(masked=False, extended=False)
    assert frames.feed(said(TEXT, b"a")) == b""
    assert frames.fault == "frame_mask"


def test_an_agreed_extension_may_use_the_reserved_bits() -> None:
    frames = Frames(masked=False, extended=True)
    compressed = frame(TEXT, b"a", bits=0x40)
    assert frames.feed(compressed) == compressed


def test_nothing_passes_behind_close() -> None:
    frames = Frames(masked=True, extended=False)
    end = said(CLOSE, closing(1000))
    assert frames.feed(end[:4]) == b""
    assert frames.feed(end[4:7]) == end[:7]
    assert frames.closed
    assert not frames.said_close
    assert frames.feed(end[7:] + said(TEXT, b"late")) == end[7:]
    assert frames.said_close
    assert frames.feed(said(TEXT, b"later")) == b""


def test_close_frames_are_masked_towards_servers_only() -> None:
    assert close_frame(1001, "draining") == frame(CLOSE, closing(1001, "draining"))
    assert close_frame(1001, "draining", MASK) == frame(CLOSE, closing(1001, "draining"), mask=MASK)
    assert len(close_frame(1008, "x" * 500)) == 127
