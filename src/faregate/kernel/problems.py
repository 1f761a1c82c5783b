"""The closed table of refusals (SPEC section 3).

Every answer that the gateway gives in place of the upstream's is one row of ``PROBLEMS``. A code that is not
here cannot be sent: ``Refusal`` looks its row up when it is built. What the caller reads (``title``,
``detail``) stands in the row and is the same for every cause, so that it helps an honest caller and tells an
attacker nothing; the cause goes into ``Refusal.reason``, which only the operator's log shows. Only a cause
that ``parameter`` shows anyway may have a ``detail`` of its own.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


class Fault(StrEnum):
    """Whose fault a refusal is."""

    CALLER = "caller"
    GATEWAY = "gateway"
    UPSTREAM = "upstream"


class Retry(StrEnum):
    """What the caller may do next (SPEC section 3)."""

    NEVER = "never"
    SAME_REQUEST = "same_request"
    AFTER = "after"
    AFTER_QUERY = "after_query"


class Outcome(StrEnum):
    """What is known about a call once it has ended (SPEC section 1)."""

    ANSWERED = "answered"
    REFUSED = "refused"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"
    CLIENT_GONE = "client_gone"


@dataclass(frozen=True, slots=True)
class Problem:
    """One row of the table: ``code`` is stable, ``status`` an HTTP status, ``title`` and ``detail`` public
    text.
    """

    code: str
    status: int
    fault: Fault
    retry: Retry
    title: str
    detail: str
    outcome: Outcome = Outcome.REFUSED
    close: bool = False
    """Whether the connection ends with this answer (http-rules.md section 2)."""

    @property
    def type(self) -> str:
        return f"urn:faregate:problem:{self.code}"


_C, _G, _U = Fault.CALLER, Fault.GATEWAY, Fault.UPSTREAM
_NEVER, _SAME, _AFTER, _QUERY = Retry.NEVER, Retry.SAME_REQUEST, Retry.AFTER, Retry.AFTER_QUERY

# One row of the table is two lines, which the formatter would make eight.
# fmt: off
_ROWS: Final = (
    Problem("malformed_request", 400, _C, _NEVER, "Malformed request",
            "The request is not well-formed HTTP, or could be read in more than one way.", close=True),
    Problem("idempotency_key_missing", 400, _C, _NEVER, "Idempotency key missing",
            "This route needs an idempotency key and the request carries none."),
    Problem("idempotency_key_invalid", 400, _C, _NEVER, "Idempotency key invalid",
            "The idempotency key is not 1 to 255 visible ASCII characters, or cannot be read."),
    Problem("credential_missing", 401, _C, _NEVER, "Credential missing",
            "This route needs a credential and the request carries none."),
    Problem("credential_invalid", 401, _C, _NEVER, "Credential invalid",
            "The credential is not accepted."),
    Problem("permission_denied", 403, _C, _NEVER, "Permission denied",
            "The caller lacks a permission that this route requires."),
    Problem("consumer_suspended", 403, _C, _NEVER, "Consumer suspended",
            "This consumer is suspended."),
    Problem("address_denied", 403, _C, _NEVER, "Address denied",
            "The consumer may not call from this address."),
    Problem("no_route", 404, _C, _NEVER, "No such route",
            "No API is published at this path."),
    Problem("method_not_allowed", 405, _C, _NEVER, "Method not allowed",
            "This path does not take this method; see Allow."),
    Problem("idempotency_in_flight", 409, _C, _SAME, "Idempotency key in use",
            "A call with this idempotency key was received before and has not ended."),
    Problem("version_retired", 410, _C, _NEVER, "Version retired",
            "This version of the API is retired; see Link for its successor."),
    Problem("body_too_large", 413, _C, _NEVER, "Body too large",
            "The body is larger than this route takes.", close=True),
    Problem("target_too_long", 414, _C, _NEVER, "Target too long",
            "The request target is longer than 8 KiB.", close=True),
    Problem("headers_too_large", 431, _C, _NEVER, "Headers too large",
            "The header section has too many or too long fields.", close=True),
    Problem("expectation_failed", 417, _C, _NEVER, "Expectation failed",
            "Only Expect: 100-continue is understood.", close=True),
    Problem("misdirected_request", 421, _C, _NEVER, "Misdirected request",
            "This connection does not serve the named host.", close=True),
    Problem("method_not_implemented", 501, _C, _NEVER, "Not implemented",
            "The method or transfer coding is not implemented.", close=True),
    Problem("version_not_supported", 505, _C, _NEVER, "HTTP version not supported",
            "Only HTTP/1.0 and HTTP/1.1 are spoken here.", close=True),
    Problem("loop_detected", 508, _G, _NEVER, "Loop detected",
            "The request has already passed this gateway.", close=True),
    Problem("idempotency_mismatch", 422, _C, _NEVER, "Idempotency key reused",
            "This idempotency key was used before with another request."),
    Problem("validation_failed", 422, _C, _NEVER, "Validation failed",
            "The request is not as the API describes it."),
    Problem("rate_limited", 429, _C, _AFTER, "Rate limited",
            "Too many calls; see Retry-After."),
    Problem("quota_exhausted", 429, _C, _AFTER, "Quota exhausted",
            "The quota of this period is used up; see Retry-After."),
    Problem("concurrency_exceeded", 429, _C, _AFTER, "Too many calls at once",
            "Too many calls of this consumer are in progress; see Retry-After."),
    Problem("internal_error", 500, _G, _NEVER, "Internal error",
            "The gateway failed while it handled this call.", close=True),
    Problem("upstream_unreachable", 502, _U, _SAME, "Upstream unreachable",
            "The service could not be reached; the call was not sent.", Outcome.NOT_SENT),
    Problem("upstream_invalid_response", 502, _U, _QUERY, "Invalid answer from upstream",
            "The call was sent, but the service gave no valid answer; whether it acted is not known.",
            Outcome.UNKNOWN),
    Problem("no_healthy_target", 503, _U, _AFTER, "No healthy target",
            "No server of this service is healthy; the call was not sent.", Outcome.NOT_SENT),
    Problem("overloaded", 503, _G, _AFTER, "Overloaded",
            "The gateway has no room for this call; it was not sent.", Outcome.NOT_SENT),
    Problem("store_unavailable", 503, _G, _AFTER, "Store unavailable",
            "A store that this call needs cannot be reached; the call was not sent.", Outcome.NOT_SENT),
    Problem("upstream_timeout", 504, _U, _QUERY, "Upstream timeout",
            "The call was sent, but no answer came in time; whether it acted is not known.", Outcome.UNKNOWN),
)
# fmt: on

PROBLEMS: Final[dict[str, Problem]] = {row.code: row for row in _ROWS}


@dataclass(slots=True)
class Refusal(Exception):  # noqa: N818 - the field's word (SPEC section 1)
    """A decision not to pass a call on, or to give up on it: a row of the table plus what is particular to
    the call.

    ``code``: a key of ``PROBLEMS`` (``KeyError`` otherwise). ``reason``: for the operator's log only,
    lower_snake_case words, never a secret nor raw bytes of the request. ``parameter``: the limit, header or
    field concerned, from configuration, shown to the caller. ``retry_after``: whole seconds >= 1.
    ``headers``: extra header lines, each ended by CRLF, already encoded. ``detail``: public text in place of
    the row's, never made of what a caller sent. ``outcome``, ``retry``: in place of the row's, where they
    depend on the call.
    """

    code: str
    reason: str = ""
    parameter: str = ""
    retry_after: int = 0
    headers: bytes = b""
    close: bool = False
    detail: str = ""
    outcome: Outcome | None = None
    retry: Retry | None = None
    problem: Problem = field(init=False)

    def __post_init__(self) -> None:
        self.problem = PROBLEMS[self.code]
        self.close = self.close or self.problem.close
        self.detail = self.detail or self.problem.detail

    @property
    def told_outcome(self) -> Outcome:
        """What the caller is told of the call's outcome, and the log says."""
        return self.outcome or self.problem.outcome

    @property
    def told_retry(self) -> Retry:
        """What the caller is told to do next."""
        return self.retry or self.problem.retry
