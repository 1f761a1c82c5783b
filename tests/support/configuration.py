"""Writes gateway configurations as a user would: YAML text in a folder, with the keys and tokens that go with it.

``standard`` holds one API for each thing the tests provoke; a test that needs something else takes the tree and changes it.
Key material is made once per process and is worth nothing.
"""

import copy
import functools
import hashlib
import json
import re
import time
from pathlib import Path
from typing import Final, TypeAlias

from joserfc import jwt
from joserfc.jwk import ECKey

Value: TypeAlias = "str | int | bool | list[Value] | dict[str, Value]"
Tree: TypeAlias = dict[str, Value]

ISSUER: Final = "https://id.acme.example"
AUDIENCE: Final = "payments"
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_PLAIN: Final = re.compile(r"[A-Za-z/][A-Za-z0-9/_.-]*")
_NOT_TEXT: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


@functools.cache
def signing_key() -> ECKey:
    """The ES256 key whose public half the configuration trusts."""
    return ECKey.generate_key("P-256", {"kid": "e2e-1", "alg": "ES256", "use": "sig"})


@functools.cache
def foreign_key() -> ECKey:
    """A key of the same shape, and the same id, that nobody trusts."""
    return ECKey.generate_key("P-256", {"kid": "e2e-1", "alg": "ES256", "use": "sig"})


def token(subject: str, *, key: ECKey | None = None, **claims: object) -> str:
    """A JWT for ``subject``, valid for an hour; ``claims`` replace or add, None takes away."""
    now = int(time.time())
    body: dict[str, object] = {"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "iat": now, "exp": now + 3600}
    body.update(claims)
    kept = {name: value for name, value in body.items() if value is not None}
    return jwt.encode({"alg": "ES256", "kid": "e2e-1"}, kept, key or signing_key())


def api_key(name: str) -> str:
    """The API key of consumer ``name``: the same on every call, so that tests need not pass it around."""
    return "fg_test_" + hashlib.sha256(b"e2e " + name.encode()).hexdigest()[:32]


def bearer(subject: str, **claims: object) -> str:
    """The ``Authorization`` line with a token for ``subject``."""
    return f"Authorization: Bearer {token(subject, **claims)}"  # type: ignore[arg-type]


def key_line(name: str) -> str:
    """The ``X-API-Key`` line of consumer ``name``."""
    return f"X-API-Key: {api_key(name)}"


def consumer(name: str, *permissions: str, **settings: Value) -> Tree:
    """A consumer with a token subject and an API key, both called ``name``."""
    digest = hashlib.sha256(api_key(name).encode()).hexdigest()
    credentials: list[Value] = [
        {"jwt": {"issuer": "acme-id", "subject": name}},
        {"api_key": {"id": f"key_{name}", "sha256": digest}},
    ]
    return {"permissions": list(permissions), "credentials": credentials, **settings}


def public_api(upstream: str, path: str, **route: Value) -> Tree:
    """An API without credentials that passes every method at every path below ``path``."""
    return {
        "upstream": upstream,
        "authenticate": [],
        "versions": {"v1": {"path": path}},
        "routes": [{"match": f"{method} /{{rest...}}", **route} for method in METHODS],
    }


def base(port: int, manager_port: int, upstream_url: str, *, workers: int = 1) -> Tree:
    """The least that runs: one listener, the manager, one upstream, public APIs at ``/open/v1`` and ``/narrow/v1`` (1 KiB bodies)."""
    return {
        "gateway": {
            "listen": [{"address": f"127.0.0.1:{port}"}],
            "manager": {"address": f"127.0.0.1:{manager_port}"},
            "workers": workers,
            "data": "./data",
        },
        # No breaker: what the tests provoke on purpose shall not take the only target out.
        "upstreams": {"main": {"targets": [upstream_url], "health": {"breaker": "off"}}},
        "apis": {
            "open": public_api("main", "/open/v1"),
            "narrow": public_api("main", "/narrow/v1", body="1KiB"),
        },
    }


def _payment_routes() -> list[Value]:
    return [
        {"match": "POST /payments", "require": "payments:write", "body": "64KiB"},
        {"match": "GET /payments/{id}", "require": "payments:read"},
        {"match": "POST /payments/{id}/refunds", "require": ["payments:write", "refunds:write"]},
    ]


def with_payments(tree: Tree) -> Tree:
    """``tree`` plus an issuer, consumers of every kind and the ``payments`` API with its versions."""
    tree = copy.deepcopy(tree)
    tree["issuers"] = {
        "acme-id": {
            "issuer": ISSUER,
            "jwks": "keys/acme.jwks.json",
            "audience": AUDIENCE,
            "algorithms": ["ES256"],
        }
    }
    tree["plans"] = {
        "roomy": {"limits": ["100000/second"], "concurrency": 1000},
        "two_a_minute": {"limits": ["2/minute"]},
        "two_a_month": {"quota": "2/month"},
        "one_at_once": {"concurrency": 1},
    }
    both = ("payments:read", "payments:write")
    tree["consumers"] = {
        "acme": consumer("acme", *both, plan="roomy"),
        "reader": consumer("reader", "payments:read", plan="roomy"),
        "paused": consumer("paused", *both, plan="roomy", state="suspended"),
        "fenced": consumer("fenced", *both, plan="roomy", allow_ips=["203.0.113.0/24"]),
        "hasty": consumer("hasty", *both, plan="two_a_minute"),
        "spent": consumer("spent", *both, plan="two_a_month"),
        "single": consumer("single", *both, plan="one_at_once"),
        "bare": consumer("bare", *both),
    }
    apis = tree["apis"]
    assert isinstance(apis, dict)
    apis["payments"] = {
        "upstream": "main",
        "authenticate": ["jwt", "api_key"],
        "versions": {
            "v0": {"path": "/v0", "state": "retired", "successor": "v2"},
            "v1": {
                "path": "/v1",
                "state": "deprecated",
                "deprecated_at": "2026-10-01",
                "sunset_at": "2027-06-30",
                "successor": "v2",
            },
            "v2": {"path": "/v2", "state": "active"},
        },
        "routes": _payment_routes(),
    }
    return tree


def changed(tree: Tree, *path: str, to: Value) -> Tree:
    """A copy of ``tree`` with the value at ``path`` replaced; missing tables on the way are made."""
    result = copy.deepcopy(tree)
    place = result
    for key in path[:-1]:
        step = place.setdefault(key, {})
        assert isinstance(step, dict)
        place = step
    place[path[-1]] = to
    return result


def write(folder: Path, tree: Tree) -> Path:
    """Writes ``faregate.yaml`` and the key set into ``folder``; returns the file."""
    keys = folder / "keys"
    keys.mkdir(parents=True, exist_ok=True)
    jwks = {"keys": [signing_key().as_dict(private=False)]}
    (keys / "acme.jwks.json").write_text(json.dumps(jwks), encoding="utf-8")
    file = folder / "faregate.yaml"
    spare = folder / "faregate.yaml.new"
    spare.write_text("\n".join(_lines(tree, "")) + "\n", encoding="utf-8")
    spare.rename(file)
    return file


def _lines(value: Value, indent: str) -> list[str]:
    """Block YAML of a non-empty table or list."""
    lines = []
    items = value.items() if isinstance(value, dict) else [("-", item) for item in value]  # type: ignore[union-attr]
    for key, item in items:
        lead = indent + ("-" if key == "-" else _scalar(key) + ":")
        if isinstance(item, dict | list) and item:
            nested = _lines(item, indent + "  ")
            lines += [f"{lead} {nested[0].lstrip()}", *nested[1:]] if key == "-" else [lead, *nested]
        else:
            lines.append(f"{lead} {_scalar(item)}")
    return lines


def _scalar(value: Value) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value not in _NOT_TEXT:
        return value
    return json.dumps(value)  # a JSON string, number, true, [] or {} is YAML as well
