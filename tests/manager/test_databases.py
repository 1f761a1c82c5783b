"""Which tests are played on PostgreSQL in the short form: those that are named are there."""

import re

import pytest

from tests.manager.conftest import HERE, ON_BOTH, STORES, stores_of


@pytest.mark.parametrize("file", ON_BOTH)
def test_whoever_is_named_is_there_and_played_on_both(file: str) -> None:
    there = set(re.findall(r"^def (test_\w+)", (HERE / file).read_text(encoding="utf-8"), re.MULTILINE))
    assert there.issuperset(ON_BOTH[file])
    assert {stores_of(HERE / file, one) for one in ON_BOTH[file]} <= {STORES}


def test_a_file_that_is_not_named_is_played_on_both() -> None:
    assert stores_of(HERE / "test_bounds.py", "test_anything") == STORES
