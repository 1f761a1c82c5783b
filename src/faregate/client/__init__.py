"""A client of the admin API: everything that the command line does, from Python.

One method an operation, named as in the OpenAPI document; forms are dictionaries with declared members. What
goes wrong is a ``Problem`` (the manager refused), ``Unreachable`` (nobody answered) or ``Waiting`` (a second
person must agree first). Blocking; one ``Client`` is for one thread.
"""

from faregate.client.client import Client, each
from faregate.client.errors import ClientError, Problem, Unreachable, Waiting
from faregate.client.finding import NoManager, local
from faregate.client.transport import Told

__all__ = [
    "Client",
    "ClientError",
    "NoManager",
    "Problem",
    "Told",
    "Unreachable",
    "Waiting",
    "each",
    "local",
]
