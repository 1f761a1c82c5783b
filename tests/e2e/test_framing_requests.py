"""http-rules.md section 2, F01-F30: what is not plainly well-formed is refused, and not one byte of it goes upstream.

Every case travels whole, byte by byte, and split at each line end. F10 (SNI against Host) has a gateway
of its own. The upstream is recorded byte for byte, so that silence is proven by what it did receive after.
"""

import asyncio
from pathlib import Path

from tests.conftest import Bench
from tests.e2e.framing_checks import refuse_bodies, refuse_heads
from tests.support.certificates import Authority
from tests.support.client import ask, request
from tests.support.configuration import Tree, base, key_line
from tests.support.gateway import GatewayProcess
from tests.support.tls_client import TlsCaller


def test_f01_request_line_must_be_exact(bench: Bench) -> None:
    refuse_heads(bench, "F01")


def test_f02_other_versions_and_protocols(bench: Bench) -> None:
    refuse_heads(bench, "F02")


def test_f03_connect_trace_and_unknown_methods(bench: Bench) -> None:
    refuse_heads(bench, "F03")


def test_f03_known_method_that_no_route_lists_gets_allow(bench: Bench) -> None:
    answer = asyncio.run(ask(bench.address, request("DELETE", "/v2/payments", key_line("acme"))))
    assert (answer.status, answer.code) == (405, "method_not_allowed")
    assert answer.header("allow") == "POST"
    assert not bench.upstream.requests


def test_f04_empty_lines_and_blanks_ahead(bench: Bench) -> None:
    refuse_heads(bench, "F04")


def test_f05_target_over_8_kib(bench: Bench) -> None:
    refuse_heads(bench, "F05")


def test_f06_bytes_no_target_may_hold(bench: Bench) -> None:
    refuse_heads(bench, "F06")


def test_f07_target_forms(bench: Bench) -> None:
    refuse_heads(bench, "F07")


def test_f08_absolute_form_against_host(bench: Bench) -> None:
    refuse_heads(bench, "F08")


def test_f08_equal_absolute_form_goes_on_as_origin_form(bench: Bench) -> None:
    answer = asyncio.run(ask(bench.address, request("GET", "http://api.test/open/v1/abs?q=http://x/")))
    assert answer.status == 200
    assert [seen.target for seen in bench.upstream.requests] == ["/open/v1/abs?q=http://x/"]


def test_f09_host(bench: Bench) -> None:
    refuse_heads(bench, "F09")


def test_f10_sni_against_host(tmp_path: Path) -> None:
    """The row's own gateway: the others of this page speak in clear. More of it is in test_tls."""
    Authority().issue("CN=api.test", dns=("api.test", "other.test"), client=False).write(tmp_path, "own")

    def make(port: int, manager_port: int) -> Tree:
        tree = base(port, manager_port, "http://127.0.0.1:1")
        own = {"certificates": [{"chain": "own.pem", "key": "own.key"}]}
        tree["gateway"]["listen"] = [{"address": f"127.0.0.1:{port}", "tls": own}]  # type: ignore[index,call-overload]
        return tree

    with GatewayProcess(tmp_path, make) as gateway:
        for name, host, status in (("api.test", "api.test", 404), ("api.test", "other.test", 421)):
            with TlsCaller(gateway.port, name) as caller:
                assert caller.ask("/nowhere", host=host).status == status


def test_f11_field_names(bench: Bench) -> None:
    refuse_heads(bench, "F11")


def test_f12_folded_lines(bench: Bench) -> None:
    refuse_heads(bench, "F12")


def test_f13_bare_cr_and_lf_in_heads(bench: Bench) -> None:
    refuse_heads(bench, "F13")


def test_f13_bare_cr_and_lf_in_chunked_bodies(bench: Bench) -> None:
    refuse_bodies(bench, "F13")


def test_f14_control_bytes_in_values(bench: Bench) -> None:
    refuse_heads(bench, "F14")


def test_f15_underscores_in_names(bench: Bench) -> None:
    refuse_heads(bench, "F15")


def test_f16_too_many_or_too_long_fields(bench: Bench) -> None:
    refuse_heads(bench, "F16")


def test_f17_second_occurrence_of_single_value_fields(bench: Bench) -> None:
    refuse_heads(bench, "F17")


def test_f18_content_length_that_is_not_plain_digits(bench: Bench) -> None:
    refuse_heads(bench, "F18")


def test_f19_two_content_lengths(bench: Bench) -> None:
    refuse_heads(bench, "F19")


def test_f20_content_length_with_transfer_encoding(bench: Bench) -> None:
    refuse_heads(bench, "F20")


def test_f21_transfer_encoding_other_than_chunked(bench: Bench) -> None:
    refuse_heads(bench, "F21")


def test_f22_chunked_in_http_1_0(bench: Bench) -> None:
    refuse_heads(bench, "F22")


def test_f23_chunk_sizes(bench: Bench) -> None:
    refuse_bodies(bench, "F23")


def test_f24_chunk_extensions(bench: Bench) -> None:
    refuse_bodies(bench, "F24")


def test_f25_chunk_ends_and_cut_bodies(bench: Bench) -> None:
    refuse_bodies(bench, "F25")


def test_f26_trailers(bench: Bench) -> None:
    refuse_bodies(bench, "F26")


def test_f27_declared_body_over_the_limit(bench: Bench) -> None:
    refuse_heads(bench, "F27")


def test_f28_bodies_on_get_head_options(bench: Bench) -> None:
    refuse_heads(bench, "F28")


def test_f29_expectations(bench: Bench) -> None:
    refuse_heads(bench, "F29")


def test_f30_upgrade_with_a_body(bench: Bench) -> None:
    refuse_heads(bench, "F30")
