"""What every refusal must look like: its body, its headers and its line in the access log (SPEC sections 3 and 4)."""

from dataclasses import dataclass, field

from tests.support.client import Answer, request
from tests.support.gateway import GatewayProcess
from tests.support.records import Line
from tests.support.upstream import RecordingUpstream

MEMBERS = {"type", "title", "status", "code", "detail", "request_id"}
OPTIONAL = {"retry", "outcome", "parameter"}
ALWAYS = {
    "time",
    "request_id",
    "trace_id",
    "client_ip",
    "method",
    "path",
    "status",
    "outcome",
    "refusal",
    "duration_us",
    "revision",
}
UNPROVEN = {"malformed_request", "no_route", "credential_missing", "credential_invalid"}
PAY = ("POST", "/v2/payments")


@dataclass(frozen=True)
class Row:
    """One refusal: what is sent, and what must come back and stand in the log beyond what all refusals share."""

    code: str
    status: int
    data: bytes
    outcome: str = "refused"
    retry: str = "never"
    closes: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    log: dict[str, object] = field(default_factory=dict)


def pay(*lines: str, body: bytes = b"{}") -> bytes:
    return request(*PAY, *lines, body=body)


def known(consumer: str, credential: str | None = None, **more: object) -> dict[str, object]:
    """The log fields of a call to ``POST /v2/payments`` whose caller is proven."""
    return {
        "consumer": consumer, "credential": credential or f"key_{consumer}", "api": "payments", "version": "v2", "route": "POST /payments",
        "path": "/v2/payments", **more,
    }  # fmt: skip


@dataclass
class Place:
    gateway: GatewayProcess
    upstream: RecordingUpstream


def check_body(answer: Answer, row: Row) -> None:
    problem = answer.problem
    assert problem.keys() >= MEMBERS
    assert problem.keys() <= MEMBERS | OPTIONAL, problem
    assert problem["type"] == f"urn:faregate:problem:{row.code}"
    assert (answer.status, problem["status"], problem["code"]) == (row.status, row.status, row.code)
    assert problem["request_id"] == answer.request_id
    assert problem.get("retry", "never") == row.retry
    if row.outcome != "refused":
        assert problem["outcome"] == row.outcome
    for name in ("title", "detail"):
        assert isinstance(problem[name], str)
        assert problem[name]


def check_headers(answer: Answer, row: Row) -> None:
    assert answer.header("content-type") == "application/problem+json"
    assert answer.header("content-length") == str(len(answer.text))
    assert answer.header("x-content-type-options") == "nosniff"
    assert answer.header("date") is not None
    assert (answer.header("connection") == "close") == row.closes
    for name, value in row.headers.items():
        assert value in (answer.header(name) or ""), answer.head.raw
    retry_after = answer.header("retry-after")
    assert (retry_after is not None) == (row.status in {429, 503})
    assert retry_after is None or (retry_after.isdigit() and int(retry_after) >= 1)


def check_line(line: Line, answer: Answer, row: Row) -> None:
    missing = ALWAYS - line.keys()
    if row.closes:
        missing -= {"method", "path", "trace_id"}  # what was never understood cannot be logged
    assert not missing, line
    assert (line["status"], line["outcome"], line["refusal"]) == (row.status, row.outcome, row.code)
    assert line["client_ip"] == "127.0.0.1"
    assert isinstance(line["duration_us"], int)
    assert {name: line.get(name) for name in row.log} == row.log
    if row.outcome == "refused":
        assert not {"upstream", "target", "attempts", "upstream_us"} & line.keys(), line
    if row.code in UNPROVEN:
        assert "consumer" not in line, line


def check(place: Place, answer: Answer, row: Row) -> Line:
    check_body(answer, row)
    check_headers(answer, row)
    line = place.gateway.log.of(answer.request_id)
    check_line(line, answer, row)
    return line
