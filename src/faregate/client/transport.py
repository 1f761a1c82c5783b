"""How operations travel: requests made, answers read, and what is safe sent again.

Sent again is what no manager can have taken (the connection was refused) and what only reads; a write whose
answer was lost is not, unless it has an ``Idempotency-Key``, which the client makes where the operation takes
one. Never more than three times, and never later than the manager's own ``Retry-After`` asks, up to 5 s.
"""

import secrets
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import httpx2

from faregate.client.declaring import Operation
from faregate.client.errors import ClientError, Refused, ShownOnce, Unreachable, Waiting

TIMEOUT_S: Final = 60.0
TRIES: Final = 3
RETRY_S_MAX: Final = 5.0
_KEY: Final = "idempotency-key"
_COOKIE: Final = "__Host-faregate"
_CLEAR: Final = "WRONG_VERSION_NUMBER"
"""What TLS says of bytes that are none of it."""
_AGAIN: Final = frozenset({429, 503})


class Told(NamedTuple):
    """What the last answer said besides its content. ``revision``: the one that a write made, 0 for none;
    ``published``: whether the workers of the manager's machine run it; ``etag``: of what was shown;
    ``session``: the session's secret where one was opened or renewed, to be used as a token.
    """

    status: int = 0
    revision: int = 0
    published: bool = True
    etag: str = ""
    request_id: str = ""
    session: ShownOnce = ShownOnce()


class Transport:
    """Connections to one manager. Raises ClientError for what is no URL."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        transport: httpx2.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._sleep = sleep
        self.wishes: Mapping[str, str] = {}
        """Headers of every operation that changes something."""
        self.url = url.rstrip("/")
        headers = [(b"Authorization", f"Bearer {token}".encode())] if token else []
        try:
            self._http = httpx2.Client(
                base_url=self.url,
                headers=headers,
                timeout=TIMEOUT_S,
                transport=transport,
                trust_env=False,
                verify=_trust(self.url),
            )
        except httpx2.InvalidURL as error:
            raise ClientError(f"{url} is not a URL such as http://127.0.0.1:9090: {error}") from None

    def close(self) -> None:
        self._http.close()

    def send(self, operation: Operation, values: Mapping[str, object], body: object) -> tuple[Any, Told]:
        """The content of the answer, None where there is none. ``values``: parameters by their names on the
        wire. Raises KeyError for one of the path that is missing, Refused, Unreachable, Waiting.
        """
        path = operation.path
        for name in operation.in_path:
            path = path.replace(f"{{{name}}}", _segment(str(values[name])))
        headers = {name: str(values[name]) for name in operation.headers if values.get(name)}
        if not operation.reads:
            headers |= self.wishes
        if _KEY in operation.headers:
            headers.setdefault(_KEY, f'"{secrets.token_hex(16)}"')
        request = self._http.build_request(
            operation.method,
            path,
            params={name: _text(values[name]) for name in operation.query if values.get(name) is not None},
            headers=[(name.encode(), _header(name, value)) for name, value in headers.items()],
            json=body if body is not None or not operation.body else {},
        )
        answer = self._answer(request, again=operation.reads or _KEY in headers)
        return _read(answer, operation.once)

    def _answer(self, request: httpx2.Request, *, again: bool) -> httpx2.Response:
        tried = 0
        while True:
            tried += 1
            try:
                answer = self._http.send(request)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                if tried == TRIES or _CLEAR in str(error):
                    raise self._nobody(error) from error
                pause = 0.2 * tried
            except httpx2.LocalProtocolError:  # whose text has the header, which may be the token
                raise ClientError("the token or a header holds what none may; nothing was sent") from None
            except httpx2.TransportError as error:
                if not again or tried == TRIES:
                    said = f"the manager at {self.url} gave no answer: {type(error).__name__}"
                    raise Unreachable(
                        said if again else f"{said}; the change may have been made", sent=True
                    ) from error
                pause = 0.2 * tried
            else:
                if answer.status_code not in _AGAIN or not again or tried == TRIES:
                    return answer
                pause = _pause(answer.headers.get("retry-after", ""))
                if pause > RETRY_S_MAX:
                    return answer
            self._sleep(pause)

    def _nobody(self, error: Exception) -> Unreachable:
        if _CLEAR in str(error):
            clear = self.url.replace("https:", "http:", 1)
            return Unreachable(f"it speaks http, not https: {clear}", sent=False)
        return Unreachable(f"no manager answers at {self.url}: {error}", sent=False)


def _trust(url: str) -> ssl.SSLContext | bool:
    """Whose certificates count: the machine's authorities; in clear nobody's: reading them takes 20 ms."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if url.lower().startswith("http://") else True


def _segment(name: str) -> str:
    """One segment of a path. Raises ClientError for what would lead to something else than is named: a
    manager reads %2F as a slash, and dots alone are taken for folders.
    """
    if "/" in name or not name.strip("."):
        raise ClientError(f"{name!r} is no name; nothing was sent")
    return quote(name, safe="")


def _pause(retry_after: str) -> float:
    return float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 1.0


def _header(name: str, value: str) -> bytes:
    """In UTF-8, on one line; an ETag is quoted on the wire."""
    value = " ".join(value.split())
    if name == "if-match" and value != "*" and not value.startswith(('"', "W/")):
        value = f'"{value}"'
    return value.encode()


def _text(value: object) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _read(answer: httpx2.Response, once: tuple[str, ...]) -> tuple[Any, Told]:
    content: Any = None
    if answer.content and "json" in answer.headers.get("content-type", ""):
        try:
            content = answer.json()
        except ValueError:
            content = None
    status = answer.status_code
    if status >= 300:
        raise Refused(status, content if isinstance(content, dict) else {})
    if status == 202 and isinstance(content, dict):
        raise Waiting(content)
    for name in once:
        if isinstance(content, dict) and isinstance(content.get(name), str):
            content[name] = ShownOnce(content[name])
    revision = answer.headers.get("faregate-revision", "")
    return content, Told(
        status,
        int(revision) if revision.isascii() and revision.isdigit() else 0,
        answer.headers.get("faregate-published", "true") == "true",
        answer.headers.get("etag", "").removeprefix("W/").strip('"'),
        answer.headers.get("x-request-id", ""),
        _session(answer),
    )


def _session(answer: httpx2.Response) -> ShownOnce:
    for cookie in answer.headers.get_list("set-cookie"):
        name, _, rest = cookie.partition("=")
        if name == _COOKIE:
            return ShownOnce(rest.partition(";")[0].strip('"'))
    return ShownOnce()
