"""Nothing secret comes out: values planted everywhere a caller can put them, then searched for everywhere the gateway writes."""

import asyncio
import json
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.client import Attempt, RawClient, ask, attempt, request
from tests.support.configuration import Tree, api_key, base, changed, key_line, token, with_payments
from tests.support.gateway import GatewayProcess, fetch
from tests.support.upstream import RecordingUpstream

PAN = "4111111111111111"
FOREIGN_KEY = "fg_live_" + "q7" * 16
BASIC = "dXNlcjpodW50ZXIy"
COOKIE = "sid_hunter2hunter2"


@dataclass
class Place:
    """A gateway that logs bodies, its upstream, and every byte that callers were answered."""

    gateway: GatewayProcess
    upstream: RecordingUpstream
    answers: bytearray

    def written(self) -> dict[str, str]:
        """All that the gateway has written, by place."""
        gateway = self.gateway
        return {
            "access.jsonl": (gateway.folder / "data" / "access.jsonl").read_text(),
            "stderr": gateway.stderr,
            "stdout": gateway.stdout,
            "metrics": fetch(gateway.manager_port, "/metrics")[1],
            "readyz": fetch(gateway.manager_port, "/readyz")[1],
            "problems": self.answers.decode("latin-1"),
        }

    def ask(self, data: bytes) -> int:
        """One conversation that may end in any way; own answers are kept. Returns the last status, 0 for none."""
        result: Attempt = asyncio.run(attempt(self.gateway.address, data, finish=True))
        for answer in result.answers:
            if answer.header("content-type") == "application/problem+json":
                self.answers += answer.head.raw + answer.text
        return result.answers[-1].status if result.answers else 0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with ExitStack() as stack:
        upstream = stack.enter_context(RecordingUpstream())

        def make(port: int, manager_port: int) -> Tree:
            tree = with_payments(base(port, manager_port, upstream.url))
            routes = [
                {"match": "POST /payments", "require": "payments:write",
                 "log": {"request_body": "masked", "response_body": "masked"}},
                {"match": "GET /payments/{id}", "require": "payments:read"},
            ]  # fmt: skip
            return changed(tree, "apis", "payments", "routes", to=routes)  # type: ignore[arg-type]

        gateway = stack.enter_context(GatewayProcess(tmp_path_factory.mktemp("secrets"), make))
        yield Place(gateway, upstream, bytearray())


def test_planted_secrets_are_found_nowhere(place: Place) -> None:
    """http-rules.md section 13: card number, keys, tokens and passwords in every part of a request, good and refused."""
    jwt, good = token("acme"), key_line("acme")
    body = json.dumps(
        {"card": {"number": PAN, "cvc": "737"}, "api_key": FOREIGN_KEY, "password": "hunter2hunter2"}
    ).encode()
    spaced = b'{"note":"4111 1111 1111 1111 / 4111-1111-1111-1111"}'
    lines = (f"Authorization: Basic {BASIC}", f"Cookie: {COOKIE}", f"X-API-Key: {FOREIGN_KEY}")
    json_type = "Content-Type: application/json"
    sent = {
        request("POST", "/v2/payments", good, json_type, body=body): 200,
        request("POST", "/v2/payments", good, json_type, body=spaced): 200,
        request("POST", "/v2/payments", good, f"Content-Type: text/plain; x={PAN}", body=b"pan=" + PAN.encode()): 200,
        request("GET", f"/v2/payments/{PAN}", good): 200,
        request("GET", f"/v2/payments/1?card={PAN}&key={FOREIGN_KEY}&token={jwt}", good): 200,
        request("GET", f"/nowhere/{PAN}/{FOREIGN_KEY}/{jwt}", *lines): 404,
        request("GET", "/v2/payments/1", f"X-Request-Id: {PAN}", good): 200,
        request("GET", "/v2/payments/1", f"X-Request-Id: {FOREIGN_KEY}", good): 200,  # echoed to its sender, not logged
        request("GET", "/v2/payments/1", f"Authorization: Bearer {jwt}x"): 401,
        request("GET", "/v2/payments/1", *lines): 401,
        request("GET", "/v2/payments/1", f"Authorization: Bearer {jwt}", f"Authorization: Bearer {jwt}"): 400,
        request("GET", "/v2/payments/1", f"Authorization: Bearer {jwt}", good): 401,
        request("GET", "/v2/payments/1", f"X-API-Key: {FOREIGN_KEY}\x00"): 400,
        request("GET", "/v2/payments/1", f"{FOREIGN_KEY}: 1"): 400,
        request("GET", f"/open/v1/{PAN} {jwt}"): 400,
        request("GET", "/open/v1/t", host=f"{PAN}@{FOREIGN_KEY}"): 400,
        request(f"KEY{PAN}", "/open/v1/t"): 501,
        request("POST", "/open/v1/t", f"Expect: {FOREIGN_KEY}"): 417,
        request("POST", "/open/v1/t", f"Transfer-Encoding: {FOREIGN_KEY}"): 400,
        request("DELETE", "/v2/payments", good): 405,
        b"POST /open/v1/t HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%b\r\n" % FOREIGN_KEY.encode(): 400,
        f"{PAN} {FOREIGN_KEY}\r\n\r\n".encode(): 400,
    }  # fmt: skip
    got = {data: place.ask(data) for data in sent}
    assert {data[:60]: status for data, status in got.items() if status != sent[data]} == {}
    place.gateway.log.wait(lambda read: len(read) >= len(sent), "a line for each call")
    hidden = (
        PAN,
        "4111 1111",
        "4111-1111",
        '"737',
        FOREIGN_KEY,
        BASIC,
        COOKIE,
        "hunter2",
        jwt.split(".")[1],
        jwt.split(".")[2],
        api_key("acme"),
    )
    found = [(name, secret) for name, text in place.written().items() for secret in hidden if secret in text]
    assert found == []


def test_the_data_folder_and_what_holds_secrets_are_for_their_owner_alone(place: Place) -> None:
    """Whatever the umask of the operator's shell; the log may be read by the group, for shippers, and by nobody else."""
    folder = place.gateway.folder / "data"
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {"snapshot": 0o600, "health.bin": 0o600}.items() <= modes.items()
    assert modes["access.jsonl"] & 0o007 == 0


def test_command_lines_and_environments_of_the_processes_hold_no_secret_of_the_configuration(
    place: Place,
) -> None:
    """Every user of a machine may read another's command line."""
    digest = place.gateway.file.read_text().split("sha256: ")[1].split("\n")[0].strip('"')
    lines = b"".join(
        Path(f"/proc/{pid}/cmdline").read_bytes() for pid in [place.gateway.pid, *place.gateway.worker_pids()]
    )
    assert digest.encode() not in lines
    assert b"hunter2" not in lines


@pytest.mark.parametrize(
    "given", ['"}{"', "\\u000a\\", "'$(id)'", "<script>", "%0d%0aX-Other:x", "{{7*7}}", "\\x1b[2J"]
)
def test_a_request_id_that_looks_like_syntax_stays_text(place: Place, given: str) -> None:
    """Log injection: the line is one JSON object whose field is what was sent, and so is the problem body."""
    answer = asyncio.run(ask(place.gateway.address, request("GET", "/nowhere", f"X-Request-Id: {given}")))
    assert (answer.request_id, answer.problem["request_id"]) == (given, given)
    assert place.gateway.log.of(given)["path"] == "/nowhere"


@pytest.mark.parametrize("path", ['/a"},{"b', "/'--", "/%0A{}", "/%1b[2J", "/a%E2%80%A8b", "/<b>"])
def test_a_path_that_looks_like_syntax_stays_text(place: Place, path: str) -> None:
    """reg_html_and_log_escape, reg_log_format_odd_input: encoded control characters never reach the log decoded."""
    answer = asyncio.run(ask(place.gateway.address, request("GET", path)))
    assert answer.status in {400, 404}
    line = place.gateway.log.of(answer.request_id)
    assert line.get("path", path.upper()).__str__().upper() == path.upper()
    assert path.encode() not in answer.text


def test_unknown_paths_and_ids_make_no_series(place: Place) -> None:
    """What callers make up never becomes a label: the metrics page stays as it is."""
    names = {
        line.split(" ")[0] for line in place.written()["metrics"].splitlines() if not line.startswith("#")
    }

    async def play() -> None:
        async with RawClient(place.gateway.address) as client:
            for number in range(300):
                await client.ask(request("GET", f"/made/up/{number}", f"X-Request-Id: made-{number}"))

    asyncio.run(play())
    place.gateway.log.of("made-299")
    after = {
        line.split(" ")[0] for line in place.written()["metrics"].splitlines() if not line.startswith("#")
    }
    assert [name for name in after - names if "made" in name] == []
    assert len(after - names) <= 40  # at most the buckets and outcomes of a first 404
