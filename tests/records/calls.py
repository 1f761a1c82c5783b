"""Ended calls for the tests of records: one ordinary call, and what differs from it."""

from faregate.snapshot.call import Call, Identity, ReadyConsumer, ReadyRoute
from faregate.snapshot.data import Route, Version

WALL = 1_795_402_142.5
REQUEST_ID = b"01a20665480aec40184b097e00000004"
TRACE_ID = b"7e016f3b32e8d5b2cf8b5e3876d44289"


def make_route(*, bodies: bool = False, audit: str = "off") -> ReadyRoute:
    kept = "masked" if bodies else ""
    data = Route(
        "payments",
        0,
        "POST",
        "/v2/payments",
        "POST /payments",
        "payments",
        log_request_body=kept,
        log_response_body=kept,
        audit=audit,
    )
    route = ReadyRoute(data, Version("v2", "/v2"), None)
    route.log_fields = '"api":"payments","version":"v2","route":"POST /payments"'
    return route


ROUTE = make_route()


def make_call(**differences: object) -> Call:
    call = Call(1000.0, WALL)
    call.client_ip = "203.0.113.7"
    call.method = b"POST"
    call.path = "/v2/payments"
    call.request_id = REQUEST_ID
    call.trace_id = TRACE_ID
    call.route = ROUTE
    call.revision = 7
    call.identity = Identity(ReadyConsumer("acme", plan="standard"), "jwt:acme-id:acme-server")
    call.status = 201
    call.outcome = "answered"
    call.upstream = "payments"
    call.target_name = "127.0.0.1:9001"
    call.attempts = 1
    call.duration = 0.000823
    call.upstream_duration = 0.0007
    call.request_bytes = 312
    call.response_bytes = 204
    for name, value in differences.items():
        setattr(call, name, value)
    return call
