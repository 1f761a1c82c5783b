"""What is fuzzed, and what must hold: functions from any bytes to nothing, which raise AssertionError when a promise breaks.

Pure where the gateway is pure; the two streams run the real connection classes over fakes without sockets. Anything but the
documented refusals that comes out of the code under test is a finding too, since nothing here catches it.
"""

import functools
import json
import re
from collections.abc import Callable, Sequence
from ipaddress import ip_address, ip_network
from typing import Final
from urllib.parse import unquote_to_bytes

from faregate.gateway.http1.chunked import ChunkDecoder, ChunkError
from faregate.gateway.http1.paths import check_percent, normalise
from faregate.gateway.http1.request import Fields, parse_fields
from faregate.gateway.http1.response import InvalidAnswer, parse_response
from faregate.gateway.http1.sections import FieldsMemory
from faregate.gateway.outbound import address_behind
from faregate.kernel import base64url
from faregate.kernel.problems import Refusal
from faregate.snapshot.call import Step
from tests.fuzz import oracle
from tests.policies.jwt import material

TRAILER_BYTES: Final = 4 << 10
_SECRET: Final = material.SECRET


def cuts(data: bytes) -> tuple[list[bytes], bytes]:
    """Pieces of the data behind the first byte, which says how it is cut; and that data whole."""
    size, whole = (data[0] % 24, data[1:]) if data else (0, b"")
    size = size or len(whole) or 1
    return [whole[at : at + size] for at in range(0, len(whole), size)], whole


def chunked(data: bytes) -> None:
    """A decoder gives one verdict however the bytes are cut, and reads what another reader reads."""
    pieces, whole = cuts(data)
    verdict, body, rest = _decode(pieces)
    assert (verdict, body, rest) == _decode([whole]), "the cut changes the verdict"
    try:
        wanted: tuple[bytes, bytes] | None = oracle.read_chunks(whole)
    except (oracle.NotHttp, oracle.Cut):
        wanted = None
    if verdict == "done":
        assert wanted == (body, rest), "passed on what is no chunked body"


def _decode(pieces: Sequence[bytes]) -> tuple[str, bytes, bytes]:
    decoder = ChunkDecoder(trailer_bytes_max=TRAILER_BYTES, trailers_max=16, body_bytes_max=1 << 20)
    body = bytearray()
    for place, piece in enumerate(pieces):
        try:
            body += b"".join(decoder.feed(piece))
        except ChunkError:
            return "refused", b"", b""
        if decoder.done:
            return "done", bytes(body), decoder.rest + b"".join(pieces[place + 1 :])
    return "open", bytes(body), b""


def path(data: bytes) -> None:
    """One path, one decision: stable, decoding like the target, and none of the spellings on the list."""
    target = b"/" + bytes(byte for byte in data if 0x21 <= byte <= 0x7E and byte not in b"#\\?")
    try:
        check_percent(target)
        found = normalise(target)
    except Refusal as refusal:
        assert refusal.code == "malformed_request"  # noqa: PT017 - other refusals are findings
        return
    assert normalise(found) == found, "not a fixed point"
    decoded = unquote_to_bytes(target)
    assert decoded == unquote_to_bytes(found), "decides about another path"
    assert not re.search(rb"//|;|[\x00-\x1f\x7f\\]", decoded.replace(b"%3B", b"")) or b"%3B" in found.upper()
    assert not {b".", b".."} & set(decoded.split(b"/")), "dot segment"
    assert decoded.count(b"/") == target.count(b"/"), "an encoded slash"
    assert not re.search(rb"%[0-9A-Fa-f]{2}", decoded), "decodes twice"
    decoded.decode()  # UTF-8


def fields(data: bytes) -> None:
    """A field section means the same fresh, remembered, and known but for its credential."""
    raw = b"Host: api.test\r\n" + data.replace(b"\r\n\r\n", b"\r\n") + b"\r\n\r\n"
    raw = re.sub(rb"(\r\n){2,}", b"\r\n", raw[:-4]) + b"\r\n\r\n"
    fresh = _facts(lambda: parse_fields(raw, 64))
    memory = FieldsMemory(64 << 10, 64)
    for _ in range(3):
        assert _facts(lambda: memory.recall(raw)) == fresh, "memory changes the meaning"
    for other in (b"X-API-Key: other", b"Authorization: Bearer other"):
        memory.known(raw)
        _facts(lambda other=other: memory.recall(b"Host: api.test\r\n" + other + b"\r\n\r\n"))  # type: ignore[misc]
        assert _facts(lambda: memory.recall(raw)) == fresh


def _facts(read: Callable[[], Fields]) -> object:
    try:
        found = read()
    except Refusal as refusal:
        return refusal.code, refusal.reason
    names = (
        "api_key", "authorization", "chunked", "close", "content_length", "content_type", "expect", "forwarded_for", "forwarded_host",
        "forwarded_proto", "framed", "host", "passed", "request_id", "te_trailers", "traceparent", "tracestate", "upgrade", "via",
    )  # fmt: skip
    return [(name, getattr(found, name)) for name in names]


def response_head(data: bytes) -> None:
    """A head that is taken is one that another reader reads, with the same framing."""
    raw = data.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    try:
        head = parse_response(raw, 64)
    except InvalidAnswer:
        return
    for method in (b"GET", b"HEAD") if head.status >= 200 else ():
        try:
            message, _ = oracle.read_answer(raw + b"0\r\n\r\n" * head.chunked, method, clean_end=True)
        except oracle.Cut:
            assert head.content_length > 0, "no head to another reader"
            continue
        assert int(message.first[1]) == head.status
        lengths = message.all(b"content-length")
        assert head.chunked == bool(message.all(b"transfer-encoding"))
        if lengths and head.status != 205:
            assert head.content_length == int(lengths[0])
    for line in head.lines:
        assert re.fullmatch(rb"[^\r\n\x00:]+: ?[^\r\n\x00]*\r\n", line), line


def forwarded(data: bytes) -> None:
    """The address behind trusted proxies is an address, and no untrusted hop is passed over."""
    trusted = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
    found = address_behind(data, "10.1.1.1", trusted)
    assert str(ip_address(found)) == found
    known = "10.1.1.1"
    for entry in reversed(data.split(b",")):
        text = entry.strip()
        if not any(ip_address(known) in network for network in trusted):
            break
        try:
            address = ip_address(text.decode("ascii"))
        except ValueError:
            break
        if b"%" in text:
            break
        mapped = getattr(address, "ipv4_mapped", None) if text.startswith(b"::ffff:") else None
        known = str(mapped or address)
    assert found == known


@functools.cache
def _jwt_step() -> Step:
    issuer = material.issuer(secret=_SECRET, algorithms=("HS256",))
    return material.authenticators(issuer).step_for(material.route("jwt"))


def good_token() -> bytes:
    """A token that the target's issuer signed; the same on every run."""
    header = b'{"alg":"HS256","typ":"JWT"}'
    return material.raw_token(header, material.compact(material.claims()), "HS256", _SECRET)


def jwt(data: bytes) -> None:
    """No bytes pass for a token but those the issuer signed, and of those only what the claims allow.

    The first byte chooses what the rest is: the whole token, a signed payload, or a signed header.
    """
    kind, rest = (data[0] % 3, data[1:]) if data else (0, b"")
    payload = material.compact(material.claims())
    header = b'{"alg":"HS256","typ":"JWT"}'
    if kind == 0:
        value, allowed = rest, rest == good_token()
    elif kind == 1:
        value, allowed = material.raw_token(header, rest, "HS256", _SECRET), _good_claims(rest)
    else:
        value, allowed = material.raw_token(rest, payload, "HS256", _SECRET), _good_header(rest)
    if re.search(rb"[^\x21-\x7e]", value):
        return  # never gets past the field's own pattern
    verdict = _jwt_step()(material.call_with(b"Bearer " + value))
    assert verdict is None or isinstance(verdict, Refusal)
    if verdict is None:
        assert allowed, value
    else:
        assert verdict.code == "credential_invalid", verdict.code
        assert not value or len(value) < 12 or value not in verdict.headers


def _strict_object(data: bytes) -> dict[str, object] | None:
    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError
        return found

    try:
        loaded = json.loads(data.decode(), object_pairs_hook=once)
    except (ValueError, RecursionError):
        return None
    return loaded if isinstance(loaded, dict) else None


def _good_claims(data: bytes) -> bool:
    found = _strict_object(data)
    if found is None:
        return False
    audience = found.get("aud")
    times = [found.get(name, 0) for name in ("exp", "nbf", "iat")]
    if any(isinstance(one, bool) or not isinstance(one, int | float) for one in times):
        return False
    expires, not_before, issued = times
    return (
        found.get("iss") == material.ISSUER
        and found.get("sub") in {"acme-server", "asleep"}
        and (audience == material.AUDIENCE or (isinstance(audience, list) and material.AUDIENCE in audience))
        and "exp" in found
        and expires > material.WALL - 11  # type: ignore[operator]  # numbers, as seen above
        and not_before <= material.WALL + 11  # type: ignore[operator]
        and issued <= material.WALL + 11  # type: ignore[operator]
    )


def _good_header(data: bytes) -> bool:
    found = _strict_object(data)
    return (
        found is not None
        and found.get("alg") == "HS256"
        and not {"crit", "jwk", "jku", "x5u", "x5c", "b64"} & found.keys()
        and found.get("kid") is None
    )


def base64(data: bytes) -> None:
    """What is decoded has exactly one spelling (J13)."""
    try:
        found = base64url.decode(data)
    except ValueError:
        return
    assert base64url.encode(found) == data
