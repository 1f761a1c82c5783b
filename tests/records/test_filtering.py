"""The filter language of the access log: what picks a call, and what is no filter."""

import pytest

from faregate.records.filtering import NUMBERS, WORDS_MAX, FilterError, parse
from faregate.records.lines import FIELDS

LINE = {
    "request_id": "r1",
    "consumer": "acme",
    "route": "POST /payments",
    "path": "/v2/payments",
    "status": 503,
    "duration_us": 1200,
    "outcome": "not_sent",
}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("", True),
        ("consumer=acme", True),
        ("consumer=ACME", False),
        ("consumer=acm", False),
        ("consumer=kiosk|acme", True),
        ("consumer!=acme", False),
        ("consumer!=kiosk", True),
        ("status=503", True),
        ("status=429|503", True),
        ("status>=500", True),
        ("status>=500 status<600", True),
        ("status>503", False),
        ("status<=503", True),
        ("status<503", False),
        ("duration_us>1199.5", True),
        ("upstream_us>0", False),
        ("upstream_us<1", False),
        ("route~PAYMENTS", True),
        ("route!~refund", True),
        ("route!~payments", False),
        ("route='POST /payments'", True),
        ("consumer=acme status>=500 route~payments", True),
        ("consumer=acme status<500 route~payments", False),
        ("consumer", True),
        ("refusal", False),
        ("!refusal", True),
        ("!consumer", False),
        ("refusal=", True),
        ("refusal!=rate_limited", True),
    ],
)
def test_conditions_hold_or_not(text: str, holds: bool) -> None:
    assert parse(text)(LINE) is holds


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("statu=1", "did you mean `status`?"),
        ("qqqqqq=1", "there are time, request_id"),
        ("status>=many", "'many' is no number"),
        ("consumer>3", "`consumer` is no number"),
        ("acme!", "no condition"),
        ("!status=500", "`!` stands before"),
        ("route='POST", "no closing quotation"),
        (" ".join(["status"] * (WORDS_MAX + 1)), f"more than {WORDS_MAX} conditions"),
    ],
)
def test_what_is_no_filter_is_said_in_words(text: str, said: str) -> None:
    with pytest.raises(FilterError, match=None) as raised:
        parse(text)
    assert said in str(raised.value)


def test_every_number_is_a_member_of_lines() -> None:
    assert set(FIELDS) >= NUMBERS
