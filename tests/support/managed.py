"""The admin API of a real gateway, as its machine's owner speaks to it."""

import contextlib
import http.client
import json
import os
import signal
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.configuration import Tree
from tests.support.gateway import GatewayProcess, until


def bare(port: int, manager: int, workers: int = 2, **gateway: Any) -> Tree:
    """A configuration that owns nothing but the gateway: everything else is the database's."""
    return {
        "gateway": {
            "listen": [{"address": f"127.0.0.1:{port}"}],
            "manager": {"address": f"127.0.0.1:{manager}"},
            "workers": workers,
            "data": "./data",
            **gateway,
        }
    }


class Told(NamedTuple):
    """An answer of the admin API."""

    status: int
    headers: dict[str, str]
    body: Any


class Owner:
    """The machine's token on the manager of the gateway whose data is in ``data``."""

    def __init__(self, port: int, data: Path, timeout_s: float = 20.0) -> None:
        self._port = port
        self._data = data
        self._timeout_s = timeout_s

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> Told:
        """Raises OSError while no manager answers, also where one ends in the middle of an answer."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        token = self._data / "manager.token"
        if token.exists():
            sent["Authorization"] = f"Bearer {token.read_text().strip()}"
        if body is not None:
            sent["Content-Type"] = "application/json"
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=self._timeout_s)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), sent)
            response = connection.getresponse()
            text = response.read()
            return Told(
                response.status,
                {name.lower(): value for name, value in response.getheaders()},
                json.loads(text) if text else None,
            )
        except http.client.HTTPException as error:
            raise ConnectionError(f"no whole answer to {method} {path}: {error!r}") from error
        finally:
            connection.close()

    def put(self, path: str, spec: object, etag: str = "") -> Told:
        condition = {"If_Match": etag} if etag else {"If_None_Match": "*"}
        return self.ask("PUT", path, {"spec": spec}, **condition)

    def open(self) -> None:
        """The first request makes the token."""
        assert self.ask("GET", "/plans").status in {200, 401}

    def publish_web(self, upstream: str) -> str:
        """An upstream, an API ``web`` at /v1 and a consumer ``acme``; returns the consumer's key."""
        for path, spec in (
            ("/upstreams/web", {"targets": [upstream]}),
            ("/consumers/acme", {"permissions": ["web:read"]}),
            (
                "/apis/web",
                {
                    "upstream": "web",
                    "authenticate": ["api_key"],
                    "versions": {"v1": {"path": "/v1"}},
                    "routes": [{"match": "GET /{rest...}", "require": ["web:read"]}],
                },
            ),
        ):
            told = self.put(path, spec)
            assert told.status == 201, told
        made = self.ask("POST", "/consumers/acme/keys", {})
        assert made.body["published"], made
        return str(made.body["secret"])


def manager_pid(gateway: GatewayProcess) -> int:
    """The manager's process, 0 while there is none."""
    children = Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children").read_text().split()
    for pid in children:
        try:
            if b"faregate.manager" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                return int(pid)
        except OSError:
            continue
    return 0


def signal_manager(gateway: GatewayProcess, by: signal.Signals) -> int:
    """Signals the manager that there is, or that is next; returns its process. Never 0: that would be all of our own group."""
    until(lambda: manager_pid(gateway) != 0, "a manager")
    pid = manager_pid(gateway)
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, by)
    return pid


def succeeded(gateway: GatewayProcess, former: int) -> None:
    """Waits until another process than ``former`` is the manager."""
    until(lambda: manager_pid(gateway) not in {0, former}, "another manager", 20)


def call(gateway: GatewayProcess, path: str, key: str) -> int:
    """The status of one GET with an API key on a fresh connection."""
    connection = http.client.HTTPConnection(*gateway.address, timeout=10)
    try:
        connection.request("GET", path, headers={"X-API-Key": key})
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


LONG = os.environ.get("FAREGATE_PROOF") == "long"
