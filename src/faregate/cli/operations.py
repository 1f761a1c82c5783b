"""Which command stands for which operation of the admin API: everything that the API can, the command line
can.

The table is closed: a test compares it with the OpenAPI document and with the commands, both ways. What
people do often has a command of its own, entries and their parts are ``faregate config``, the rest is asked
for by its id: ``faregate admin OPERATION``.
"""

from typing import Final

_SECTIONS: Final = {
    "issuers": "issuer",
    "upstreams": "upstream",
    "plans": "plan",
    "groups": "group",
    "consumers": "consumer",
    "apis": "api",
}
_VERBS: Final = ("list", "get", "put", "patch", "delete")
_PARTS: Final = {
    "version": "apis/NAME/versions",
    "route": "apis/NAME/routes",
    "version_route": "apis/NAME/versions/VERSION/routes",
    "target": "upstreams/NAME/targets",
}

_BY_ID: Final = (
    "break_glass", "break_glass_end", "break_glass_list", "break_glass_review",
    "change_decide", "change_get", "change_list", "change_propose", "change_withdraw", "enrol", "grants_put",
    "oidc_begin", "oidc_callback", "password_change",
    "second_factor", "session_delete", "session_end",
    "session_end_others", "session_get", "session_list", "status_get", "token_create", "token_list",
    "token_revoke", "totp_begin", "totp_confirm", "usage_list", "user_create", "user_get", "user_list",
    "user_recover", "user_update",
)  # fmt: skip
"""Those without a command of their own."""


def _entries() -> dict[str, str]:
    found = {}
    for section, stem in _SECTIONS.items():
        for verb in _VERBS:
            found[f"{stem}_{verb}"] = f"config {verb} {section}" + ("" if verb == "list" else "/NAME")
    for stem, place in _PARTS.items():
        for verb in _VERBS:
            if verb != "patch":
                found[f"{stem}_{verb}"] = f"config {verb} {place}" + ("" if verb == "list" else "/PART")
    return found


COMMAND_OF: Final[dict[str, str]] = {
    **_entries(),
    "version_state": "config put apis/NAME/versions/VERSION/state",
    "session_create": "login",
    "secrets_get": "secrets show",
    "secrets_rotate": "secrets rotate",
    "credential_list": "key list",
    "credential_get": "config get credentials/ID",
    "credential_put": "config put consumers/NAME/credentials/ID",
    "credential_revoke": "key revoke",
    "key_create": "key create",
    "key_roll": "key roll",
    "config_get": "config show",
    "config_plan": "plan",
    "config_apply": "apply",
    "canary_start": "apply",
    "canary_get": "canary",
    "canary_promote": "canary",
    "canary_abandon": "canary",
    "revision_list": "history",
    "revision_get": "history",
    "rollback_plan": "rollback",
    "revision_rollback": "rollback",
    "schema_get": "config schema",
    "audit_checkpoint": "audit verify",
    "audit_consistency": "audit consistency",
    "audit_get": "audit prove",
    "audit_list": "audit list",
    "call_explain": "explain",
    "call_get": "explain",
    "call_list": "tail",
    "record_get": "ledger show",
    "record_list": "ledger list",
    "record_settle": "ledger settle",
    "tool_check": "check",
    "tool_openapi_diff": "api diff",
    "tool_openapi_import": "import openapi",
    "tool_try": "try",
    **dict.fromkeys(_BY_ID, "admin"),
}
"""The command, and for ``config`` the path that it takes."""
