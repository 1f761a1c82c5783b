"""The example folder runs as its README says."""

import re
import runpy
from pathlib import Path

import pytest

from faregate.demo.payment_service import app as service

FOLDER = Path(__file__).parents[2] / "examples" / "payment_service"


@pytest.fixture
def client(tmp_path, monkeypatch):
    monkeypatch.setenv("PAYMENTS_DATABASE", str(tmp_path / "payments.db"))
    monkeypatch.setenv("PAYMENTS_DELAY_MS", "0")
    monkeypatch.delenv("PAYMENTS_CONTROL", raising=False)
    return runpy.run_path(str(FOLDER / "wsgi.py"))["app"].test_client()


def test_the_example_serves_the_curl_line_of_its_readme(client):
    body = re.search(r"curl -d '(.+?)'", (FOLDER / "README.md").read_text())[1]
    answer = client.post("/v2/payments", data=body, content_type="application/json")
    assert (answer.status_code, answer.json["status"]) == (201, "authorized")


def test_the_readme_names_every_call_setting_and_card(client):
    text = (FOLDER / "README.md").read_text()
    for rule in client.application.url_map.iter_rules():
        path = rule.rule.replace("<payment_id>", "{id}")
        if path.startswith("/v2/") or path == "/healthz":
            method = next(iter(rule.methods - {"HEAD", "OPTIONS"}))
            assert f"`{method} {path}" in text
    source = Path(service.__file__).read_text()
    for name in (*re.findall(r"PAYMENTS_[A-Z_]+", source), *service._CARDS, *service._TOKENS):
        assert f"`{name}`" in text


def test_control_is_off_by_default(client):
    assert client.post("/_control", json={"delay_ms": 1}).status_code == 404
