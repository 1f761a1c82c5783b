"""What recording one call in the audit tree costs, on top of its log line: in the worker, and in the tree's
own process. Prints us of processor time a call, the best of 9 where it is repeated.

Run: ``python -m benchmarks.micro_audit``. The tree lies on the disk of the temporary folder.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from benchmarks.micro_records import PIECE, ROUTE, cost_us, make_call
from faregate.records.audit.client import Audit
from faregate.records.audit.line import Line
from faregate.records.audit.places import folder_in
from faregate.records.recorder import Recorder
from faregate.snapshot.call import Call, ReadyRoute

CALLS = 16_000
"""Fewer than the queue holds: none shall be lost."""
APPENDS = 300


class _Nowhere(Line):
    """Takes calls and forgets them: what is left is the worker's loop alone."""

    def put_calls(self, lines: bytes, count: int) -> None:
        pass


def _calls(audit: str) -> list[Call]:
    route = ReadyRoute(msgspec.structs.replace(ROUTE.data, audit=audit), ROUTE.version, None)
    route.log_fields = ROUTE.log_fields
    calls = [make_call(index, f"/v2/payments/pay_{index:08d}/capture") for index in range(PIECE)]
    for call in calls:
        call.route = route
    return calls


def _flush_us(recorder: Recorder, calls: list[Call]) -> float:
    def work() -> None:
        for call in calls:
            recorder.record(call)
        recorder.flush()

    return cost_us(work, len(calls))


def _process_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _through_the_writer(data: Path, pid: int) -> None:
    audit = Audit(data)
    await audit.append("benchmark.begun", "user:bench", "bench", {}, within_s=20)
    recorder = Recorder(None, audit=audit)
    off, on = _calls("off"), _calls("on")
    rounds = max(1, CALLS // PIECE)
    count = rounds * PIECE
    for name, calls in (("not recorded", off), ("recorded, all of the worker's threads", on)):
        writer_s, began, wall = _process_s(pid), time.process_time(), time.perf_counter()
        for _ in range(rounds):
            for call in calls:
                recorder.record(call)
            recorder.flush()
            await asyncio.sleep(0)
        while calls is on and audit.records + audit.lost < count:  # noqa: ASYNC110 - another thread counts
            await asyncio.sleep(0.01)
        spent = (time.process_time() - began) / count * 1e6
        print(f"{spent:8.2f} us  {name}: record, flush, line")
    print(f"{(_process_s(pid) - writer_s) / count * 1e6:8.2f} us  in the tree's process")
    print(f"{count / (time.perf_counter() - wall):8.0f} records/s durable; lost {audit.lost}")
    times = []
    for number in range(APPENDS):
        began = time.perf_counter()
        await audit.append("benchmark.act", "user:bench", f"act:{number}", {"number": number})
        times.append((time.perf_counter() - began) * 1e6)
    print(f"{statistics.median(times):8.0f} us  an append until it is durable, median of {APPENDS}")
    audit.close()


def main() -> None:
    quiet = Recorder(None, audit=Audit(Path(), line=_Nowhere(Path())))
    before, after = _flush_us(quiet, _calls("off")), _flush_us(quiet, _calls("on"))
    print(f"{before:8.2f} us  not recorded, in the worker's loop")
    print(f"{after:8.2f} us  recorded, in the worker's loop: {after - before:+.2f}")
    with tempfile.TemporaryDirectory() as name:
        data = Path(name)
        (data / "digest.key").write_bytes(os.urandom(32))
        command = [sys.executable, "-m", "faregate.records.audit.program", str(folder_in(data))]
        with subprocess.Popen([*command, json.dumps({"every_s": 10})], stdin=subprocess.PIPE) as process:
            try:
                asyncio.run(_through_the_writer(data, process.pid))
            finally:
                process.terminate()


if __name__ == "__main__":
    main()
