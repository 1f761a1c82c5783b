"""How many credentials end soon, to the hour, of every kind, as the snapshot's parts tell."""

import pytest

from faregate.gateway.gauges import expiring
from faregate.policies.authenticate.index import HOUR_S, CredentialIndex, PartMaker
from faregate.snapshot.data import ApiKeyCredential, Consumer, JwtCredential, MtlsCredential

NOW = 500_000 * HOUR_S + 1800
DAY = 86_400


def index(*ends: int) -> CredentialIndex:
    made = CredentialIndex()
    for number, end in enumerate(ends):
        credentials = (
            ApiKeyCredential(f"k{number}", sha256=bytes([number]) * 32, expires=end),
            JwtCredential("idp", f"s{number}", expires=end),
            MtlsCredential(f"m{number}", sha256=bytes([number]) * 32, expires=end),
        )
        made.add(PartMaker(()).make([Consumer(f"c{number}", credentials=credentials)]))
    return made


@pytest.mark.parametrize(
    ("end", "week", "day"),
    [
        (0, 0, 0),
        (NOW - HOUR_S, 0, 0),
        (NOW + 60, 3, 3),
        (NOW + DAY, 3, 3),
        (NOW + DAY + HOUR_S, 3, 0),
        (NOW + 7 * DAY, 3, 0),
        (NOW + 7 * DAY + HOUR_S, 0, 0),
    ],
)
def test_credentials_that_end_within_a_week_and_a_day_are_counted(end: int, week: int, day: int) -> None:
    ends = index(end).ends
    assert (expiring(ends, NOW, 7), expiring(ends, NOW, 1)) == (week, day)


def test_all_parts_add_up() -> None:
    assert expiring(index(NOW + 60, NOW + 120, NOW + 9 * DAY).ends, NOW, 7) == 6
