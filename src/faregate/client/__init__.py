"""A client of the admin API: everything that the command line does, from Python.

``client.plans.put("gold", spec, if_match=etag)``: a group for each kind of thing, a method an operation.
Answers are dictionaries with declared members; lists are iterated, however many pages they have. What goes
wrong is a ``ClientError``: ``Refused`` (by the manager), ``Unreachable`` (nobody answered) or ``Waiting``
(a second person must agree first). Blocking; one ``Client`` is for one thread.
"""

from faregate.client.client import OPERATIONS, Client
from faregate.client.declaring import Operation
from faregate.client.errors import ClientError, Refused, ShownOnce, Unreachable, Waiting
from faregate.client.finding import NoManager, local
from faregate.client.transport import Told

__all__ = [
    "OPERATIONS",
    "Client",
    "ClientError",
    "NoManager",
    "Operation",
    "Refused",
    "ShownOnce",
    "Told",
    "Unreachable",
    "Waiting",
    "local",
]
