"""The ledger's secrets: made once by whoever comes first, never replaced, told to nobody; keys differ in every part
of their scope."""

import os
import pickle
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.snapshot.idempotency import Ledger
from faregate.stores.ledger.protocol import KEY_BYTES, Scope
from faregate.stores.ledger.secrets import Secrets, SecretsError, configured, key_id, load_or_make, rotate

LOOKUP, SEAL = bytes(range(32)), bytes(range(32, 64))
SECRETS = Secrets(LOOKUP, [(b"aaaa", SEAL)])


def file(data: Path) -> Path:
    return data / "ledger" / "secrets"


def test_they_are_made_once_and_are_the_same_for_all(tmp_path: Path) -> None:
    first, again = load_or_make(tmp_path), load_or_make(tmp_path, may_make=False)
    assert (first.lookup_key, first.keys) == (again.lookup_key, again.keys)
    assert len(first.lookup_key) == len(first.current) == 32
    assert stat.S_IMODE(file(tmp_path).stat().st_mode) == 0o600
    assert stat.S_IMODE(file(tmp_path).parent.stat().st_mode) == 0o700
    assert sorted(one.name for one in file(tmp_path).parent.iterdir()) == ["secrets", "secrets.mark"]


def test_of_many_who_come_at_once_all_get_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda _: load_or_make(tmp_path).lookup_key, range(64)))
    assert len(set(made)) == 1
    assert load_or_make(tmp_path / "other").lookup_key != made[0]


@pytest.mark.parametrize("at", range(190))
def test_a_changed_file_is_an_error_and_stays(tmp_path: Path, at: int) -> None:
    load_or_make(tmp_path)
    whole = file(tmp_path).read_bytes()
    assert len(whole) == 190
    changed = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
    file(tmp_path).write_bytes(changed)
    with pytest.raises(SecretsError, match="is broken: restore it"):
        load_or_make(tmp_path)
    assert file(tmp_path).read_bytes() == changed


@pytest.mark.parametrize("content", [b"", b"{}", b"null", b"\xff", b'{"format":1}'])
def test_a_cut_or_foreign_file_is_an_error(tmp_path: Path, content: bytes) -> None:
    load_or_make(tmp_path)
    file(tmp_path).write_bytes(content)
    with pytest.raises(SecretsError):
        load_or_make(tmp_path)
    with pytest.raises(SecretsError):
        rotate(tmp_path)


def test_a_file_of_another_format_is_an_error(tmp_path: Path) -> None:
    load_or_make(tmp_path)
    content = msgspec.json.decode(file(tmp_path).read_bytes())
    file(tmp_path).write_bytes(msgspec.json.encode({**content, "format": 2}))
    with pytest.raises(SecretsError):
        load_or_make(tmp_path)


def test_a_file_that_others_may_read_is_an_error(tmp_path: Path) -> None:
    load_or_make(tmp_path)
    file(tmp_path).chmod(0o640)
    with pytest.raises(SecretsError, match="chmod 600"):
        load_or_make(tmp_path)


def test_where_there_are_records_none_are_made(tmp_path: Path) -> None:
    with pytest.raises(SecretsError, match="is gone"):
        load_or_make(tmp_path, may_make=False)
    assert not file(tmp_path).exists()


def test_secrets_that_are_gone_are_not_made_again(tmp_path: Path) -> None:
    made = load_or_make(tmp_path)
    kept = file(tmp_path).read_bytes()
    file(tmp_path).unlink()
    with pytest.raises(SecretsError, match="is gone"):
        load_or_make(tmp_path)
    assert not file(tmp_path).exists()
    file(tmp_path).write_bytes(kept)
    file(tmp_path).chmod(0o600)
    assert load_or_make(tmp_path).lookup_key == made.lookup_key


def test_the_secrets_of_another_machine_are_refused(tmp_path: Path) -> None:
    load_or_make(tmp_path / "here")
    load_or_make(tmp_path / "there")
    file(tmp_path / "there").replace(file(tmp_path / "here"))
    with pytest.raises(SecretsError, match="is not the one"):
        load_or_make(tmp_path / "here")


def test_a_crash_before_the_mark_was_written_is_made_good(tmp_path: Path) -> None:
    made = load_or_make(tmp_path)
    mark = file(tmp_path).with_name("secrets.mark")
    assert made.lookup_key.hex() not in mark.read_text()
    mark.unlink()
    load_or_make(tmp_path)
    assert mark.exists()


def test_a_folder_that_cannot_be_written_is_an_error_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "ledger").write_text("no folder")
    with pytest.raises(SecretsError):
        load_or_make(tmp_path)


def test_a_rotation_keeps_the_old_keys_for_reading(tmp_path: Path) -> None:
    first = load_or_make(tmp_path)
    second = rotate(tmp_path)
    third = rotate(tmp_path)
    assert third.lookup_key == first.lookup_key
    assert [*first.keys] == second.keys[:1] == third.keys[:1]
    assert third.current != second.current != first.current
    assert len({identifier for identifier, _ in third.keys}) == 3
    assert load_or_make(tmp_path).current_id == third.current_id
    assert stat.S_IMODE(file(tmp_path).stat().st_mode) == 0o600
    for _ in range(61):
        rotate(tmp_path)
    with pytest.raises(SecretsError, match="the most"):
        rotate(tmp_path)


def test_rotations_at_once_lose_no_key(tmp_path: Path) -> None:
    load_or_make(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: rotate(tmp_path).current_id, range(16)))
    assert {identifier for identifier, _ in load_or_make(tmp_path).keys} >= set(made)
    assert len(set(made)) == 16


def test_what_a_power_cut_needs_is_on_the_disk_before_the_name_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync, link = os.fsync, os.link

    def note_sync(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "link", lambda *names: (done.append("name"), link(*names)))
    load_or_make(tmp_path)
    assert done == ["folder", "file", "name", "folder", "file", "name", "folder"]


def test_nothing_shows_them(tmp_path: Path) -> None:
    made = load_or_make(tmp_path)
    for text in (repr(made), str(made), f"{made}"):
        assert made.current.hex() not in text
        assert "***" in text
        assert repr(made.current)[2:10] not in text
    with pytest.raises(TypeError):
        pickle.dumps(made)
    told = Ledger("redis", "redis://:password@h", lookup_key=LOOKUP, seal_keys=(("k1", SEAL),))
    assert "password" not in repr(told)
    assert repr(SEAL)[2:20] not in repr(told)


def test_configured_ones_are_those_of_the_configuration() -> None:
    assert configured(Ledger()) is None
    made = configured(
        Ledger("redis", "redis://h", lookup_key=LOOKUP, seal_keys=(("old", SEAL), ("new", LOOKUP)))
    )
    assert made is not None
    assert (made.lookup_key, made.current, made.current_id) == (LOOKUP, LOOKUP, key_id("new"))
    assert made.key(key_id("old")) == SEAL
    assert made.key(b"none") is None
    for keys in ([], [(b"a", SEAL), (b"a", LOOKUP)]):
        with pytest.raises(ValueError, match="no sealing key, or two"):
            Secrets(LOOKUP, keys)


words = st.text(st.characters(codec="utf-8"), max_size=6)
scopes = st.tuples(words, words, words, st.binary(max_size=6)).map(lambda parts: Scope(*parts))


@given(scopes, scopes)
def test_two_scopes_share_a_key_only_when_they_are_one(first: Scope, second: Scope) -> None:
    assert (SECRETS.locate(first) == SECRETS.locate(second)) is (first == second)


def test_a_key_says_nothing_without_the_secret_and_never_changes() -> None:
    scope = Scope("acme", "payments", "POST /payments", b"k-1")
    assert len(SECRETS.locate(scope)) == KEY_BYTES
    assert SECRETS.locate(scope) != Secrets(SEAL, [(b"aaaa", SEAL)]).locate(scope)
    # stored records are found by it: another value here loses every record there is
    assert SECRETS.locate(scope).hex() == "56d5a5f89da4a83daa5f9b98043958fd"
    for moved in (
        scope._replace(consumer="acm", api="epayments"),
        scope._replace(route="POST /payment", key=b"sk-1"),
        scope._replace(consumer="acme1,8"),
    ):
        assert SECRETS.locate(moved) != SECRETS.locate(scope)
