"""How routes and path templates are written, and when two of them could match the same request equally well.

Literal beats ``{name}`` beats ``{rest...}``, so only templates of the same shape conflict. The characters
allowed in a literal are those that the one normalised path can hold (http-rules.md section 2.1): anything
else could never match.
"""

import re
from typing import Final, NamedTuple

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
TEMPLATE_CHARACTERS_MAX: Final = 1024

_LITERAL: Final = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,=:@-]|%(?:20|[89A-F][0-9A-F]))*")
_PARAMETER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]{0,63})(\.\.\.)?\}")


class Match(NamedTuple):
    """A route's method and path template as written."""

    method: str
    template: str

    @property
    def label(self) -> str:
        return f"{self.method} {self.template}"


def parse_match(text: str) -> Match:
    """``POST /payments/{id}``. Raises ValueError."""
    method, space, template = text.partition(" ")
    if not space or not template.startswith("/"):
        raise ValueError("not a method, one space and a path")
    if method not in METHODS:
        raise ValueError(f"the method is none of {' '.join(METHODS)}")
    check_template(template)
    return Match(method, template)


def check_template(template: str) -> None:
    """Raises ValueError when the template could not match, or not clearly."""
    if len(template) > TEMPLATE_CHARACTERS_MAX:
        raise ValueError(f"longer than {TEMPLATE_CHARACTERS_MAX} characters")
    segments = template[1:].split("/")
    names: set[str] = set()
    for position, segment in enumerate(segments, 1):
        last = position == len(segments)
        parameter = _PARAMETER.fullmatch(segment)
        if parameter is None:
            _check_literal(segment, last=last)
            continue
        if parameter[1] in names:
            raise ValueError(f"the parameter {{{parameter[1]}}} stands twice")
        if parameter[2] and not last:
            raise ValueError("{rest...} is the last segment or none")
        names.add(parameter[1])


def _check_literal(segment: str, *, last: bool) -> None:
    if segment in (".", ".."):
        raise ValueError("a dot segment never matches")
    if not segment and not last:
        raise ValueError("an empty segment (//) never matches")
    if "{" in segment or "}" in segment:
        raise ValueError("a parameter is a whole segment: {name}, or {rest...} at the end")
    if not _LITERAL.fullmatch(segment):
        raise ValueError("a character that a normalised path does not hold")


def parse_version_path(text: str) -> str:
    """``/v1`` or ``/``: literal segments without a slash at the end. Raises ValueError."""
    if not text.startswith("/") or (len(text) > 1 and text.endswith("/")):
        raise ValueError("a version's path begins with / and does not end with one")
    check_template(text)
    if "{" in text:
        raise ValueError("a version's path has no parameters")
    return text


def join(version_path: str, template: str) -> str:
    """The whole template: ``/v1`` and ``/payments`` give ``/v1/payments``; a route ``/`` is the version's own
    path.
    """
    if version_path == "/":
        return template
    return version_path if template == "/" else version_path + template


def shape(template: str) -> str:
    """The template without the names of its parameters: equal for two that match equally well."""
    return _PARAMETER.sub(lambda match: "{...}" if match[2] else "{}", template)
