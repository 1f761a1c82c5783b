"""What a snapshot says of idempotency: how a route's calls are told apart and settled, and where the ledger
is.

Plain data like ``snapshot.data``, whose records hold these. What they mean to a call stands in
``policies.idempotency``; the states of a record in ``stores.ledger.protocol``.
"""

from faregate.snapshot.frozen import Frozen


class Ledger(Frozen, frozen=True):
    """Where what became of payments is kept. ``store``: embedded, redis or postgresql; ``url``: of the last
    two, it may hold a password.

    ``disk_bytes``: what the embedded one may fill. ``accept_loss``: a store that may lose what it was told is
    used all the same. ``prefix``: what names in a shared store begin with. ``lookup_key``, ``seal_keys``
    (name and 32 bytes; the last one seals, all open): of shared stores; empty: this machine makes its own.
    """

    store: str = "embedded"
    url: str = ""
    disk_bytes: int = 4 << 30
    accept_loss: bool = False
    prefix: str = "faregate"
    lookup_key: bytes = b""
    seal_keys: tuple[tuple[str, bytes], ...] = ()

    def __repr__(self) -> str:
        return f"Ledger(store={self.store!r}, prefix={self.prefix!r}, url=***, keys=***)"


class AnswerRule(Frozen, frozen=True):
    """What an answer must be to mean something. ``statuses``: one of these, empty for any. ``pointer``: a
    JSON pointer whose value is one of ``values`` (of the same type), or, without ``values``, anything but
    null, an empty text, list or object; of a whole document not an object either whose lists are all empty.
    None: the body does not matter.
    """

    statuses: tuple[int, ...] = ()
    pointer: str | None = None
    values: tuple[str | int | bool, ...] = ()


class Resolve(Frozen, frozen=True):
    """The query that may settle a call whose outcome is not known.

    ``target``, ``body``: templates with ``{key}`` and the parameters of the route's path; ``target`` is
    whole, with the version's path. ``content_type``: of ``body``. ``upstream``: its name. ``settling``:
    seconds after the call from which a 404 means that it never ran; 0 = never. ``keeps_answer``: the query's
    answer becomes the stored one.
    """

    target: str
    upstream: str
    method: str = "GET"
    body: str = ""
    content_type: str = ""
    done: tuple[AnswerRule, ...] = (AnswerRule((200,), ""),)
    released: tuple[AnswerRule, ...] = ()
    settling: float = 0.0
    keeps_answer: bool = False


class Idempotency(Frozen, frozen=True):
    """How a route's calls are kept from running twice (SPEC section 6).

    The key stands in ``header`` (lower case), or at ``pointers`` of the JSON body, or in the ``form``
    fields; several values make one key. ``keep``, ``wait``: seconds. ``stores_all``: False where only 2xx
    are kept. ``no_verdict``: statuses that leave open what happened, as does a body that is ``in_progress``.
    ``covers``: JSON pointers that tell one request from another, empty for the whole body.
    ``keeps_headers``: lower case, stored besides those that always are.
    """

    required: bool = True
    header: bytes = b"idempotency-key"
    pointers: tuple[str, ...] = ()
    form: tuple[str, ...] = ()
    keep: float = 86_400.0
    stores_all: bool = True
    wait: float = 0.0
    no_verdict: tuple[int, ...] = (408, 425, 502, 503, 504)
    not_run: tuple[int, ...] = (401, 429)
    in_progress: AnswerRule | None = None
    covers: tuple[str, ...] = ()
    keeps_headers: tuple[bytes, ...] = ()
    resolve: Resolve | None = None
