"""Which version a call gets, which one runs it, and when it does not answer: all of it from data and the time."""

from collections import Counter

import pytest

from faregate.kernel.problems import Refusal
from faregate.policies.versions.step import (
    Chooser,
    Chosen,
    draft_step,
    lifecycle,
    lifecycle_headers,
    split_key,
    split_to,
)
from faregate.snapshot.call import Call, Identity, ReadyConsumer
from faregate.snapshot.versions import Brownout, Choice, Split, Version

DAY = 86_400
AT = 1_800_000_000


def versions(header: str = "Api-Version", *, pinned: bool = True) -> list[Version]:
    return [
        Version(name, "/", choice=Choice("payments", header, name == "2026-03-01", pinned))
        for name in ("2026-03-01", "2026-11-01")
    ]


def call(wall: float = AT, consumer: ReadyConsumer | None = None, ip: str = "192.0.2.1") -> Call:
    made = Call(0.0, wall)
    made.client_ip = ip
    if consumer is not None:
        made.identity = Identity(consumer, "key_1")
    return made


PINNED = ReadyConsumer("acme", pins={"payments": "2026-11-01", "payouts": "v9"})


@pytest.mark.parametrize(
    ("value", "consumer", "chosen"),
    [
        ("2026-03-01", PINNED, Chosen("2026-03-01", "header")),
        (None, PINNED, Chosen("2026-11-01", "pin")),
        (None, ReadyConsumer("free"), Chosen("2026-03-01", "default")),
        (None, None, Chosen("2026-03-01", "default")),
        ("2026-11-02", PINNED, Chosen("", "header")),
        ("", PINNED, Chosen("", "header")),
    ],
)
def test_the_header_counts_then_the_pin_then_the_default(
    value: str | None, consumer: ReadyConsumer | None, chosen: Chosen
) -> None:
    assert Chooser(versions()).choose(value, consumer) == chosen


def test_pins_count_only_where_they_are_the_default() -> None:
    assert Chooser(versions(pinned=False)).choose(None, PINNED) == Chosen("2026-03-01", "default")


@pytest.mark.parametrize(
    ("section", "value"),
    [
        (b"Host: a\r\n\r\n", None),
        (b"Host: a\r\nAPI-version:2026-11-01 \t\r\n\r\n", "2026-11-01"),
        (b"Api-Version: v1\r\nHost: a\r\n\r\n", "v1"),
        (b"Host: a\r\nX-Api-Version: v1\r\nApi-Version-X: v2\r\n\r\n", None),
        (b"X-Note: Api-Version: v1\r\n\r\n", None),
        (b"Api-Version: v1\r\nHost: a\r\napi-version: v1\r\n\r\n", ""),
        (b"Api-Version:\r\nHost: a\r\n\r\n", ""),
        (b"Api-Version: " + b"v" * 129 + b"\r\n\r\n", ""),
        (b"Api-Version: \xc3\xa9\r\n\r\n", "\ufffd\ufffd"),
    ],
)
def test_the_header_is_found_by_its_name_alone_and_once(section: bytes, value: str | None) -> None:
    assert Chooser(versions()).value_of(section) == value


def test_a_name_with_signs_is_no_pattern() -> None:
    assert Chooser(versions("A.b")).value_of(b"Aab: v1\r\n\r\n") is None
    assert Chooser(versions("A.b")).value_of(b"a.B: v1\r\n\r\n") == "v1"


def test_a_split_is_sticky_near_its_share_and_only_grows() -> None:
    def sides(percent: int) -> list[int | None]:
        version = Version("v2", "/v2", splits=(Split(1, percent),))
        return [split_to("payments", version, b"consumer-%d" % number) for number in range(5000)]

    ten, twenty = sides(10), sides(20)
    assert ten == sides(10)
    assert 400 < Counter(ten)[1] < 600
    assert 850 < Counter(twenty)[1] < 1150
    assert all(after == 1 for before, after in zip(ten, twenty, strict=True) if before == 1)
    assert set(sides(100)) == {1}
    assert split_to("payments", Version("v2", "/v2"), b"a") is None


def test_shares_of_several_versions_lie_side_by_side() -> None:
    version = Version("v2", "/v2", splits=(Split(1, 50), Split(2, 50)))
    found = Counter(split_to("payments", version, b"%d" % number) for number in range(2000))
    assert set(found) == {1, 2}
    assert min(found.values()) > 800


def test_a_call_is_told_by_its_consumer_else_by_its_address() -> None:
    assert split_key(call(consumer=PINNED)) == b"acme"
    assert split_key(call()) == b"192.0.2.1"


def test_a_version_without_dates_has_no_step() -> None:
    assert lifecycle(Version("v1", "/v1", "deprecated", sunset_at=1)) is None


@pytest.mark.parametrize(
    ("wall", "retry_after"),
    [
        (AT - 1, 0), (AT, 600), (AT + 0.5, 600), (AT + 599.5, 1), (AT + 600, 0), (AT + 7 * DAY - 1, 0), (AT + 7 * DAY, 600),
        (AT + 70 * DAY + 100, 500), (AT + 3 * DAY, 60), (AT + 3 * DAY + 60, 0),
    ],
)  # fmt: skip
def test_a_brownout_is_on_when_it_is_planned(wall: float, retry_after: int) -> None:
    brownouts = (Brownout(AT, 600.0, 7.0 * DAY), Brownout(AT + 3 * DAY, 60.0))
    step = lifecycle(Version("v1", "/v1", "deprecated", brownouts=brownouts))
    assert step is not None
    verdict = step(call(wall))
    assert (verdict.retry_after if isinstance(verdict, Refusal) else 0) == retry_after
    if isinstance(verdict, Refusal):
        assert (verdict.code, verdict.reason, verdict.told_retry) == ("version_retired", "brownout", "after")


def test_the_hour_is_judged_anew_however_the_clock_goes() -> None:
    step = lifecycle(Version("v1", "/v1", "deprecated", brownouts=(Brownout(AT, 60.0, 3600.0),)))
    assert step is not None
    shown = [isinstance(step(call(AT + second)), Refusal) for second in (-5, 10, 100, 3601, 10, 70, -1, 7200)]
    assert shown == [False, True, False, True, True, False, False, True]


def test_a_version_is_retired_from_its_moment_on() -> None:
    step = lifecycle(Version("v1", "/v1", "deprecated", retired_at=AT, brownouts=(Brownout(AT - 60, 600.0),)))
    assert step is not None
    assert step(call(AT - 61)) is None
    before, after = step(call(AT - 10)), step(call(AT))
    assert isinstance(before, Refusal)
    assert isinstance(after, Refusal)
    assert (before.reason, before.retry_after) == ("brownout", 10)
    assert (after.reason, after.retry_after, after.told_retry) == ("version_retired", 0, "never")


@pytest.mark.parametrize(
    ("version", "lines"),
    [
        (Version("v1", "/v1", successor="/v2"), b""),
        (Version("v1", "/v1", notice="https://a/b"), b""),
        (Version("v1", "/v1", "deprecated", successor="/v2"), b'Link: </v2>; rel="successor-version"\r\n'),
        (
            Version("v1", "/v1", deprecated_at=AT, successor="/v2"),  # told ahead
            b'Deprecation: @1800000000\r\nLink: </v2>; rel="successor-version"\r\n',
        ),
        (Version("v1", "/v1", "deprecated", retired_at=AT), b"Sunset: Fri, 15 Jan 2027 08:00:00 GMT\r\n"),
        (
            Version("a", "/", "retired", successor="/", successor_name="b", notice="https://a/b"),
            b'Link: </>; rel="successor-version"; title="b"\r\nLink: <https://a/b>; rel="deprecation"; type="text/html"\r\n',
        ),
    ],
)
def test_answers_say_where_a_version_is_in_its_life(version: Version, lines: bytes) -> None:
    assert lifecycle_headers(version) == lines


@pytest.mark.parametrize(
    ("choice", "code"), [(None, "no_route"), (Choice("a", "Api-Version"), "validation_failed")]
)
def test_a_draft_does_not_exist_but_for_those_who_preview_it(choice: Choice | None, code: str) -> None:
    step = draft_step(Version("v3", "/v3", "draft", preview=("acme",), choice=choice))
    assert step is not None
    assert step(call(consumer=PINNED)) is None
    verdict = step(call(consumer=ReadyConsumer("other")))
    assert isinstance(verdict, Refusal)
    assert verdict.code == code
    assert draft_step(Version("v3", "/v3")) is None
