"""Bounds on what is sent to the admin API: bytes of a body, its nesting, its type, that it reads one way.

A body is read whole before anything looks at it, so that its size is bounded whatever its framing said, and
all bodies together; a long one is read only of who is proven. JSON alone is taken (http-rules.md section 12),
nested no deeper than a configuration ever is.
"""

import asyncio
import re
from itertools import accumulate
from typing import Final, NamedTuple

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from faregate.kernel.strict_json import DoubledError, decode_value
from faregate.manager.admin.context import actor
from faregate.manager.cases.errors import CaseError
from faregate.manager.refusals import refusal

BODY_BYTES_MAX: Final = 64 << 20
"""A configuration of 100,000 consumers takes about 30 MiB."""
UNPROVEN_BYTES_MAX: Final = 64 << 10
"""Of who is not proven."""
HELD_BYTES_MAX: Final = 128 << 20
"""Of all bodies at one moment; every connection there may be with a short one takes half of it."""
DEPTH_MAX: Final = 64
_ASIDE_BYTES: Final = 256 << 10
"""A longer body is judged in a thread."""
_PIECE_BYTES: Final = 1 << 20
_JSON: Final = re.compile(
    rb"application/(?:json|merge-patch\+json)\s*(?:;\s*charset=utf-8\s*)?", re.IGNORECASE
)
_OTHERS: Final = bytes(one for one in range(256) if one not in b"[{]}")
_STEPS: Final = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
"""As signed bytes: one deeper, one less deep."""


class _Refused(NamedTuple):
    code: str
    status: int
    detail: str
    headers: dict[str, str] = {}  # noqa: RUF012 - never written


class _RefusedError(Exception):
    """Raised while a body is read."""

    def __init__(self, refused: _Refused) -> None:
        super().__init__(refused.detail)
        self.refused = refused


class _GoneError(Exception):
    """Whoever asked has left before the body's end."""


class Bounds:
    """ASGI middleware; refuses by itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        reading = _Reading(self, scope)
        try:
            body = await reading.whole(receive)
            long = len(body) > _ASIDE_BYTES
            refused = await asyncio.to_thread(_judge, scope, body) if long else _judge(scope, body)
            if refused is not None:
                await _answer(scope, refused)(scope, receive, send)
                return
            await self._app(scope, _again(body, receive), send)
        except _RefusedError as error:
            await _answer(scope, error.refused)(scope, receive, send)
        except _GoneError:
            return
        finally:
            self.give(-reading.size)

    def give(self, size: int) -> None:
        """Counts bytes that are held from now on, or no more."""
        self._held += size

    @property
    def full(self) -> bool:
        return self._held > HELD_BYTES_MAX


class _Reading:
    """One body as it comes. ``size``: bytes of it that are held."""

    def __init__(self, bounds: Bounds, scope: Scope) -> None:
        self._bounds = bounds
        self._scope = scope
        self._proven = False
        self.size = 0

    async def whole(self, receive: Receive) -> bytes:
        """Raises _RefusedError, _GoneError."""
        await self._demand(_told(self._scope))
        parts: list[bytes] = []
        more = True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                raise _GoneError
            part = message.get("body", b"")
            self.size += len(part)
            self._bounds.give(len(part))
            await self._demand(self.size)
            if self._bounds.full:
                detail = "Too many large bodies are on their way; try again in a moment."
                raise _RefusedError(_Refused("overloaded", 503, detail, {"Retry-After": "1"}))
            parts.append(part)
            more = message.get("more_body", False)
        return b"".join(parts)

    async def _demand(self, size: int) -> None:
        """That a body of ``size`` bytes may be sent."""
        if size > BODY_BYTES_MAX:
            detail = f"A body has at most {BODY_BYTES_MAX >> 20} MiB."
            raise _RefusedError(_Refused("body_too_large", 413, detail))
        if size > UNPROVEN_BYTES_MAX and not self._proven:
            await self._demand_proven()
            self._proven = True

    async def _demand_proven(self) -> None:
        request = Request(self._scope)
        if not (request.headers.get("authorization") or request.headers.get("cookie")):
            detail = f"Without a credential a body has at most {UNPROVEN_BYTES_MAX >> 10} KiB."
            raise _RefusedError(_Refused("body_too_large", 413, detail))
        try:
            await actor(request, self._scope["app"].state.management)
        except CaseError as error:
            headers = {
                401: {"WWW-Authenticate": 'Bearer realm="faregate manager"'},
                503: {"Retry-After": "1"},
            }.get(error.status, {})
            raise _RefusedError(_Refused(error.code, error.status, error.detail, headers)) from error


def _told(scope: Scope) -> int:
    """The length that the head tells; 0 where it tells none that is one."""
    text = Headers(scope=scope).get("content-length", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else 0


def _again(body: bytes, receive: Receive) -> Receive:
    """``body`` once more, for who comes next."""
    sent = False

    async def again() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _answer(scope: Scope, refused: _Refused) -> JSONResponse:
    return refusal(scope, refused.code, refused.status, "Not taken", refused.detail, refused.headers)


def _judge(scope: Scope, body: bytes) -> _Refused | None:
    if not body:
        return None
    kinds = [value for name, value in scope["headers"] if name == b"content-type"]
    if len(kinds) != 1 or _JSON.fullmatch(kinds[0].strip()) is None:
        return _Refused("unsupported_media_type", 415, "Send JSON: Content-Type: application/json.")
    if _depth(body) > DEPTH_MAX:
        return _Refused("malformed_request", 400, f"A body is nested at most {DEPTH_MAX} deep.")
    try:
        decode_value(body)  # what reads it next would take the last of two members, and numbers that are none
    except DoubledError:
        return _Refused("malformed_request", 400, "A name stands twice in one object of the body.")
    except ValueError:
        return _Refused("malformed_request", 400, "The body is not JSON.")
    return None


def _depth(body: bytes) -> int:
    """How deep the brackets outside of texts go; 0 where there are too few to matter. In time that grows with
    the length alone: texts are what lies between quotes once no escape is left.
    """
    if body.count(b"{") + body.count(b"[") <= DEPTH_MAX:
        return 0
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    depth = deepest = inside = 0
    for start in range(0, len(plain), _PIECE_BYTES):
        pieces = plain[start : start + _PIECE_BYTES].split(b'"')
        steps = b"".join(pieces[inside::2]).translate(_STEPS, _OTHERS)
        inside ^= (len(pieces) - 1) & 1
        here = max(accumulate(memoryview(steps).cast("b"), initial=depth))
        deepest = max(deepest, here)
        depth += 2 * steps.count(b"\x01") - len(steps)
    return deepest
