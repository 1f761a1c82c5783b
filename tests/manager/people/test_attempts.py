"""How often somebody may try: per name and address, per name, per address, in bounded memory; and who uses them up locks out nobody who was there before."""

import pytest

from faregate.kernel.secrets import Secret
from faregate.manager.cases.errors import TooMany
from faregate.manager.people.attempts import (
    ADDRESS_MAX,
    EACH_MAX,
    KEPT_MAX,
    KNOWN_MS,
    NAME_MAX,
    WITHIN_MS,
    Attempts,
    Devices,
)
from faregate.manager.people.tokens import Peppered


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


def used_up(name: str, address: str) -> Attempts:
    """All tries of the address and of the name are gone."""
    attempts = Attempts()
    for at in range(NAME_MAX):
        attempts.begin(name, f"10.0.0.{at}", 0)
    for at in range(ADDRESS_MAX):
        attempts.begin(f"user{at}", address, 0)
    return attempts


def test_a_known_browser_and_who_is_signed_in_have_tries_of_their_own() -> None:
    attempts = used_up("ann", "10.1.1.1")
    with pytest.raises(TooMany):
        attempts.begin("ann", "10.1.1.1", 0)
    for _ in range(EACH_MAX):
        attempts.begin("ann", "10.1.1.1", 0, "browser")
        attempts.begin_own("ann", 0)
    for other in ("ann", "bob"):
        attempts.begin(other, "10.1.1.1", 0, "another browser")
        attempts.succeeded(other, "10.1.1.1", "another browser")
    with pytest.raises(TooMany):
        attempts.begin("ann", "10.1.1.1", 0, "browser")
    with pytest.raises(TooMany):
        attempts.begin_own("ann", 0)
    attempts.succeeded_own("ann")
    attempts.begin_own("ann", 0)
    with pytest.raises(TooMany):
        attempts.begin("ann", "10.1.1.1", 0)  # its successes give nothing back to strangers


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("::ffff:10.1.1.1", "::ffff:10.1.1.2", False),
        ("10.1.1.1", "10.1.1.2", False),
        ("", "a name", False),
    ],
)
def test_a_caller_has_all_of_an_ipv6_line(one: str, other: str, same: bool) -> None:
    attempts = Attempts()
    for number in range(ADDRESS_MAX):
        attempts.begin(f"user{number}", one, 0)
    if same:
        with pytest.raises(TooMany):
            attempts.begin("ann", other, 0)
    else:
        attempts.begin("ann", other, 0)


def devices() -> Devices:
    peppered = Peppered()
    peppered._pepper = Secret(b"p" * 32)
    return Devices(peppered)


def test_a_browser_is_known_for_one_name_and_for_a_time() -> None:
    kept = devices().make("ann", 1_000)
    known = devices().known("ann", kept, 1_000)
    assert known
    assert devices().known("ann", kept, 1_000 + KNOWN_MS - 1) == known
    assert devices().known("ann", devices().make("ann", 1_000), 1_000) not in {known, ""}
    for name, told, now in (
        ("bob", kept, 1_000),
        ("ann", kept, 1_000 + KNOWN_MS),
        ("ann", kept, 999),
        ("ann", kept.replace(".", "0.", 1), 1_000),
        ("ann", kept[:-1] + ("0" if kept[-1] != "0" else "1"), 1_000),
        ("ann", kept.removeprefix("fgd_"), 1_000),
        ("ann", "fgd_", 1_000),
        ("ann", "fgd_..", 1_000),
        ("ann", "fgd_" + "\u00e9" * 40, 1_000),
        ("ann", "", 1_000),
    ):
        assert devices().known(name, told, now) == "", told
