"""The table of requests that http-rules.md section 2 refuses, by row, and of those close to them that must pass.

``HEADS``: what the head alone shows; not one byte of these may reach an upstream. ``BODIES``: what shows only inside the body;
the head may have gone ahead by then, a complete request may not. A case is its name, the bytes and the statuses allowed.
"""

from dataclasses import dataclass
from typing import Final

LINE: Final = b"POST /open/v1/t HTTP/1.1\r\n"
HOST: Final = b"Host: api.test\r\n"
END: Final = b"Content-Length: 2\r\n\r\n{}"
MALFORMED: Final = (400,)


@dataclass(frozen=True)
class Case:
    """``finish``: the caller half-closes after ``data``."""

    name: str
    data: bytes
    statuses: tuple[int, ...] = MALFORMED
    finish: bool = False


def _show(data: bytes) -> str:
    return repr(data if len(data) < 60 else data[:40] + b"..." + data[-10:])


def _lines(*lines: bytes, statuses: tuple[int, ...] = MALFORMED) -> list[Case]:
    """One case per request line, CRLF not included."""
    return [Case(_show(line), line + b"\r\n" + HOST + END, statuses) for line in lines]


def _fields(*fields: bytes, statuses: tuple[int, ...] = MALFORMED) -> list[Case]:
    """One case per text placed among the field lines, final CRLF not included; the body's length is given."""
    return [Case(_show(text), LINE + HOST + text + b"\r\n" + END, statuses) for text in fields]


def _framings(*fields: bytes, body: bytes = b"{}", statuses: tuple[int, ...] = MALFORMED) -> list[Case]:
    """One case per text that takes the place of the framing fields."""
    return [Case(_show(text), LINE + HOST + text + b"\r\n\r\n" + body, statuses) for text in fields]


def _hosts(*texts: bytes) -> list[Case]:
    """One case per text that takes the place of the Host line."""
    return [Case(_show(text), LINE + text + END, MALFORMED) for text in texts]


def _chunks(*bodies: bytes, statuses: tuple[int, ...] = MALFORMED, finish: bool = False) -> list[Case]:
    """One case per chunked body."""
    start = LINE + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    return [Case(_show(body), start + body, statuses, finish) for body in bodies]


def _targets(*targets: bytes, statuses: tuple[int, ...] = MALFORMED) -> list[Case]:
    return _lines(*(b"POST " + target + b" HTTP/1.1" for target in targets), statuses=statuses)


CHUNKED_BODY: Final = b"2\r\n{}\r\n0\r\n\r\n"
_LONG: Final = b"a" * 9000
_TE: Final = b"Transfer-Encoding: chunked"

HEADS: Final[dict[str, list[Case]]] = {
    "F01": _lines(
        b"POST  /open/v1/t HTTP/1.1", b"POST /open/v1/t  HTTP/1.1", b"POST\t/open/v1/t HTTP/1.1", b"POST /open/v1/t\tHTTP/1.1",
        b" POST /open/v1/t HTTP/1.1", b"\tPOST /open/v1/t HTTP/1.1", b"POST /open/v1/t HTTP/1.1 ", b"POST /open/v1/t HTTP/1.1\t",
        b"POST /open/v1/t", b"POST /open/v1/t ", b"POST /open/v1/t http/1.1", b"POST /open/v1/t Http/1.1", b"POST /open/v1/t HTTP/1",
        b"POST /open/v1/t HTTP/1.", b"POST /open/v1/t HTTP/.1", b"POST /open/v1/t HTTP/1.1.1", b"POST /open/v1/t HTTP/01.1",
        b"POST /open/v1/t HTTP/1.10", b"POST /open/v1/t HTTP/+1.1", b"POST /open/v1/t HTTP /1.1", b"POST /open/v1/t HTTP/ 1.1",
        b"POST /open/v1/t HTTP/1.1 HTTP/1.1", b"POST /open/v1/t HTTP/1,1", b"POST /open/v1/t HTTP1.1", b"POST /open/v1/t HTTP/x.y",
        b"/open/v1/t HTTP/1.1", b"POST HTTP/1.1", b"POST", b"HTTP/1.1 200 OK", b"P@ST /open/v1/t HTTP/1.1",
        b"PO\x00ST /open/v1/t HTTP/1.1", b"P\xc3\x96ST /open/v1/t HTTP/1.1", b"(POST) /open/v1/t HTTP/1.1",
        b"POST /open/v1/t /open/v1/u HTTP/1.1",
    ),
    "F02": [
        *_lines(b"POST /open/v1/t HTTP/2.0", b"POST /open/v1/t HTTP/1.2", b"POST /open/v1/t HTTP/3.0", b"POST /open/v1/t HTTP/0.9",
                b"POST /open/v1/t HTTP/9.9", b"POST /open/v1/t HTTP/0.0", b"POST /open/v1/t HTTP/1.9", statuses=(505,)),
        *_lines(b"POST /open/v1/t RTSP/1.0", b"POST /open/v1/t ICE/1.0", b"POST /open/v1/t RTSP/1.1", b"POST /open/v1/t HTTPS/1.1",
                b"POST /open/v1/t SIP/2.0", b"SOURCE /open/v1/t ICE/1.1", statuses=(400, 505)),
        Case("h2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 505)),
        Case("tls hello", b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + b"\r\n\r\n", (400, 0)),
    ],
    "F03": [
        *_lines(b"TRACE /open/v1/t HTTP/1.1", b"FOO /open/v1/t HTTP/1.1", b"PROPFIND /open/v1/t HTTP/1.1", b"PURGE /open/v1/t HTTP/1.1",
                b"M-SEARCH /open/v1/t HTTP/1.1", b"post /open/v1/t HTTP/1.1", b"Post /open/v1/t HTTP/1.1", b"POSTS /open/v1/t HTTP/1.1",
                b"SOURCE /open/v1/t HTTP/1.1", b"QUERY /open/v1/t HTTP/1.1", b"X /open/v1/t HTTP/1.1", statuses=(501,)),
        Case("CONNECT", b"CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n", (501,)),
        Case("CONNECT with a path", b"CONNECT /open/v1/t HTTP/1.1\r\nHost: api.test\r\n\r\n", (501,)),
        Case("TRACE without body", b"TRACE /open/v1/t HTTP/1.1\r\nHost: api.test\r\n\r\n", (501,)),
    ],
    "F04": [
        Case("two empty lines", b"\r\n\r\n" + LINE + HOST + END),
        Case("three empty lines", b"\r\n\r\n\r\n" + LINE + HOST + END),
        Case("a hundred empty lines", b"\r\n" * 100 + LINE + HOST + END),
        Case("blank line of spaces", b"  \r\n" + LINE + HOST + END),
        Case("blank before the first field", LINE + b" " + HOST + END),
        Case("tab before the first field", LINE + b"\t" + HOST + END),
        Case("blank line of spaces before the first field", LINE + b" \r\n" + HOST + END),
    ],
    "F05": _targets(b"/open/v1/" + b"a" * (8193 - 9), b"/open/v1/" + _LONG, b"/open/v1/t?" + _LONG, b"/open/v1/" + b"a" * 60_000,
                    statuses=(414,)),
    "F06": _targets(
        b"/open/v1/\x01", b"/open/v1/\x1f", b"/open/v1/\x7f", b"/open/v1/\x80", b"/open/v1/\xc3\xa9", b"/open/v1/\xff", b"/open/v1/\x00",
        b"/open/v1/t#", b"/open/v1/t#top", b"/open/v1/t?q=1#top", b"#", b"/open/v1\\t", b"\\open\\v1\\t", b"/open/v1/t?q=\\",
        b"/open/v1/%", b"/open/v1/%4", b"/open/v1/%zz", b"/open/v1/%4g", b"/open/v1/t%", b"/open/v1/t?q=%", b"/open/v1/t?q=%zz",
        b"/open/v1/t?q=%1", b"/open/v1/t?q=\xff", b"/open/v1/t?q=\x01",
    ),
    "F07": [
        *_targets(b"open/v1/t", b"*", b"api.test:80", b"api.test", b"?q=1", b".", b"*/open/v1/t", b"/open/v1/t".replace(b"/", b":")),
        Case("GET *", b"GET * HTTP/1.1\r\nHost: api.test\r\n\r\n"),
        Case("OPTIONS **", b"OPTIONS ** HTTP/1.1\r\nHost: api.test\r\n\r\n"),
        Case("OPTIONS *?", b"OPTIONS *?a HTTP/1.1\r\nHost: api.test\r\n\r\n"),
    ],
    "F08": _targets(
        b"http://other.test/open/v1/t", b"http://api.test:81/open/v1/t", b"https://api.test/open/v1/t", b"ftp://api.test/open/v1/t",
        b"http://user@api.test/open/v1/t", b"http://user:secret@api.test/open/v1/t", b"http:///open/v1/t", b"http:/open/v1/t",
        b"http:open/v1/t", b"http://api.test./open/v1/t", b"http://api.test:x/open/v1/t", b"http://@api.test/open/v1/t",
        b"http://api.test@other.test/open/v1/t", b"http://api.test\\@other.test/open/v1/t", b"//api.test/open/v1/t",
        b"http://api.test#/open/v1/t", b"http://api.test:99999/open/v1/t", b"http//api.test/open/v1/t",
    ),
    "F09": [
        *_hosts(
            b"", b"Host:\r\n", b"Host: \r\n", HOST + HOST, HOST + b"host: api.test\r\n", HOST + b"Host: other.test\r\n",
            b"Host: api.test, other.test\r\n", b"Host: api.test,api.test\r\n", b"Host: user@api.test\r\n", b"Host: @api.test\r\n",
            b"Host: api.test/open\r\n", b"Host: api.test/\r\n", b"Host: http://api.test\r\n", b"Host: api.test.\r\n",
            b"Host: api.test.:80\r\n", b"Host: api.test:99999\r\n", b"Host: api.test:65536\r\n", b"Host: api.test:80a\r\n",
            b"Host: api.test:-1\r\n", b"Host: api.test:+80\r\n", b"Host: api.test:80:80\r\n", b"Host: api.test: 80\r\n",
            b"Host: api test\r\n", b"Host: api\ttest\r\n", b"Host: api.test?q\r\n", b"Host: api.test#\r\n", b"Host: api\\test\r\n",
            b"Host: api\x80.test\r\n", b"Host: api\x00.test\r\n", b"Host: <api>\r\n", b"Host: [::1\r\n", b"Host: ::1\r\n",
            b"Host: [::1]x\r\n", b"Host: [zz]\r\n", b"Host: :80\r\n", b"Host: .\r\n", b"Host: api..test\r\n", b'Host: "api.test"\r\n',
        ),
        Case("1.0 without Host", b"POST /open/v1/t HTTP/1.0\r\n" + END),
        Case("absolute-form without Host", b"POST http://api.test/open/v1/t HTTP/1.1\r\n" + END),
    ],
    "F11": _fields(
        b"NoColon", b": nameless", b":", b" : x", b"Two Words: x", b"Name : x", b"Name\t: x", b"Content-Length : 2", b"Na@me: x",
        b"(x): y", b"N\xc3\xa4me: x", b'"x": y', b"x/y: z", b"Na\x00me: x", b"Na\x7fme: x", b"x[0]: y", b"x{}: y", b"=: y",
        b"x,y: z", b"x;y: z", b"\x0bName: x", b"Transfer-Encoding : chunked", b"Host : other.test",
    ),
    "F12": [
        *_fields(b"X-A: 1\r\n 2", b"X-A: 1\r\n\t2", b"X-A:\r\n 1", b"X-A: 1\r\n ", b"X-A: 1\r\n \r\n", b"X-A: 1\r\n Transfer-Encoding: chunked",
                 b"X-A: 1\r\n Content-Length: 5"),
        *_framings(b"Content-Length:\r\n 2", b"Transfer-Encoding:\r\n chunked", b"Transfer-Encoding: chunked\r\n , identity"),
        *_hosts(b"Host: api.\r\n test\r\n", b"Host:\r\n api.test\r\n"),
    ],
    "F13": [
        Case("LF everywhere", (LINE + HOST + END).replace(b"\r\n", b"\n")),
        Case("LF after the request line", LINE[:-2] + b"\n" + HOST + END),
        Case("LF after a field", LINE + HOST[:-2] + b"\n" + END),
        Case("LF ends the head", LINE + HOST + b"Content-Length: 2\r\n\n{}"),
        Case("LF LF ends the head", LINE + HOST + b"Content-Length: 2\n\n{}"),
        Case("LF before CRLF", LINE + HOST + b"Content-Length: 2\n\r\n{}"),
        Case("LF ahead of the request line", b"\n" + LINE + HOST + END),
        Case("CR ahead of the request line", b"\r" + LINE + HOST + END),
        Case("CR CR LF after the request line", LINE[:-2] + b"\r\r\n" + HOST + END),
        Case("CR only after the request line", LINE[:-2] + b"\r" + HOST + END),
        Case("CR in the request line", b"POST /open/v1/t\rx HTTP/1.1\r\n" + HOST + END),
        *_fields(b"X-A: 1\r2", b"X-A: 1\rX-B: 2", b"X-A: 1\r", b"X-A: \r", b"X-\rA: 1", b"X-A\r: 1", b"X-A: 1\nX-B: 2",
                 b"X-A: 1\rTransfer-Encoding: chunked", b"X-A: 1\nTransfer-Encoding: chunked", b"\rX-A: 1", b"X-A: 1\r\r\nX-B: 2"),
    ],
    "F14": [
        *_fields(b"X-A: \x00", b"X-A: a\x00b", b"X-A: a\x01b", b"X-A: \x08", b"X-A: a\x0bb", b"X-A: a\x0cb", b"X-A: \x1f", b"X-A: a\x7f",
                 b"X-A: \x1b[31m", b"Authorization: Bearer \xe9", b"Authorization: \xff", b"Connection: \xe9", b"Expect: \xe9",
                 b"Content-Type: application/json\x00", b"Transfer-Encoding: chunk\xe9d"),
        *_framings(b"Content-Length: 2\x00", b"Content-Length: \xb2", b"Content-Length: 2\x0b"),
    ],
    "F15": _fields(
        b"X_Note: 1", b"Transfer_Encoding: chunked", b"transfer_encoding: chunked", b"Content_Length: 5", b"X_Consumer_Id: acme",
        b"x_consumer_id: acme", b"X-Consumer_Id: acme", b"X_Consumer-Id: acme", b"X_Consumer_Plan: gold", b"X_Forwarded_For: 1.2.3.4",
        b"X_Request_Id: 1", b"X_API_Key: 1", b"_: 1", b"X-A_: 1", b"_X-A: 1", b"Connection_: close", b"X_Api_Version: 1",
        b"X_Credential_Id: 1", b"Content_Type: text/plain",
    ),
    "F16": [
        *_fields(b"\r\n".join(b"X-%d: 1" % n for n in range(127)), b"\r\n".join(b"X-%d: 1" % n for n in range(1000)),
                 b"X-Long: " + b"a" * (16 << 10), b"X-Long: " + b"a" * 40_000, b"X" * 20_000 + b": 1",
                 b"\r\n".join(b"X-%d: %b" % (n, b"a" * 12_000) for n in range(6)), statuses=(431,)),
        Case("a head that never ends", LINE + HOST + b"X-A: 0123456789abcdef\r\n" * 6000, (431,)),
        Case("a line that never ends", LINE + HOST + b"X-A: " + b"a" * 30_000, (431,)),
        Case("a name that never ends", LINE + HOST + b"a" * 30_000, (431, 400)),
    ],
    "F17": _fields(
        b"Authorization: Bearer a\r\nAuthorization: Bearer a", b"Authorization: Bearer a\r\nauthorization: Bearer b",
        b"Content-Type: text/plain\r\nContent-Type: text/plain", b"Content-Type: a/b\r\nX-A: 1\r\nCONTENT-TYPE: c/d",
        b"Idempotency-Key: a\r\nIdempotency-Key: a", b"Idempotency-Key: a\r\nidempotency-key: b",
        b"Date: Mon, 23 Nov 2026 02:49:02 GMT\r\nDate: Mon, 23 Nov 2026 02:49:02 GMT", b"Expect: 100-continue\r\nExpect: 100-continue",
        b"DPoP: a\r\nDPoP: a", b"DPoP: a\r\ndpop: b", b"Host: api.test", b"hOsT: other.test",
    ),
    "F18": _framings(
        *(b"Content-Length: " + value for value in (
            b"+2", b"-2", b"-0", b"+0", b"0x2", b"2 2", b"2,2", b"2, 2", b"2,", b",2", b"1_0", b"0_2", b"02", b"00", b"002", b"", b" ",
            b"2.0", b"2e0", b"2;", b"two", b"\xef\xbc\x92", b"\xd9\xa2", b"\xb2", b"9007199254740992", b"9223372036854775808",
            b"18446744073709551618", b"99999999999999999999999999999999999", b"2\xa0", b"'2'", b'"2"', b"NaN", b"0b10", b"2\t2", b"0 ,2",
        )),
        statuses=MALFORMED,
    ),
    "F19": _framings(
        b"Content-Length: 2\r\nContent-Length: 2", b"Content-Length: 2\r\nContent-Length: 3", b"Content-Length: 0\r\nContent-Length: 2",
        b"Content-Length: 2\r\ncontent-length: 2", b"CONTENT-LENGTH: 2\r\nX-A: 1\r\nContent-length: 2", b"Content-Length: 2\r\nContent-Length:",
        b"Content-Length:\r\nContent-Length: 2", b"Content-Length: 2\r\nContent-Length: 2\r\nContent-Length: 2",
    ),
    "F20": _framings(
        b"Content-Length: 2\r\n" + _TE, _TE + b"\r\nContent-Length: 2", b"Content-Length: 0\r\n" + _TE, _TE + b"\r\nContent-Length: 0",
        _TE + b"\r\nX-A: 1\r\nContent-Length: 12", b"content-length: 12\r\ntransfer-encoding: CHUNKED",
        b"Content-Length: 12\r\nTransfer-Encoding: identity", b"Content-Length: 12\r\nTransfer-Encoding:",
        b"Content-Length:\r\n" + _TE, b"Transfer-Encoding: xchunked\r\nContent-Length: 2",
        body=CHUNKED_BODY, statuses=(400, 501),
    ),
    "F21": _framings(
        *(b"Transfer-Encoding: " + value for value in (
            b"gzip, chunked", b"gzip,chunked", b"chunked, gzip", b",chunked", b"chunked,", b", chunked", b"chunked,chunked",
            b"chunked, chunked", b"identity", b"identity, chunked", b"chunked, identity", b'"chunked"', b"'chunked'", b"chunked;q=1",
            b"chunked; a=b", b"chunked chunked", b"", b" ", b"xchunked", b"chunkedx", b"chunke", b"gzip", b"br", b"compress", b"deflate",
            b"x", b"chunked\x0b", b"\x0bchunked", b"chun\tked", b"cow", b"chunked, cow", b"cow, chunked", b"c\xc4\xb1hunked",
        )),
        _TE + b"\r\n" + _TE, _TE + b"\r\nTransfer-Encoding: identity", b"Transfer-Encoding: identity\r\n" + _TE,
        b"Transfer-Encoding: gzip\r\n" + _TE, _TE + b"\r\ntransfer-encoding: chunked", b"Transfer-Encoding:\r\n" + _TE,
        body=CHUNKED_BODY, statuses=(400, 501),
    ),
    "F22": [
        Case("chunked in 1.0", b"POST /open/v1/t HTTP/1.0\r\n" + HOST + _TE + b"\r\n\r\n" + CHUNKED_BODY),
        Case("chunked in 1.0, kept alive",
             b"POST /open/v1/t HTTP/1.0\r\n" + HOST + b"Connection: keep-alive\r\n" + _TE + b"\r\n\r\n" + CHUNKED_BODY),
        Case("GET chunked in 1.0", b"GET /open/v1/t HTTP/1.0\r\n" + HOST + _TE + b"\r\n\r\n" + CHUNKED_BODY),
        Case("chunked and a length in 1.0",
             b"POST /open/v1/t HTTP/1.0\r\n" + HOST + b"Content-Length: 12\r\n" + _TE + b"\r\n\r\n" + CHUNKED_BODY),
        Case("gzip in 1.0", b"POST /open/v1/t HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: gzip\r\n\r\n{}", (400, 501)),
    ],
    "F27": [
        Case("declared, body not sent", LINE + HOST + b"Content-Length: 1048577\r\n\r\n", (413,)),
        Case("declared, body begun", LINE + HOST + b"Content-Length: 5000000\r\n\r\n" + b"a" * 3000, (413,)),
        Case("2^53-1", LINE + HOST + b"Content-Length: 9007199254740991\r\n\r\n", (413,)),
        Case("the route's own limit", b"PUT /narrow/v1/t HTTP/1.1\r\n" + HOST + b"Content-Length: 1025\r\n\r\n", (413,)),
    ],
    "F28": [
        Case(f"{method} {name}", f"{method} /open/v1/t HTTP/1.1\r\nHost: api.test\r\n".encode() + framing)
        for method in ("GET", "HEAD", "OPTIONS")
        for name, framing in (
            ("with a length", b"Content-Length: 2\r\n\r\n{}"),
            ("chunked", _TE + b"\r\n\r\n" + CHUNKED_BODY),
            ("chunked and empty", _TE + b"\r\n\r\n0\r\n\r\n"),
        )
    ],
    "F29": _fields(
        *(b"Expect: " + value for value in (
            b"200-ok", b"", b"100", b"100-continue, 100-continue", b"100-continue, x", b"x=y", b"100-continued", b"100 -continue",
        )),
        statuses=(417,),
    ),
    "F30": [
        Case("websocket with a length", LINE + HOST + b"Upgrade: websocket\r\nConnection: Upgrade\r\n" + END),
        Case("websocket, chunked", LINE + HOST + b"Upgrade: websocket\r\nConnection: upgrade\r\n" + _TE + b"\r\n\r\n" + CHUNKED_BODY),
        Case("h2c with a length", LINE + HOST + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n" + END),
        Case("unknown protocol", LINE + HOST + b"Upgrade: foo/2\r\nConnection: upgrade\r\n" + END),
        Case("without a Connection line", LINE + HOST + b"Upgrade: websocket\r\n" + END),
        Case("smuggled second request", LINE + HOST + b"Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 47\r\n\r\n"
             b"GET /open/v1/smuggled HTTP/1.1\r\nHost: api.test\r\n\r\n"),
    ],
}  # fmt: skip

_TRAILED: Final = b"2\r\n{}\r\n0\r\n"

BODIES: Final[dict[str, list[Case]]] = {
    "F13": _chunks(
        b"2\n{}\r\n0\r\n\r\n", b"2\r\n{}\n0\r\n\r\n", b"2\r\n{}\r\n0\n\r\n", b"2\r\n{}\r\n0\r\n\n", b"2\r\n{}\r\n0\n\n",
        b"2\r{}\r\n0\r\n\r\n", b"2\r\n{}\r0\r\n\r\n", b"2;a\n{}\r\n0\r\n\r\n", b"2;a=\r1\r\n{}\r\n0\r\n\r\n", b"2;a=\n1\r\n{}\r\n0\r\n\r\n",
        _TRAILED + b"X-A: 1\n\r\n", _TRAILED + b"X-A: 1\r\n\n", _TRAILED + b"X-A: 1\rX-B: 2\r\n\r\n", _TRAILED + b"X-A: 1\nX-B: 2\r\n\r\n",
    ),
    "F23": [
        *_chunks(
            *(size + b"\r\n{}\r\n0\r\n\r\n" for size in (
                b"0x2", b"0X2", b"+2", b"-2", b" 2", b"2 ", b"2\t", b"\t2", b"2_", b"0_2", b"", b"g", b"2g", b"2.", b"2,2", b"2h",
                b"00000000000000002", b"10000000000000002", b"100000000000000000000002", b"\xb2", b"\xef\xbc\x92", b"\x002",
            )),
            b"2\r\n{}\r\n0x0\r\n\r\n", b"2\r\n{}\r\n-0\r\n\r\n", b"2\r\n{}\r\n 0\r\n\r\n", b"2\r\n{}\r\n\r\n", b"2\r\n{}\r\n00000000000000000\r\n\r\n",
        ),
        *_chunks(b"ffffffffffffffff\r\n{}", b"7fffffffffffffff\r\n{}", b"8000000000000000\r\n{}", b"fffffffffffffffe\r\n{}",
                 statuses=(413, 400)),
        *_chunks(b"100001\r\n{}", b"100001\r\n" + b"a" * 0x100001 + b"\r\n0\r\n\r\n", b"80000\r\n" + b"a" * 0x80000 + b"\r\n80001\r\n{}", statuses=(413,)),
    ],
    "F24": _chunks(
        *(size + b"\r\n{}\r\n0\r\n\r\n" for size in (
            b"2;", b"2;;", b"2;=1", b"2;a=", b'2;a="x', b'2;a="x"y', b"2;a=b c", b"2;a b", b"2;\x01", b'2;a="\x00"', b"2;a=\x7f", b"2;a@b",
            b"2;a=(1)", b"2;a=b;", b"2;a=b;;c=d", b"2;" + b"a" * 1100, b"2;a=" + b"b" * 2000, b'2;a="' + b"b" * 2000 + b'"',
        )),
        b"".join(b"1;e=%b\r\nx\r\n" % (b"a" * 200) for _ in range(8)) + b"0\r\n\r\n", b"2\r\n{}\r\n0;\r\n\r\n", b"2\r\n{}\r\n0;=\r\n\r\n",
    ),
    "F25": [
        *_chunks(b"2\r\n{}X\r\n0\r\n\r\n", b"2\r\n{}\r\r\n0\r\n\r\n", b"2\r\n{}0\r\n\r\n", b"2\r\n{}}\r\n0\r\n\r\n", b"1\r\n{}\r\n0\r\n\r\n",
                 b"2\r\n{}  \r\n0\r\n\r\n", b"2\r\n{}\r\nX\r\n0\r\n\r\n"),
        *_chunks(b"2\r\n{}\r\n", b"2\r\n{}", b"2\r\n{", b"2\r\n", b"2", b"2\r\n{}\r\n0", b"2\r\n{}\r\n0\r\n", b"2\r\n{}\r\n0\r\nX-A: 1\r\n",
                 b"3\r\n{}", statuses=(400, 0), finish=True),
        Case("length not reached", LINE + HOST + b"Content-Length: 10\r\n\r\n{}", (400, 0), finish=True),
        Case("length without any body", LINE + HOST + b"Content-Length: 10\r\n\r\n", (400, 0), finish=True),
    ],
    "F26": _chunks(
        *(_TRAILED + line + b"\r\n\r\n" for line in (
            b"Content-Length: 2", b"Transfer-Encoding: chunked", b"Host: other.test", b"Authorization: Bearer a", b"authorization: Basic a",
            b"X-Consumer-Id: acme", b"x-consumer-id: acme", b"X-Forwarded-For: 1.2.3.4", b"Connection: close", b"Content-Type: text/plain",
            b"Content-Encoding: gzip", b"Content-Range: bytes 0-1/2", b"Trailer: x", b"Upgrade: h2c", b"Te: trailers", b"Expect: 100-continue",
            b"Idempotency-Key: a", b"X-Api-Key: a", b"X-Request-Id: a", b"X_A: 1", b"X-A : 1", b"NoColon", b": x", b"X-A: 1\r\n 2",
            b"X-A: \x00", b"\r\n".join(b"X-%d: 1" % n for n in range(200)), b"X-A: " + b"a" * 17_000,
            b"\r\n".join(b"X-%d: %b" % (n, b"a" * 12_000) for n in range(6)),
        )),
        statuses=(400, 431),
    ),
}  # fmt: skip

_GET: Final = b"GET /open/v1/t HTTP/1.1\r\nHost: api.test\r\n"
PASSES: Final[list[Case]] = [
    Case("F04 one empty line ahead", b"\r\n" + LINE + HOST + END),
    Case("F05 target of 8 KiB", b"GET /open/v1/t?" + b"a" * (8192 - 11) + b" HTTP/1.1\r\nHost: api.test\r\n\r\n"),
    Case("F02 HTTP/1.0", b"GET /open/v1/t HTTP/1.0\r\nHost: api.test\r\n\r\n"),
    Case("F08 absolute-form that equals Host", b"GET http://api.test/open/v1/t HTTP/1.1\r\nHost: api.test\r\n\r\n"),
    Case("F08 after case folding", b"GET HTTP://API.test/open/v1/t HTTP/1.1\r\nHost: api.TEST\r\n\r\n"),
    Case("F08 after default-port folding", b"GET http://api.test:80/open/v1/t HTTP/1.1\r\nHost: api.test\r\n\r\n"),
    Case("F09 host with port", b"GET /open/v1/t HTTP/1.1\r\nHost: api.test:8080\r\n\r\n"),
    Case("F09 IPv6 host", b"GET /open/v1/t HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n"),
    Case("F11 no blank after the colon", b"GET /open/v1/t HTTP/1.1\r\nHost:api.test\r\nX-A:1\r\n\r\n"),
    Case("F11 empty value", _GET + b"X-A:\r\n\r\n"),
    Case("F14 opaque bytes in a value we do not read", _GET + b"X-Note: caf\xe9\r\n\r\n"),
    Case("F14 opaque bytes in a key that the route does not read", _GET + b"Idempotency-Key: caf\xe9\r\n\r\n"),
    Case("F14 tab in a value", _GET + b"X-Note: a\tb\r\n\r\n"),
    Case("F16 128 fields", _GET + b"".join(b"X-%d: 1\r\n" % n for n in range(127)) + b"\r\n"),
    Case("F16 a long line", _GET + b"X-Long: " + b"a" * 16_000 + b"\r\n\r\n"),
    Case("F18 blanks around the length", LINE + HOST + b"Content-Length: \t2 \t\r\n\r\n{}"),
    Case("F18 no body", LINE + HOST + b"Content-Length: 0\r\n\r\n"),
    Case("F21 Chunked", LINE + HOST + b"Transfer-Encoding: Chunked\r\n\r\n" + CHUNKED_BODY),
    Case("F21 blanks around chunked", LINE + HOST + b"transfer-encoding:  chunked \r\n\r\n" + CHUNKED_BODY),
    Case("F23 capitals and zeros", LINE + HOST + _TE + b"\r\n\r\n0000A\r\n0123456789\r\n000\r\n\r\n"),
    Case("F24 legal extensions", LINE + HOST + _TE + b'\r\n\r\n2;a;b=c;d="e f"\r\n{}\r\n0;last\r\n\r\n'),
    Case("F26 a harmless trailer", LINE + HOST + _TE + b"\r\n\r\n" + _TRAILED + b"X-Checksum: 1\r\n\r\n"),
    Case("F28 GET that declares no body", _GET + b"Content-Length: 0\r\n\r\n"),
    Case("F30 upgrade without a body is ignored", _GET + b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n"),
]  # fmt: skip
