"""What differs between two states of an entry, field by field, in a form that people read and that is hashed
for approval. Secrets appear as keyed hashes: that they changed is seen, what they are is not.
"""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from faregate.kernel import canonical_json
from faregate.kernel.secrets import MASK
from faregate.manager.cases.domain import Change, Content, Json

SECRET_KEYS: Final = frozenset({"secret", "password", "private_key", "client_secret"})
"""Members whose values are secrets, wherever they stand in an entry."""

_HIDDEN_KEYS: Final = SECRET_KEYS | {"hmac"}
"""And those that differences do not show either: with a digest and the pepper keys could be tried."""

_IDENTITIES: Final = ("match", "id", "url", "name")
"""Members that name an item of a list, so that a list is compared item by item and not by position."""

Hash = Callable[[str], str]


class Difference(NamedTuple):
    """``path``: ``consumers.acme.permissions[payments:read]``; ``before``, ``after`` None: absent."""

    path: str
    before: Json
    after: Json

    def as_json(self) -> dict[str, Json]:
        return {"path": self.path, "before": self.before, "after": self.after}


def differences(change: Change, hashed: Hash) -> list[Difference]:
    """Every field that ``change`` makes, alters or removes. ``hashed``: keyed hash of a secret."""
    root = f"{change.section}.{change.name}"
    found = list(_compare(root, change.before, change.after, hashed))
    if change.act == "update" and change.team != change.team_before:
        found.append(Difference(f"{root}(team)", change.team_before, change.team))
    return found


def _compare(path: str, before: Json, after: Json, hashed: Hash) -> Iterator[Difference]:
    if _same(before, after):
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            if key in _HIDDEN_KEYS:
                yield from _secret(f"{path}.{key}", before.get(key), after.get(key), hashed)
            else:
                yield from _compare(f"{path}.{key}", before.get(key), after.get(key), hashed)
        return
    if isinstance(before, list) and isinstance(after, list):
        yield from _lists(path, before, after, hashed)
        return
    yield Difference(path, _hidden(before, hashed), _hidden(after, hashed))


def _secret(path: str, before: Json, after: Json, hashed: Hash) -> Iterator[Difference]:
    told = [None if value is None else f"{MASK} {hashed(_text(value))}" for value in (before, after)]
    if told[0] != told[1]:
        yield Difference(path, told[0], told[1])


def _lists(path: str, before: list[Json], after: list[Json], hashed: Hash) -> Iterator[Difference]:
    old, new = _by_identity(before), _by_identity(after)
    if old is None or new is None:
        yield Difference(path, _hidden(before, hashed), _hidden(after, hashed))
        return
    for key in [*old, *(key for key in new if key not in old)]:
        yield from _compare(f"{path}[{key}]", old.get(key), new.get(key), hashed)


def _by_identity(items: list[Json]) -> dict[str, Json] | None:
    """The items by what names each, None where not every one has a name of its own."""
    found: dict[str, Json] = {}
    for item in items:
        if isinstance(item, dict):
            name = next((item[key] for key in _IDENTITIES if isinstance(item.get(key), str)), None)
        else:
            name = item if isinstance(item, str) else None
        if not isinstance(name, str) or name in found:
            return None
        found[name] = item
    return found


def _hidden(value: Json, hashed: Hash) -> Json:
    if isinstance(value, dict):
        return {
            key: f"{MASK} {hashed(_text(one))}"
            if key in _HIDDEN_KEYS and one is not None
            else _hidden(one, hashed)
            for key, one in value.items()
        }
    if isinstance(value, list):
        return [_hidden(one, hashed) for one in value]
    return value


def _text(value: Json) -> str:
    """A secret as it is hashed: the same for the same value, in whichever order its members came."""
    return value if isinstance(value, str) else canonical_json.encode(value)


def _same(before: Json, after: Json) -> bool:
    return before == after and canonical_json.encode(before) == canonical_json.encode(after)


def masked(content: Content) -> Content:
    """``content`` as it may be shown: secrets replaced by ``***``."""
    shown = _masked(content)
    assert isinstance(shown, dict)
    return shown


def _masked(value: Json) -> Json:
    if isinstance(value, dict):
        return {
            key: MASK if key in SECRET_KEYS and one is not None else _masked(one)
            for key, one in value.items()
        }
    if isinstance(value, list):
        return [_masked(one) for one in value]
    return value


def has_secret(value: Json) -> bool:
    if isinstance(value, dict):
        return any((key in SECRET_KEYS and one is not None) or has_secret(one) for key, one in value.items())
    return isinstance(value, list) and any(has_secret(one) for one in value)


def unmasked(written: Content, present: Content | None) -> Content:
    """``written`` with each secret that came back as ``***`` replaced by the one that is kept: who reads an
    entry, changes a field and writes it again does not lose what was never shown to them.
    """
    filled = _unmasked(written, present)
    assert isinstance(filled, dict)
    return filled


def _unmasked(written: Json, present: Json) -> Json:
    if isinstance(written, dict):
        kept = present if isinstance(present, dict) else {}
        return {
            key: kept.get(key, one) if key in SECRET_KEYS and one == MASK else _unmasked(one, kept.get(key))
            for key, one in written.items()
        }
    if isinstance(written, list):
        items = present if isinstance(present, list) else []
        old, new = _by_identity(items), _by_identity(written)
        if old is not None and new is not None:
            return [_unmasked(one, old.get(name)) for name, one in new.items()]
        return [_unmasked(one, items[at] if at < len(items) else None) for at, one in enumerate(written)]
    return written
