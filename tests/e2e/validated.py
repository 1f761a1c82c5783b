"""What the tests of validation run: an API with its OpenAPI document, and one whose versions have their own."""

from pathlib import Path
from shutil import copy
from typing import Final

from tests.support.configuration import Tree, Value, base, with_payments

DOCUMENT: Final = Path(__file__).parents[1] / "vectors/openapi/payments.yaml"


def configuration(port: int, manager_port: int, url: str, folder: Path) -> Tree:
    copy(DOCUMENT, folder / "spec.yaml")
    tree = with_payments(base(port, manager_port, url, workers=1))
    routes: list[Value] = [
        {"match": "POST /payments", "require": "payments:write", "idempotency": "required", "body": "64KiB"},
        {"match": "GET /payments"},
        {"match": "GET /payments/{id}", "validate": {"request": True, "response": "refuse"}},
        {"match": "POST /payments/{id}/refunds", "validate": {"response": "refuse"}},
    ]
    tree["apis"]["payments"] = {  # type: ignore[index,call-overload]
        "upstream": "main",
        "authenticate": ["api_key"],
        "openapi": "spec.yaml",
        "validate": {"request": True, "response": "log"},
        "versions": {
            "v2": {"path": "/v2"},
            "v3": {"path": "/v3", "validate": {"response": "refuse"}},
            "v4": {
                "path": "/v4",
                "validate": "off",
                "routes": [{"match": "POST /payments"}, {"match": "POST /elsewhere"}],
            },
        },
        "routes": routes,
    }
    tree["apis"]["dated"] = {  # type: ignore[index,call-overload]
        "upstream": "main",
        "authenticate": ["api_key"],
        "validate": {"request": True, "response": "refuse"},
        "versions": {
            "by": "header",
            "name": "Api-Version",
            "default": "2026-01-01",
            "path": "/dated",
            "2026-01-01": {"openapi": money_document("amount")},
            "2026-06-01": {
                "openapi": money_document("total"),
                "changes": [
                    {
                        "description": "An amount is a total.",
                        "request": [{"rename": {"at": "/amount", "to": "total"}}],
                        "response": [{"rename": {"at": "/total", "to": "amount"}}],
                    }
                ],
            },
        },
        "routes": [{"match": "POST /payments", "body": "64KiB"}],
    }
    return tree


def money_document(name: str) -> Tree:
    """Of a version whose payments, both ways, have one member."""
    schema: Tree = {
        "type": "object",
        "required": [name],
        "additionalProperties": False,
        "properties": {name: {"type": "integer"}},
    }
    content: Tree = {"content": {"application/json": {"schema": schema}}}
    operation: Tree = {"requestBody": content, "responses": {"201": {"description": "", **content}}}
    return {
        "openapi": "3.1.0",
        "info": {"title": name, "version": "1"},
        "paths": {"/payments": {"post": operation}},
    }
