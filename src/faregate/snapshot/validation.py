"""What a snapshot says of a route's OpenAPI operation: what its requests and answers are held against.

Plain data like ``snapshot.data``, whose routes hold it. Schemas are JSON texts of the dialect 2020-12, each
whole in itself; equal ones are equal texts, and a worker compiles each once. What it means to a call stands
in ``policies.validate``.
"""

from faregate.snapshot.frozen import Frozen


class Parameter(Frozen, frozen=True):
    """One value beside the body. ``place``: path, query or header; ``name``: of a header in lower case.

    ``kinds``: what its text may be read as, the first that fits: number, boolean, null, text, json.
    ``separator``: between the items of a list, ``&`` where the name is repeated, empty where it is no list.
    ``segment``: of the whole path, from 1.
    """

    place: str
    name: str
    schema: str
    kinds: tuple[str, ...] = ("text",)
    required: bool = False
    separator: str = ""
    segment: int = 0


class FormField(Frozen, frozen=True):
    """One field of a form: as in ``Parameter``; ``listed``: it may be repeated."""

    name: str
    kinds: tuple[str, ...]
    listed: bool = False


class Body(Frozen, frozen=True):
    """A content type and what is asked of such a body. ``media``: in lower case, perhaps ``text/*``.

    ``form``: json, form, or empty where the body is passed on unread. ``schema`` empty: any value of the
    form. ``depth``: levels of nesting at most.
    """

    media: str
    form: str = ""
    schema: str = ""
    fields: tuple[FormField, ...] = ()
    depth: int = 64


class Answer(Frozen, frozen=True):
    """``status``: 200, 2XX or default. Without ``bodies`` the body does not matter."""

    status: str
    bodies: tuple[Body, ...] = ()


class Validation(Frozen, frozen=True):
    """``request``: whether requests are checked. ``bodies`` None: the operation describes no body.
    ``response``: off, log or refuse.
    """

    request: bool = True
    parameters: tuple[Parameter, ...] = ()
    bodies: tuple[Body, ...] | None = None
    body_required: bool = False
    response: str = "off"
    answers: tuple[Answer, ...] = ()
