"""Compiled entry by entry, a configuration is what it would be compiled as a whole, and every error of the whole is found."""

import copy

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from faregate.compile.increment import State
from faregate.kernel.changes import Change
from faregate.kernel.replica import Entries, put
from faregate.model.tree import Tree
from tests.compile.increments import base_tree, changes, errors, whole

REVISION = 7


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return base_tree(tmp_path_factory.mktemp("increments"))


def consumer(**more: object) -> dict[str, object]:
    return {"plan": "p1", **more}


API = {
    "upstream": "u0",
    "authenticate": ["api_key"],
    "versions": {"v1": {"path": "/a1/v1"}},
    "routes": [{"match": "GET /things", "require": "x:read"}],
}


@given(st.lists(st.one_of(changes(), changes(), st.just("undo")), min_size=1, max_size=12))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(
    [[Change("plans", "p1", {}), Change("consumers", "c1", consumer())], [Change("plans", "p1")], "undo"]
)
@example([[Change("apis", "a1", API)], [Change("apis", "a2", API)], "undo", [Change("apis", "a1")]])
@example(
    [
        [Change("consumers", "c1", {})],
        [Change("credentials", "k1", {"consumer": "c1", "api_key": {"sha256": "01" * 32}})],
        [Change("consumers", "c1")],
    ]
)
def test_any_changes_and_undos_come_to_what_the_whole_compiles_to(
    base: Tree, steps: list[list[Change] | str]
) -> None:
    state = State(base, {}, lambda: 1.8e9)
    entries: Entries = {}
    before: list[Entries] = []
    for step in steps:
        if isinstance(step, str):
            assert state.undo() == bool(before)
            entries = before.pop() if before else entries
        else:
            wanted = copy.deepcopy(entries)
            for one in step:
                put(wanted, one)
            expected = whole(base, wanted)
            ok, found = state.apply(step)
            assert errors(found) == errors(expected.diagnostics)
            assert ok == expected.sound
            if ok:
                before.append(entries)
                entries = wanted
        assert state.encode(REVISION) == whole(base, entries).encode(REVISION)
