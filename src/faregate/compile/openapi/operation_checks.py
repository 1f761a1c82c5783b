"""One operation as what its calls are held against: parameters, bodies by content type, answers by status."""

from collections.abc import Iterator
from typing import Final

from faregate.compile.openapi.document import Document, DocumentError, Node, step
from faregate.compile.openapi.operations import Operation
from faregate.compile.openapi.schemas import StandAlone, stand_alone
from faregate.model.diagnostics import Value
from faregate.policies.validate.settings import Validate
from faregate.snapshot.validation import Answer, Body, FormField, Parameter, Validation

FORM: Final = "application/x-www-form-urlencoded"
_IGNORED_HEADERS: Final = frozenset({"accept", "authorization", "content-type"})  # as OpenAPI says
_SEPARATORS: Final = {"form": ",", "simple": ",", "spaceDelimited": " ", "pipeDelimited": "|"}
_STYLES: Final = {"path": "simple", "header": "simple", "query": "form"}
_KINDS: Final = {"number": "number", "integer": "number", "boolean": "boolean", "null": "null"}


def validation_of(
    document: Document, operation: Operation, template: str, settings: Validate
) -> tuple[Validation, list[str]]:
    """What ``settings`` ask of a route whose whole path is ``template``; and what of it is not checked, for
    people. Raises ``DocumentError``.
    """
    unseen: list[str] = []
    made = Validation(request=settings.request, response=settings.response)
    parameters: tuple[Parameter, ...] = ()
    bodies: tuple[Body, ...] | None = None
    required = False
    if settings.request:
        parameters = tuple(_parameters(document, operation, template, unseen))
        body = operation.node.get("requestBody")
        if body is not None:
            node, pointer = document.node(body, operation.pointer + "/requestBody")
            bodies = tuple(_bodies(document, node, pointer, unseen, request=True))
            required = node.get("required") is True
    answers: tuple[Answer, ...] = ()
    if settings.response != "off":
        answers = tuple(_answers(document, operation, unseen))
    made = Validation(
        request=settings.request,
        parameters=parameters,
        bodies=bodies,
        body_required=required,
        response=settings.response,
        answers=answers,
    )
    return made, list(dict.fromkeys(unseen))


def _parameters(
    document: Document, operation: Operation, template: str, unseen: list[str]
) -> Iterator[Parameter]:
    written = operation.path.split("/")
    whole = template.split("/")
    for node, pointer in operation.parameters:
        place, name = str(node["in"]), str(node["name"])
        style = node.get("style") or _STYLES.get(place, "form")
        if place == "header" and name.lower() in _IGNORED_HEADERS:
            continue
        made = None
        if place in _STYLES and (style in _SEPARATORS or "content" in node):
            made = _parameter(document, node, pointer, place, str(style))
        if made is None:
            unseen.append(f"the {place} parameter {name} ({style}) is not checked")
            continue
        segment = 0
        if place == "path":
            if "{" + name + "}" not in written:
                unseen.append(f"the path parameter {name} is not a whole segment, and not checked")
                continue
            # counted from the end, as both paths may begin differently
            segment = len(whole) - len(written) + written.index("{" + name + "}")
        required = node.get("required") is True or place == "path"
        yield Parameter(
            place=place,
            name=name.lower() if place == "header" else name,
            schema=made.schema,
            kinds=made.kinds,
            required=required,
            separator=made.separator,
            segment=segment,
        )


def _parameter(document: Document, node: Node, pointer: str, place: str, style: str) -> Parameter | None:
    """Schema, kinds and separator of a parameter; None where it is of a form that is not read."""
    content = node.get("content")
    if isinstance(content, dict):
        media, member = next(iter(content.items()), ("", None))
        if media != "application/json" or not isinstance(member, dict):
            return None
        alone = stand_alone(document, member.get("schema", {}), f"{pointer}/content", request=True)
        return Parameter(place, "", alone.text or "true", ("json",))
    alone = stand_alone(document, node.get("schema", {}), pointer + "/schema", request=True)
    types = types_of(alone.schema, alone.schema)
    if "object" in types and len(types) < len(_ALL):
        return None
    if "array" not in types or len(types) == len(_ALL):
        return Parameter(place, "", alone.text or "true", kinds_of(types))
    explode = node.get("explode", style == "form")
    separator = "&" if place == "query" and explode is True else _SEPARATORS[style]
    items = member_of(alone.schema, alone.schema, "items")
    return Parameter(
        place, "", alone.text or "true", kinds_of(types_of(items, alone.schema)), separator=separator
    )


def _bodies(
    document: Document, node: Node, pointer: str, unseen: list[str], *, request: bool
) -> Iterator[Body]:
    content = node.get("content", {})
    if not isinstance(content, dict):
        raise DocumentError("`content` is no mapping", pointer)
    for written, value in content.items():
        media = written.partition(";")[0].strip().lower()
        member, place = document.node(value, f"{pointer}/content{step(written)}")
        schema = member.get("schema", {})
        is_json = media in {"application/json", "application/*", "*/*"} or media.endswith("+json")
        if not is_json and media != FORM:
            if schema not in ({}, True):
                unseen.append(f"bodies of the type {media} are not looked into")
            yield Body(media)
            continue
        alone = stand_alone(document, schema, place + "/schema", request=request)
        if is_json:
            yield Body(media, "json", alone.text, (), alone.depth)
        else:
            yield Body(media, "form", alone.text, tuple(_fields(alone)), alone.depth)


def _fields(alone: StandAlone) -> Iterator[FormField]:
    for name, schema in _properties(alone.schema, alone.schema, 0).items():
        types = types_of(schema, alone.schema)
        listed = "array" in types and len(types) < len(_ALL)
        if listed:
            types = types_of(member_of(schema, alone.schema, "items"), alone.schema)
        yield FormField(name, kinds_of(types), listed)


def _answers(document: Document, operation: Operation, unseen: list[str]) -> Iterator[Answer]:
    responses = operation.node.get("responses", {})
    if not isinstance(responses, dict):
        raise DocumentError("`responses` is no mapping", operation.pointer)
    for status, value in responses.items():
        if status.startswith("x-"):
            continue
        node, pointer = document.node(value, f"{operation.pointer}/responses{step(status)}")
        code = "default" if status == "default" else status.upper()
        yield Answer(code, tuple(_bodies(document, node, pointer, unseen, request=False)))


# -- what a value of a schema can be --

_ALL: Final = frozenset({"string", "number", "integer", "boolean", "null", "array", "object"})
_LEVELS_MAX: Final = 16


def types_of(schema: Value, whole: Value, level: int = 0) -> frozenset[str]:
    """The JSON types that a value of ``schema`` may have, as far as it says; all where it does not."""
    if not isinstance(schema, dict) or level > _LEVELS_MAX:
        return _ALL
    types = _ALL
    kind, values = schema.get("type"), schema.get("enum")
    if isinstance(kind, str):
        types = frozenset({kind})
    elif isinstance(kind, list):
        types = frozenset(str(one) for one in kind)
    elif isinstance(values, list):
        types = frozenset(_type_of(one) for one in values)
    elif "const" in schema:
        types = frozenset({_type_of(schema["const"])})
    reference = schema.get("$ref")
    if isinstance(reference, str):
        types &= types_of(_definition(reference, whole), whole, level + 1)
    for one in _listed(schema, "allOf"):
        types &= types_of(one, whole, level + 1)
    for word in ("anyOf", "oneOf"):
        some = _listed(schema, word)
        if some:
            types &= frozenset().union(*(types_of(one, whole, level + 1) for one in some))
    return types


def kinds_of(types: frozenset[str]) -> tuple[str, ...]:
    """What a text is tried as, in order. Where the schema says nothing of types, it is text."""
    if types == _ALL:
        return ("text",)
    found = [_KINDS[one] for one in ("null", "boolean", "integer", "number") if one in types]
    return (*dict.fromkeys(found), "text")


def member_of(schema: Value, whole: Value, word: str, level: int = 0) -> Value:
    """What ``schema`` says under ``word``, itself or what it refers to."""
    if not isinstance(schema, dict) or level > _LEVELS_MAX:
        return {}
    if word in schema:
        return schema[word]
    reference = schema.get("$ref")
    places: list[Value] = [_definition(reference, whole)] if isinstance(reference, str) else []
    for one in (*places, *_listed(schema, "allOf"), *_listed(schema, "anyOf"), *_listed(schema, "oneOf")):
        found = member_of(one, whole, word, level + 1)
        if found not in ({}, None):
            return found
    return {}


def _properties(schema: Value, whole: Value, level: int) -> dict[str, Value]:
    """Every property that a schema names, itself or in what it is made of."""
    if not isinstance(schema, dict) or level > _LEVELS_MAX:
        return {}
    found: dict[str, Value] = {}
    reference = schema.get("$ref")
    places: list[Value] = [_definition(reference, whole)] if isinstance(reference, str) else []
    for one in (*places, *_listed(schema, "allOf"), *_listed(schema, "anyOf"), *_listed(schema, "oneOf")):
        found |= _properties(one, whole, level + 1)
    own = schema.get("properties")
    return found | own if isinstance(own, dict) else found


def _definition(reference: str, whole: Value) -> Value:
    definitions = whole.get("$defs") if isinstance(whole, dict) else None
    return definitions.get(reference.rpartition("/")[2]) if isinstance(definitions, dict) else None


def _listed(schema: Node, word: str) -> list[Value]:
    some = schema.get(word)
    return some if isinstance(some, list) else []


def _type_of(value: Value) -> str:
    names: dict[type, str] = {
        str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object",
    }  # fmt: skip
    return names.get(type(value), "null")
