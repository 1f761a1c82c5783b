"""The closed table of refusals is the one in SPEC section 3: codes, statuses, outcomes, nothing more and nothing else."""

import re

import pytest

from faregate.kernel.problems import PROBLEMS, Fault, Outcome, Problem, Refusal, Retry

SPEC_TABLE = """
| 400 | `malformed_request` | framing, target, headers or encoding that http-rules.md refuses (connection closes) |
| 400 | `idempotency_key_missing` `idempotency_key_invalid` | section 6 |
| 401 | `credential_missing` `credential_invalid` | with `WWW-Authenticate` |
| 401 | `signature_invalid` | payment signature, digest, time window or nonce |
| 403 | `permission_denied` `consumer_suspended` `address_denied` | proven identity, not allowed |
| 404 | `no_route` | host or path unknown |
| 405 | `method_not_allowed` | with `Allow` |
| 409 | `idempotency_in_flight` | |
| 410 | `version_retired` | with `Link: <...>; rel="successor-version"` |
| 413 414 431 | `body_too_large` `target_too_long` `headers_too_large` | |
| 417 421 501 505 508 | `expectation_failed` `misdirected_request` `method_not_implemented` `version_not_supported` `loop_detected` | |
| 422 | `idempotency_mismatch` `validation_failed` | |
| 429 | `rate_limited` `quota_exhausted` `concurrency_exceeded` | always with `Retry-After` |
| 500 | `internal_error` | counted, logged with a trace; never a stack in the body |
| 502 | `upstream_unreachable` (`outcome: not_sent`) `upstream_invalid_response` (`outcome: unknown`) | |
| 503 | `no_healthy_target` `overloaded` `store_unavailable` (`outcome: not_sent`) | with `Retry-After` |
| 504 | `upstream_timeout` (`outcome: unknown`) | the request was sent, no answer came |
"""
NOT_BUILT_YET = {"signature_invalid"}
"""Codes of policies that have no step yet; their rows come with them, and then leave this list."""
CLOSING = {
    "malformed_request", "body_too_large", "target_too_long", "headers_too_large", "expectation_failed", "misdirected_request",
    "method_not_implemented", "version_not_supported", "loop_detected", "internal_error",
}  # fmt: skip


def spec_rows() -> dict[str, int]:
    """Status by code, as SPEC writes them: a row's codes share its status or take its statuses in turn."""
    rows: dict[str, int] = {}
    for line in SPEC_TABLE.strip().splitlines():
        _, statuses, codes, _, _ = line.split("|")
        numbers = [int(number) for number in statuses.split()]
        names = re.findall(r"`([a-z_]+)`", codes)
        for index, name in enumerate(names):
            rows[name] = numbers[index if len(numbers) > 1 else 0]
    return rows


def test_codes_and_statuses_are_those_of_the_contract() -> None:
    built = {code: problem.status for code, problem in PROBLEMS.items()}
    assert built == {code: status for code, status in spec_rows().items() if code not in NOT_BUILT_YET}
    assert set(spec_rows()) >= NOT_BUILT_YET


def test_outcomes_are_those_of_the_contract() -> None:
    told = {
        code: problem.outcome for code, problem in PROBLEMS.items() if problem.outcome is not Outcome.REFUSED
    }
    assert told == {
        "upstream_unreachable": Outcome.NOT_SENT,
        "upstream_invalid_response": Outcome.UNKNOWN,
        "no_healthy_target": Outcome.NOT_SENT,
        "overloaded": Outcome.NOT_SENT,
        "store_unavailable": Outcome.NOT_SENT,
        "upstream_timeout": Outcome.UNKNOWN,
    }


def test_the_connection_ends_where_http_can_no_longer_be_trusted() -> None:
    assert {code for code, problem in PROBLEMS.items() if problem.close} == CLOSING


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_every_row_gives_sound_advice(problem: Problem) -> None:
    assert problem.type == f"urn:faregate:problem:{problem.code}"
    assert problem.title
    assert problem.detail.endswith(".")
    assert (problem.fault is Fault.CALLER) == (400 <= problem.status < 500 or problem.status in {501, 505})
    if problem.outcome is Outcome.UNKNOWN:
        assert problem.retry is Retry.AFTER_QUERY, "a call that may have run must not be repeated blindly"
    if problem.status in {429, 503}:
        assert problem.retry is Retry.AFTER
    if problem.retry is Retry.SAME_REQUEST:
        # that a call in flight is repeated is safe: its key holds the repeat back
        assert problem.outcome is Outcome.NOT_SENT or problem.code == "idempotency_in_flight"


def test_what_depends_on_the_call_stands_in_place_of_the_rows() -> None:
    plain = Refusal("idempotency_in_flight")
    assert (plain.told_outcome, plain.told_retry) == (Outcome.REFUSED, Retry.SAME_REQUEST)
    open_ = Refusal("idempotency_in_flight", outcome=Outcome.UNKNOWN, retry=Retry.AFTER_QUERY)
    assert (open_.told_outcome, open_.told_retry) == (Outcome.UNKNOWN, Retry.AFTER_QUERY)
    assert open_.problem is plain.problem


def test_a_code_outside_the_table_cannot_be_sent() -> None:
    with pytest.raises(KeyError):
        Refusal("teapot")


def test_a_refusal_closes_when_its_row_or_its_maker_says_so() -> None:
    assert Refusal("malformed_request").close
    assert not Refusal("no_route").close
    assert Refusal("no_route", close=True).close
