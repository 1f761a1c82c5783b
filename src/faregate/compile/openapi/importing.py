"""An API's configuration made from its OpenAPI document: upstream, versions, routes, permissions, validation.

What the document cannot say, or says in a way that is not understood here, is a note, never a guess in
silence. Routes without any credential become an API of their own, as an API has one way to authenticate.
"""

import re
from typing import Final, NamedTuple

from pydantic import TypeAdapter, ValidationError

from faregate.compile.openapi.document import Document, DocumentError, Node, printable
from faregate.compile.openapi.operation_checks import validation_of
from faregate.compile.openapi.operations import Operation, base_paths, operations, split_url
from faregate.model.diagnostics import Value
from faregate.model.paths import SAFE_METHODS, check_template, parse_version_path
from faregate.policies.permit.settings import Permission
from faregate.policies.validate.settings import Validate

EXAMPLE_TARGET: Final = "http://127.0.0.1:9000"
_NAME: Final = re.compile(r"[^A-Za-z0-9_.@+-]+")
_VERSION: Final = re.compile(r"v[0-9]+[A-Za-z0-9.]*|[0-9]{4}-[0-9]{2}-[0-9]{2}")
_PARAMETER: Final = re.compile(r"\{([^{}]+)\}")
_UNMAPPED: Final = ("callbacks", "servers")
_METHODS: Final = {"oauth2": "jwt", "openIdConnect": "jwt", "mutualTLS": "mtls"}
_KEY_HEADERS: Final = frozenset({"x-api-key", "authorization"})


class Imported(NamedTuple):
    """``tree``: sections as they are written; ``notes``: what could not be mapped, for people."""

    tree: Node
    notes: list[str]


def imported(document: Document, *, name: str, file: str, upstream: str = "") -> Imported:
    """The configuration of the API ``name``. ``file``: the document as the configuration will name it;
    ``upstream``: a target's URL; empty: the first server's. Raises ``DocumentError``.
    """
    return _Importer(document, name, file).made(upstream)


def name_of(document: Document) -> str:
    """A name for the API, made of the document's title."""
    info = document.value.get("info")
    title = str(info.get("title", "")) if isinstance(info, dict) else ""
    return _NAME.sub("-", title).strip("-.@+").lower()[:64] or "api"


class _Importer:
    def __init__(self, document: Document, name: str, file: str) -> None:
        self._document = document
        self._name = name
        self._file = file
        self._notes: list[str] = []
        self._authenticate: dict[str, None] = {}

    def made(self, upstream: str) -> Imported:
        private: list[Value] = []
        public: list[Value] = []
        for operation in operations(self._document):
            template = self._template(operation)
            if template is None:
                continue
            required = self._required(operation)
            route = self._route(operation, template, required)
            (public if required is None else private).append(route)
        if "webhooks" in self._document.value:
            self._note("webhooks are not mapped")
        version = self._version()
        apis: Node = {}
        if private:
            if not self._authenticate:
                self._note("no way to authenticate could be mapped: api_key stands in its place")
                self._authenticate["api_key"] = None
            apis[self._name] = self._api(list(self._authenticate), version, private)
        if public:
            name = f"{self._name}-public" if private else self._name
            self._note(
                f"operations without a credential are the API `{name}`; give its writing routes `limits`"
            )
            apis[name] = self._api([], version, public)
        if not apis:
            raise DocumentError("the document describes no operation that can be a route", "/paths")
        if "jwt" in self._authenticate:
            self._note("authenticate: jwt needs an entry in `issuers`, which the document does not describe")
        target = upstream or self._target()
        tree: Node = {"upstreams": {self._name: {"targets": [target]}}, "apis": apis}
        return Imported(tree, list(dict.fromkeys(self._notes)))

    def _note(self, text: str) -> None:
        self._notes.append(printable(text))

    def _api(self, authenticate: list[Value], version: tuple[str, str], routes: list[Value]) -> Node:
        return {
            "upstream": self._name,
            "authenticate": authenticate,
            "openapi": self._file,
            "validate": {"request": True, "response": "off"},
            "versions": {version[0]: {"path": version[1], "state": "active"}},
            "routes": routes,
        }

    def _version(self) -> tuple[str, str]:
        """Name and path, of the first server; where its path names no version, the document's own does."""
        paths = base_paths(self._document)
        path = paths[0] or "/"
        for other in paths[1:]:
            self._note(f"the further base path {other or '/'} is not mapped")
        try:
            parse_version_path(path)
        except ValueError:
            self._note(f"the base path {path} cannot be a version's path; / is taken")
            path = "/"
        last = path.rpartition("/")[2]
        if _VERSION.fullmatch(last):
            return last, path
        info = self._document.value.get("info")
        told = str(info.get("version", "")) if isinstance(info, dict) else ""
        name = _NAME.sub("-", told).strip("-.@+")[:64]
        if not name:
            self._note("the document has no `info.version`; the version is called v1")
        return name or "v1", path

    def _target(self) -> str:
        servers = self._document.value.get("servers")
        for server in servers if isinstance(servers, list) else []:
            url = split_url(str(server.get("url", ""))) if isinstance(server, dict) else split_url("")
            if (
                url.scheme in {"http", "https"}
                and url.hostname
                and "{" not in url.netloc
                and "@" not in url.netloc
            ):
                self._note(f"the upstream is the server of the document, {url.scheme}://{url.netloc}")
                return f"{url.scheme}://{url.netloc}"
        self._note(f"no upstream is known: {EXAMPLE_TARGET} stands in its place; write your service's")
        return EXAMPLE_TARGET

    # routes

    def _template(self, operation: Operation) -> str | None:
        label = f"{operation.method} {operation.path}"
        template = _PARAMETER.sub(lambda match: "{" + _identifier(match[1]) + "}", operation.path)
        try:
            check_template(template)
        except ValueError as error:
            self._note(f"{label} is not mapped: {error}")
            return None
        return template

    def _route(self, operation: Operation, template: str, required: list[str] | None) -> Node:
        label = f"{operation.method} {template}"
        route: Node = {"match": label}
        if required:
            route["require"] = required[0] if len(required) == 1 else [*required]
        idempotency = self._idempotency(operation)
        if idempotency and operation.method in SAFE_METHODS:
            self._note(f"{label}: an Idempotency-Key on {operation.method} means nothing")
        elif idempotency and required is None:
            self._note(f"{label}: idempotency needs a caller who is known, and anybody may call this")
        elif idempotency:
            route["idempotency"] = idempotency
        for word in _UNMAPPED:
            if word in operation.node:
                self._note(f"{label}: `{word}` are not mapped")
        try:
            _, unseen = validation_of(self._document, operation, template, Validate())
            _try(self._document, operation)
            for text in unseen:
                self._note(f"{label}: {text}")
        except DocumentError as error:
            self._note(f"{label} is not validated: {error.message} (at {error.pointer})")
            route["validate"] = "off"
        return route

    @staticmethod
    def _idempotency(operation: Operation) -> str:
        for node, _ in operation.parameters:
            if node["in"] == "header" and str(node["name"]).lower() == "idempotency-key":
                return "required" if node.get("required") is True else "optional"
        return ""

    # who may call

    def _required(self, operation: Operation) -> list[str] | None:
        """The permissions that a call needs; None where it needs no credential."""
        listed = operation.node.get("security", self._document.value.get("security"))
        alternatives = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
        if not alternatives or {} in alternatives:
            return None
        label = f"{operation.method} {operation.path}"
        scopes: list[list[str]] = []
        for alternative in alternatives:
            if len(alternative) > 1:
                self._note(f"{label}: {' with '.join(alternative)} together are taken as any one of them")
            for name, asked in alternative.items():
                self._scheme(name)
                if isinstance(asked, list) and asked:
                    scopes.append([str(one) for one in asked])
        if len({tuple(sorted(some)) for some in scopes}) > 1:
            self._note(f"{label}: its alternatives ask for different scopes; the first one's are taken")
        found = [one for one in (scopes[0] if scopes else []) if _is_permission(one)]
        if scopes and len(found) < len(scopes[0]):
            self._note(f"{label}: scopes that are no permissions' names are left out")
        return found or [f"{self._name}:{'read' if operation.method in SAFE_METHODS else 'write'}"]

    def _scheme(self, name: str) -> None:
        components = self._document.value.get("components")
        schemes = components.get("securitySchemes") if isinstance(components, dict) else None
        written = schemes.get(name) if isinstance(schemes, dict) else None
        if written is None:
            self._note(f"the security scheme {name} is not described")
            return
        scheme, _ = self._document.node(written, "/components/securitySchemes/" + name)
        kind = str(scheme.get("type"))
        method = _METHODS.get(kind)
        if kind == "http" and str(scheme.get("scheme")).lower() == "bearer":
            method = "jwt"
        elif kind == "apiKey" and scheme.get("in") == "header":
            method = "api_key"
            if str(scheme.get("name")).lower() not in _KEY_HEADERS:
                self._note(
                    f"{name}: API keys come in X-API-Key or Authorization here, not in {scheme.get('name')}"
                )
        if method is None:
            self._note(f"the security scheme {name} ({kind}) is not mapped")
            return
        if method == "mtls":
            self._note(
                f"{name}: add mtls to `authenticate` once a listener asks for client certificates "
                "(`client_certificates`)"
            )
            return
        self._authenticate.setdefault(method)


def _is_permission(word: str) -> bool:
    try:
        TypeAdapter(Permission).validate_python(word)
    except ValidationError:
        return False
    return True


def _try(document: Document, operation: Operation) -> None:
    """Raises ``DocumentError`` where a schema of the operation cannot be compiled."""
    from faregate.compile.openapi.validation import compiles  # noqa: PLC0415 - brings what compiles them

    made, _ = validation_of(document, operation, operation.path, Validate())
    compiles(made, operation.pointer)


def _identifier(name: str) -> str:
    """The name of a path's parameter as routes may have it."""
    made = re.sub(r"[^A-Za-z0-9_]", "_", name)[:64]
    return made if made[:1].isalpha() or made[:1] == "_" else "_" + made[:63]
