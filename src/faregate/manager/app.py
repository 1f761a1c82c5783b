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
from faregate.kernel.problems import PROBLEMS, Problem
from faregate.manager.exposition import CONTENT_TYPE, render
from faregate.manager.feed import FeedServer
from faregate.manager.hosts import Names, judge
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
        return _problem(request, PROBLEMS[code], headers=headers)
    if code == "misdirected_request":
        detail = "The manager is not known by this name; use its address."
        return _problem(request, PROBLEMS[code], headers=headers, detail=detail)
    members = {
        "type": f"urn:faregate:problem:{code}",
        "title": "Origin denied",
        "status": 403,
        "code": code,
        "detail": "Pages of other sites may not ask the manager.",
        "request_id": request.scope["request_id"],
    }
    return JSONResponse(members, 403, headers, media_type="application/problem+json")


def _problem(
    request: Request, problem: Problem, *, headers: dict[str, str] | None = None, detail: str = ""
) -> Response:
    members = {
        "type": problem.type,
        "title": problem.title,
        "status": problem.status,
        "code": problem.code,
        "detail": detail or problem.detail,
        "request_id": request.scope["request_id"],
    }
    return JSONResponse(members, problem.status, headers, media_type="application/problem+json")


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        return _problem(request, PROBLEMS["method_not_allowed"], headers={"Allow": ", ".join(_METHODS)})
    return _problem(request, PROBLEMS["no_route"])


async def _defect(request: Request, _: Exception) -> Response:
    return _problem(request, PROBLEMS["internal_error"])


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
        members = {
            "type": "urn:faregate:problem:not_ready",
            "title": "Not ready",
            "status": 503,
            "code": "not_ready",
            "detail": f"{readiness.lacks}.",
            "request_id": request.scope["request_id"],
            "retry": "after",
            "workers": workers,
            "revisions": readiness.revisions,
        }
        return JSONResponse(members, 503, {"Retry-After": "1"}, media_type="application/problem+json")

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
            answer = _problem(Request(scope), problem, headers={"Allow": ", ".join(_ADMIN_METHODS)})
            await answer(scope, receive, send)
            return
        await door(scope, receive, send)

    return admin
