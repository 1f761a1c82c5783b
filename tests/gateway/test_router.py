"""Literal beats {name} beats {rest...} at each segment, whatever the order of the file (SPEC section 2)."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.gateway.router import Router

SEGMENTS = st.sampled_from(["a", "b", "payments", "{id}", "{name}"])
TEMPLATES = st.builds(
    lambda segments, rest: "/" + "/".join([*segments, *rest]),
    st.lists(SEGMENTS, max_size=4),
    st.sampled_from([[], [], ["{rest...}"], [""]]),
)
METHODS = st.sampled_from(["GET", "POST", "DELETE"])
PATHS = st.lists(st.sampled_from(["a", "b", "payments", "x", "", "{id}", "{rest...}"]), max_size=6).map(
    lambda segments: ("/" + "/".join(segments)).encode()
)


def shape(template: str) -> tuple[str, ...]:
    """What makes two templates equal: their literals and the places of their names."""
    return tuple(
        "{...}" if part.endswith("...}") else "{}" if part.startswith("{") else part
        for part in template.split("/")[1:]
    )


def naive_rank(template: str, path: bytes) -> tuple[int, ...] | None:
    """How well ``template`` matches, segment by segment (0 literal, 1 name, 2 rest), or None."""
    wanted, given_segments = template.split("/")[1:], path.decode().split("/")[1:]
    rank = []
    for index, part in enumerate(wanted):
        if part.endswith("...}"):
            return (*rank, 2) if index < len(given_segments) and given_segments[index] else None
        if index >= len(given_segments):
            return None
        if part.startswith("{"):
            if not given_segments[index]:
                return None
            rank.append(1)
        elif part == given_segments[index]:
            rank.append(0)
        else:
            return None
    return tuple(rank) if len(wanted) == len(given_segments) else None


def naive_find(routes: list[tuple[str, str, str]], path: bytes) -> dict[bytes, str] | None:
    ranked = [
        (rank, shape(template))
        for _, template, _ in routes
        if (rank := naive_rank(template, path)) is not None
    ]
    if not ranked:
        return None
    best = min(ranked)[1]
    return {method.encode(): name for method, template, name in routes if shape(template) == best}


@given(
    st.lists(st.tuples(METHODS, TEMPLATES), max_size=10, unique_by=lambda pair: (pair[0], shape(pair[1]))),
    st.lists(PATHS, max_size=8),
    st.randoms(),
)
def test_the_router_agrees_with_a_naive_matcher_in_any_order(
    declared: list[tuple[str, str]], paths: list[bytes], rng: random.Random
) -> None:
    routes = [(method, template, f"{method} {template}") for method, template in declared]
    shuffled = list(routes)
    rng.shuffle(shuffled)
    one, other = Router(routes), Router(shuffled)
    own = [template.replace("{", "x").replace("}", "x").encode() for _, template in declared]
    for path in (*paths, *own):
        expected = naive_find(routes, path)
        for router in (one, other):
            found = router.find(path)
            assert (found.methods if found is not None else None) == expected
            if found is not None:
                assert found.allow.split(b", ") == sorted(found.methods)


@pytest.mark.parametrize(
    ("path", "template"),
    [
        (b"/v1/payments", "/v1/payments"),
        (b"/v1/payments/", "/v1/{rest...}"),
        (b"/v1/payments/p1", "/v1/payments/{id}"),
        (b"/v1/payments/search", "/v1/payments/search"),
        (b"/v1/payments/search/x", "/v1/{rest...}"),
        (b"/v1/payments/p1/refunds", "/v1/payments/{id}/refunds"),
        (b"/v1/payments/search/refunds", "/v1/payments/{id}/refunds"),
        (b"/v1/x/y/z", "/v1/{rest...}"),
        (b"/v1/x/", "/v1/{rest...}"),
        (b"/v1/", None),
        (b"/v1", None),
        (b"/V1/payments", None),
        (b"/v1/payments/%7Bid%7D", "/v1/payments/{id}"),
        (b"/v1/payments/{id}", "/v1/payments/{id}"),
        (b"/", None),
    ],
)
def test_the_table(path: bytes, template: str | None) -> None:
    templates = [
        "/v1/{rest...}",
        "/v1/payments/{id}",
        "/v1/payments",
        "/v1/payments/search",
        "/v1/payments/{id}/refunds",
    ]
    found = Router(("GET", each, each) for each in templates).find(path)
    assert (found.methods[b"GET"] if found is not None else None) == template


def test_a_path_longer_than_every_template_costs_no_more_than_their_depth() -> None:
    router = Router([("GET", "/a/{b}/c", 1), ("GET", "/a/{b}/{c}/d", 2)])
    assert router.find(b"/a" * 5000) is None
