"""What is recorded in the audit tree reaches the snapshot; what cannot be is an error at its place."""

from pathlib import Path

import pytest

from faregate.model.diagnostics import Level
from faregate.snapshot.audit import AuditTree
from faregate.snapshot.encoded import decode_outline, encode
from tests.model.configs import API, UPSTREAM, check, compiled

POST = UPSTREAM + API.replace("GET /payments", "POST /payments")


@pytest.mark.parametrize(
    ("written", "audit"),
    [
        ("", "off"),
        ("        idempotency: required\n", "on"),
        ("        idempotency: {required: false}\n", "on"),
        ("        idempotency: required\n        audit: off\n", "off"),
        ("        idempotency: required\n        audit: required\n", "required"),
        ("        audit: on\n", "on"),
        ("        audit: required\n", "required"),
    ],
)
def test_calls_that_may_move_money_are_recorded_unless_said_otherwise(
    tmp_path: Path, written: str, audit: str
) -> None:
    snapshot = compiled(tmp_path, POST + written)
    assert snapshot.routes[0].audit == audit
    assert snapshot.needs_audit is (audit != "off")
    assert decode_outline(encode(snapshot)).needs_audit is snapshot.needs_audit


def test_the_tree_is_as_the_gateway_says(tmp_path: Path) -> None:
    gateway = "gateway: {audit: {origin: gw.bank.example/eu-1, publish: kept, every: 1m, records: 50}}\n"
    snapshot = compiled(tmp_path, gateway + POST)
    assert snapshot.gateway.audit == AuditTree("gw.bank.example/eu-1", str(tmp_path / "kept"), 60.0, 50)
    assert compiled(tmp_path, POST).gateway.audit == AuditTree()


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (POST + "        audit: sometimes\n", "apis.payments.routes[0].audit"),
        ("gateway: {audit: {origin: https://x.example}}\n" + POST, "gateway.audit.origin"),
        ("gateway: {audit: {origin: a b}}\n" + POST, "gateway.audit.origin"),
        ("gateway: {audit: {origin: a+b}}\n" + POST, "gateway.audit.origin"),
        ("gateway: {audit: {every: 10ms}}\n" + POST, "gateway.audit.every"),
        ("gateway: {audit: {records: 0}}\n" + POST, "gateway.audit.records"),
        ("gateway: {audit: {key: x}}\n" + POST, "gateway.audit.key"),
    ],
)
def test_what_is_wrong_is_an_error_at_its_place(tmp_path: Path, text: str, path: str) -> None:
    found = [one.path for one in check(tmp_path, text) if one.level is Level.ERROR]
    assert found == [path]
