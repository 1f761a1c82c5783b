"""Places by pattern: every one, in the order of the tree, its values with their paths or without."""

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from faregate.compile.walk import ANY, Pattern, matches, texts, values
from faregate.model.diagnostics import TreePath, Value

KEYS = st.sampled_from(["a", "b", "c"])
TREES = st.recursive(
    st.none() | st.integers(0, 9) | KEYS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=20,
)
PATTERNS = st.lists(st.just(ANY) | KEYS, max_size=4).map(tuple)


def one_by_one(value: Value, pattern: Pattern, path: TreePath = ()) -> Iterator[tuple[TreePath, Value]]:
    if not pattern:
        yield path, value
        return
    members = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, member in members:
        if pattern[0] == ANY or (isinstance(value, dict) and key == pattern[0]):
            yield from one_by_one(member, pattern[1:], (*path, key))


@given(TREES, PATTERNS)
def test_matches_are_all_places_in_the_order_of_the_tree(tree: Value, pattern: Pattern) -> None:
    expected = list(one_by_one(tree, pattern, ("at",)))
    assert list(matches(tree, pattern, ("at",))) == expected
    assert values(tree, pattern) == [value for _, value in expected]
    assert texts(tree, pattern) == {value for _, value in expected if isinstance(value, str)}
