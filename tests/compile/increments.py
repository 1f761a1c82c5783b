"""A small world of entries that can conflict with each other in every way there is: the file's, and what a database may put beside them."""

from pathlib import Path
from typing import cast

from hypothesis import strategies as st

from faregate.compile.increment import State
from faregate.kernel.changes import Change
from faregate.kernel.replica import SECTIONS, Entries
from faregate.model.diagnostics import Diagnostic, Level
from faregate.model.load import load
from faregate.model.managed import base_of, read_base
from faregate.model.tree import Tree

FILE = """\
gateway:
  listen: [{address: "127.0.0.1:0"}]
issuers:
  i0: {issuer: "https://i0.example", secret: "${SECRET}", audience: a, algorithms: [HS256]}
upstreams:
  u0: {targets: ["http://127.0.0.1:9001"]}
plans:
  p0: {limits: ["10/second"]}
consumers:
  c0:
    plan: p0
    permissions: [x:read]
    credentials:
      - api_key: {id: k0, sha256: "%s"}
      - jwt: {issuer: i0, subject: zero}
apis:
  a0:
    upstream: u0
    authenticate: [api_key, jwt]
    versions: {v1: {path: /a0/v1}, v2: {path: /a0/v2, preview: [c0], state: draft}}
    routes: [{match: GET /things, require: x:read}, {match: "POST /things/{id}", require: x:read}]
""" % ("00" * 32)


def base_tree(folder: Path) -> Tree:
    """What a gateway on the file would have left in its data folder, read again."""
    file = folder / "faregate.yaml"
    file.write_text(FILE)
    loaded = load(file, {"SECRET": "0123456789abcdef0123456789abcdef"})
    assert loaded.config is not None, loaded.diagnostics
    (folder / "base.json").write_bytes(base_of(loaded.tree))
    return read_base(folder / "base.json")[0]


def _few(*values: object) -> st.SearchStrategy[object]:
    return st.sampled_from(values)


def _some(**members: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.fixed_dictionaries({}, optional=members)


NAMES = {  # none of the file's
    "issuers": ("i1", "i2"), "upstreams": ("u1", "u2"), "plans": ("p1", "p2"), "groups": ("g1", "g2"),
    "consumers": ("c1", "c2", "c3"), "apis": ("a1", "a2", "a3"), "credentials": ("k0", "k1", "k2", "k3"),
}  # fmt: skip
_digest = _few(*(f"{number:02x}" * 32 for number in range(4)))
_api_key = st.fixed_dictionaries(
    {"sha256": _digest}, optional={"id": _few("k1", "k2", "own1", "own2"), "expires": _few("2027-01-31")}
)
_jwt = st.fixed_dictionaries({"issuer": _few("i0", "i1"), "subject": _few("zero", "one", "two")})
_mtls = _few({"sha256": "aa" * 32}, {"sha256": "bb" * 32}, {"subject": "CN=acme", "ca": "/etc/passwd"})
_proof = st.one_of(
    st.fixed_dictionaries({"api_key": _api_key}),
    st.fixed_dictionaries({"jwt": _jwt}),
    st.fixed_dictionaries({"mtls": _mtls}),
)
_route = st.fixed_dictionaries(
    {"match": _few("GET /things", "GET /things/{id}", "GET /things/{other}", "POST /payments", "GET /{rest...}")},
    optional={"require": _few("x:read", ["x:read", "y:write"]), "upgrade": _few("websocket"), "idempotency": _few("required", "off")},
)  # fmt: skip
_version = st.fixed_dictionaries(
    {"path": _few("/a0/v1", "/a1/v1", "/a2/v1", "/a2/v2")},
    optional={
        "state": _few("active", "draft"), "successor": _few("v1", "v2"), "preview": _few(["c0"], ["c1", "c2"]), "upstream": _few("u0", "u1", "u2"),
        "routes": st.lists(_route, min_size=1, max_size=2),
    },
)  # fmt: skip
_by_header = st.fixed_dictionaries(
    {"by": _few("header"), "name": _few("Api-Version"), "path": _few("/a1/v1", "/dated"), "2026-01-01": _few({}, {"state": "deprecated"})},
    optional={"default": _few("pinned", "2026-01-01"), "2026-06-01": _few({}, {"preview": ["c2"], "state": "draft"})},
)  # fmt: skip
CONTENTS: dict[str, st.SearchStrategy[object]] = {
    "issuers": _few(
        {"issuer": "https://i1.example", "secret": "f" * 32, "audience": "a", "algorithms": ["HS256"]},
        {"issuer": "https://i0.example", "secret": "f" * 32, "audience": ["a", "b"], "algorithms": ["HS256"]},
        {"issuer": "https://i1.example", "jwks": "../secret.json", "audience": "a", "algorithms": ["ES256"]},
    ),
    "upstreams": _few(
        {"targets": ["http://127.0.0.1:9002"]}, {"targets": ["http://127.0.0.1:9002"], "protocol": "h2"}, {"targets": []},
        {"targets": ["https://127.0.0.1:9443"], "tls": {"verify": False}},
    ),
    "plans": _few({}, {"limits": ["5/second"]}, {"limits": ["five"]}, {"quota": "100/day"}, {"quota": "${PLAN}"}),
    "groups": _some(plan=_few("p0", "p1"), permissions=_few(["y:write"], ["y:write@a1/v1"]), apis=_few(["a0"], ["a1/v1", "a2"])),
    "consumers": _some(
        plan=_few("p0", "p1", "p2"), permissions=_few(["x:read"], ["x:read@a1"]), credentials=st.lists(_proof, max_size=2), groups=_few(["g1"], ["g1", "g2"]),
        apis=_few(["a0", "a1"], ["a2/v2"]), state=_few("suspended", "gone"), allow_ips=_few(["10.0.0.0/8"]),
        pins=_few({"a1": "2026-01-01"}, {"a2": "2026-06-01"}, {"a0": "v1"}),
    ),
    "apis": st.fixed_dictionaries(
        {
            "authenticate": _few(["api_key"], ["jwt", "api_key"], []),
            "versions": st.one_of(
                st.dictionaries(_few("v1", "v2"), _version, min_size=1, max_size=2), _by_header
            ),
            "routes": st.lists(_route, max_size=2),
        },
        optional={"upstream": _few("u0", "u1", "u2"), "limits": _few(["9/second"])},
    ),
    "credentials": st.builds(
        lambda owner, proof: {"consumer": owner, **cast("dict[str, object]", proof)}, _few("c0", "c1", "c2", "nobody"), _proof
    ),
}  # fmt: skip


@st.composite
def change(draw: st.DrawFn) -> Change:
    section = draw(st.sampled_from(SECTIONS))
    name = draw(st.sampled_from(NAMES[section]))
    return Change(
        section, name, draw(st.one_of(CONTENTS[section], CONTENTS[section], CONTENTS[section], st.none()))
    )


def changes() -> st.SearchStrategy[list[Change]]:
    return st.lists(change(), min_size=1, max_size=3, unique_by=lambda one: (one.section, one.name))


def errors(found: list[Diagnostic]) -> list[Diagnostic]:
    """In an order that does not depend on what else was found."""
    return sorted(
        (one for one in found if one.level is Level.ERROR), key=lambda one: (one.path, one.sort_key)
    )


def whole(base: Tree, entries: Entries) -> State:
    """Everything compiled at once, on another way than by increments."""
    return State(base, entries, lambda: 1.8e9)
