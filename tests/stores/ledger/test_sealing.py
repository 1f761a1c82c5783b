"""What is sealed opens under its record, attempt and key, and nowhere else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.stores.ledger import sealing
from faregate.stores.ledger.sealing import OVERHEAD_BYTES, Sealer, SealError, unseal
from faregate.stores.ledger.secrets import Secrets

LOOKUP, OLD, NEW = bytes(32), b"o" * 32, b"n" * 32
SECRETS = Secrets(LOOKUP, [(b"0001", OLD)])
ROTATED = Secrets(LOOKUP, [(b"0001", OLD), (b"0002", NEW)])
KEY, ATTEMPT = b"k" * 16, b"a" * 16


@given(st.binary(max_size=200))
def test_what_is_sealed_opens_and_is_not_to_be_read(plain: bytes) -> None:
    sealed = Sealer(SECRETS).seal(KEY, ATTEMPT, plain)
    assert unseal(SECRETS, KEY, ATTEMPT, sealed) == plain
    assert len(sealed) == len(plain) + OVERHEAD_BYTES
    assert len(plain) < 8 or plain not in sealed


def test_the_same_answer_is_never_sealed_the_same() -> None:
    assert len({Sealer(SECRETS).seal(KEY, ATTEMPT, b"paid") for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("key", "attempt"),
    [(b"j" * 16, ATTEMPT), (KEY, b"b" * 16), (ATTEMPT, KEY)],
)
def test_it_does_not_open_for_another_record_or_attempt(key: bytes, attempt: bytes) -> None:
    sealed = Sealer(SECRETS).seal(KEY, ATTEMPT, b"paid")
    with pytest.raises(SealError):
        unseal(SECRETS, key, attempt, sealed)


def test_any_changed_byte_is_found_out() -> None:
    sealed = Sealer(SECRETS).seal(KEY, ATTEMPT, b"paid")
    for at in range(len(sealed)):
        changed = sealed[:at] + bytes([sealed[at] ^ 0x20]) + sealed[at + 1 :]
        with pytest.raises(SealError):
            unseal(SECRETS, KEY, ATTEMPT, changed)
    for cut in range(len(sealed)):
        with pytest.raises(SealError):
            unseal(SECRETS, KEY, ATTEMPT, sealed[:cut])


def test_a_rotation_seals_by_the_new_key_and_opens_by_both() -> None:
    before, after = Sealer(SECRETS).seal(KEY, ATTEMPT, b"paid"), Sealer(ROTATED).seal(KEY, ATTEMPT, b"paid")
    assert (before[:4], after[:4]) == (b"0001", b"0002")
    assert unseal(ROTATED, KEY, ATTEMPT, before) == unseal(ROTATED, KEY, ATTEMPT, after) == b"paid"
    with pytest.raises(SealError):
        unseal(SECRETS, KEY, ATTEMPT, after)


def test_the_error_says_nothing_of_what_was_sealed() -> None:
    with pytest.raises(SealError) as found:
        unseal(SECRETS, KEY, ATTEMPT, b"0001" + b"secret-looking bytes that do not open at all")
    assert "secret" not in str(found.value)
    assert found.value.__suppress_context__


def test_one_sealer_never_uses_a_nonce_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "SEALS_MAX", 7)
    sealer = Sealer(SECRETS)
    made = [sealer.seal(KEY, ATTEMPT, b"paid") for _ in range(50)]
    heads = [one[: sealing.HEAD_BYTES] for one in made]
    assert len(set(heads)) == 50, "id, salt and count"
    assert len({head[: -sealing.COUNT_BYTES] for head in heads}) == 8, "another salt after seven"
    monkeypatch.setattr(sealing, "OPENERS_MAX", 2)
    other = Sealer(SECRETS)
    assert {other.unseal(KEY, ATTEMPT, one) for one in made} == {b"paid"}
