"""Stands in for ``faregate run`` where the demo itself is under test: answers everything, logs a line a call.

Usage: python stand_in_gateway.py CONFIG. Reads the gateway's and the manager's port from the configuration; forwards nothing.
"""

import asyncio
import json
import re
import signal
import sys
from pathlib import Path

CONFIG = Path(sys.argv[1])
GATEWAY, MANAGER, TARGET_1, TARGET_2 = re.findall(r"127\.0\.0\.1:(\d+)", CONFIG.read_text())
LOG = CONFIG.parent / "faregate-data" / "access.jsonl"
PAYMENT = b'{"id":"pay_1","amount_minor":1,"status":"authorized"}'
METRICS = f"""# TYPE faregate_target_up gauge
faregate_target_up{{upstream="payments",target="127.0.0.1:{TARGET_1}"}} 1
faregate_target_up{{upstream="payments",target="127.0.0.1:{TARGET_2}"}} 0
""".encode()


def log_line(path, authorized):
    line = {"status": 200, "outcome": "answered", "target": f"127.0.0.1:{TARGET_2}", "duration_us": 3000}
    line |= {"upstream_us": 2900}
    if not authorized:
        line = {"status": 401, "outcome": "refused", "refusal": "credential_missing", "duration_us": 20}
    return json.dumps(line) + "\n"


async def serve(reader, writer, manager):
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            if length := re.search(rb"Content-Length: (\d+)", head):
                await reader.readexactly(int(length[1]))
            body = METRICS if b"/metrics" in head else PAYMENT
            authorized = b"Authorization" in head or b"X-API-Key" in head
            if not manager:
                with LOG.open("a") as log:
                    log.write(log_line(head, authorized))
            status = b"200 OK" if manager or authorized else b"401 Unauthorized"
            writer.write(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main():
    LOG.parent.mkdir(exist_ok=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await asyncio.start_server(lambda r, w: serve(r, w, manager=False), "127.0.0.1", int(GATEWAY))
    await asyncio.start_server(lambda r, w: serve(r, w, manager=True), "127.0.0.1", int(MANAGER))
    await stop.wait()


asyncio.run(main())
