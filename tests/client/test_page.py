"""The reference page of the client names every method with what it takes, and no other; its words hold."""

import inspect
import re
from collections import defaultdict

from faregate.client import Client, ClientError, NoManager, Refused, Unreachable, Waiting
from faregate.client.declaring import DECLARED
from tests.client.test_operations import WAYS, reached
from tests.docs.pages import DOCS, section

PAGE = DOCS / "reference" / "python_client.md"


def head(way: tuple[str, ...]) -> str:
    """A method as the page shows it: what must be given by its name, what may be with ``=``."""
    method = reached(Client("http://manager", ""), way)
    places = {
        name: name if one.default is inspect.Parameter.empty else f"{name}="
        for name, one in inspect.signature(method).parameters.items()
        if one.kind is not inspect.Parameter.VAR_KEYWORD
    }
    names = getattr(method, DECLARED).names
    return f"{way[-1]}({', '.join(places.get(name, f'{name}=') for name in names)})"


def test_every_method_is_on_the_page_with_what_it_takes() -> None:
    heads: defaultdict[str, set[str]] = defaultdict(set)
    for way in WAYS.values():
        heads[".".join(way[:-1]).replace(".()", "(name)")].add(head(way))
    told: dict[str, set[str]] = {}
    for row in re.findall(r"^\| (`.*) \|$", section(PAGE, "Methods"), re.MULTILINE):
        groups, methods = row.split(" | ")
        for group in re.findall(r"`([^`]+)`", groups):
            assert group not in told
            told["" if group == "client" else group] = set(re.findall(r"`([^`]+)`", methods))
    assert told == dict(heads)


def test_every_exception_is_on_the_page() -> None:
    told = re.findall(r"^\| `(\w+)` \|", section(PAGE, "What goes wrong"), re.MULTILINE)
    assert told == [one.__name__ for one in (Refused, Waiting, Unreachable, NoManager)]
    assert {one.__base__ for one in (Refused, Waiting, Unreachable, NoManager)} == {ClientError}
