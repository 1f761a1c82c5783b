"""The database's entries stand beside the file's, name no file outside its folder, and every one has one owner."""

import types
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from faregate.compile.compiler import compile_config
from faregate.compile.key_material import resolve
from faregate.kernel.changes import Change
from faregate.kernel.replica import NAME, Replica
from faregate.model.config import Config
from faregate.model.consumers import Credential
from faregate.model.diagnostics import Diagnostic
from faregate.model.interpolate import Interpolated
from faregate.model.load import Loaded, load
from faregate.model.managed import FILES, BaseError, ManagedSource, base_of, escapes, read_base
from faregate.model.report import as_text
from faregate.model.values import FilePath

FILE = """\
gateway: {listen: [{address: "127.0.0.1:0"}], data: data}
issuers: {ours: {issuer: "https://x.example", secret: "${SECRET}", audience: a, algorithms: [HS256]}}
upstreams: {main: {targets: ["http://127.0.0.1:9001"]}}
plans: {gold: {limits: ["10/second"]}}
consumers:
  acme: {plan: gold, permissions: [x:read]}
"""
KEY = {"api_key": {"sha256": "ab" * 32}}


def loaded(folder: Path, *changes: Change, file: str = FILE) -> Loaded:
    (folder / "faregate.yaml").write_text(file)
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data" / NAME).unlink(missing_ok=True)
    if changes:
        Replica(folder / "data" / NAME).append(changes, 1)
    return load(folder / "faregate.yaml", {"SECRET": "0123456789abcdef0123456789abcdef"})


def found(folder: Path, *changes: Change, file: str = FILE) -> list[Diagnostic]:
    return compile_config(loaded(folder, *changes, file=file), 1, wall=1.8e9)[1]


def test_entries_of_both_are_one_configuration(tmp_path: Path) -> None:
    api = {
        "upstream": "main",
        "authenticate": ["api_key"],
        "versions": {"v1": {"path": "/v1"}},
        "routes": [{"match": "GET /", "require": "x:read"}],
    }
    made = loaded(
        tmp_path,
        Change("plans", "silver", {"limits": ["1/second"]}),
        Change("consumers", "beta", {"plan": "silver"}),
        Change("credentials", "k1", {"consumer": "acme", **KEY}),
        Change("apis", "pay", api),
    )
    snapshot, diagnostics = compile_config(made, 1)
    assert diagnostics == []
    assert snapshot is not None
    assert [plan.name for plan in snapshot.plans] == ["gold", "silver"]
    assert [(one.name, [key.id for key in one.credentials]) for one in snapshot.consumers] == [
        ("acme", ["k1"]),
        ("beta", []),
    ]  # type: ignore[union-attr]
    assert [route.template for route in snapshot.routes] == ["/v1"]


def test_a_name_in_both_is_an_error_that_tells_both_owners(tmp_path: Path) -> None:
    (one,) = found(tmp_path, Change("consumers", "acme", {"plan": "nonsense"}))
    assert (one.code, one.path, one.line) == ("duplicate_name", "consumers.acme", 6)
    assert "stands in" in one.message
    assert "faregate.yaml:6:3" in one.message
    assert "in the manager's database" in one.message


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (Change("consumers", "x", {"plan": "bronze"}), ("unresolved_reference", "consumers.x.plan")),
        (Change("credentials", "k", {"consumer": "nobody", **KEY}), ("unresolved_reference", "credentials.k.consumer")),
        (Change("credentials", "k", {**KEY}), ("missing_key", "credentials.k.consumer")),
        (Change("credentials", "k", {"consumer": "acme"}), ("bad_value", "credentials.k")),
        (Change("credentials", "k", {"consumer": "acme", "api_key": {"sha256": "short"}}), ("bad_value", "credentials.k.api_key.sha256")),
        (Change("credentials", "k", {"consumer": "acme", "api_key": {**KEY["api_key"], "id": "j"}}), ("bad_value", "credentials.k.api_key.id")),
        (Change("plans", "p", []), ("wrong_type", "plans.p")),
        (Change("plans", "p", {"quota": "${QUOTA}"}), ("secret_missing", "plans.p.quota")),
        (Change("issuers", "i", {"issuer": "i", "jwks": "/etc/passwd", "audience": "a", "algorithms": ["ES256"]}), ("bad_value", "issuers.i.jwks")),
        (Change("upstreams", "u", {"targets": ["https://u"], "tls": {"ca": "../ca.pem"}}), ("bad_value", "upstreams.u.tls.ca")),
        (Change("upstreams", "u", {"targets": ["https://u"], "tls": {"ca": "a/../../ca.pem"}}), ("bad_value", "upstreams.u.tls.ca")),
        (Change("credentials", "k", {"consumer": "acme", "mtls": {"subject": "CN=x", "ca": "/ca.pem"}}), ("bad_value", "credentials.k.mtls.ca")),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_entry_of_the_database_is_told_by_its_name_there(
    tmp_path: Path, change: Change, expected: tuple[str, str]
) -> None:
    told = [one for one in found(tmp_path, change) if one.level == "error"]
    assert expected in [(one.code, one.path) for one in told]
    assert {(one.file, one.line) for one in told} == {("managed", 0)}
    made = loaded(tmp_path, change)
    _, diagnostics = compile_config(made, 1)
    assert f"managed {expected[1]}: {expected[0]}: " in as_text(diagnostics, made.tree.sources)


def test_an_entry_too_deep_to_be_walked_is_refused(tmp_path: Path) -> None:
    deep: object = "x"
    for _ in range(70):
        deep = [deep]
    assert ("too_large", "plans.p") in [
        (one.code, one.path) for one in found(tmp_path, Change("plans", "p", {"limits": deep}))
    ]


def test_a_credential_comes_behind_the_consumers_own_and_counts_among_its_hundred(tmp_path: Path) -> None:
    many = [
        Change(
            "credentials",
            f"k{number}",
            {"consumer": "acme", "jwt": {"issuer": "ours", "subject": f"s{number}"}},
        )
        for number in range(101)
    ]
    assert [(one.code, one.path) for one in found(tmp_path, *many) if one.level == "error"] == [
        ("bad_value", "consumers.acme.credentials")
    ]
    assert [one for one in found(tmp_path, *many[:100]) if one.level == "error"] == []


def test_two_owners_of_one_key_are_both_named(tmp_path: Path) -> None:
    file = FILE.replace(
        "[x:read]}", f'[x:read], credentials: [{{api_key: {{id: own, sha256: "{"ab" * 32}"}}}}]}}'
    )
    (one,) = found(
        tmp_path,
        Change("consumers", "beta", {}),
        Change("credentials", "k", {"consumer": "beta", **KEY}),
        file=file,
    )
    assert (one.code, one.path) == ("duplicate_credential", "credentials.k.api_key.sha256")
    assert "faregate.yaml:6:" in one.message


def test_files_of_entries_lie_below_the_files_folder_and_no_other_is_opened(tmp_path: Path) -> None:
    names = ["a.pem", "sub/a.pem", "sub/../a.pem", "../a.pem", "/a.pem", "..", "sub/../../a.pem", "a\0.pem"]
    assert [name for name in names if not escapes(name)] == names[:3]
    tree = loaded(tmp_path, Change("upstreams", "u", {"targets": ["https://u"]})).tree
    assert resolve(tree, ("upstreams", "u", "tls", "ca"), "sub/a.pem") == str(tmp_path / "sub" / "a.pem")
    assert resolve(tree, ("upstreams", "u", "tls", "ca"), "../a.pem") == ""
    assert resolve(tree, ("upstreams", "main", "tls", "ca"), "../a.pem") == str(tmp_path.parent / "a.pem"), (
        "the file's own may"
    )


def _file_places(kind: object, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Where a declared form takes the name of a file."""
    if kind is FilePath or (
        typing.get_origin(kind) is typing.Annotated and set(FilePath.__metadata__) <= set(kind.__metadata__)
    ):  # type: ignore[attr-defined]
        yield path
        return
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        for name, hint in typing.get_type_hints(kind, include_extras=True).items():
            if name in kind.model_fields:
                yield from _file_places(hint, (*path, name))
        return
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        yield from _file_places(parts[0], path)
    elif origin in {dict, list}:
        yield from _file_places(parts[-1], (*path, "*"))
    elif origin in {typing.Union, types.UnionType}:
        for part in parts:
            yield from _file_places(part, path)


def test_every_place_that_takes_a_file_is_known() -> None:
    places = {place for place in _file_places(Config, ()) if place[0] != "gateway"}
    places |= {("credentials", "*", *place) for place in _file_places(Credential, ())}
    assert ("upstreams", "*", "tls", "ca") in places, "the walk sees something"
    assert places <= set(FILES)


def test_the_base_is_the_file_as_it_ran_without_the_databases_entries(tmp_path: Path) -> None:
    made = loaded(
        tmp_path, Change("plans", "silver", {}), Change("credentials", "k1", {"consumer": "acme", **KEY})
    )
    path = tmp_path / "base.json"
    path.write_bytes(base_of(made.tree))
    tree, digest = read_base(path)
    assert digest == read_base(path)[1]
    assert tree.data == loaded(tmp_path).tree.data
    secret = tree.names("issuers")["ours"]["secret"]  # type: ignore[index, call-overload]
    assert isinstance(secret, Interpolated)
    assert not isinstance(tree.owner(("consumers", "acme")), ManagedSource)
    assert tree.owner(("gateway", "data")).path == tmp_path / "faregate.yaml"
    for wrong in (b"{}", b'{"format":9,"files":[["a","a"]],"entries":[]}', b"x"):
        path.write_bytes(wrong)
        with pytest.raises(BaseError):
            read_base(path)
    with pytest.raises(BaseError, match="start the gateway first"):
        read_base(tmp_path / "none.json")


def test_a_replica_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    loaded(tmp_path)
    (tmp_path / "data" / NAME).write_text("plans: {}\n")
    _, diagnostics = compile_config(load(tmp_path / "faregate.yaml", {"SECRET": "0" * 32}), 1)
    assert [one.code for one in diagnostics] == ["file_unreadable"]
