"""The names by which a command finds a record, held against the configuration: a misspelt one would find
nothing, and nothing found reads as if no call had been made.

The caller's key is taken as the route takes it: unquoted where a header holds it, whole where a body does.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING

from faregate.cli.errors import CommandError
from faregate.kernel.problems import Refusal
from faregate.policies.idempotency.query import key_names
from faregate.policies.idempotency.step import Keying, join

if TYPE_CHECKING:
    from faregate.snapshot.data import Snapshot
    from faregate.snapshot.idempotency import Idempotency


def check_names(snapshot: "Snapshot", *, consumer: str, api: str = "", route: str = "") -> None:
    """Raises CommandError (status 2) for a name that the configuration does not know; empty: not asked."""
    _known("--consumer", consumer, "consumer", (each.name for each in snapshot.consumers))
    _known("--api", api, "API", (each.api for each in snapshot.routes))
    labels = (each.label for each in snapshot.routes if each.api == api and each.idempotency is not None)
    _known("--route", route, f"route with idempotency of {api}", labels)


def caller_key(snapshot: "Snapshot", api: str, route: str, values: list[str]) -> bytes:
    """The key that ``values`` are on that route. Raises CommandError (status 2)."""
    given = [value.encode() for value in values]
    kept = (each.idempotency for each in snapshot.routes if (each.api, each.label) == (api, route))
    idempotency = next((each for each in kept if each is not None), None)
    if idempotency is None:
        return join(given)
    wanted = len(key_names(idempotency))
    if len(given) != wanted:
        raise CommandError(f"--key: the key of {route} takes {wanted} of them: {_places(idempotency)}", 2)
    if not idempotency.header:
        return join(given)
    try:
        return Keying(idempotency).head_key(given[0]) or b""
    except Refusal:
        raise CommandError("--key: no key of 1 to 255 visible ASCII characters, bare or quoted", 2) from None


def _places(idempotency: "Idempotency") -> str:
    return ", ".join(idempotency.pointers or idempotency.form) or idempotency.header.decode("ascii")


def _known(option: str, name: str, kind: str, names: Iterable[str]) -> None:
    if not name:
        return
    known = set(names)
    if name not in known:
        near = get_close_matches(name, sorted(known), n=1, cutoff=0.6)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        raise CommandError(f"{option}: the configuration has no {kind} {name!r}{meant}", 2)
