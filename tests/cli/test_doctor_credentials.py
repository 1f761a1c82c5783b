"""``faregate doctor`` names credentials that have ended or soon will, by id."""

import pytest

from faregate.cli.doctor_credentials import check_credentials
from faregate.cli.doctor_findings import Level
from faregate.snapshot.data import ApiKeyCredential, Consumer, Gateway, JwtCredential, Snapshot

NOW = 1_800_000_000
DAY = 86_400


def told(*consumers: Consumer) -> list[tuple[Level, str]]:
    snapshot = Snapshot(1, 1, Gateway((), None, 1, "data"), (), (), (), consumers, (), ())
    return [(one.level, one.message) for one in check_credentials(snapshot, NOW)]


def key(name: str, left_s: int) -> ApiKeyCredential:
    return ApiKeyCredential(name, sha256=b"x" * 32, expires=NOW + left_s)


@pytest.mark.parametrize(
    ("left_s", "level", "message"),
    [
        (0, Level.WARNING, "k1 of acme ended: calls with it are refused"),
        (1, Level.WARNING, "k1 of acme ends within 1 day"),
        (DAY, Level.WARNING, "k1 of acme ends within 1 day"),
        (DAY + 1, Level.WARNING, "k1 of acme ends within 7 days"),
        (7 * DAY, Level.WARNING, "k1 of acme ends within 7 days"),
        (7 * DAY + 1, Level.OK, "none of 1 with an end ends within 7 days"),
    ],
)
def test_each_is_told_once(left_s: int, level: Level, message: str) -> None:
    assert told(Consumer("acme", credentials=(key("k1", left_s),))) == [(level, message)]


def test_where_none_ends_nothing_is_said() -> None:
    assert told(Consumer("acme", credentials=(ApiKeyCredential("k1", sha256=b"x" * 32),))) == []


def test_many_are_counted_and_the_first_named() -> None:
    keys = tuple(key(f"k{number}", 60 + number) for number in range(7))
    token = JwtCredential("idp", "s", expires=NOW - 1)
    assert told(Consumer("acme", credentials=(*keys, token))) == [
        (Level.WARNING, "jwt:idp:s of acme ended: calls with it are refused"),
        (
            Level.WARNING,
            "7 credentials (k0 of acme, k1 of acme, k2 of acme, k3 of acme, k4 of acme and 2 more), each ends within 1 day",
        ),
    ]
