"""Where secrets may be sent: https, this machine itself, and nowhere else."""

import pytest

from faregate.kernel.guarded_urls import check_guarded


@pytest.mark.parametrize(
    "url",
    [
        "https://a.example",
        "https://a.example:8443/x",
        "http://127.0.0.1:1",
        "http://[::1]/",
        "http://localhost",
    ],
)
def test_https_and_this_machine_are_guarded(url: str) -> None:
    check_guarded(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1.evil.example", "http://localhost.evil.example", "http://10.0.0.1", "https://a.example:99999", "https://a b",
        "https://a.example\\@evil.example", "//a.example", "", "https://a.example/\n", "https://" + "a" * 3000, "https://b\u00fccher.example",
    ],
)  # fmt: skip
def test_nothing_else_is(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|https|no place"):
        check_guarded(url)
