"""Bounds on what is sent to the admin API: bytes of a body, its nesting, its type.

A body is read whole before anything looks at it, so that its size is bounded whatever its framing said; JSON
alone is taken (http-rules.md section 12), nested no deeper than a configuration ever is.
"""

import re
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_BYTES_MAX: Final = 64 << 20
"""A configuration of 100,000 consumers takes about 30 MiB."""
DEPTH_MAX: Final = 64
_JSON: Final = re.compile(
    rb"application/(?:json|merge-patch\+json)\s*(?:;\s*charset=utf-8\s*)?", re.IGNORECASE
)
_BRACKETS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|([\[{])|([\]}])')


class Bounds:
    """ASGI middleware; refuses by itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = await _read(receive)
        refusal = _judge(scope, body)
        if refusal is not None:
            code, status, detail = refusal
            answer = JSONResponse(
                {
                    "type": f"urn:faregate:problem:{code}",
                    "title": "Not taken",
                    "status": status,
                    "code": code,
                    "detail": detail,
                    "request_id": str(Request(scope).scope.get("request_id", "")),
                },
                status,
                media_type="application/problem+json",
            )
            await answer(scope, receive, send)
            return
        sent = False

        async def again() -> Message:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": body or b"", "more_body": False}

        await self._app(scope, again, send)


async def _read(receive: Receive) -> bytes | None:
    """The whole body; None when it is too long."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b"".join(parts)
        part = message.get("body", b"")
        size += len(part)
        if size > BODY_BYTES_MAX:
            return None
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def _judge(scope: Scope, body: bytes | None) -> tuple[str, int, str] | None:
    if body is None:
        return "body_too_large", 413, f"A body has at most {BODY_BYTES_MAX >> 20} MiB."
    if not body:
        return None
    kinds = [value for name, value in scope["headers"] if name == b"content-type"]
    if len(kinds) != 1 or _JSON.fullmatch(kinds[0].strip()) is None:
        return "unsupported_media_type", 415, "Send JSON: Content-Type: application/json."
    if _depth(body) > DEPTH_MAX:
        return "malformed_request", 400, f"A body is nested at most {DEPTH_MAX} deep."
    return None


def _depth(body: bytes) -> int:
    if body.count(b"{") + body.count(b"[") <= DEPTH_MAX:
        return 0
    depth = deepest = 0
    for found in _BRACKETS.finditer(body):
        if found[1]:
            depth += 1
            deepest = max(deepest, depth)
        elif found[2]:
            depth -= 1
    return deepest
