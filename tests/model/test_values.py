"""What each kind of value takes and refuses, through the forms that use it."""

from typing import Any

import pytest
from pydantic import ValidationError

from faregate.kernel.units import Rate
from faregate.model.apis import Api, Route, Version
from faregate.model.consumers import Consumer
from faregate.model.diagnostics import CODES
from faregate.model.gateway import Gateway
from faregate.model.ledger import HERE
from faregate.model.plans import Plan
from faregate.model.shape_errors import _TYPES
from faregate.model.upstreams import Upstream
from faregate.policies.jwt.settings import Issuer

TARGETS = {"targets": ["http://a:1"]}
ISSUER = {"issuer": "i", "audience": "a", "algorithms": ["RS256"], "jwks": "f"}
VERSION = {"path": "/v1"}
API = {"authenticate": [], "versions": {"v1": VERSION}}


def declared(form: type, base: dict[str, Any], key: str, value: object) -> object:
    return getattr(form.model_validate({**base, key: value}), key)


@pytest.mark.parametrize(
    ("form", "base", "key", "value", "read"),
    [
        (Gateway, {}, "workers", "auto", 0),
        (Gateway, {}, "workers", 64, 64),
        (Gateway, {}, "manager", "off", None),
        (Gateway, {}, "store", "embedded", HERE),
        (Gateway, {}, "trusted_proxies", ["10.0.0.0/8", "10.0.0.1", "2001:DB8::/32"], ["10.0.0.0/8", "10.0.0.1/32", "2001:db8::/32"]),
        (Plan, {}, "limits", "10/second;10/minute", [Rate(10, 1000), Rate(10, 60_000)]),
        (Plan, {}, "limits", ["10/second", "10/second burst 20"], [Rate(10, 1000), Rate(10, 1000, 20)]),
        (Plan, {}, "quota", "1000000/month", Rate(1_000_000, 0)),
        (Plan, {}, "quota", "5/day", Rate(5, 86_400_000)),
        (Plan, {}, "concurrency", 1, 1),
        (Route, {"match": "GET /a"}, "require", "a:b", ["a:b"]),
        (Route, {"match": "GET /a"}, "require", ["a.b:c-d_e", "x"], ["a.b:c-d_e", "x"]),
        (Route, {"match": "GET /a"}, "body", "64KiB", 65_536),
        (Route, {"match": "GET /a"}, "body", "0B", 0),
        (Route, {"match": "GET /a"}, "idempotency", "off", "off"),
        (Version, VERSION, "deprecated_at", "2026-10-01", 1_790_812_800),
        (Issuer, ISSUER, "audience", ["a", "b"], ["a", "b"]),
        (Issuer, ISSUER, "leeway", "0s", 0.0),
        *[(Upstream, TARGETS, "balance", word, word) for word in ("adaptive", "least_requests", "round_robin", "random", "hash:consumer", "hash:ip")],
        (Upstream, TARGETS, "balance", "hash:X-Account", "hash:x-account"),
    ],
)  # fmt: skip
def test_what_is_written_is_read(
    form: type, base: dict[str, Any], key: str, value: object, read: object
) -> None:
    assert declared(form, base, key, value) == read


@pytest.mark.parametrize(
    ("form", "base", "key", "values"),
    [
        (Gateway, {}, "workers", [0, 65, -1, True, 2.0, "2", "Auto", None, []]),
        (Gateway, {}, "manager", [None, "on", False, {}, {"address": "localhost"}]),
        (Gateway, {}, "store", ["mysql://h/d", "postgresql://", "redis://h", 1]),
        (Gateway, {}, "listen", [[], [{"address": "a"}], [{"address": "[::1]"}], [{"address": "::1:80"}], [{"address": "a:65536"}],
                                 [{"address": "*:80"}], [{"address": "1.2.3:80"}], [{"address": "[1.2.3.4]:80"}], [{"address": "a b:80"}]]),
        (Gateway, {}, "trusted_proxies", [["10.0.0.1/8"], ["10.0.0.0/33"], ["a"], [10], "10.0.0.0/8"]),
        (Gateway, {}, "limits", [{"headers": 0}, {"body": 5}, {"body": "1MB"}, {"body_timeout": "0ms"}, {"body_timeout": "2h"}, {"idle_timeout": 5}]),
        (Plan, {}, "limits", ["10/sec", "", "10/second;", ["0/second"], ["1000000001/second"], ["1/month burst 2"], [10], {"a": 1}, None,
                              ["1/second", "2/second"], ["1/second burst 1", "2/second burst 2"], ["1/second burst 0"]]),
        (Plan, {}, "quota", ["5", "5/month burst 6", "0/month", 5, ["5/month"], None]),
        (Plan, {}, "concurrency", [0, -1, 100_001, "5", 1.5, None]),
        (Route, {}, "match", ["/a", "get /a", "TRACE /a", "CONNECT /a", "GET a", "GET  /a", "GET /a?x", "GET //a", "GET /a;b", "GET /../a", "GET",
                              "GET /{a}b", "GET /{a...}/b", "GET /{a}/{a}", "GET /{1}", "GET /%2f", "GET /%41", "GET /é", "GET /a b", "GET /" + "a" * 1024, 5]),
        (Route, {"match": "GET /a"}, "require", ["a b", "", "a:", ":a", "a::b", "a*", [5], None, "é"]),
        (Route, {"match": "GET /a"}, "idempotency", ["on", True, "required", "optional", {"keep": "1s"}, {"unknown": 1}]),
        (Route, {"match": "GET /a"}, "log", [{"request_body": "full"}, {"request_body": True}, "masked"]),
        (Route, {"match": "GET /a"}, "forward_credential", ["true", 1, None]),
        (Version, {}, "path", ["v1", "/v1/", "/{a}", "//", "", "/a b", None]),
        (Version, VERSION, "state", ["old", "Active", None]),
        (Version, VERSION, "sunset_at", ["2026-02-30", "01.02.2026", "2026-2-1", "1969-01-01", 20260101, None]),
        (Api, API, "authenticate", ["jwt", ["key"], ["jwt", "jwt"], None]),
        (Issuer, ISSUER, "algorithms", [[], ["none"], ["rs256"], "RS256"]),
        (Issuer, ISSUER, "audience", [[], "", None]),
        (Issuer, ISSUER, "leeway", ["6m", 10, None]),
        (Upstream, {}, "targets", [[], ["a:1"], ["http://a:1/path"], ["http://u@a:1"], ["http://a:0"], ["ftp://a"], ["http://"], ["http://a:1?x"],
                                   [{"weight": 1}], [{"url": "http://a", "weight": 0}], "http://a"]),
        (Upstream, TARGETS, "balance", ["hash:", "hash", "fastest", "hash:a b", "Random", 1]),
        (Upstream, TARGETS, "health", [{"active": {"path": "x"}}, {"active": None}, {"passive": "on"}, {"passive": {"max_ejected": 50}},
                                       {"passive": {"max_ejected": "101%"}}]),
        (Upstream, TARGETS, "retry", [{"attempts": 6}, {"on": ["timeout"]}]),
        (Consumer, {}, "allow_ips", [["10.0.0.1/8"], ["x"]]),
        (Consumer, {}, "state", ["off"]),
        (Consumer, {}, "credentials", [[{}], [{"jwt": {"issuer": "a", "subject": "b"}, "api_key": {"id": "a", "sha256": "ab" * 32}}],
                                       [{"api_key": {"id": "a", "sha256": "ab"}}], [{"api_key": {"id": "a\n", "sha256": "ab" * 32}}],
                                       [{"jwt": {"issuer": "a", "subject": "a\r\nX: y"}}], [{"jwt": {"issuer": "a", "subject": "é"}}],
                                       [{"mtls": {}}], [{"mtls": {"sha256": "ab" * 32, "subject": "x", "ca": "y"}}], [{"mtls": {"subject": "x"}}]]),
    ],
)  # fmt: skip
def test_what_is_not_meant_is_refused_with_a_code_of_the_table(
    form: type, base: dict[str, Any], key: str, values: list[object]
) -> None:
    for value in values:
        with pytest.raises(ValidationError) as caught:
            form.model_validate({**base, key: value})
        known = {*CODES, *_TYPES, "extra_forbidden", "missing", "literal_error", "too_short", "too_long"}
        assert {error["type"] for error in caught.value.errors()} <= known, value


def test_sunset_never_lies_before_deprecation() -> None:
    Version.model_validate({**VERSION, "deprecated_at": "2026-01-01", "sunset_at": "2026-01-01"})
    with pytest.raises(ValidationError):
        Version.model_validate({**VERSION, "deprecated_at": "2026-01-02", "sunset_at": "2026-01-01"})


def test_an_ipv6_target_keeps_its_brackets_only_in_its_name() -> None:
    upstream = Upstream.model_validate({"targets": ["http://[::1]:81", "http://Host.Example"]})
    assert [(t.url.address.host, t.url.address.text) for t in upstream.targets] == [
        ("::1", "[::1]:81"),
        ("host.example", "host.example:80"),
    ]
