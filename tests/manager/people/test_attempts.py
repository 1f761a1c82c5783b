"""How often somebody may try: per name and address, per name, per address, in bounded memory."""

import pytest

from faregate.manager.cases.errors import TooMany
from faregate.manager.people.attempts import (
    ADDRESS_MAX,
    EACH_MAX,
    KEPT_MAX,
    NAME_MAX,
    WITHIN_MS,
    Attempts,
)


def test_the_sixth_try_of_a_name_from_an_address_waits_as_long_as_it_is_told() -> None:
    attempts = Attempts()
    for at in range(EACH_MAX):
        attempts.begin("ann", "10.0.0.1", at * 1000)
    with pytest.raises(TooMany) as raised:
        attempts.begin("ann", "10.0.0.1", 10_000)
    seconds = raised.value.members["retry_after_s"]
    assert seconds == WITHIN_MS // 1000 - 10
    assert isinstance(seconds, int)
    with pytest.raises(TooMany):
        attempts.begin("ann", "10.0.0.1", 10_000 + (seconds - 1) * 1000)
    attempts.begin("ann", "10.0.0.1", 10_000 + seconds * 1000)


def test_one_name_from_many_addresses_is_limited() -> None:
    attempts = Attempts()
    for at in range(NAME_MAX):
        attempts.begin("ann", f"10.0.0.{at}", 0)
    with pytest.raises(TooMany):
        attempts.begin("ann", "10.0.1.1", 0)
    attempts.begin("bob", "10.0.1.1", 0)


def test_many_names_from_one_address_are_limited() -> None:
    attempts = Attempts()
    for at in range(ADDRESS_MAX):
        attempts.begin(f"user{at}", "10.0.0.1", 0)
    with pytest.raises(TooMany):
        attempts.begin("another", "10.0.0.1", 0)


def test_who_succeeds_is_not_counted() -> None:
    attempts = Attempts()
    for _ in range(ADDRESS_MAX * 3):
        attempts.begin("ann", "10.0.0.1", 0)
        attempts.succeeded("ann", "10.0.0.1")


def test_a_success_forgives_no_tries_at_other_names() -> None:
    attempts = Attempts()
    for at in range(ADDRESS_MAX - 1):
        attempts.begin(f"user{at}", "10.0.0.1", 0)
    attempts.begin("mallory", "10.0.0.1", 0)
    attempts.succeeded("mallory", "10.0.0.1")
    attempts.begin("one", "10.0.0.1", 0)
    with pytest.raises(TooMany):
        attempts.begin("two", "10.0.0.1", 0)


def test_memory_is_bounded() -> None:
    attempts = Attempts()
    for at in range(KEPT_MAX):
        attempts.begin(f"user{at}", f"address{at}", 0)
    assert len(attempts) == KEPT_MAX
