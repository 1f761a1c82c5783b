"""Names and keys on the command line are those of the configuration, or an error that says which was meant."""

import pytest

from faregate.cli.errors import CommandError
from faregate.cli.ledger_naming import caller_key, check_names
from faregate.cli.ledger_records import age_text
from faregate.snapshot.data import FORMAT, Consumer, Gateway, Route, Snapshot, Version
from faregate.snapshot.idempotency import Idempotency

BY_ORDER = Idempotency(header=b"", pointers=("/shop", "/order"))
PAYMENTS, ORDERS = "POST /payments", "POST /orders"
SNAPSHOT = Snapshot(
    FORMAT, 1, Gateway((), None, 1, "data"), (), (), (), (Consumer("acme"), Consumer("northwind")), (Version("v1", "/v1"),),
    (
        Route("payments", 0, "GET", "/v1/payments", "GET /payments", "u"),
        Route("payments", 0, "POST", "/v1/payments", PAYMENTS, "u", idempotency=Idempotency()),
        Route("payments", 0, "POST", "/v1/orders", ORDERS, "u", idempotency=BY_ORDER),
    ),
)  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"consumer": "acne"}, "--consumer: the configuration has no consumer 'acne'; did you mean 'acme'?"),
        ({"consumer": "zzz"}, "--consumer: the configuration has no consumer 'zzz'"),
        ({"api": "payment"}, "--api: the configuration has no API 'payment'; did you mean 'payments'?"),
        ({"route": "POST /payment"}, "--route: the configuration has no route with idempotency of payments 'POST /payment'; did you mean 'POST /payments'?"),
        ({"route": "GET /payments"}, "--route: the configuration has no route with idempotency of payments 'GET /payments'; did you mean 'POST /payments'?"),
    ],
)  # fmt: skip
def test_a_name_that_the_configuration_does_not_know_is_told(wrong: dict[str, str], said: str) -> None:
    names = {"consumer": "acme", "api": "payments", "route": PAYMENTS}
    check_names(SNAPSHOT, **names)
    check_names(SNAPSHOT, consumer="acme")
    with pytest.raises(CommandError) as refused:
        check_names(SNAPSHOT, **names | wrong)
    assert str(refused.value) == said


@pytest.mark.parametrize(
    ("route", "values", "key"),
    [
        (PAYMENTS, ["order-1"], b"order-1"),
        (PAYMENTS, ['"order-1"'], b"order-1"),
        (PAYMENTS, ['"a\\\\b"'], b"a\\b"),
        (ORDERS, ['"s"', "7"], b'3:"s",1:7,'),
        (PAYMENTS, ["a b"], "--key: no key of 1 to 255 visible ASCII characters"),
        (PAYMENTS, ["a", "b"], "--key: the key of POST /payments takes 1 of them: idempotency-key"),
        (ORDERS, ["7"], "--key: the key of POST /orders takes 2 of them: /shop, /order"),
    ],
)
def test_a_key_is_taken_as_its_route_takes_it(route: str, values: list[str], key: bytes | str) -> None:
    if isinstance(key, bytes):
        assert caller_key(SNAPSHOT, "payments", route, values) == key
        return
    with pytest.raises(CommandError) as refused:
        caller_key(SNAPSHOT, "payments", route, values)
    assert key in str(refused.value)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0s"), (59.9, "59s"), (60, "1m00s"), (3725, "1h02m"), (90_000, "1d01h"), (1e7, "115d17h")],
)
def test_ages_have_their_two_largest_units(seconds: float, text: str) -> None:
    assert age_text(seconds) == text
