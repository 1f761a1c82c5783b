"""Where fuzzing begins: well-formed messages and the known ways to spoil them. What was found later lies in ``corpus/``."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.fuzz import newer, streams, targets
from tests.gateway.exchange_material import ANSWERS, REQUESTS
from tests.policies.jwt import material

CORPUS: Final = Path(__file__).parent / "corpus"
TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "answer_stream": streams.answer_stream,
    "base64": targets.base64,
    "chunked": targets.chunked,
    "fields": targets.fields,
    "forwarded": targets.forwarded,
    "h2_stream": newer.h2_stream,
    "hpack": newer.hpack,
    "jwt": targets.jwt,
    "path": targets.path,
    "request_stream": streams.request_stream,
    "response_head": targets.response_head,
    "websocket": newer.websocket,
}
_CHUNKS: Final = (
    b"5\r\nhello\r\n0\r\n\r\n",
    b'5;a=b\r\nhello\r\nA;c="d;e"\r\n0123456789\r\n0\r\nX-T: 1\r\n\r\nGET / HTTP/1.1\r\n',
    b"0\r\n\r\n", b"0x5\r\nhello\r\n0\r\n\r\n", b"5\nhello\r\n0\r\n\r\n", b"5\r\nhello0\r\n\r\n", b"ffffffffffffffffff\r\n", b"5 \r\nhello\r\n0\r\n\r\n",
    b"-1\r\n", b"1_0\r\n", b"0\r\nContent-Length: 3\r\n\r\n", b"0\r\n X: folded\r\n\r\n", b"5\r\nhello\r\r\n0\r\n\r\n",
)  # fmt: skip
_HEADERS: Final = (
    b'{"alg":"HS256"}', b'{"alg":"none"}', b'{"alg":"HS256","alg":"none"}', b'{"alg":"HS256","crit":["b64"],"b64":false}',
    b'{"alg":"HS256","jwk":{"kty":"oct","k":"YQ"}}', b'{"alg":["HS256"]}', b'{"alg":"HS256","kid":"../../dev/null"}',
)  # fmt: skip
_CLAIMS: Final = (
    {}, {"exp": None}, {"exp": 1}, {"exp": True}, {"aud": ["other", "payments"]}, {"aud": "payment"}, {"iss": "https://id.acme.example/"},
    {"nbf": material.WALL + 3600}, {"sub": "nobody"}, {"scope": "payments:read"}, {"iat": "now"},
)  # fmt: skip


_FRAMING: Final = tuple(
    b"POST /v1/x HTTP/1.%b\r\nHost: api.test\r\n%b\r\n\r\n%b" % (minor, lines, body)
    for minor in (b"0", b"1")
    for lines in (
        b"Content-Length: 5\r\nContent-Length: 5", b"Content-Length: 5\r\nContent-Length: 0", b"Transfer-Encoding: chunked\r\nContent-Length: 5",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked", b"Content-Length: +5", b"Content-Length: 5, 5",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", b"Content_Length: 5", b"Content-Length: 5\r\n Transfer-Encoding: chunked",
    )
    for body in (b"hello", b"5\r\nhello\r\n0\r\n\r\n")
)  # fmt: skip
_GET: Final = (
    (b":method", b"GET"),
    (b":scheme", b"http"),
    (b":authority", b"a.test"),
    (b":path", b"/v1/payments/p1"),
)
_POST: Final = (
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":authority", b"a.test"),
    (b":path", b"/v1/payments"),
)
_FRAMES: Final = (
    newer.request_frames(*_GET), newer.request_frames(*_POST, body=b"0123456789"),
    newer.request_frames(*_POST, (b"content-length", b"4"), body=b"0123456789"),
    newer.request_frames(*_GET) + newer.request_frames(*_POST, body=b"x", stream=3) + bytes.fromhex("00000403000000000100000008"),
    bytes.fromhex("000008060000000000") + b"12345678", bytes.fromhex("000000040100000000"), bytes.fromhex("00000408000000000000000001"),
    bytes.fromhex("0000060400000000000004ffffffff"), newer.request_frames(*_GET, (b"connection", b"close")),
    newer.request_frames(*_GET, (b"te", b"trailers"), (b"x-a", b"b" * 300)), newer.request_frames(*_GET)[:-3],
)  # fmt: skip
_TUNNEL: Final = (
    b"\x81\x85abcd\x09\x07\x0f\x08\x0e", b"\x81\x05hello", b"\x01\x03abc\x00\x03def\x80\x00", b"\x88\x02\x03\xe8", b"\x89\x00\x8a\x00",
    b"\x82\x7e\x00\x7e" + b"a" * 126, b"\x82\x7f" + bytes(6) + b"\x01\x00" + b"a" * 300, b"\xc1\x00", b"\x83\x00", b"\x08\x00",
    b"\x88\x00\x81\x02hi", b"\x88\x80abcd\x81\x80abcd", b"\x88\x7e\x00\x7e" + b"a" * 126,
)  # fmt: skip


def _cut(*wholes: bytes) -> list[bytes]:
    """Each seed whole, and cut into pieces of 1 and of 7."""
    return [bytes([size]) + whole for whole in wholes for size in (0, 1, 7)]


def seeds(name: str) -> list[bytes]:
    """The seeds of a target, and its corpus."""
    requests = [request.replace(b"%b", b"X-Request-Id: r\r\n") for request in REQUESTS.values()]
    found = {
        "answer_stream": [bytes([kind]) + cut for answer in ANSWERS.values() for kind in range(9) for cut in _cut(answer)],
        "base64": [b"YQ", b"YQ==", b"YR", b"-_-_", b"+/", b"YWI", b"Y", b"YW I"],
        "chunked": _cut(*_CHUNKS),
        "fields": [
            b"X-API-Key: abc\r\nContent-Length: 4", b"Transfer-Encoding: chunked\r\nContent-Length: 0", b"Connection: close, X-A\r\nX-A: 1",
            b"Authorization: Bearer abc\r\nAuthorization: Bearer def", b"X_A: 1", b"X-A : 1", b"Via: 1.1 x\r\nTE: trailers",
            b"X-API-Key: abc\r\nX-API-Key: abc", b"Expect: 100-continue\r\nTraceparent: 00-1", b"Connection: x-api-key\r\nX-API-Key: a",
        ],
        "forwarded": [b"10.0.0.1, 192.0.2.7, 10.0.0.4", b"::ffff:10.0.0.1", b"fd00::1%eth0, 10.0.0.1", b"", b",,", b"1.2.3.4:80", b"0x7f.1", b"010.0.0.1"],
        "h2_stream": _cut(*_FRAMES),
        "hpack": _cut(*(frames[9:] for frames in _FRAMES), b"\x82" * 140, b"\x3f\xe1\x1f\x82", b"\x40\x01a\x7f\xa1\x1e" + b"v" * 400,
                      b"\x40\x01a\x7f\xa1\x1e" + b"v" * 4000 + b"\xbe" * 15 + b"\x82" * 110),
        "websocket": _cut(*_TUNNEL),
        "jwt": [b"\0" + targets.good_token(), b"\0" + targets.good_token()[:-1], b"\0..", *(b"\2" + header for header in _HEADERS),
                *(b"\1" + material.compact(material.claims(**changes)) for changes in _CLAIMS)],
        "path": [b"a/%2e%2e/b", b"a//b", b"%2F", b"a;b", b"%25%32%65", b"%c3%a9", b"%C0%AE", b"..%2f", b"~%7e", b"a/./b", b"%5c", b"%00"],
        "request_stream": _cut(*requests, requests[0] + requests[4] + requests[0], b"\r\n" + requests[0],
                               b"GET http://api.test/x HTTP/1.1\r\nHost: api.test\r\n\r\n", *_FRAMING),
        "response_head": [answer.partition(b"\r\n\r\n")[0] for answer in ANSWERS.values()],
    }[name]  # fmt: skip
    folder = CORPUS / name
    return found + [file.read_bytes() for file in sorted(folder.glob("*"))]
