"""One entry of each section as an example for the OpenAPI document; a test puts each through the API."""

from typing import Any, Final

from faregate.manager.cases.domain import Section

ENTRIES: Final[dict[Section, dict[str, Any]]] = {
    "issuers": {
        "issuer": "https://id.acme.example",
        "jwks": "https://id.acme.example/.well-known/jwks.json",
        "audience": "payments",
        "algorithms": ["RS256"],
    },
    "upstreams": {"targets": ["http://127.0.0.1:9001"], "timeouts": {"total": "30s"}},
    "plans": {"limits": ["100/second burst 200"], "quota": "1000000/month"},
    "groups": {"permissions": ["payments:read"]},
    "consumers": {"permissions": ["payments:read", "payments:write"]},
    "apis": {
        "upstream": "payments",
        "authenticate": ["api_key"],
        "versions": {"v1": {"path": "/v1"}},
        "routes": [
            {"match": "POST /payments", "require": ["payments:write"], "idempotency": "required"},
            {"match": "GET /payments/{id}", "require": ["payments:read"]},
        ],
    },
}
NAMES: Final[dict[Section, str]] = {
    "issuers": "acme-id",
    "upstreams": "payments",
    "plans": "standard",
    "groups": "readers",
    "consumers": "acme",
    "apis": "payments",
}


def shown(section: Section) -> dict[str, Any]:
    """The example as the API shows it."""
    return {
        "name": NAMES[section],
        "owner": "database",
        "team": "",
        "revision": 12,
        "etag": "0f9a1c5b7d3e2a486c8b9d0e1f2a3b4c",
        "spec": ENTRIES[section],
    }
