"""What holding a call against its OpenAPI document costs: parameters, a small and a large body, a refusal.
Prints us a call, best of 7.

Run: ``python benchmarks/micro_validate.py``. ``strict reading`` is what the body costs before its schema is
asked: a body with blanks takes the slow road of the reader that proves that no member stands twice. A route
without ``validate`` has none of this: ``ReadyRoute.holds`` is false, and that is read for every call anyway.
"""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from faregate.compile.openapi.document import read_document
from faregate.compile.openapi.operation_checks import validation_of
from faregate.compile.openapi.operations import operations
from faregate.kernel.exact_json import decode
from faregate.kernel.json_schema import Schema
from faregate.policies.validate.settings import Validate
from faregate.policies.validate.step import Checks, Misfit

DOCUMENT = Path(__file__).parents[1] / "tests/vectors/openapi/payments.yaml"
ROUNDS = 7
CALLS = 5_000

RAW = b"Host: api.test\r\nContent-Type: application/json\r\nIdempotency-Key: 0123456789abcdef\r\n\r\n"
PAYMENT = {
    "amount": 1250,
    "currency": "EUR",
    "description": "order 42",
    "source": {"token": "tok_1"},
    "fee_percent": 1.25,
}
LINES = [{"name": f"line {number}", "amount": number + 1} for number in range(50)]


def measured(work: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(CALLS):
            work()
        best = min(best, (time.perf_counter() - began) / CALLS * 1e6)
    return best


def refused(work: Callable[[], object]) -> Callable[[], object]:
    def run() -> None:
        with suppress(Misfit):
            work()
            raise AssertionError("it was to be refused")

    return run


def main() -> None:
    document = read_document(DOCUMENT)
    checks = {}
    began = time.perf_counter()
    for operation in operations(document):
        made, _ = validation_of(document, operation, "/v2" + operation.path, Validate(response="log"))
        checks[f"{operation.method} {operation.path}"] = Checks(made, Schema)
    compiling_ms = (time.perf_counter() - began) * 1e3
    pay, listing = checks["POST /payments"], checks["GET /payments"]
    compact = json.dumps(PAYMENT, separators=(",", ":")).encode()
    spaced = json.dumps(PAYMENT).encode()
    large = json.dumps({**PAYMENT, "lines": LINES}, separators=(",", ":")).encode()
    wrong = compact.replace(b'"EUR"', b'"eur"')
    media = b"application/json"
    answer = b'{"id":"pay_1","status":"open","amount":1250,"currency":"EUR"}'
    target = b"/v2/payments?limit=20&status=open&status=captured"
    rows: list[tuple[str, Callable[[], object]]] = [
        ("header parameter", lambda: pay.head("/v2/payments", b"/v2/payments", RAW)),
        ("query parameters", lambda: listing.head("/v2/payments", target, RAW)),
        (f"body of {len(compact)} bytes", lambda: pay.body(compact, media, RAW)),
        ("  of which strict reading", lambda: decode(compact)),
        (f"body of {len(spaced)} bytes, with blanks", lambda: pay.body(spaced, media, RAW)),
        (f"body of {len(large)} bytes, 50 lines", lambda: pay.body(large, media, RAW)),
        ("body refused", refused(lambda: pay.body(wrong, media, RAW))),
        (f"answer of {len(answer)} bytes", lambda: pay.answer(201, answer, media)),
    ]
    for name, work in rows:
        print(f"{name:<40} {measured(work):8.2f} us")
    print(f"{'four operations compiled':<40} {compiling_ms:8.2f} ms")


if __name__ == "__main__":
    main()
