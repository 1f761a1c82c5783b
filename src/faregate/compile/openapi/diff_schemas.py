"""What two schemas let pass: where the newer one takes less, and where more.

Of a request less breaks, of an answer more. Objects, lists and plain values are compared keyword by keyword,
so that each change has its place; for what is left (``not``, ``if``, patterns of names) containment is asked
of the schema library, which is experimental there: only a clear yes counts. A member that no schema names is
nobody's promise, unless the object is closed.
"""

from collections.abc import Callable, Iterable
from decimal import Decimal, InvalidOperation
from typing import Final, NamedTuple

from faregate.compile.openapi.diff_flat import (
    REFERRED,
    as_text,
    bare,
    changed,
    definitions,
    flat,
    mapping,
    sequence,
    whole,
)
from faregate.compile.openapi.document import Document, Node, step
from faregate.compile.openapi.operation_checks import types_of
from faregate.compile.openapi.schemas import StandAlone, stand_alone
from faregate.model.diagnostics import Value

_LEVELS_MAX: Final = 32
_SHOWN_MAX: Final = 400
_LOWER: Final = ("minLength", "minItems", "minProperties", "minContains")
_UPPER: Final = ("maxLength", "maxItems", "maxProperties", "maxContains")
_COMPARED: Final = frozenset(
    (
        "type", "enum", "const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
        "pattern", "format", "uniqueItems", "items", "properties", "required", "additionalProperties",
        "anyOf", "oneOf", "$ref", "allOf", "$defs", *_LOWER, *_UPPER,
    )
)  # fmt: skip
_OBJECTS: Final = frozenset(
    ("type", "properties", "required", "additionalProperties", "minProperties", "maxProperties")
)

Place = tuple[Document, Value, str]
"""A document, a schema in it, and where that stands."""


class Told(NamedTuple):
    """``value``: the place in a value; ``lost``: a schema of the values concerned, or empty."""

    breaking: bool
    kind: str
    value: str
    message: str
    lost: str = ""


def compare_schemas(old: Place, new: Place, *, request: bool) -> list[Told]:
    """Every change, in the order of the schemas. Raises ``DocumentError``."""
    before = stand_alone(*old, request=request)
    after = stand_alone(*new, request=request)
    if before.text == after.text:
        return []
    comparing = _Comparing(before, after, request=request)
    comparing.walk(bare(before.schema), bare(after.schema), "", 0)
    return comparing.told


class _Comparing:
    def __init__(self, before: StandAlone, after: StandAlone, *, request: bool) -> None:
        self.told: list[Told] = []
        self._old, self._new = before.schema, after.schema
        self._request = request
        self._seen: set[tuple[str, str]] = set()
        self._changed = changed(definitions(before.schema), definitions(after.schema))

    # what is told

    def _less(self, kind: str, value: str, message: str, lost: str = "") -> None:
        """The newer schema takes less: callers who send it break."""
        self.told.append(Told(self._request, kind, value, message, lost))

    def _more(self, kind: str, value: str, message: str, lost: str = "") -> None:
        """The newer schema takes more: callers who are told it break."""
        self.told.append(Told(not self._request, kind, value, message, lost))

    def _unclear(self, kind: str, value: str, message: str, lost: str = "") -> None:
        self.told.append(Told(True, kind, value, message, lost))  # noqa: FBT003 - whichever way it goes

    # walking

    def walk(self, old: Value, new: Value, value: str, level: int) -> None:
        if self._same(old, new):
            return
        pair = (as_text(old), as_text(new))
        if pair in self._seen:
            return  # on its way, or told already at another place
        if level > _LEVELS_MAX:
            self._unclear("schema_changed", value, "it is nested too deep to be compared")
            return
        if "$ref" in pair[0] or "$ref" in pair[1]:
            self._seen.add(pair)
        before, after = flat(old, self._old), flat(new, self._new)
        if before is None or after is None:
            self._contained(old, new, value)
            return
        self._types(before, after, value)
        self._values(before, after, value)
        self._bounds(before, after, value)
        self._patterns(before, after, value)
        self._objects(before, after, value, level)
        self._lists(before, after, value, level)
        for word in ("anyOf", "oneOf"):
            self._alternatives(before.get(word), after.get(word), value, level)
        rest = {word for word in {*before, *after} - _COMPARED if before.get(word) != after.get(word)}
        if rest:
            self._contained(before, after, value)

    def _same(self, old: Value, new: Value) -> bool:
        """Whether both are written alike, and so is all that they refer to."""
        text = as_text(old)
        return text == as_text(new) and self._changed.isdisjoint(REFERRED.findall(text))

    def _types(self, before: Node, after: Node, value: str) -> None:
        old, new = types_of(before, self._old), types_of(after, self._new)
        gone = {one for one in old - new if not (one == "integer" and "number" in new)}
        come = {one for one in new - old if not (one == "integer" and "number" in old)}
        if "integer" in new and "number" in old and "number" not in new:
            gone.add("number")
        for some, tell, word in ((gone, self._less, "type_narrowed"), (come, self._more, "type_widened")):
            if some:
                tell(word, value, f"the type was {_listed(old)} and is {_listed(new)}")

    def _values(self, before: Node, after: Node, value: str) -> None:
        old, new = _enumerated(before), _enumerated(after)
        if old is None and new is None:
            return
        if old is None:
            self._less("enum_added", value, f"only {_shown(new)} are taken now")
        elif new is None:
            self._more("enum_removed", value, f"not only {_shown(old)} may stand there now")
        else:
            for one in old:
                if not _among(one, new):
                    self._less("enum_value_removed", value, f"{_shown(one)} is gone", as_text({"const": one}))
            for one in new:
                if not _among(one, old):
                    self._more("enum_value_added", value, f"{_shown(one)} is new", as_text({"const": one}))

    def _bounds(self, before: Node, after: Node, value: str) -> None:
        for words in (("minimum", "exclusiveMinimum"), *((word,) for word in _LOWER)):
            old, new = _bound(before, words, max), _bound(after, words, max)
            if old != new:
                raised = new is not None and (old is None or new > old)
                (self._less if raised else self._more)(
                    "bound_narrowed" if raised else "bound_widened", value, _told_bound(words[0], old, new)
                )
        for words in (("maximum", "exclusiveMaximum"), *((word,) for word in _UPPER)):
            old, new = _bound(before, words, min), _bound(after, words, min)
            if old != new:
                lowered = new is not None and (old is None or new < old)
                (self._less if lowered else self._more)(
                    "bound_narrowed" if lowered else "bound_widened", value, _told_bound(words[0], old, new)
                )
        old_step, new_step = _number(before.get("multipleOf")), _number(after.get("multipleOf"))
        if old_step != new_step:
            message = (
                f"multipleOf was {_shown(before.get('multipleOf'))} and is {_shown(after.get('multipleOf'))}"
            )
            if new_step is None or (old_step is not None and _is_multiple(old_step, new_step)):
                self._more("bound_widened", value, message)
            elif old_step is None or _is_multiple(new_step, old_step):
                self._less("bound_narrowed", value, message)
            else:
                self._unclear("bound_changed", value, message)
        if before.get("uniqueItems", False) != after.get("uniqueItems", False):
            tell = self._less if after.get("uniqueItems") is True else self._more
            tell(
                "bound_narrowed" if after.get("uniqueItems") is True else "bound_widened",
                value,
                "uniqueItems",
            )

    def _patterns(self, before: Node, after: Node, value: str) -> None:
        for word in ("pattern", "format"):
            old, new = before.get(word), after.get(word)
            if old == new:
                continue
            message = f"the {word} was {_shown(old)} and is {_shown(new)}"
            if old is None:
                self._less(f"{word}_added", value, message)
            elif new is None:
                self._more(f"{word}_removed", value, message)
            else:
                self._unclear(f"{word}_changed", value, message)

    def _objects(self, before: Node, after: Node, value: str, level: int) -> None:
        old, new = mapping(before.get("properties")), mapping(after.get("properties"))
        for name, schema in old.items():
            place = value + step(name)
            if name in new:
                self.walk(schema, new[name], place, level + 1)
            else:
                lost = as_text({"required": [name]})
                self._unclear("property_removed", place, "the member is no longer described", lost)
        rest, other = before.get("additionalProperties", True), after.get("additionalProperties", True)
        for name, schema in new.items():
            if name not in old:
                self._added(schema, rest, value + step(name), level)
        self._demanded(before, after, value)
        if _open(rest) and not _open(other):
            self._less("additional_refused", value, "other members are no longer as free as they were")
        elif _open(other) and not _open(rest):
            self._more("additional_taken", value, "other members are freer now")
        elif not _open(rest) and rest != other:
            self.walk(rest, other, value + "/*", level + 1)

    def _added(self, schema: Value, rest: Value, place: str, level: int) -> None:
        """``rest``: what members without a name of their own had to be."""
        if rest is False:
            self._more("property_added", place, "the member is new, and there was to be no other")
        elif not _open(rest):
            self.walk(rest, schema, place, level + 1)
        else:
            self.told.append(Told(False, "property_added", place, "the member is new"))  # noqa: FBT003

    def _demanded(self, before: Node, after: Node, value: str) -> None:
        needed, demanded = _names(before), _names(after)
        for name in sorted(demanded - needed):
            lost = as_text({"not": {"required": [name]}})
            self._less("required_added", value + step(name), "the member is demanded now", lost)
        for name in sorted(needed - demanded):
            self._more("required_removed", value + step(name), "the member may be missing now")

    def _lists(self, before: Node, after: Node, value: str, level: int) -> None:
        old, new = before.get("items", True), after.get("items", True)
        if old is True and new is not True:
            self._less("items_narrowed", value + "/*", "the items are bound to a schema now")
        elif new is True and old is not True:
            self._more("items_widened", value + "/*", "the items may be anything now")
        elif old is not True:
            self.walk(old, new, value + "/*", level + 1)

    def _alternatives(self, old: Value, new: Value, value: str, level: int) -> None:
        if not isinstance(old, list) and not isinstance(new, list):
            return
        if not isinstance(old, list):
            self._less("alternatives_added", value, "only some alternatives are taken now")
            return
        if not isinstance(new, list):
            self._more("alternatives_removed", value, "it is no longer bound to its alternatives")
            return
        gone = [one for one in old if not any(self._same(one, other) for other in new)]
        come = [one for one in new if not any(self._same(other, one) for other in old)]
        for one in list(gone):
            other = next((two for two in come if "$ref" in mapping(one) and one == two), None)
            if other is None and len(gone) == len(come) == 1:
                other = come[0]
            if other is not None:  # the same alternative, changed within
                self.walk(one, other, value, level + 1)
                gone.remove(one)
                come.remove(other)
        for one in gone:
            self._less("alternative_removed", value, f"the alternative {_named(one)} is gone", as_text(one))
        for one in come:
            self._more("alternative_added", value, f"the alternative {_named(one)} is new", as_text(one))

    def _contained(self, old: Value, new: Value, value: str) -> None:
        """Asks the library, which looks at no format."""
        from faregate.kernel.json_schema import covers, difference  # noqa: PLC0415 - rarely needed

        before, after = whole(old, self._old), whole(new, self._new)
        formats = '"format"' in as_text(before) or '"format"' in as_text(after)
        less = None if formats else covers(after, before)
        more = None if formats else covers(before, after)
        if less is not True:
            lost = "" if less is None else difference(before, after)[:_SHOWN_MAX]
            self._less("schema_narrowed", value, _unsure(less) + "less is taken than before", lost)
        if more is not True:
            lost = "" if more is None else difference(after, before)[:_SHOWN_MAX]
            self._more("schema_widened", value, _unsure(more) + "more is taken than before", lost)


def _unsure(found: bool | None) -> str:  # noqa: FBT001 - of one call above
    return "it cannot be ruled out that " if found is None else ""


def _open(additional: Value) -> bool:
    return additional is True or additional == {}


def _names(schema: Node) -> set[str]:
    return {str(name) for name in sequence(schema.get("required"))}


def _enumerated(schema: Node) -> list[Value] | None:
    if "const" in schema:
        return [schema["const"]]
    listed = schema.get("enum")
    return listed if isinstance(listed, list) else None


def _among(value: Value, values: Iterable[Value]) -> bool:
    return any(type(value) is type(one) and value == one for one in values)


def _number(value: Value) -> Decimal | None:
    return Decimal(str(value)) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _is_multiple(number: Decimal, of: Decimal) -> bool:
    try:
        return number % of == 0
    except InvalidOperation:
        return False  # of nothing, or of so little that it cannot be told


_Bound = tuple[Decimal, bool] | None


def _bound(schema: Node, words: tuple[str, ...], tighter: Callable[..., tuple[Decimal, bool]]) -> _Bound:
    """The tighter of a bound and its exclusive form, so that an exclusive one lies beyond its equal."""
    found = []
    for word in words:
        number = _number(schema.get(word))
        if number is not None:
            exclusive = word.startswith("exclusive")
            found.append((number, exclusive if tighter is max else not exclusive))
    if not found and words[0] in _LOWER:
        return Decimal(0), False
    return tighter(found) if found else None


def _told_bound(word: str, old: _Bound, new: _Bound) -> str:
    was = "none" if old is None else str(old[0])
    now = "none" if new is None else str(new[0])
    return f"{word} was {was} and is {now}"


def _shown(value: Value) -> str:
    text = "none" if value is None else as_text(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _listed(types: frozenset[str]) -> str:
    return "anything" if len(types) >= 7 else " or ".join(sorted(types)) or "nothing"


def _named(schema: Value) -> str:
    reference = mapping(schema).get("$ref")
    return reference.rpartition("/")[2] if isinstance(reference, str) else _shown(schema)
