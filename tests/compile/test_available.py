"""What the contract promises and this release does not do is parsed, checked and refused in so many words."""

import re
from pathlib import Path

import pytest

from faregate.compile.available import NOT_AVAILABLE
from tests.model.configs import API, PLAN, UPSTREAM, brief, check

LIMITED = (
    PLAN, "plans: {a: {limits: [1/second], quota: 5/month}}\n", "plans: {a: {limits: [1/second], concurrency: 3}}\n",
    UPSTREAM + API + "    limits: [5/second]\n", UPSTREAM + API + "        limits: [5/second]\n",
    UPSTREAM + API.replace("/v1}", "/v1, routes: [{match: GET /a, limits: 5/second}]}"),
)  # fmt: skip
CASES = [
    *[(f"gateway:\n  shared: {url}\n{text}", 2, 3) for url in ("redis://host:6379/0", "rediss://host:6379/0") for text in LIMITED],
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "column"), CASES)
def test_it_is_an_error_that_says_so_at_its_place_and_nothing_else(
    tmp_path: Path, text: str, line: int, column: int
) -> None:
    found = check(tmp_path, text)
    assert brief(found) == [("not_available", line, column)]
    assert re.fullmatch(r"`\w+`: .* are not available in this release", found[0].message)
    assert found[0].expected


def test_every_row_of_the_table_has_a_case(tmp_path: Path) -> None:
    said = {check(tmp_path, text)[0].message.partition(": ")[2] for text, _, _ in CASES}
    assert said == {f"{row.what} are not available in this release" for row in NOT_AVAILABLE}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (UPSTREAM + API + "        idempotency: {required: yes}\n", "wrong_type"),
        (UPSTREAM + API + "        idempotency: {kep: 1h}\n", "unknown_key"),
        (UPSTREAM + API.replace("{v1: {path: /v1}}", "{by: header, default: pinned}"), "missing_key"),
        (UPSTREAM + API.replace("{v1: {path: /v1}}", "{by: cookie, name: x}"), "bad_value"),
        ("gateway: {listen: [{address: 'a:1', tls: {certificates: []}}]}\n", "bad_value"),
        ("consumers: {a: {credentials: [{mtls: {}}]}}\n", "bad_value"),
    ],
)
def test_what_is_not_available_is_checked_all_the_same(tmp_path: Path, text: str, code: str) -> None:
    assert code in {diagnostic.code for diagnostic in check(tmp_path, text)}


def test_a_shared_store_is_fine_where_nothing_limits(tmp_path: Path) -> None:
    assert check(tmp_path, "gateway: {shared: 'redis://host'}\n" + UPSTREAM + API + "    limits: []\n") == []


def test_idempotency_off_is_fine(tmp_path: Path) -> None:
    assert check(tmp_path, UPSTREAM + API + "        idempotency: off\n") == []
