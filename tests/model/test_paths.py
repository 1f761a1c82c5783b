"""Templates join, and two of them conflict exactly when neither is more particular."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.model.paths import check_template, join, parse_match, shape

SEGMENT = st.sampled_from(["a", "b", "{x}", "{y}"])
TEMPLATES = st.tuples(
    st.lists(SEGMENT, min_size=1, max_size=3, unique=True), st.sampled_from(["", "/{r...}", "/{s...}"])
).map(lambda parts: "/" + "/".join(parts[0]) + parts[1])


def rank(segment: str) -> int:
    return 2 if segment.endswith("...}") else 1 if segment.startswith("{") else 0


@given(TEMPLATES, TEMPLATES)
def test_equal_shapes_are_those_that_no_segment_tells_apart(one: str, other: str) -> None:
    check_template(one)
    first, second = one.split("/"), other.split("/")
    same = len(first) == len(second) and all(
        rank(a) == rank(b) and (rank(a) or a == b) for a, b in zip(first, second, strict=True)
    )
    assert (shape(one) == shape(other)) == same


@pytest.mark.parametrize(
    ("version", "route", "whole"),
    [
        ("/v1", "/payments", "/v1/payments"),
        ("/", "/payments", "/payments"),
        ("/v1", "/", "/v1"),
        ("/", "/", "/"),
        ("/a/b", "/{c}/", "/a/b/{c}/"),
    ],
)
def test_a_version_path_and_a_route_make_one_template(version: str, route: str, whole: str) -> None:
    assert join(version, route) == whole


@pytest.mark.parametrize(
    "template", ["/", "/a", "/a/", "/a-b_c.d~e!$&'()*+,=:@", "/%20%C3%A9", "/{a}/b/{rest...}", "/{a}"]
)
def test_what_a_normalised_path_can_hold_is_taken(template: str) -> None:
    assert parse_match(f"GET {template}").label == f"GET {template}"
