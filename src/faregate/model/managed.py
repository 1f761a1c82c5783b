"""Entries of the manager's database, put beside those of the configuration file; and the file's as they run.

A machine reads the database's entries from its replica (``kernel.replica``). They are hostile input: no
``${...}`` in them is filled in, and files they name lie below the folder of the configuration file. An entry
has one owner; where file and database define one name, the file's counts and both owners are told. A
credential of the database is put behind those of its consumer, whoever owns that. ``base.json`` holds the
file's entries as they were last put to work, so that an edit that nobody reloaded is never compiled.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias, cast

import msgspec

from faregate.kernel.changes import MANAGED, digest_of
from faregate.kernel.replica import NAME, SECTIONS, Entries, ReplicaError, read
from faregate.model.diagnostics import Findings, TreePath, Value, nearest_name, path_text
from faregate.model.interpolate import Interpolated
from faregate.model.source import Source
from faregate.model.tree import SECTIONS as TREE_SECTIONS
from faregate.model.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Mapping

BASE_NAME: Final = "base.json"
BASE_FORMAT: Final = 1
DATA_DEFAULT: Final = "faregate-data"
DEPTH_MAX: Final = 64
"""Of an entry; a document of an API may be written into one."""

_Pattern: TypeAlias = tuple[str, ...]
_ANY: Final = "*"
FILES: Final[tuple[_Pattern, ...]] = (
    ("issuers", _ANY, "jwks"),
    ("issuers", _ANY, "tls", "ca"),
    ("upstreams", _ANY, "tls", "ca"),
    ("upstreams", _ANY, "tls", "certificate"),
    ("upstreams", _ANY, "tls", "key"),
    ("consumers", _ANY, "credentials", _ANY, "mtls", "ca"),
    ("credentials", _ANY, "mtls", "ca"),
    ("apis", _ANY, "openapi"),
    ("apis", _ANY, "versions", _ANY, "openapi"),
)
"""Where an entry may name a file; a test holds this against the declared forms."""
_REFERENCE: Final = re.compile(r"\$\{[^}]*\}")
_BELOW: Final = "a path relative to the folder of the configuration file, and below it"


class ManagedSource(Source):
    """What owns the database's entries: positions in it are names, and there is no text to show."""

    below = True

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / MANAGED, MANAGED)
        self.credentials: dict[TreePath, str] = {}
        """The database's names of credentials by their places in the tree."""

    def position(self, path: TreePath, *, at_key: bool) -> tuple[int, int]:  # noqa: ARG002 - a source's signature
        return 0, 0

    def written(self, path: TreePath) -> TreePath:
        name = self.credentials.get(path[:4])
        return path if name is None else ("credentials", name, *path[4:])


def merge_replica(tree: Tree, findings: Findings) -> ManagedSource | None:
    """Puts the entries of the replica in the data folder of ``tree`` beside its own; None when there is none.

    Reports to ``findings``.
    """
    path = data_folder(tree) / NAME
    try:
        contents = read(path)
    except (OSError, ReplicaError) as error:
        why = str(error) if isinstance(error, ReplicaError) else f"{path} cannot be read: {error.strerror}"
        findings.add("file_unreadable", ("gateway", "data"), why)
        return None
    return merge(tree, contents.entries, findings) if contents.length else None


def data_folder(tree: Tree) -> Path:
    """Where the gateway of ``tree`` has its data."""
    named = tree.names("gateway").get("data")
    name = named if isinstance(named, str) else DATA_DEFAULT
    return Path(os.path.abspath(tree.owner(("gateway", "data")).path.parent / name))  # noqa: PTH100 - as written


def merge(tree: Tree, entries: Entries, findings: Findings) -> ManagedSource:
    """Puts ``entries`` beside those of ``tree``; what is wrong with them goes to ``findings``."""
    source = ManagedSource(tree.root.path.parent)
    tree.sources.append(source)
    for section, named in entries.items():
        if section == "credentials" or section not in SECTIONS:
            continue
        for name, content in named.items():
            if name in tree.names(section):
                report_owned(tree, (section, name), findings)
                continue
            tree.add((section, name), cast("Value", content), source)
            judge((section, name), cast("Value", content), findings)
    for name, content in entries.get("credentials", {}).items():
        add_credential(tree, source, name, cast("Value", content), findings)
    return source


def report_owned(tree: Tree, path: TreePath, findings: Findings) -> None:
    """The database has what the file has as well."""
    owner = tree.owner(path)
    owner.prepare([path])
    line, column = owner.position(path, at_key=True)
    place = f"{owner.shown}:{line}:{column}" if line else owner.shown
    findings.add(
        "duplicate_name",
        path,
        f"`{path_text(path)}` stands in {place} and in the manager's database",
        expected="one owner: delete it there, or take it out of the file",
        at_key=True,
    )


def add_credential(tree: Tree, source: ManagedSource, name: str, content: Value, findings: Findings) -> None:
    """Puts a credential of the database behind those of its consumer."""
    path: TreePath = ("credentials", name)
    tree.own(path, source)
    judge(path, content, findings)
    if not isinstance(content, dict):
        return
    owner = content.get("consumer")
    consumer = tree.names("consumers").get(owner) if isinstance(owner, str) else None
    if not isinstance(owner, str):
        findings.add("missing_key", (*path, "consumer"), "`consumer` is missing")
        return
    if owner not in tree.names("consumers"):
        names = tree.names("consumers")
        nearest = nearest_name(owner, names) if len(names) <= 1000 else ""
        findings.add(
            "unresolved_reference", (*path, "consumer"), f"no consumer is named `{owner}`", nearest=nearest
        )
        return
    if not isinstance(consumer, dict):
        return  # reported with its shape
    own = consumer.get("credentials", [])
    if not isinstance(own, list):
        return  # likewise
    place: TreePath = ("consumers", owner, "credentials", len(own))
    source.credentials[place] = name
    tree.own(place, source)
    tree.names("consumers")[owner] = {**consumer, "credentials": [*own, credential_of(name, content)]}
    for kind, proof in content.items():
        if isinstance(proof, dict) and proof.get("id", name) != name:
            message = "the id of a credential is its name in the database"
            findings.add("bad_value", (*path, kind, "id"), message, expected=f"`{name}`")


def credential_of(name: str, content: "Mapping[str, Value]") -> dict[str, Value]:
    """A credential of the database as it stands in a consumer: its name is its id."""
    return {
        kind: {**proof, "id": name} if isinstance(proof, dict) else proof
        for kind, proof in content.items()
        if kind != "consumer"
    }


def judge(path: TreePath, content: Value, findings: Findings) -> None:
    """What is wrong with an entry of the database whatever it means."""
    if not isinstance(content, dict):
        findings.add("wrong_type", path, "the entry is not a mapping", expected="a mapping")
        return
    if not _judge_texts(path, content, findings, DEPTH_MAX):
        findings.add("too_large", path, f"the entry is deeper than {DEPTH_MAX} levels")
        return
    for pattern in FILES:
        if pattern[0] == path[0]:
            for place, value in _places(content, pattern[2:], path):
                if isinstance(value, str) and not value.startswith("https://") and escapes(value):
                    message = "an entry of the database may not name this file"
                    findings.add("bad_value", place, message, expected=_BELOW)


def escapes(name: str) -> bool:
    """Whether a file's name leads out of the folder that it is relative to."""
    return name.startswith("/") or os.path.normpath(name).split("/", 1)[0] == ".." or "\0" in name


def _judge_texts(path: TreePath, value: Value, findings: Findings, levels: int) -> bool:
    """Whether ``value`` is not too deep; reports texts that wait for a ``${...}`` to be filled in."""
    if isinstance(value, str):
        if "${" in value and _REFERENCE.fullmatch(value):
            message = "${...} is not filled in here: the database's entries see no environment and no files"
            findings.add(
                "secret_missing", path, message, expected="the value itself, or an entry of the file"
            )
        return True
    if levels == 0:
        return not isinstance(value, (dict, list))
    if isinstance(value, dict):
        return all(_judge_texts((*path, key), member, findings, levels - 1) for key, member in value.items())
    if isinstance(value, list):
        return all(
            _judge_texts((*path, index), member, findings, levels - 1) for index, member in enumerate(value)
        )
    return True


def _places(value: Value, pattern: _Pattern, path: TreePath) -> Iterator[tuple[TreePath, Value]]:
    if not pattern:
        yield path, value
    elif isinstance(value, dict):
        for key in value if pattern[0] == _ANY else (pattern[0],) if pattern[0] in value else ():
            yield from _places(value[key], pattern[1:], (*path, key))
    elif isinstance(value, list) and pattern[0] == _ANY:
        for index, member in enumerate(value):
            yield from _places(member, pattern[1:], (*path, index))


# -- what the file says, as it runs --


_NONE: Final[list[list[str | int]]] = []


class _Entry(msgspec.Struct, omit_defaults=True, gc=False):
    """``file``: index in ``files``. ``filled``: places in ``content`` that ``${...}`` filled in."""

    section: str
    name: str
    file: int
    content: object
    filled: list[list[str | int]] = []


class BaseSource(Source):
    """A file as it was when it was put to work; its text is not at hand, so positions are names."""

    def position(self, path: TreePath, *, at_key: bool) -> tuple[int, int]:  # noqa: ARG002 - a source's signature
        return 0, 0


class _Base(msgspec.Struct):
    """``files``: path and name as shown; the first is the root."""

    format: int
    files: list[tuple[str, str]]
    entries: list[_Entry]


class BaseError(Exception):
    """``base.json`` cannot be read; the text is for the operator."""


def base_of(tree: Tree) -> bytes:
    """The file's own entries of ``tree``, with what ``${...}`` stands for: for a file of mode 0600."""
    files = {id(tree.root): 0}
    shown = [(str(tree.root.path), tree.root.shown)]
    entries: list[_Entry] = []
    credentials: dict[str, int] = {}
    for source in tree.sources:
        if isinstance(source, ManagedSource):
            for place in source.credentials:
                credentials[str(place[1])] = credentials.get(str(place[1]), 0) + 1
    alone = len(tree.sources) == 1
    for section in TREE_SECTIONS:
        for name, content in tree.names(section).items():
            source = tree.root if alone else tree.owner((section, name))
            if isinstance(source, ManagedSource):
                continue
            if id(source) not in files:
                files[id(source)] = len(shown)
                shown.append((str(source.path), source.shown))
            if section == "consumers" and name in credentials and isinstance(content, dict):
                own = content["credentials"]
                assert isinstance(own, list)
                left = own[: len(own) - credentials[name]]
                kept = {key: value for key, value in content.items() if key != "credentials"}
                content = {**kept, "credentials": left} if left else kept  # noqa: PLW2901 - its own part of it
            filled = [list(place) for place in _filled(content, ())] if source.has_references else _NONE
            entries.append(_Entry(section, name, files[id(source)], content, filled))
    return msgspec.json.encode(_Base(BASE_FORMAT, shown, entries), enc_hook=str)


def _filled(value: Value, path: TreePath) -> Iterator[TreePath]:
    if isinstance(value, dict):
        for key, member in value.items():
            yield from _filled(member, (*path, key))
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from _filled(member, (*path, index))
    elif isinstance(value, Interpolated):
        yield path


def read_base(path: Path) -> tuple[Tree, str]:
    """The tree that ``base_of`` wrote to ``path``, and its digest. Raises ``BaseError``."""
    try:
        content = path.read_bytes()
        base = msgspec.json.decode(content, type=_Base)
    except OSError as error:
        raise BaseError(f"{path} cannot be read: {error.strerror}; start the gateway first") from error
    except msgspec.MsgspecError as error:
        raise BaseError(f"{path} is not what a gateway writes: {error}; reload the gateway") from error
    if base.format != BASE_FORMAT or not base.files:
        raise BaseError(f"{path} is of another version; reload the gateway")
    sources: list[Source] = [BaseSource(Path(name), shown) for name, shown in base.files]
    tree = Tree(sources[0].path, sources[0].shown)
    tree.root = sources[0]
    tree.sources = sources
    for entry in base.entries:
        for place in entry.filled:
            _mark(entry.content, place)
        tree.add((entry.section, entry.name), cast("Value", entry.content), sources[entry.file])
    return tree, digest_of(content)


def _mark(content: object, place: list[str | int]) -> None:
    *above, last = place
    for step in above:
        content = cast("dict[str | int, object]", content)[step]
    holder = cast("dict[str | int, object]", content)
    holder[last] = Interpolated(str(holder[last]))
