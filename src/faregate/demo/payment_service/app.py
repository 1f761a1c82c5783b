"""The example payment service over HTTP: ``/v1/payments`` and ``/v2/payments``, alike but for their path.

Who calls is read from ``X-Consumer-Id``, which the gateway sets and no caller can forge; so the service
must be reachable through the gateway only. Bodies are checked here, sums in ``store``. ``/_control`` lets
the demo make this copy slow; it exists only when asked for, and only for this machine.
"""

import ipaddress
import os
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Final

from flask import Blueprint, Flask, Response, current_app, jsonify, request
from werkzeug.exceptions import HTTPException

from faregate.demo.payment_service.store import PAGE_MAX, ConflictError, NotFoundError, Payments

AMOUNT_MINOR_MAX: Final = 1_000_000_00
"""One million in a currency of two decimals: what this service takes in one payment."""

DELAY_MS_MAX: Final = 10_000
BODY_BYTES_MAX: Final = 64 << 10

_CURRENCY: Final = re.compile(r"[A-Z]{3}")
_REFERENCE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _./-]{0,63}")

# Published test numbers and tokens, and whether their issuer agrees. Any other is refused: this is no vault.
_CARDS: Final[Mapping[str, bool]] = {
    "4242424242424242": True,
    "5555555555554444": True,
    "4000000000000002": False,
}
_TOKENS: Final[Mapping[str, tuple[str, bool]]] = {
    "tok_visa": ("4242", True),
    "tok_mastercard": ("4444", True),
    "tok_declined": ("0002", False),
}

payments_routes = Blueprint("payments", __name__)
control_routes = Blueprint("control", __name__)


class InvalidError(Exception):
    """A body or parameter that cannot be used; ``field`` is where."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class Pace:
    """How long this copy takes over one payment call, in ms; the demo turns it up and down."""

    def __init__(self, delay_ms: int) -> None:
        self._lock = threading.Lock()
        self._delay_ms = delay_ms

    @property
    def delay_ms(self) -> int:
        with self._lock:
            return self._delay_ms

    @delay_ms.setter
    def delay_ms(self, value: int) -> None:
        with self._lock:
            self._delay_ms = value


def create_app(database: Path, *, delay_ms: int = 0, control: bool = False) -> Flask:
    """The service over the payments in ``database``; ``control`` adds ``/_control``."""
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = BODY_BYTES_MAX
    app.extensions["payments"] = Payments(database)
    app.extensions["pace"] = Pace(delay_ms)
    app.register_blueprint(payments_routes, url_prefix="/v1/payments", name="payments_v1")
    app.register_blueprint(payments_routes, url_prefix="/v2/payments", name="payments_v2")
    if control:
        app.register_blueprint(control_routes)
    app.add_url_rule("/healthz", view_func=healthz)
    app.register_error_handler(InvalidError, _on_invalid)
    app.register_error_handler(NotFoundError, _on_not_found)
    app.register_error_handler(ConflictError, _on_conflict)
    app.register_error_handler(HTTPException, _on_http_error)
    return app


def application() -> Flask:
    """What gunicorn loads; reads ``PAYMENTS_DATABASE``, ``PAYMENTS_DELAY_MS``, ``PAYMENTS_CONTROL``."""
    return create_app(
        Path(os.environ.get("PAYMENTS_DATABASE", "payments.db")),
        delay_ms=int(os.environ.get("PAYMENTS_DELAY_MS", "0")),
        control=os.environ.get("PAYMENTS_CONTROL") == "1",
    )


def healthz() -> Response:
    return jsonify(status="ok")


# --- payments -------------------------------------------------------------------------------------


@payments_routes.before_request
def _take_time() -> None:
    """Stands for the work a real service does: the card network's answer, mostly."""
    delay_ms = _pace().delay_ms
    if delay_ms:
        time.sleep(delay_ms / 1000)


@payments_routes.post("")
def payment_create() -> tuple[Response, int]:
    body = _body("amount_minor", "currency", "reference", "card")
    payment = _store().create(
        _owner(),
        _amount(body.get("amount_minor")),
        _matching(body.get("currency"), _CURRENCY, "currency", "three capital letters, such as EUR"),
        _matching(body.get("reference"), _REFERENCE, "reference", "1-64 letters, digits, spaces and _./-"),
        _card(body.get("card")),
        _key(),
    )
    return jsonify(asdict(payment)), 201


@payments_routes.get("")
def payment_list() -> Response:
    """The newest payments; with ``key``, the one that was made with this ``Idempotency-Key``."""
    if (key := request.args.get("key")) is not None:
        return jsonify(asdict(_store().made_with(_owner(), key)))
    text = request.args.get("limit", "20")
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= PAGE_MAX:
        raise InvalidError("limit", f"Expected a number between 1 and {PAGE_MAX}.")
    return jsonify(payments=[asdict(payment) for payment in _store().recent(_owner(), int(text))])


@payments_routes.get("/<payment_id>")
def payment_get(payment_id: str) -> Response:
    return jsonify(asdict(_store().get(_owner(), payment_id)))


@payments_routes.post("/<payment_id>/capture")
def payment_capture(payment_id: str) -> Response:
    body = _body("amount_minor") if request.content_length else {}
    amount = _amount(body["amount_minor"]) if "amount_minor" in body else None
    return jsonify(asdict(_store().capture(_owner(), payment_id, amount)))


@payments_routes.post("/<payment_id>/refunds")
def refund_create(payment_id: str) -> tuple[Response, int]:
    amount = _amount(_body("amount_minor").get("amount_minor"))
    return jsonify(asdict(_store().refund(_owner(), payment_id, amount, _key()))), 201


@payments_routes.get("/<payment_id>/refunds")
def refund_get(payment_id: str) -> Response:
    """The refund that was made with the ``Idempotency-Key`` that ``key`` repeats."""
    return jsonify(asdict(_store().refund_made_with(_owner(), payment_id, request.args.get("key", ""))))


# --- control --------------------------------------------------------------------------------------


@control_routes.post("/_control")
def control_set() -> Response:
    """Sets ``delay_ms`` of this copy. Never for a call through a proxy, nor from another machine."""
    local = ipaddress.ip_address(request.remote_addr or "0.0.0.0").is_loopback  # noqa: S104 - no binding
    if not local or "X-Forwarded-For" in request.headers:
        raise NotFoundError
    delay_ms = _body("delay_ms").get("delay_ms")
    if type(delay_ms) is not int or not 0 <= delay_ms <= DELAY_MS_MAX:
        raise InvalidError("delay_ms", f"Expected an integer between 0 and {DELAY_MS_MAX}.")
    _pace().delay_ms = delay_ms
    return jsonify(delay_ms=delay_ms)


# --- reading a request ----------------------------------------------------------------------------


def _store() -> Payments:
    store = current_app.extensions["payments"]
    assert isinstance(store, Payments)
    return store


def _pace() -> Pace:
    pace = current_app.extensions["pace"]
    assert isinstance(pace, Pace)
    return pace


def _owner() -> str:
    return request.headers.get("X-Consumer-Id", "direct")


def _key() -> str:
    """The caller's ``Idempotency-Key``, quoted (RFC 8941) or bare; only kept, to be asked for later."""
    key = request.headers.get("Idempotency-Key", "")
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    return key[:255]


def _body(*allowed: str) -> dict[str, object]:
    body = request.get_json(silent=True)
    if not isinstance(body, dict):
        raise InvalidError("", "Expected a JSON object with Content-Type: application/json.")
    for name in body:
        if name not in allowed:
            raise InvalidError(str(name), f"Unknown field; expected {', '.join(allowed)}.")
    return body


def _amount(value: object) -> int:
    if type(value) is not int or not 1 <= value <= AMOUNT_MINOR_MAX:
        raise InvalidError("amount_minor", f"Expected an integer, 1 to {AMOUNT_MINOR_MAX}, in minor units.")
    return value


def _matching(value: object, pattern: re.Pattern[str], field: str, expected: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise InvalidError(field, f"Expected {expected}.")
    return value


def _card(value: object) -> tuple[str, bool]:
    """Last four digits and whether the issuer agrees; the number goes no further than this function."""
    card = value if isinstance(value, dict) else {}
    token, number = card.get("token"), card.get("number")
    if len(card) == 1 and isinstance(token, str) and token in _TOKENS:
        return _TOKENS[token]
    if len(card) == 1 and isinstance(number, str) and number in _CARDS:
        return number[-4:], _CARDS[number]
    raise InvalidError(
        "card", "Expected a token (tok_visa, tok_mastercard, tok_declined) or the number of a test card."
    )


# --- errors ---------------------------------------------------------------------------------------


def _problem(status: int, code: str, message: str, field: str = "") -> tuple[Response, int]:
    error = {"code": code, "message": message}
    if field:
        error["field"] = field
    return jsonify(error=error), status


def _on_invalid(error: InvalidError) -> tuple[Response, int]:
    return _problem(422, "invalid", str(error), error.field)


def _on_not_found(_error: NotFoundError) -> tuple[Response, int]:
    return _problem(404, "not_found", "No such payment.")


def _on_conflict(error: ConflictError) -> tuple[Response, int]:
    return _problem(409, error.code, str(error))


def _on_http_error(error: HTTPException) -> tuple[Response, int]:
    return _problem(error.code or 500, error.name.lower().replace(" ", "_"), error.description or error.name)
