"""What test_exchange_machine plays with: requests, answers and the weights of its events."""

from typing import TypeVar

from hypothesis import strategies as st

HOST = b"Host: api.test\r\n"
REQUESTS = {
    "get": b"GET /v1/payments/p1 HTTP/1.1\r\n%bHost: api.test\r\n\r\n",
    "head": b"HEAD /v1/payments/p1 HTTP/1.1\r\n%bHost: api.test\r\n\r\n",
    "get and close": b"GET /v1/payments/p1 HTTP/1.1\r\n%bHost: api.test\r\nConnection: close\r\n\r\n",
    "get 1.0": b"GET /v1/payments/p1 HTTP/1.0\r\n%bHost: api.test\r\n\r\n",
    "sized": b"POST /v1/payments HTTP/1.1\r\n%bHost: api.test\r\nContent-Length: 10\r\n\r\n0123456789",
    "empty": b"POST /v1/payments HTTP/1.1\r\n%bHost: api.test\r\nContent-Length: 0\r\n\r\n",
    "chunked": b"POST /v1/payments HTTP/1.1\r\n%bHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;x\r\nabc\r\n0\r\n\r\n",
    "bad chunk": b"POST /v1/payments HTTP/1.1\r\n%bHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
    "expects": b"POST /v1/payments HTTP/1.1\r\n%bHost: api.test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nabcd",
    "waits": b"GET /v1/waits HTTP/1.1\r\n%bHost: api.test\r\n\r\n",
    "waits with body": b"POST /v1/waits HTTP/1.1\r\n%bHost: api.test\r\nContent-Length: 6\r\n\r\nabcdef",
    "refused": b"GET /v1/refused HTTP/1.1\r\n%bHost: api.test\r\n\r\n",
    "refused with body": b"POST /v1/refused HTTP/1.1\r\n%bHost: api.test\r\nContent-Length: 5\r\n\r\nabcde",
    "breaks": b"GET /v1/breaks HTTP/1.1\r\n%bHost: api.test\r\n\r\n",
    "too large": b"POST /v1/payments HTTP/1.1\r\n%bHost: api.test\r\nContent-Length: 3000000\r\n\r\nabc",
    "no route": b"GET /nowhere HTTP/1.1\r\n%bHost: api.test\r\n\r\n",
    "no method": b"DELETE /v1/payments HTTP/1.1\r\n%bHost: api.test\r\nContent-Length: 3\r\n\r\nabc",
    "malformed": b"GET /v1/payments/p1 HTTP/1.1\r\n%bX_Y: 1\r\n\r\n",
    "garbage": b"\x16\x03\x01%b\r\n\r\n",
}
ANSWERS = {
    "ok": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "longer": b"HTTP/1.1 201 Created\r\nContent-Length: 12\r\nX-A: 1\r\n\r\nabcdefghijkl",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\nX-T: 1\r\n\r\n",
    "until close": b"HTTP/1.1 200 OK\r\n\r\nsome bytes",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "not modified": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n",
    "interim": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
    "continue": b"HTTP/1.1 100 Continue\r\n\r\n",
    "close": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
    "1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "failing": b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
    "invalid": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n",
    "junk": b"nonsense\r\n\r\n",
    "switching": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "surplus": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
}
ALL = 10**6
PIECES = st.sampled_from([ALL, ALL, ALL, 1, 7, 40, 80, 100, 120])
PICKS = st.integers(0, 7)
T = TypeVar("T")


KINDS = [*REQUESTS, "get", "get", "sized", "sized", "chunked"]
ANSWER_KINDS = [*ANSWERS, "ok", "ok", "longer", "chunked", "until close"]
EVENTS = [
    *["caller_sends"] * 6,
    *["a_connect_ends"] * 5,
    *["upstream_answers"] * 6,
    *["more_of_the_request_comes"] * 3,
    *["a_step_has_waited"] * 2,
    *["time_passes"] * 2,
    "caller_connects",
    "caller_half_closes",
    "caller_is_lost",
    "caller_stops_or_resumes_reading",
    "upstream_speaks_unasked_or_goes_on",
    "upstream_ends",
    "upstream_resets",
    "upstream_stops_or_resumes_reading",
    "the_worker_drains",
]
"""Weighted so that most calls get somewhere before something goes wrong."""
