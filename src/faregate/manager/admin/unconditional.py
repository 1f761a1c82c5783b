"""Why some writes take no ``If-Match``: told with each in the OpenAPI document as ``x-faregate-condition``.

A write without a condition and without a reason here fails a test.
"""

from typing import Any, Final

_NOTHING: Final = "it changes nothing"
_MAKES: Final = "it makes something of its own; Idempotency-Key makes a repeat safe"
_ONCE: Final = "it is done once, and only in the state that admits it"
_OWN: Final = "it is about whoever asks, and doing it twice does no harm"
_ENDS: Final = "it ends something for good, which nobody can have changed"

WHY: Final[dict[str, str]] = {
    "config_plan": _NOTHING,
    "rollback_plan": _NOTHING,
    "tool_check": _NOTHING,
    "tool_openapi_import": _NOTHING,
    "tool_openapi_diff": _NOTHING,
    "tool_try": _NOTHING,
    "canary_start": "`base` names the revision that it was planned on, and there is one canary at most",
    "canary_promote": _ONCE,
    "canary_abandon": _ONCE,
    "revision_rollback": "it names the state that shall be, whatever is",
    "key_create": _MAKES,
    "key_roll": "a key is rolled once; Idempotency-Key makes a repeat safe",
    "credential_put": "a certificate or a subject is replaced whole, and never read before",
    "credential_revoke": _ENDS,
    "record_settle": "a record is settled once, and only while it is unknown",
    "secrets_rotate": "a key more does no harm; the former ones still open",
    "user_create": "names are used once; Idempotency-Key makes a repeat safe",
    "user_recover": "another code ends the one before",
    "token_create": _MAKES,
    "token_revoke": _ENDS,
    "session_create": "it makes a session of its own",
    "session_delete": _ENDS,
    "session_end": _ENDS,
    "session_end_others": _ENDS,
    "second_factor": _OWN,
    "totp_begin": "another seed takes the place of one that is not confirmed",
    "totp_confirm": _ONCE,
    "password_change": "it names the present one",
    "enrol": _ONCE,
    "change_propose": _ONCE,
    "change_decide": "a decision names the hash that it is about",
    "change_withdraw": _ONCE,
    "break_glass": "it is an act of its own, which everybody learns of",
    "break_glass_end": _ENDS,
    "break_glass_review": _ONCE,
}


def explain(paths: dict[str, Any]) -> None:
    """Writes the reasons into ``paths`` of an OpenAPI document."""
    for item in paths.values():
        for operation in item.values():
            reason = WHY.get(operation["operationId"])
            if reason is not None:
                operation["x-faregate-condition"] = reason
