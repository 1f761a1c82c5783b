"""The whole list of http-rules.md section 9: each name has a test, or a reason why it does not apply.

A name counts as tested when some test is called ``test_reg_<name>...``, or when the test that stands for it under the name of another
rule is written down here; both are looked up in the tree, so that neither can be lost unnoticed.
"""

import re
from pathlib import Path
from typing import Final

import pytest

TESTS: Final = Path(__file__).parents[1]
NAMES: Final = (
    "drain_before_reuse", "tunnel_after_101", "framing_by_rfc", "cache_key_full", "connect_never_pooled", "expect_non_1xx", "body_deadline",
    "side_call_fresh", "empty_name", "empty_length", "name_length_overflow", "one_path_string", "query_not_in_skip_rule", "admin_match_exact",
    "host_dot_tls", "strip_identity_everywhere", "connection_list_protected", "lookalike_names", "peer_address_only", "forwarded_untrusted",
    "error_page_no_credentials", "single_flight_key_tuple", "alg_bound_to_key", "decrypt_is_not_auth", "error_text_no_secret",
    "bad_signature_first", "debug_log_no_credential", "login_timing_dummy_hash", "no_handwritten_der", "no_default_token",
    "missing_option_refuses", "verify_flag_both_ways", "protected_route_needs_token", "side_answer_bounded", "sniffing_keeps_deadline",
    "decompress_capped", "reset_then_callback", "no_cpu_spin", "log_format_odd_input", "h2_caps", "admin_cross_origin",
    "metrics_port_no_admin", "html_and_log_escape", "no_user_code_in_control_plane", "rule_text_escaped", "tenant_at_resolution",
    "config_doubles_no_crash", "kill_switch_exercised",
)  # fmt: skip
UNDER_ANOTHER_NAME: Final = {
    "host_dot_tls": ("e2e/test_tls.py", "test_f10_a_host_other_than_the_handshakes_is_misdirected"),
    "h2_caps": ("gateway/http2/test_guards.py", "test_a_second_s_worth_at_once_passes_and_one_more_does_not"),
    "html_and_log_escape": (
        "regressions/test_reg_resources.py",
        "test_reg_log_format_odd_input_and_html_and_log_escape",
    ),
    "config_doubles_no_crash": (
        "faults/test_x08_configuration.py",
        "test_x8_ten_times_the_routes_are_taken_and_given_back",
    ),
}
DOES_NOT_APPLY: Final = {
    "login_timing_dummy_hash": "nobody signs in yet: the manager has no accounts and no sessions",
    "no_user_code_in_control_plane": "there are no scripts and no plugins: what a configuration may say is a closed list of keys",
    "rule_text_escaped": "there is no rule language: templates, names and scopes are matched as text and compiled by nobody",
    "tenant_at_resolution": "a configuration has one owner: there are no tenants whose references could cross",
    "kill_switch_exercised": "there is no remote switch; every `off` of the configuration is compiled in tests/compile",
}


def _defined() -> set[str]:
    found: set[str] = set()
    for file in TESTS.rglob("test_*.py"):
        found.update(re.findall(r"^(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE))
    return found


DEFINED: Final = _defined()


def test_the_list_has_no_name_twice() -> None:
    assert len(set(NAMES)) == len(NAMES) == 48


@pytest.mark.parametrize("name", NAMES)
def test_each_mistake_has_its_test_or_its_reason(name: str) -> None:
    own = any(test.startswith(f"test_reg_{name}") for test in DEFINED)
    if name in DOES_NOT_APPLY:
        assert not own, "it applies after all: take the reason away"
        assert len(DOES_NOT_APPLY[name].split()) > 5
    elif name in UNDER_ANOTHER_NAME:
        place, test = UNDER_ANOTHER_NAME[name]
        assert f"def {test}(" in (TESTS / place).read_text()
    else:
        assert own


def test_no_regression_test_has_a_name_that_is_not_on_the_list() -> None:
    named = {test for test in DEFINED if test.startswith("test_reg_")}
    assert {test for test in named if not any(test.startswith(f"test_reg_{name}") for name in NAMES)} == set()
