"""Which operation each route is, and what its calls are held against: checked here, compiled in a worker.

A route whose calls are to be validated has its operation in the document, or that is an error: what is said
to be checked is. Every schema is compiled once to see that a worker can. What cannot be checked (cookies,
``deepObject``, XML) is a warning, as it passes unchecked.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from faregate.compile.key_material import resolve
from faregate.compile.openapi.document import Document, DocumentError, read_document, shown
from faregate.compile.openapi.operation_checks import validation_of
from faregate.compile.openapi.operations import Operation, base_paths, comparable, operations
from faregate.compile.version_records import placed_versions
from faregate.model.apis import Route
from faregate.model.config import Config
from faregate.model.diagnostics import Findings, TreePath
from faregate.model.paths import join
from faregate.model.tree import Tree
from faregate.policies.validate.settings import Validate
from faregate.snapshot.data import Snapshot
from faregate.snapshot.validation import Validation

BODY_BYTES_MAX: Final = 1 << 20
"""Of a body that is held whole to be checked."""
PATTERNS_BYTES_MAX: Final = 64 << 20
"""Of all patterns of a configuration, compiled: the dearest part of a schema."""
UNSEEN: Final = "not_validated"

Place = tuple[str, str, str]
"""API, version and label of a route."""
Validations = dict[Place, Validation]


class _Placed(NamedTuple):
    """A route with what it has from its version and API. ``document_at``: where its document is written."""

    api: str
    version: str
    prefix: str
    route: Route
    path: TreePath
    settings: Validate
    document: str | dict[str, object] | None
    document_at: TreePath


def check_validation(config: Config, tree: Tree, findings: Findings) -> Validations:
    """What calls are held against, by route; reports what is wrong with documents and how they are used."""
    documents = _Documents(tree, findings)
    found: Validations = {}
    for placed in _placed(config):
        if placed.document is None:
            message = "`validate` without a document to validate by"
            findings.add(
                "missing_key",
                (*placed.path, "match"),
                message,
                expected="`openapi: FILE` in the API or version, or `validate: off`",
            )
            continue
        body = config.gateway.limits.body if placed.route.body is None else placed.route.body
        if placed.settings.request and body > BODY_BYTES_MAX and placed.route.match.method != "GET":
            message = "the body of a call that is validated is held whole, and this one may be over 1MiB"
            findings.add("bad_value", (*placed.path, "match"), message, expected="body: 1MiB or less")
        made = documents.validation(placed)
        if made is not None:
            found[placed.api, placed.version, placed.route.match.label] = made
    return found


def validated(snapshot: Snapshot, validations: Validations) -> Snapshot:
    """The snapshot with what each route is held against."""
    if not validations:
        return snapshot
    routes = []
    for route in snapshot.routes:
        found = validations.get((route.api, snapshot.versions[route.version].name, route.label))
        routes.append(route if found is None else msgspec.structs.replace(route, validation=found))
    return msgspec.structs.replace(snapshot, routes=tuple(routes), checks_bodies=True)


def _placed(config: Config) -> Iterator[_Placed]:
    for name, api in config.apis.items():
        path: TreePath = ("apis", name)
        for one in placed_versions(api):
            declared = one.declared
            version_path: TreePath = (*path, "versions", one.name)
            document = api.openapi if declared.openapi is None else declared.openapi
            at: TreePath = (*(path if declared.openapi is None else version_path), "openapi")
            written = api.routes if declared.routes is None else declared.routes
            routes_at: TreePath = (*(path if declared.routes is None else version_path), "routes")
            for index, route in enumerate(written):
                settings = route.validation or declared.validation or api.validation
                if settings is not None and not settings.is_off:
                    place = (*routes_at, index)
                    yield _Placed(name, one.name, one.prefix, route, place, settings, document, at)


class _Documents:
    """Documents read once, each with its operations. What is wrong with one is reported once."""

    def __init__(self, tree: Tree, findings: Findings) -> None:
        self._tree = tree
        self._findings = findings
        self._known: dict[tuple[str, TreePath], _Operations | None] = {}
        self._told: set[tuple[TreePath, str]] = set()
        self._sound: dict[str, int] = {}

    def validation(self, placed: _Placed) -> Validation | None:
        """None where something is wrong, which was reported."""
        document = self._document(placed)
        if document is None:
            return None
        match = placed.route.match
        operation = document.find(match.method, placed.prefix, match.template)
        if operation is None:
            message = f"the OpenAPI document does not describe {match.label}"
            expected = "the operation in the document, or `validate: off` for this route"
            self._findings.add("no_operation", (*placed.path, "match"), message, expected=expected)
            return None
        template = join(placed.prefix, match.template)
        try:
            made, unseen = validation_of(document.document, operation, template, placed.settings)
            compiles(made, operation.pointer, self._sound)
        except DocumentError as error:
            self._report(placed.document_at, error)
            return None
        for message in unseen:
            if (placed.document_at, message) not in self._told:
                self._told.add((placed.document_at, message))
                self._findings.add(
                    UNSEEN,
                    placed.document_at,
                    message,
                    expected="the service checks it, or the document says it otherwise",
                )
        return made

    def _document(self, placed: _Placed) -> "_Operations | None":
        written, at = placed.document, placed.document_at
        key = (resolve(self._tree, at, written) if isinstance(written, str) else "", at)
        if key not in self._known:
            self._known[key] = None
            try:
                document = read_document(key[0]) if key[0] else Document(written)
                self._known[key] = _Operations(document)
            except DocumentError as error:
                self._report(at, error)
        return self._known[key]

    def _report(self, at: TreePath, error: DocumentError) -> None:
        place = f" (at {shown(error.pointer)})" if error.pointer else ""
        message = f"the OpenAPI document: {error.message}{place}"
        if (at, message) not in self._told:
            self._told.add((at, message))
            self._findings.add("bad_openapi", at, message, expected=error.expected)


class _Operations:
    """A document's operations by method and shape: of whole paths, and of paths alone."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self._whole: dict[tuple[str, str], Operation] = {}
        self._alone: dict[tuple[str, str], Operation] = {}
        for operation in operations(document):
            self._alone.setdefault((operation.method, comparable(operation.path)), operation)
            for base in base_paths(document):
                self._whole.setdefault((operation.method, comparable(base + operation.path)), operation)

    def find(self, method: str, prefix: str, template: str) -> Operation | None:
        """The operation of a route: the one of its whole path, else that of its path within the version."""
        whole = self._whole.get((method, comparable(join(prefix, template))))
        return whole or self._alone.get((method, comparable(template)))


def compiles(validation: Validation, pointer: str, sound: dict[str, int] | None = None) -> None:
    """Tries every schema of ``validation``, which stands at ``pointer``. ``sound``: those that are known to
    be, and which become known, with what their patterns take. Raises ``DocumentError``.
    """
    from faregate.kernel.json_schema import (  # noqa: PLC0415 - only where it is used
        Schema,
        SchemaError,
        pattern_bytes,
        patterns_of,
    )

    known = {} if sound is None else sound
    texts = [parameter.schema for parameter in validation.parameters]
    for bodies in (validation.bodies or (), *(answer.bodies for answer in validation.answers)):
        texts += [body.schema for body in bodies if body.schema]
    for text in texts:
        if text in known:
            continue
        try:
            Schema(text)
            taken = sum(map(pattern_bytes, patterns_of(text))) if "attern" in text else 0
        except SchemaError as error:
            place = f" ({shown(error.pointer)})" if error.pointer else ""
            raise DocumentError(f"{error}{place}", pointer) from None
        known[text] = taken
        if taken and sum(known.values()) > PATTERNS_BYTES_MAX:
            raise DocumentError(
                f"the patterns up to here take over {PATTERNS_BYTES_MAX >> 20} MiB in each worker",
                pointer,
                "`maxLength` in place of `{1,255}`, and `validate: off` where it is not needed",
            )
