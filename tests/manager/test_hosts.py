"""The manager answers to addresses and to names that no stranger can own, and to no others."""

import pytest

from faregate.manager.hosts import Names, judge

LOCAL = Names("127.0.0.1", "127.0.0.1", "box.acme.example")
WIDE = Names("0.0.0.0", "0.0.0.0", "Box.acme.example")
NAMED = Names("10.0.0.7", "metrics.acme.example", "box")

BOTH = ("127.0.0.1", "127.0.0.1:9090", "127.0.0.1:19090", "127.8.9.1", "localhost", "LocalHost:9090", "[::1]", "[::1]:9090")  # fmt: skip
ONLY_WIDE = (
    "10.0.0.7", "10.0.0.7:9090", "203.0.113.9", "[2001:db8::7]:9090", "faregate", "faregate:9090", "my_gateway:9090",
    "box.acme.example", "gw.pay.internal", "box.local", "faregate.pay.svc.cluster.local:9090", "faregate.pay.svc", "a.localhost",
)  # fmt: skip
NEITHER = (
    "evil.example", "evil.example:9090", "127.0.0.1.evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "localhost.",
    "ai.", "evil.internal.example", "acme.example", "x.box.acme.example", "", ":9090", "127.0.0.1:", "127.0.0.1:9090:1", "127.0.0.1:123456",
    "[127.0.0.1", "[localhost]", "[evil.example]:9090", "::1", "local host", "a@127.0.0.1", "127.0.0.1/", "127.0.0.1,evil.example", "-a",
    "localhost\x00", "ev\xefl", "127.1", "[fe80::1%eth0]",
)  # fmt: skip


@pytest.mark.parametrize("host", BOTH)
def test_loopback_names_are_always_taken(host: str) -> None:
    assert LOCAL.accepts(host.encode())
    assert WIDE.accepts(host.encode())


@pytest.mark.parametrize("host", ONLY_WIDE)
def test_addresses_and_private_names_are_taken_where_other_machines_come(host: str) -> None:
    assert WIDE.accepts(host.encode())
    assert not LOCAL.accepts(host.encode())


@pytest.mark.parametrize("host", NEITHER)
def test_a_name_that_a_stranger_could_own_is_never_taken(host: str) -> None:
    assert not LOCAL.accepts(host.encode("latin-1"))
    assert not WIDE.accepts(host.encode("latin-1"))


def test_the_configured_name_is_taken() -> None:
    assert NAMED.accepts(b"metrics.acme.example:9090")
    assert NAMED.accepts(b"METRICS.acme.example")
    assert not NAMED.accepts(b"other.acme.example")


def test_the_machines_own_name_is_that_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faregate.manager.hosts.socket.gethostname", lambda: "pay-1.acme.example")
    assert Names("::").accepts(b"pay-1.acme.example:9090")
    assert not Names("::1").accepts(b"pay-1.acme.example:9090")


@pytest.mark.parametrize(
    ("headers", "version", "told"),
    [
        ([(b"host", b"localhost:9090")], "1.1", ""),
        ([(b"host", b" localhost ")], "1.1", ""),
        ([], "1.0", ""),
        ([], "1.1", "malformed_request"),
        ([(b"host", b"localhost"), (b"host", b"localhost")], "1.1", "malformed_request"),
        ([(b"host", b"localhost"), (b"host", b"evil.example")], "1.0", "malformed_request"),
        ([(b"host", b"localhost"), *[(b"authorization", b"Bearer a")] * 2], "1.1", "malformed_request"),
        ([(b"host", b"localhost"), *[(b"idempotency-key", b"a")] * 2], "1.1", "malformed_request"),
        ([(b"host", b"evil.example")], "1.0", "misdirected_request"),
        ([(b"host", b"")], "1.1", "misdirected_request"),
        ([(b"host", b"localhost"), (b"origin", b"http://127.0.0.1:3000")], "1.1", ""),
        ([(b"host", b"localhost"), (b"origin", b"https://[::1]")], "1.1", ""),
        ([(b"host", b"localhost"), (b"origin", b"https://evil.example")], "1.1", "origin_denied"),
        ([(b"host", b"localhost"), (b"origin", b"null")], "1.1", "origin_denied"),
        ([(b"host", b"localhost"), (b"origin", b"file://localhost")], "1.1", "origin_denied"),
        ([(b"host", b"localhost"), (b"origin", b"http://localhost/http://a")], "1.1", "origin_denied"),
        ([(b"origin", b"https://evil.example")], "1.0", "origin_denied"),
        ([(b"origin", b"http://localhost"), (b"origin", b"http://evil.example"), (b"host", b"::")], "1.1", "misdirected_request"),
        ([(b"origin", b"http://localhost"), (b"origin", b"http://evil.example"), (b"host", b"[::1]")], "1.1", "origin_denied"),
    ],
)  # fmt: skip
def test_host_and_origin_are_judged_together(
    headers: list[tuple[bytes, bytes]], version: str, told: str
) -> None:
    assert judge(LOCAL, headers, version) == told


def test_the_host_that_browsers_come_back_under_is_ours_as_long_as_the_configuration_says_so() -> None:
    public = ["gateway.acme.example"]
    names = Names("127.0.0.1", "127.0.0.1", "box", lambda: public[0])
    assert names.accepts(b"Gateway.acme.example:443")
    assert not names.accepts(b"x.gateway.acme.example")
    public[0] = ""
    assert not names.accepts(b"gateway.acme.example")
    assert not names.accepts(b"")
