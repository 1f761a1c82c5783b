"""What the tests of versions share: a configuration with a version of every kind, and callers who see all that came of a call."""

import http.client
import json
import time
from datetime import UTC, datetime

from tests.support.configuration import Tree, base, consumer, key_line
from tests.support.gateway import GatewayProcess
from tests.support.upstream import RecordedRequest, RecordingUpstream

OLD, MIDDLE, NEW, NEXT = "2025-01-15", "2026-03-01", "2026-11-01", "2027-02-01"
BODY = b'{ "amount": 10.10, "card": {"number": "1"}, "note": "\\u00e9" }'
CARRIED = b'{"total":{"value":10.10},"card":{},"note":"\xc3\xa9","source":{"number":"1"},"capture":true}'
ANSWER = b'{"id":"p1","total":{"value":0.30000000000000000001},"state":"paid"}'
TOLD = b'{"id":"p1","amount":0.30000000000000000001,"state":"paid"}'
JSON = "Content-Type: application/json"


def routes() -> list[object]:
    return [
        {"match": "POST /payments", "require": "payments:write", "idempotency": "optional", "body": "4KiB"},
        {"match": "GET /payments/{id}", "require": "payments:read"},
        {"match": "PUT /payments/{id}", "body": "64B"},
    ]


def moment(seconds: float) -> str:
    return datetime.fromtimestamp(int(time.time() + seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def configuration(port: int, manager_port: int, url: str, secure: int) -> Tree:
    """``secure``: the port for TLS."""
    tree = base(port, manager_port, url, workers=1)
    tls: Tree = {"certificates": [{"chain": "certs/api.pem", "key": "certs/api.key"}]}
    tree["gateway"]["listen"].append({"address": f"127.0.0.1:{secure}", "tls": tls})  # type: ignore[index,call-overload,union-attr]
    both = ("payments:read", "payments:write")
    tree["consumers"] = {
        "pinned": consumer("pinned", *both, pins={"payments": MIDDLE}),
        "old": consumer("old", *both, pins={"payments": OLD}),
        "free": consumer("free", *both),
        "preview": consumer("preview", *both),
        "late": consumer("late", *both, pins={"payments": NEW}),
    }
    tree["issuers"] = {
        "acme-id": {"issuer": "https://id", "secret": "s" * 40, "audience": "a", "algorithms": ["HS256"]}
    }
    changes: list[object] = [
        {
            "description": "amount became total, a card a source",
            "routes": ["POST /payments", "GET /payments/{id}"],
            "request": [
                {"rename": {"at": "/amount", "to": "total"}},
                {"move": {"from": "/card/number", "to": "/source/number"}},
                {"set_default": {"at": "/capture", "value": True}},
                {"rename_header": {"from": "X-Shop", "to": "X-Merchant"}},
            ],
            "response": [{"rename": {"at": "/total", "to": "amount"}}],
        },
    ]
    newer: list[object] = [
        {
            "request": [{"wrap": {"at": "/total", "key": "value"}}],
            "response": [{"unwrap": {"at": "/total", "key": "value"}}, {"remove_header": "X-New"}],
        }
    ]
    tree["apis"] = {
        "payments": {
            "upstream": "main",
            "authenticate": ["api_key"],
            "versions": {
                "by": "header",
                "name": "Api-Version",
                "path": "/api",
                OLD: {"state": "retired", "successor": MIDDLE},
                MIDDLE: {"state": "deprecated", "deprecated_at": "2026-10-01", "sunset_at": "2027-06-30", "successor": NEW,
                         "notice": "https://acme.example/ends"},
                NEW: {"changes": changes},
                NEXT: {"state": "draft", "preview": ["preview"], "changes": newer,
                       "routes": [*routes(), {"match": "GET /payments/search"}]},
            },
            "routes": routes(),
        },
        "shared": {
            "upstream": "main",
            "authenticate": ["api_key"],
            "versions": {"v2": {"path": "/v2", "split": {"v3": "50%"}}, "v3": {"path": "/v3"}},
            "routes": [{"match": "POST /payments", "idempotency": "optional"}, {"match": "GET /things/{id}"}],
        },
        "open": {
            "upstream": "main",
            "authenticate": [],
            "limits": ["1000/second"],
            "versions": {"by": "header", "name": "X-Api-Version", "default": NEW, "path": "/open", MIDDLE: {}, NEW: {}},
            "routes": [{"match": "GET /things"}],
        },
        "ends": {
            "upstream": "main",
            "authenticate": [],
            "versions": {
                "v1": {"path": "/ends/v1", "state": "deprecated", "successor": "v2", "deprecated_at": "2026-10-01",
                       "brownouts": [{"at": moment(-30), "for": "10m", "every": "7d"}]},
                "v2": {"path": "/ends/v2", "state": "deprecated", "sunset_at": "2026-01-31", "retire": "at_sunset"},
                "v3": {"path": "/ends/v3", "state": "deprecated", "sunset_at": "2026-01-31"},
                "v4": {"path": "/ends/v4", "state": "deprecated", "retired_at": moment(3600),
                       "brownouts": [{"at": moment(-3600), "for": "1m"}, {"at": moment(1800), "for": "1m"}]},
            },
            "routes": [{"match": "GET /things"}],
        },
    }  # fmt: skip
    return tree


class Told:
    """An answer, the access log's line of it, and what the upstream got, None where nothing was sent."""

    def __init__(
        self, answer: http.client.HTTPResponse, upstream: RecordingUpstream, gateway: GatewayProcess
    ) -> None:
        self.status = answer.status
        self.body = answer.read()
        self.headers = answer.headers
        self.version = answer.getheader("Api-Version")
        problem = (
            json.loads(self.body) if answer.getheader("Content-Type") == "application/problem+json" else {}
        )
        self.code, self.parameter, self.retry = (problem.get(name) for name in ("code", "parameter", "retry"))
        self.line = gateway.log.of(str(answer.getheader("X-Request-Id")))
        sent = [
            one for one in upstream.requests if one.header("X-Request-Id") == answer.getheader("X-Request-Id")
        ]
        self.sent: RecordedRequest | None = sent[0] if sent else None


class Caller:
    def __init__(self, gateway: GatewayProcess, upstream: RecordingUpstream) -> None:
        self.gateway = gateway
        self.upstream = upstream

    def __call__(
        self,
        who: str,
        method: str,
        path: str,
        version: str | None = None,
        body: bytes | None = None,
        **headers: str,
    ) -> Told:
        connection = http.client.HTTPConnection(*self.gateway.address, timeout=20)
        try:
            fields = {name.replace("_", "-"): value for name, value in headers.items()}
            if body is not None:
                fields.setdefault("Content-Type", "application/json")
            if who:
                name, _, value = key_line(who).partition(": ")
                fields[name] = value
            if version is not None:
                fields["Api-Version"] = version
            connection.request(method, path, body, fields)
            return Told(connection.getresponse(), self.upstream, self.gateway)
        finally:
            connection.close()
