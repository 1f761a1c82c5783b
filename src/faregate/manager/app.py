"""The manager's HTTP face: ``/metrics``, ``/healthz``, ``/readyz``, and behind the door the admin API.

Thin: each handler asks the feed or the totals and words the answer. Errors are problem+json as everywhere
(conventions.md section 2). Only under a name that is ours (``hosts``); no CORS; no answer is ever to be
sniffed. Methods that change nothing we know (TRACE, CONNECT) end here.
"""

from time import time
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from faregate.kernel.ids import IdSource, accepts_request_id
from faregate.kernel.problems import PROBLEMS
from faregate.manager.exposition import CONTENT_TYPE, render
from faregate.manager.feed import FeedServer
from faregate.manager.hosts import Names, judge
from faregate.manager.refusals import refusal, refusal_of
from faregate.manager.totals import Totals

_METHODS: Final = ("GET", "HEAD")
_ADMIN_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_SECURITY_HEADERS: Final = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))


class _Envelope:
    """Lets through what asks for us, and puts a request id and the security headers on every answer, made by
    whomever.
    """

    def __init__(self, app: ASGIApp, names: Names) -> None:
        self._app = app
        self._names = names
        self._ids = IdSource()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        request_id = sent if accepts_request_id(sent) else self._ids.request_id(time())
        scope["request_id"] = request_id.decode("ascii")

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-request-id", request_id), *_SECURITY_HEADERS]
            await send(message)

        denied = judge(self._names, scope["headers"], scope["http_version"])
        answer = _denial(Request(scope), denied) if denied else self._app
        await answer(scope, receive, send_with_headers)


def _denial(request: Request, code: str) -> Response:
    """The answer to a request that ``judge`` refused; the connection ends with it."""
    headers = {"Connection": "close"}
    if code == "malformed_request":
        return refusal_of(request.scope, PROBLEMS[code], headers=headers)
    if code == "misdirected_request":
        detail = "The manager is not known by this name; use its address."
        return refusal_of(request.scope, PROBLEMS[code], headers=headers, detail=detail)
    return refusal(
        request.scope, code, 403, "Origin denied", "Pages of other sites may not ask the manager.", headers
    )


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        allowed = {"Allow": ", ".join(_METHODS)}
        return refusal_of(request.scope, PROBLEMS["method_not_allowed"], headers=allowed)
    return refusal_of(request.scope, PROBLEMS["no_route"])


async def _defect(request: Request, _: Exception) -> Response:
    return refusal_of(request.scope, PROBLEMS["internal_error"])


def create_app(totals: Totals, feed: FeedServer, names: Names, door: ASGIApp | None = None) -> ASGIApp:
    """The ASGI application over ``totals``, which ``feed`` fills, for requests under ``names``; what is none
    of its own goes through ``door``.
    """

    async def metrics(_: Request) -> Response:
        await feed.ask()
        return Response(render(totals), media_type=CONTENT_TYPE)

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(request: Request) -> Response:
        readiness = totals.readiness()
        workers = {
            "expected": readiness.expected,
            "connected": readiness.connected,
            "ready": readiness.ready - readiness.draining,
            "draining": readiness.draining,
        }
        if not readiness.lacks:
            return JSONResponse({"status": "ready", "workers": workers, "revision": readiness.revisions[0]})
        standing = {"retry": "after", "workers": workers, "revisions": readiness.revisions}
        detail, retry = f"{readiness.lacks}.", {"Retry-After": "1"}
        return refusal(request.scope, "not_ready", 503, "Not ready", detail, retry, standing)

    app = Starlette(
        routes=[
            Route("/metrics", metrics, methods=_METHODS),
            Route("/healthz", healthz, methods=_METHODS),
            Route("/readyz", readyz, methods=_METHODS),
        ],
        exception_handlers={HTTPException: _http_error, Exception: _defect},
    )
    app.router.redirect_slashes = False  # a path is this path or none
    if door is not None:
        app.router.default = _behind(door)
    return _Envelope(app, names)


def _behind(door: ASGIApp) -> ASGIApp:
    async def admin(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in _ADMIN_METHODS:
            problem = PROBLEMS["method_not_allowed"]
            answer = refusal_of(scope, problem, headers={"Allow": ", ".join(_ADMIN_METHODS)})
            await answer(scope, receive, send)
            return
        await door(scope, receive, send)

    return admin
