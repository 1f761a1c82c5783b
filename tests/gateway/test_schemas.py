"""Schemas are compiled once: for equal texts, and for those that the former revision had."""

from collections.abc import Iterator

from faregate.gateway.schemas import Schemas
from faregate.policies.validate.step import Checks
from faregate.snapshot.validation import Answer, Body, Parameter, Validation

ONE, OTHER = '{"type":"integer"}', '{"type":"string"}'
VALIDATION = Validation(
    parameters=(Parameter("query", "a", ONE), Parameter("query", "b", ONE)),
    bodies=(Body("application/json", "json", OTHER), Body("text/plain")),
    response="log",
    answers=(Answer("200", (Body("application/json", "json", ONE),)), Answer("default")),
)


def made(schemas: Schemas) -> tuple[Checks, int]:
    """What comes of it, and how often calls may come between."""
    found: list[Checks] = []

    def steps() -> Iterator[None]:
        found.append((yield from schemas.checks(VALIDATION)))

    pauses = len(list(steps()))
    return found[0], pauses


def test_equal_texts_are_one_schema_and_calls_come_between() -> None:
    schemas = Schemas()
    assert made(schemas)[1] == 2
    assert made(schemas)[1] == 0
    assert set(schemas.known) == {ONE, OTHER}


def test_the_former_revisions_are_taken_over_and_what_nobody_needs_is_left() -> None:
    before = Schemas()
    made(before)
    before.known["true"] = before.known[ONE]
    after = Schemas(before.known)
    made(after)
    assert {text: id(one) for text, one in after.known.items()} == {
        text: id(before.known[text]) for text in (ONE, OTHER)
    }
