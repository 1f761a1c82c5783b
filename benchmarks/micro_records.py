"""What recording one call costs: the line, the counts, the check for secrets. Prints us a call, best of 9.

Run: ``python benchmarks/micro_records.py``. Processor time, not wall time, so that a busy machine disturbs
little; the writer's thread is measured apart, with the file on /dev/shm.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from faregate.kernel.ids import IdSource
from faregate.records.bodies import CapturedBody, render_body
from faregate.records.lines import LineRenderer
from faregate.records.metrics import CallMetrics
from faregate.records.recorder import Recorder
from faregate.records.suspicion import suspicious
from faregate.records.writer import LogWriter
from faregate.snapshot.call import Call, Identity, ReadyConsumer, ReadyRoute
from faregate.snapshot.data import Route, Version

PIECE = 64
WALL = 1_795_402_142.5
IDS = IdSource()
IDENTITY = Identity(ReadyConsumer("acme", plan="standard"), "jwt:acme-id:acme-server")
ROUTE = ReadyRoute(
    Route("payments", 0, "POST", "/v2/payments/{id}/capture", "POST /payments/{id}/capture", "payments"),
    Version("v2", "/v2"),
    None,
)
ROUTE.log_fields = '"api":"payments","version":"v2","route":"POST /payments/{id}/capture"'
BODY = (
    b'{"amount":{"value":1250,"currency":"EUR"},'
    b'"card":{"number":"4111111111111111","cvc":"123","exp_month":12},"ref":"A-1"}'
)


def make_call(index: int, path: str) -> Call:
    call = Call(1000.0 + index, WALL + index / 1000)
    call.client_ip = "203.0.113.7"
    call.method = b"POST"
    call.path = path
    call.request_id = IDS.request_id(call.wall)
    call.trace_id = IDS.trace_and_span()[:32]
    call.route = ROUTE
    call.revision = 7
    call.identity = IDENTITY
    call.status = 201
    call.outcome = "answered"
    call.upstream = "payments"
    call.target_name = "127.0.0.1:9001"
    call.attempts = 1
    call.duration = 0.0008 + index / 1e6
    call.upstream_duration = 0.0007 + index / 1e6
    call.request_bytes = 312
    call.response_bytes = 204
    return call


def cost_us(work: Callable[[], object], calls: int, repeats: int = 60) -> float:
    best = float("inf")
    for _ in range(9):
        began = time.process_time()
        for _ in range(repeats):
            work()
        best = min(best, (time.process_time() - began) / repeats / calls)
    return best * 1e6


def main() -> None:
    plain = [make_call(index, f"/v2/payments/pay_{index:08d}/capture") for index in range(PIECE)]
    alarming = [make_call(index, f"/v2/cards/41111111111111{index:02d}") for index in range(PIECE)]
    renderer = LineRenderer(CallMetrics())
    recorder = Recorder(None)

    def through_recorder() -> None:
        for call in plain:
            recorder.record(call)
        recorder.flush()

    body = CapturedBody(BODY, len(BODY), b"application/json")
    rows = [
        ("record + flush: line, counts, check", through_recorder, PIECE),
        ("  of it the check for secrets", lambda: suspicious(plain), PIECE),
        ("a line with a card number in its path", lambda: renderer.render(alarming), PIECE),
        (f"masking one JSON body of {len(BODY)} bytes", lambda: render_body(body), 1),
    ]
    for name, work, calls in rows:
        print(f"{cost_us(work, calls):8.2f} us  {name}")
    lines = renderer.render(plain)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        batches = 2000
        writer = LogWriter(Path(folder) / "access.jsonl", queue_bytes_max=1 << 30)
        began = time.process_time()
        for _ in range(batches):
            writer.put(lines)
        assert writer.close(60)
        assert not writer.lines_lost
        spent_us = (time.process_time() - began) / batches / PIECE * 1e6
        print(f"{spent_us:8.2f} us  writing a line, in the writer's thread")


if __name__ == "__main__":
    main()
