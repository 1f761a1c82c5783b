"""The example payment service: what it takes, what it refuses, and the sums that must hold."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from faregate.demo.payment_service.app import AMOUNT_MINOR_MAX, create_app
from faregate.demo.payment_service.store import ConflictError, Payments

GOOD = {"amount_minor": 1250, "currency": "EUR", "reference": "order 17", "card": {"token": "tok_visa"}}


@pytest.fixture
def app(tmp_path):
    return create_app(tmp_path / "payments.db", control=True)


@pytest.fixture
def client(app):
    return app.test_client()


def created(client, owner="acme", **changes):
    answer = client.post("/v2/payments", json=GOOD | changes, headers={"X-Consumer-Id": owner})
    assert answer.status_code == 201, answer.text
    return answer.json["id"]


def test_a_payment_is_created_captured_and_refunded(client):
    payment_id = created(client, owner="direct")
    captured = client.post(f"/v2/payments/{payment_id}/capture")
    assert (captured.status_code, captured.json["status"], captured.json["captured_minor"]) == (
        200,
        "captured",
        1250,
    )
    refund = client.post(f"/v2/payments/{payment_id}/refunds", json={"amount_minor": 250})
    assert (refund.status_code, refund.json["payment_id"]) == (201, payment_id)
    assert client.get(f"/v2/payments/{payment_id}").json["refunded_minor"] == 250


@pytest.mark.parametrize("number", ["4242424242424242", "5555555555554444", "4000000000000002"])
def test_a_card_number_is_taken_and_never_kept_or_answered(client, tmp_path, number):
    answer = client.post("/v2/payments", json=GOOD | {"card": {"number": number}})
    assert answer.status_code == 201
    assert answer.json["card_last4"] == number[-4:]
    assert number not in answer.text
    assert all(number.encode() not in file.read_bytes() for file in tmp_path.iterdir())


def test_a_declined_card_makes_a_declined_payment_that_cannot_be_captured(client):
    answer = client.post("/v2/payments", json=GOOD | {"card": {"token": "tok_declined"}})
    assert answer.json["status"] == "declined"
    capture = client.post(f"/v2/payments/{answer.json['id']}/capture")
    assert (capture.status_code, capture.json["error"]["code"]) == (409, "not_capturable")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"amount_minor": 0}, "amount_minor"),
        ({"amount_minor": 12.5}, "amount_minor"),
        ({"amount_minor": True}, "amount_minor"),
        ({"amount_minor": "1250"}, "amount_minor"),
        ({"amount_minor": AMOUNT_MINOR_MAX + 1}, "amount_minor"),
        ({"currency": "eur"}, "currency"),
        ({"currency": "EURO"}, "currency"),
        ({"reference": ""}, "reference"),
        ({"reference": "x" * 65}, "reference"),
        ({"reference": "a\nb"}, "reference"),
        ({"card": {"number": "4111111111111111"}}, "card"),
        ({"card": {"token": "tok_visa", "number": "4242424242424242"}}, "card"),
        ({"card": "tok_visa"}, "card"),
        ({"amount": 1250}, "amount"),
    ],
)
def test_an_unusable_body_is_refused_and_names_the_field(client, change, field):
    answer = client.post("/v2/payments", json=GOOD | change)
    assert (answer.status_code, answer.json["error"]["field"]) == (422, field)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"text"'])
def test_a_body_that_is_no_json_object_is_refused(client, body):
    answer = client.post("/v2/payments", data=body, content_type="application/json")
    assert (answer.status_code, answer.json["error"]["code"]) == (422, "invalid")


def test_no_more_is_captured_than_was_authorised(client):
    payment_id = created(client, owner="direct")
    answer = client.post(f"/v2/payments/{payment_id}/capture", json={"amount_minor": 1251})
    assert (answer.status_code, answer.json["error"]["code"]) == (409, "amount_too_large")
    assert client.post(f"/v2/payments/{payment_id}/capture", json={"amount_minor": 1000}).status_code == 200
    assert client.post(f"/v2/payments/{payment_id}/capture").status_code == 409


def test_no_more_is_refunded_than_was_captured_even_by_refunds_at_once_through_two_copies(tmp_path):
    copies = [Payments(tmp_path / "payments.db") for _ in range(2)]
    payment = copies[0].create("acme", 1000, "EUR", "order", ("4242", True))
    copies[1].capture("acme", payment.id, None)

    def refund(number):
        try:
            copies[number % 2].refund("acme", payment.id, 300)
        except ConflictError:
            return 0
        return 300

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(refund, range(8))) == 900
    assert copies[0].get("acme", payment.id).refunded_minor == 900


def test_copies_may_start_together_on_a_new_file(tmp_path):
    for number in range(10):
        path = tmp_path / f"{number}.db"
        with ThreadPoolExecutor(4) as pool:
            copies = list(pool.map(Payments, [path] * 4))
        assert copies[0].recent("acme", 1) == []


def test_what_one_copy_creates_the_other_reads(tmp_path):
    first, second = (create_app(tmp_path / "payments.db").test_client() for _ in range(2))
    payment_id = created(first, owner="direct")
    assert second.get(f"/v2/payments/{payment_id}").status_code == 200


def test_both_versions_serve_the_same_payments(client):
    payment_id = created(client, owner="direct")
    assert client.get(f"/v1/payments/{payment_id}").json == client.get(f"/v2/payments/{payment_id}").json


def test_a_consumer_sees_and_changes_only_its_own_payments(client):
    payment_id = created(client, owner="acme")
    other = {"X-Consumer-Id": "northwind"}
    assert client.get(f"/v2/payments/{payment_id}", headers=other).status_code == 404
    assert client.post(f"/v2/payments/{payment_id}/capture", headers=other).status_code == 404
    assert (
        client.post(f"/v2/payments/{payment_id}/refunds", json={"amount_minor": 1}, headers=other).status_code
        == 404
    )
    assert client.get("/v2/payments", headers=other).json == {"payments": []}


def test_a_payment_is_found_by_its_key_within_its_owner_and_the_first_of_two(client):
    for key in ("k-1", '"k-1"', "k-2"):
        headers = {"X-Consumer-Id": "acme", "Idempotency-Key": key}
        assert client.post("/v2/payments", json=GOOD, headers=headers).status_code == 201
    created(client, owner="acme")
    listed = client.get("/v2/payments", headers={"X-Consumer-Id": "acme"}).json["payments"]
    assert len(listed) == 4, "the key guards nothing here"
    found = client.get("/v2/payments?key=k-1", headers={"X-Consumer-Id": "acme"})
    assert found.status_code == 200
    assert found.json["created_at"] == min(each["created_at"] for each in listed)
    for query, owner in (("k-1", "northwind"), ("k-3", "acme"), ("", "acme")):
        answer = client.get(f"/v2/payments?key={query}", headers={"X-Consumer-Id": owner})
        assert answer.status_code == 404


def test_a_refund_is_found_by_its_key_and_its_payment(client):
    headers = {"Idempotency-Key": '"r \\"1\\""'}
    payment_id, other = created(client, owner="direct"), created(client, owner="direct")
    for each in (payment_id, other):
        client.post(f"/v2/payments/{each}/capture")
    refund = client.post(f"/v2/payments/{payment_id}/refunds", json={"amount_minor": 250}, headers=headers)
    assert refund.status_code == 201
    path = "/v2/payments/{}/refunds?key=r%20%221%22"
    assert client.get(path.format(payment_id)).json == refund.json
    assert client.get(path.format(other)).status_code == 404
    assert client.get(f"/v2/payments/{payment_id}/refunds").status_code == 404
    assert client.get("/v2/payments?key=r%20%221%22").status_code == 404


def test_a_list_is_newest_first_and_bounded(client):
    for number in range(3):
        created(client, owner="direct", reference=f"order {number}")
    listed = client.get("/v2/payments?limit=2").json["payments"]
    assert len(listed) == 2
    assert listed[0]["created_at"] >= listed[1]["created_at"]


@pytest.mark.parametrize("limit", ["0", "101", "-1", "x", "1.5", "%0a1"])
def test_a_list_limit_out_of_range_is_refused(client, limit):
    assert client.get(f"/v2/payments?limit={limit}").status_code == 422


def test_an_unknown_path_and_a_wrong_method_are_answered_in_json(client):
    assert client.get("/v3/payments").json["error"]["code"] == "not_found"
    assert client.delete("/v2/payments").json["error"]["code"] == "method_not_allowed"


def test_a_body_over_the_bound_is_refused(client):
    answer = client.post("/v2/payments", data=b" " * (64 * 1024 + 1), content_type="application/json")
    assert answer.status_code in {413, 422}
    assert "error" in answer.json


def test_health_answers_ok(client):
    assert client.get("/healthz").json == {"status": "ok"}


def test_control_sets_the_delay_of_this_copy(app, client):
    assert client.post("/_control", json={"delay_ms": 40}).json == {"delay_ms": 40}
    assert app.extensions["pace"].delay_ms == 40


@pytest.mark.parametrize("delay_ms", [-1, 10_001, 1.5, True, None])
def test_control_refuses_a_delay_out_of_range(client, delay_ms):
    assert client.post("/_control", json={"delay_ms": delay_ms}).status_code == 422


def test_control_is_not_there_for_another_machine_nor_through_a_proxy(client):
    body = {"delay_ms": 1}
    assert client.post("/_control", json=body, environ_base={"REMOTE_ADDR": "192.0.2.1"}).status_code == 404
    assert client.post("/_control", json=body, headers={"X-Forwarded-For": "127.0.0.1"}).status_code == 404


def test_control_is_not_there_unless_asked_for(tmp_path):
    client = create_app(tmp_path / "payments.db").test_client()
    assert client.post("/_control", json={"delay_ms": 1}).status_code == 404
