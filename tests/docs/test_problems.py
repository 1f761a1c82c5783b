"""The page of problems, the table in the code and the contract's words are the same."""

import re
from pathlib import Path

import pytest

from faregate.gateway import route_steps
from faregate.kernel.problems import PROBLEMS, Outcome, Retry
from tests.docs.pages import DOCS, ROOT, section, sections

PAGE = DOCS / "reference" / "problems.md"
ORDER = DOCS / "concepts" / "order-of-steps.md"
LATER = "Not in this release"

CONTRACT = {
    400: "malformed_request idempotency_key_missing idempotency_key_invalid",
    401: "credential_missing credential_invalid signature_invalid",
    403: "permission_denied consumer_suspended address_denied",
    404: "no_route",
    405: "method_not_allowed",
    409: "idempotency_in_flight",
    410: "version_retired",
    413: "body_too_large",
    414: "target_too_long",
    417: "expectation_failed",
    421: "misdirected_request",
    422: "idempotency_mismatch validation_failed",
    429: "rate_limited quota_exhausted concurrency_exceeded",
    431: "headers_too_large",
    500: "internal_error",
    501: "method_not_implemented",
    502: "upstream_unreachable upstream_invalid_response",
    503: "no_healthy_target overloaded store_unavailable",
    504: "upstream_timeout",
    505: "version_not_supported",
    508: "loop_detected",
}
"""SPEC section 3, status by status."""

SOURCES = "\n".join(
    path.read_text() for path in (ROOT / "src" / "faregate").rglob("*.py") if path.name != "problems.py"
)


def contract_codes() -> dict[str, int]:
    return {code: status for status, codes in CONTRACT.items() for code in codes.split()}


def test_the_codes_are_the_contracts_less_those_of_later_releases() -> None:
    later = set(re.findall(r"`(\w+)`", section(PAGE, LATER)))
    assert {code: problem.status for code, problem in PROBLEMS.items()} == {
        code: status for code, status in contract_codes().items() if code not in later
    }
    assert later <= set(contract_codes())


def test_every_code_has_a_section_in_the_order_of_the_table() -> None:
    assert sections(PAGE) == [*PROBLEMS, LATER]


@pytest.mark.parametrize("code", PROBLEMS)
def test_a_section_says_what_the_table_says(code: str) -> None:
    problem = PROBLEMS[code]
    text = section(PAGE, code)
    closes = "; the connection closes" if problem.close else ""
    facts = f"{problem.status}, fault of the {problem.fault}, retry `{problem.retry}`, outcome `{problem.outcome}`{closes}."
    assert text.strip().startswith(f"{facts}\n\n> {problem.detail}\n")
    assert "- **When:** " in text
    assert "- **The caller:** " in text


def test_only_codes_said_to_be_never_given_are_given_nowhere() -> None:
    never = {code for code in PROBLEMS if "This release never gives it" in section(PAGE, code)}
    assert never == {code for code in PROBLEMS if f'"{code}"' not in SOURCES}


def test_every_reason_named_occurs_in_the_code() -> None:
    lines = re.findall(r"- \*\*The operator:\*\* (.*?)(?=\n- |\n\n|\Z)", PAGE.read_text(), re.DOTALL)
    words = {word for line in lines for word in re.findall(r"`([a-z]+(?:_[a-z]+)+)`", line)}
    # the two that are put together where the upstream's connection ends
    words -= {f"upstream_{how}" for how in ("closed", "reset") if f'"{how}"' in SOURCES}
    assert len(words) > 10
    assert {word for word in words if word not in SOURCES} == set()


def test_retry_and_outcome_are_explained() -> None:
    text = PAGE.read_text().partition("\n## ")[0]
    for word in (*Retry, Outcome.NOT_SENT, Outcome.UNKNOWN):
        assert f"`{word}`" in text


def test_the_order_of_steps_places_every_code() -> None:
    placed = set(
        re.findall(
            r"`(\w+)`", "\n".join(row for row in ORDER.read_text().splitlines() if row.startswith("| "))
        )
    )
    assert placed & set(PROBLEMS) == set(PROBLEMS) - {"internal_error", "misdirected_request"}


def test_the_steps_stand_in_the_code_in_the_order_of_the_page() -> None:
    source = Path(route_steps.__file__).read_text()
    order = [
        "lifecycle(version)",
        "self.authenticate(",
        "draft_step(",
        "self._address if",
        "permit.build",
        "limits.build",
    ]
    places = [source.index(words, source.index("def __call__")) for words in order]
    assert places == sorted(places)
    rows = re.findall(r"^\| \d+\. (.*?) \|", ORDER.read_text(), re.MULTILINE)
    named = [
        "Retired version, brown-out",
        "Authenticate",
        "Draft version",
        "Address",
        "Permit",
        "Rates, quota and concurrency",
    ]
    assert [row.partition(":")[0] for row in rows[4:10]] == named
