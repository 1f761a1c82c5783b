"""Documents are hostile input: whatever stands in them, the only error is one that says so."""

import json
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from faregate.compile.openapi.diff import compare
from faregate.compile.openapi.document import Document, DocumentError, read_document
from faregate.compile.openapi.importing import imported
from faregate.compile.openapi.operation_checks import validation_of
from faregate.compile.openapi.operations import operations
from faregate.compile.openapi.validation import compiles
from faregate.compile.openapi.writing import as_yaml
from faregate.model.yaml_text import YamlText
from faregate.policies.validate.settings import Validate

DOCUMENTS: Final = [
    read_document(path).value for path in sorted((Path(__file__).parents[2] / "vectors/openapi").iterdir())
]

_odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 10**20),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(
        ["", "#", "#/", "#/paths", "#/components/schemas/Money", "x", "default", "(?=a)", "{a}", "/", "http://[", "\x1b[2J"]
    ),
    st.sampled_from([[], {}, [None], [{}], {"$ref": 5}, {"$ref": "#/components"}, {"type": []}, {"": {}}, {"x-a": 1}]),
)  # fmt: skip


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container with every key or index in it."""
    found: list[tuple[Any, Any]] = []
    left = [value]
    while left:
        one = left.pop()
        members = list(one.items()) if isinstance(one, dict) else list(enumerate(one))
        found += [(one, key) for key, _ in members]
        left += [member for _, member in members if isinstance(member, dict | list)]
    return found


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(DOCUMENTS), st.data())
def test_a_changed_document_is_used_or_refused(original: Any, data: st.DataObject) -> None:
    value = deepcopy(original)
    for _ in range(data.draw(st.integers(1, 3))):
        container, key = data.draw(st.sampled_from(places(value)))
        if data.draw(st.booleans()):
            container[key] = data.draw(_odd)
        elif isinstance(container, dict):
            container[
                data.draw(st.sampled_from(["type", "$ref", "items", "properties", "required", "allOf"]))
            ] = data.draw(_odd)
    with suppress(DocumentError):
        document = Document(value)
        for operation in operations(document):
            with suppress(DocumentError):
                made, _ = validation_of(document, operation, "/v2" + operation.path, Validate(response="log"))
                compiles(made, operation.pointer)
    with suppress(DocumentError):
        compare(Document(original), Document(value))
    with suppress(DocumentError):
        made_of = imported(Document(value), name="a", file="spec.yaml")
        read = YamlText(as_yaml(made_of.tree, made_of.notes))
        assert read.errors == []
        assert read.value == json.loads(json.dumps(made_of.tree))
