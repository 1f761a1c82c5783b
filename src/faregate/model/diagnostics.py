"""What can be wrong with a configuration, as one closed table, and the record of one finding.

Loading, checking and compiling all report through ``Findings`` and never stop at the first error. A finding
knows the place in the declared tree; ``places`` turns that into file, line and column once, at the end, so
that a good configuration pays nothing for positions. How a diagnostic is printed is ``report``'s business.
"""

from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

TreePath: TypeAlias = tuple[str | int, ...]
"""The keys and list indexes that lead to a value: ``("apis", "payments", "routes", 0, "match")``."""

Value: TypeAlias = "str | int | float | bool | list[Value] | dict[str, Value] | None"
"""A declared value before it is checked."""


class Level(StrEnum):
    """An error keeps a configuration from being used; a warning does not."""

    ERROR = "error"
    WARNING = "warning"


CODES: Final[dict[str, tuple[Level, str]]] = {
    "file_unreadable": (Level.ERROR, "A configuration file does not exist, cannot be read, or is not UTF-8."),
    "too_large": (Level.ERROR, "A file is too large, too deep, or expands to too many values."),
    "bad_yaml": (
        Level.ERROR,
        "The text is not well-formed YAML 1.2 (or JSON), or uses a part of YAML that is refused.",
    ),
    "duplicate_key": (Level.ERROR, "A mapping has the same key twice."),
    "include_missing": (Level.ERROR, "An include pattern matches no file."),
    "include_cycle": (Level.ERROR, "A file is included by itself, or more than once."),
    "duplicate_name": (Level.ERROR, "The same name or address is defined twice."),
    "secret_missing": (Level.ERROR, "A ${...} names a variable or file that cannot be read."),
    "unknown_key": (Level.ERROR, "A key that has no meaning here."),
    "missing_key": (Level.ERROR, "A key that must be written."),
    "wrong_type": (Level.ERROR, "A value of another kind than expected."),
    "bad_value": (Level.ERROR, "A value of the right kind that is not allowed."),
    "bad_name": (Level.ERROR, "A name with characters that names may not have."),
    "unresolved_reference": (Level.ERROR, "A name that is defined nowhere."),
    "route_conflict": (Level.ERROR, "Two routes that could match the same request equally well."),
    "duplicate_credential": (Level.ERROR, "One credential that would prove two consumers."),
    "duplicate_limit": (Level.ERROR, "Two limits of one list that would share a counter."),
    "no_versions": (Level.ERROR, "An API without a version."),
    "no_routes": (Level.ERROR, "A version without a route."),
    "public_requires": (Level.ERROR, "A public API cannot require a permission: nobody is identified."),
    "public_idempotency": (Level.ERROR, "A public API cannot have idempotency: a key needs an owner."),
    "algorithm_mismatch": (Level.ERROR, "Algorithms that do not fit the issuer's kind of key."),
    "weak_secret": (Level.ERROR, "A shared secret shorter than the hash it keys (RFC 7518 section 3.2)."),
    "file_missing": (Level.ERROR, "A file named in the configuration cannot be read."),
    "bad_key_set": (Level.ERROR, "A key set file that is not a JSON Web Key Set."),
    "bad_certificate": (Level.ERROR, "A certificate, key, authority or revocation list that cannot be used."),
    "private_key": (Level.ERROR, "A key set file that holds private or symmetric keys."),
    "bad_openapi": (Level.ERROR, "An OpenAPI document that cannot be used."),
    "no_operation": (Level.ERROR, "A route to be validated that the OpenAPI document does not describe."),
    "not_available": (Level.ERROR, "Part of the contract that this release does not do yet."),
    "open_write": (Level.WARNING, "Anyone may call a writing route without any limit."),
    "money_unguarded": (Level.WARNING, "A route that seems to move money and has no idempotency."),
    "not_validated": (Level.WARNING, "Part of an OpenAPI document that calls are not held against."),
    "short_keep": (Level.WARNING, "Idempotency keys that are forgotten within a day."),
    "open_listener": (Level.WARNING, "A listener on every address without TLS."),
    "open_manager": (Level.WARNING, "The manager listens beyond this machine without TLS."),
    "no_master_key": (Level.WARNING, "A shared database whose master key lies in one machine's data folder."),
    "unverified_upstream": (Level.WARNING, "An upstream whose certificates are not verified."),
    "unused_tls": (Level.WARNING, "TLS settings of an upstream whose targets are all spoken to in clear."),
    "undated_deprecation": (
        Level.WARNING,
        "A deprecated version without its day: answers have no `Deprecation` field.",
    ),
    "trusts_everyone": (Level.WARNING, "Every caller could name its own client address."),
    "no_limits": (Level.WARNING, "Consumers that may call as fast as they like."),
    "sample_credential": (Level.WARNING, "A key or secret that stands in documentation or is guessed first."),
    "credential_expired": (Level.WARNING, "A credential whose day has come: calls with it are refused."),
    "credential_expires": (Level.WARNING, "A credential that expires within 30 days."),
    "certificate_expired": (Level.WARNING, "A certificate or revocation list that has ended."),
    "certificate_expires": (Level.WARNING, "A certificate that ends within 30 days."),
    "unprovable_credential": (Level.WARNING, "A client certificate that no listener or API could accept."),
    "ungranted_permission": (Level.WARNING, "A permission that a route requires and no consumer holds."),
}
"""Every code there is, with its level and one line of explanation."""


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding with its position: ``line`` and ``column`` count from 1; ``path`` is the place in the tree
    as text.
    """

    code: str
    file: str
    line: int
    column: int
    path: str
    message: str
    expected: str = ""
    nearest: str = ""

    @property
    def level(self) -> Level:
        return CODES[self.code][0]

    @property
    def sort_key(self) -> tuple[str, int, int, str, str]:
        return self.file, self.line, self.column, self.code, self.message

    def as_json(self) -> dict[str, str | int]:
        """The form ``--json`` prints; empty members are kept so that every object has the same shape."""
        return {"level": self.level.value, **asdict(self)}


@dataclass(frozen=True, slots=True)
class Finding:
    """A diagnostic whose position is still a place in the tree.

    ``at_key``: point to the key rather than its value. ``other``: a second place that the message ends with.
    """

    code: str
    path: TreePath
    message: str
    expected: str = ""
    nearest: str = ""
    at_key: bool = False
    other: TreePath | None = None


@dataclass(slots=True)
class Findings:
    """Where every check reports: ``placed`` have their position already, ``pending`` still need it."""

    placed: list[Diagnostic] = field(default_factory=list)
    pending: list[Finding] = field(default_factory=list)

    def add(  # noqa: PLR0913 - the parts of a diagnostic
        self,
        code: str,
        path: TreePath,
        message: str,
        *,
        expected: str = "",
        nearest: str = "",
        at_key: bool = False,
        other: TreePath | None = None,
    ) -> None:
        """Reports one finding. Raises KeyError when ``code`` is not in the table."""
        CODES[code]
        self.pending.append(Finding(code, path, message, expected, nearest, at_key, other))


def has_errors(diagnostics: "Iterable[Diagnostic]") -> bool:
    return any(diagnostic.level is Level.ERROR for diagnostic in diagnostics)


def nearest_name(wrong: str, names: "Iterable[str]") -> str:
    """The name that ``wrong`` most likely means, or empty."""
    matches = get_close_matches(wrong, list(names), n=1, cutoff=0.6)
    return matches[0] if matches else ""


def path_text(path: TreePath) -> str:
    """``apis.payments.routes[0].match``."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text
