"""What differs between two states of an entry, field by field, in a form that people read and that is hashed
for approval. Secrets appear as keyed hashes: that they changed is seen, what they are is not. The digest of
an API key counts as one: whoever has it can try keys against it, without the gateway.
"""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from faregate.kernel import canonical_json
from faregate.kernel.secrets import MASK
from faregate.manager.cases.domain import Change, Content, Json

SECRET_KEYS: Final = frozenset({"secret", "password", "private_key", "client_secret"})
"""Members whose values are secrets, wherever they stand in an entry."""

_HOLDER: Final = "api_key"
_DIGESTS: Final = frozenset({"sha256", "hmac"})
"""What ``api_key`` keeps of a key. Of a certificate ``sha256`` is its name, and shown."""

_IDENTITIES: Final = ("match", "id", "url", "name")
"""Members that name an item of a list, so that a list is compared item by item and not by position."""

_NAMES: Final = {"api_key": ("id",), "mtls": ("id", "sha256", "subject"), "jwt": ("id", "subject")}
"""And those that name a credential in a consumer's list, by its kind."""

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


def _hides(holder: str, key: str) -> bool:
    """Whether the member ``key`` of ``holder`` is shown to nobody."""
    return key in SECRET_KEYS or (holder == _HOLDER and key in _DIGESTS)


def _compare(path: str, before: Json, after: Json, hashed: Hash, holder: str = "") -> Iterator[Difference]:
    if _same(before, after):
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            if _hides(holder, key):
                yield from _secret(f"{path}.{key}", before.get(key), after.get(key), hashed)
            else:
                yield from _compare(f"{path}.{key}", before.get(key), after.get(key), hashed, key)
        return
    if isinstance(before, list) and isinstance(after, list):
        yield from _lists(path, before, after, hashed)
        return
    yield Difference(path, _hidden(before, hashed, holder), _hidden(after, hashed, holder))


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
        name = _name_of(item)
        if name is None or name in found:
            return None
        found[name] = item
    return found


def _name_of(item: Json) -> str | None:
    """What names an item of a list; a credential, which is one member, has its name in that."""
    if not isinstance(item, dict):
        return item if isinstance(item, str) else None
    named = next((item[key] for key in _IDENTITIES if isinstance(item.get(key), str)), None)
    if named is None and len(item) == 1:
        ((kind, one),) = item.items()
        held = one if isinstance(one, dict) else {}
        told = next((held[key] for key in _NAMES.get(kind, ()) if isinstance(held.get(key), str)), None)
        named = None if told is None else f"{kind} {told}"
    return named if isinstance(named, str) else None


def _hidden(value: Json, hashed: Hash, holder: str = "") -> Json:
    if isinstance(value, dict):
        return {
            key: f"{MASK} {hashed(_text(one))}"
            if _hides(holder, key) and one is not None
            else _hidden(one, hashed, key)
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
    """``content`` as it may be shown: secrets and digests of keys replaced by ``***``."""
    shown = _masked(content)
    assert isinstance(shown, dict)
    return shown


def _masked(value: Json, holder: str = "") -> Json:
    if isinstance(value, dict):
        return {
            key: MASK if _hides(holder, key) and one is not None else _masked(one, key)
            for key, one in value.items()
        }
    if isinstance(value, list):
        return [_masked(one) for one in value]
    return value


def has_secret(value: Json) -> bool:
    """Whether ``value`` must lie sealed. Digests of keys that nobody can guess need not."""
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


def _unmasked(written: Json, present: Json, holder: str = "") -> Json:
    if isinstance(written, dict):
        kept = present if isinstance(present, dict) else {}
        return {
            key: kept.get(key, one)
            if _hides(holder, key) and one == MASK
            else _unmasked(one, kept.get(key), key)
            for key, one in written.items()
        }
    if isinstance(written, list):
        former = _formers(present if isinstance(present, list) else [])
        return [_unmasked(one, former.get(_name_of(one) or at)) for at, one in enumerate(written)]
    return written


def _formers(items: list[Json]) -> dict[str | int, Json]:
    """By name, and those without one by their place: a secret never goes over to another name."""
    found: dict[str | int, Json] = {}
    for at, item in enumerate(items):
        name = _name_of(item)
        found[at if name is None else name] = None if name in found else item
    return found
