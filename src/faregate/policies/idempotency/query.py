"""The query that may settle a call whose outcome is not known: what is asked, and what the answer means.

Templates are filled with the caller's key and the parameters of the call's path, encoded for the place they
go to, so that no key can change what is asked. A rule that does not apply is no verdict, and the record stays
as it is.
"""

import re
from typing import Final
from urllib.parse import quote, unquote

import msgspec

from faregate.kernel.templates import filled
from faregate.policies.idempotency.step import applies, join
from faregate.snapshot.idempotency import AnswerRule, Idempotency, Resolve
from faregate.stores.ledger.protocol import COMPLETED, RELEASED, UNKNOWN

NOT_FOUND: Final = 404
_ENCODED: Final = re.compile(r"%(?:2F|5C|25)")
JSON: Final = "application/json"


def key_names(idempotency: Idempotency) -> list[str]:
    """How templates call the key: ``key``, or ``key_1``, ``key_2`` where several values make it."""
    count = len(idempotency.pointers or idempotency.form or ("",))
    return ["key"] if count == 1 else [f"key_{number}" for number in range(1, count + 1)]


def split(key: bytes, count: int) -> list[bytes]:
    """The ``count`` values that ``join`` made ``key`` of. Raises ``ValueError`` where it did not."""
    if count == 1:
        return [key]
    values = []
    at = 0
    while at < len(key):
        colon = key.index(b":", at)
        end = colon + 1 + int(key[at:colon])
        values.append(key[colon + 1 : end])
        at = end + 1
    if len(values) != count or join(values) != key:
        raise ValueError("not a joined key")
    return values


def path_parameters(template: str, path: str) -> dict[str, str]:
    """What stands in ``path`` (normalised) for each parameter of ``template``, the route's whole one, still
    encoded. Empty where the path does not fit.
    """
    parameters: dict[str, str] = {}
    segments = path.split("/")
    for position, part in enumerate(template.split("/")):
        if part.startswith("{") and part.endswith("...}"):
            parameters[part[1:-4]] = "/".join(segments[position:])
            return parameters
        if position >= len(segments):
            return {}
        if part.startswith("{"):
            parameters[part[1:-1]] = segments[position]
        elif part != segments[position]:
            return {}
    return parameters


def question(
    idempotency: Idempotency, key: bytes, parameters: dict[str, str]
) -> "tuple[bytes, bytes] | None":
    """Target and body of the query for one record; None where a value of the templates is not at hand.

    ``key``: as the caller sent it, unsealed; ``parameters``: of ``path_parameters``.
    """
    resolve = idempotency.resolve
    if resolve is None:
        return None
    names = key_names(idempotency)
    try:
        values = {**parameters, **dict(zip(names, map(bytes.decode, split(key, len(names))), strict=True))}
        target = _fill_target(resolve.target, values, set(names))
        body = _fill_body(resolve, {name: _decoded(value, name in names) for name, value in values.items()})
    except (KeyError, ValueError):
        return None
    return target.encode("ascii"), body.encode()


def _decoded(value: str, own: bool) -> str:  # noqa: FBT001 - of one call above
    return value if own else unquote(value)


def _fill_target(template: str, values: dict[str, str], own: set[str]) -> str:
    path, mark, query = template.partition("?")
    filled_path = filled(path, lambda name: quote(values[name], safe="") if name in own else values[name])
    if _ambiguous(filled_path):
        raise ValueError("a key that a path cannot hold")
    return (
        filled_path + mark + filled(query, lambda name: quote(_decoded(values[name], name in own), safe=""))
    )


def _ambiguous(path: str) -> bool:
    """Whether two servers could read it differently: what callers may not send (http-rules.md section 2.1),
    their keys may not either.
    """
    return _ENCODED.search(path) is not None or any(part in {".", ".."} for part in path.split("/"))


def _fill_body(resolve: Resolve, values: dict[str, str]) -> str:
    if resolve.content_type == JSON:
        return filled(resolve.body, lambda name: msgspec.json.encode(values[name]).decode()[1:-1])
    return filled(resolve.body, lambda name: quote(values[name], safe=""))


def finding(resolve: Resolve, status: int, body: bytes, content_type: bytes, age_s: float) -> int:
    """COMPLETED, RELEASED or, where the answer says nothing or both, UNKNOWN. ``age_s``: since the outcome is
    unknown; until it is ``settling`` no 404 releases, whatever rule it fits.
    """
    released = _one_of(resolve.released, status, body, content_type)
    if _one_of(resolve.done, status, body, content_type):
        return UNKNOWN if released else COMPLETED
    if status == NOT_FOUND:
        return RELEASED if resolve.settling and age_s >= resolve.settling else UNKNOWN
    return RELEASED if released else UNKNOWN


def _one_of(rules: tuple[AnswerRule, ...], status: int, body: bytes, content_type: bytes) -> bool:
    return any(applies(rule, status, body, content_type) for rule in rules)
