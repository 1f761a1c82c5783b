"""What a record says of its call comes back as it was, and always fits."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.stores.ledger.about import About, decode_about, encode_about
from faregate.stores.ledger.protocol import ABOUT_BYTES_MAX

ABOUT = About(
    "acme",
    "payments",
    "v2",
    "POST /payments/{id}/capture",
    "01a2",
    "POST",
    "/v2/payments/p_1/capture",
    1.5,
    b"sealed",
)


def test_it_comes_back_as_it_was() -> None:
    assert decode_about(encode_about(ABOUT)) == ABOUT


def test_a_long_path_is_cut_and_shows_it() -> None:
    about = msgspec.structs.replace(ABOUT, path="/v2/" + "é" * 4000)
    read = decode_about(encode_about(about))
    assert read.path.endswith("...")
    assert about.path.startswith(read.path[:-3])
    assert read == msgspec.structs.replace(about, path=read.path)


@given(st.integers(0, 9000), st.integers(0, 1100), st.integers(0, 128))
def test_it_always_fits(path: int, route: int, name: int) -> None:
    about = About(
        "c" * name, "a" * name, "v" * name, "r" * route, "i" * 128, "POST", "/" * path, 0.0, b"k" * 287
    )
    encoded = encode_about(about)
    assert len(encoded) <= ABOUT_BYTES_MAX
    assert decode_about(encoded).consumer == about.consumer


@pytest.mark.parametrize(
    "encoded", [b"", b"\x00", b"\x90", encode_about(ABOUT)[:-1], encode_about(ABOUT) + b"\x00"]
)
def test_other_bytes_are_no_about(encoded: bytes) -> None:
    with pytest.raises(ValueError):
        decode_about(encoded)
