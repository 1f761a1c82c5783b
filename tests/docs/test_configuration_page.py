"""The reference of the configuration is what the program would write today, and says something of every key."""

from faregate.model.config import Config
from faregate.policies.idempotency.settings import settings_of
from tests.docs.configuration_page import ABOUT, DEFAULTS, MEANINGS, PAGE, page, tables


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m tests.docs.configuration_page"


def test_every_key_has_a_type_and_a_meaning() -> None:
    assert [row.path for table in tables() for row in table.rows if not row.meaning or not row.type] == []


def test_every_meaning_belongs_to_a_key_and_every_default_too() -> None:
    paths = {row.path for table in tables() for row in table.rows}
    assert set(MEANINGS) | set(DEFAULTS) | set(ABOUT) <= paths


def test_every_mapping_is_told_once() -> None:
    paths = [table.path for table in tables()]
    assert len(paths) == len(set(paths))
    assert {
        "",
        "gateway",
        "issuers.<name>",
        "apis.<name>.routes[]",
        "upstreams.<name>.health.passive",
    } <= set(paths)


def test_the_defaults_written_by_hand_are_the_programs() -> None:
    gateway = Config().gateway
    assert [listener.address.text for listener in gateway.listen] == ["127.0.0.1:8080"]
    assert gateway.manager is not None
    assert gateway.manager.address.text == "127.0.0.1:9090"
    assert gateway.workers == 0  # as `auto` is held
    upstream = Config.model_validate({"upstreams": {"a": {"targets": ["http://127.0.0.1:1"]}}}).upstreams["a"]
    assert upstream.retry.on == ["connect_failure"]
    assert set(DEFAULTS) == {
        "gateway.listen",
        "gateway.manager",
        "gateway.workers",
        "upstreams.<name>.retry.on",
        "apis.<name>.routes[].idempotency.no_verdict",
        "apis.<name>.routes[].idempotency.not_run",
    }
    idempotency = settings_of("required")
    assert idempotency is not None
    assert (idempotency.no_verdict, idempotency.not_run) == ([408, 425, 502, 503, 504], [401, 429])
