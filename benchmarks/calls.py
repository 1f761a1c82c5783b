"""The calls the load sends, as raw HTTP/1.1 bytes, one file per round.

Made outside the load generators so that both (wrk's Lua script and the fixed-rate driver) send the very
same bytes and spend no time on building them. Every call names another payment, so nobody can profit from
remembering a path.
"""

import base64
import hashlib
import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

HOST: Final = "api.bench.example"
BODY_BYTES: Final = 300
_AGENT_LINES: Final = (
    f"Host: {HOST}\r\nUser-Agent: merchant-sdk/4.2.1 (Linux x86_64)\r\nAccept: application/json\r\n"
    "Accept-Encoding: gzip, deflate\r\nAccept-Language: en\r\n"
)


def payment_body(serial: int) -> bytes:
    """A payment order of exactly BODY_BYTES bytes of JSON."""
    order = {
        "amount": 12_500 + serial % 1000,
        "currency": "EUR",
        "reference": f"order-{serial:09d}",
        "debtor": {"name": "Anna Example", "iban": "DE02120300000000202051"},
        "creditor": {"name": "Example Stores Ltd", "iban": "FR1420041010050500013M02606"},
        "capture": "automatic",
        "description": "",
    }
    padding = BODY_BYTES - len(json.dumps(order, separators=(",", ":")))
    order["description"] = ("Two items, delivered by courier. " * 4)[:padding]
    return json.dumps(order, separators=(",", ":")).encode()


def payment_id(serial: int) -> str:
    """An id as payment services issue them: a prefix and random letters and digits, another for each serial.

    Never a run of digits alone: that looks like a card number, and masking it is work only Faregate would do.
    """
    return "pay_" + base64.b32encode(hashlib.sha256(serial.to_bytes(8)).digest()[:15]).decode().lower()


def get_call(path: str, credential: str) -> bytes:
    """GET ``path``; ``credential`` is the whole header line that proves the caller, without its line end."""
    return f"GET {path} HTTP/1.1\r\n{_AGENT_LINES}{credential}\r\n\r\n".encode()


def post_call(path: str, credential: str, body: bytes) -> bytes:
    """POST ``path`` with a JSON ``body``; ``credential`` as in get_call."""
    head = f"POST {path} HTTP/1.1\r\n{_AGENT_LINES}{credential}\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def payment_calls(tokens: Sequence[str], count: int, first_serial: int) -> list[bytes]:
    """``count`` calls, reads and new payments by turns, the tokens in turn."""
    calls = []
    for number in range(count):
        serial = first_serial + number
        # A pair of read and payment shares a consumer's turn, or even and odd consumers would send one kind
        # each.
        credential = f"Authorization: Bearer {tokens[_turn(number, len(tokens), count)]}"
        if number % 2:
            calls.append(post_call("/v2/payments", credential, payment_body(serial)))
        else:
            calls.append(get_call(f"/v2/payments/{payment_id(serial)}", credential))
    return calls


def _turn(number: int, tokens: int, count: int) -> int:
    return number % tokens if tokens >= count else (number // 2) % tokens


def keyed_calls(keys: Sequence[str], paths: Sequence[tuple[str, str]], count: int, seed: int) -> list[bytes]:
    """``count`` calls with API keys; key and (method, path template with one ``{id}``) drawn evenly by
    ``seed``.
    """
    draw = random.Random(seed)
    calls = []
    for number in range(count):
        method, template = draw.choice(paths)
        path = template.replace("{id}", payment_id(number))
        credential = f"X-API-Key: {draw.choice(keys)}"
        calls.append(
            get_call(path, credential)
            if method == "GET"
            else post_call(path, credential, payment_body(number))
        )
    return calls


def write_calls(path: Path, calls: Iterable[bytes]) -> None:
    """One call after the other, each preceded by its length in decimal and a line end."""
    with path.open("wb") as out:
        for call in calls:
            out.write(b"%d\n%b" % (len(call), call))


def read_calls(path: Path) -> list[bytes]:
    """What write_calls wrote. Raises ValueError on a file cut short."""
    data = path.read_bytes()
    calls = []
    position = 0
    while position < len(data):
        end = data.index(b"\n", position)
        length = int(data[position:end])
        position = end + 1 + length
        if position > len(data):
            raise ValueError(f"{path} is cut short")
        calls.append(data[end + 1 : position])
    return calls
