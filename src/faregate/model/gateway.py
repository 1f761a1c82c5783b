"""The declared form of ``gateway:``: where the processes listen and what they may use."""

from typing import Annotated, Final, Literal, TypeAlias

from pydantic import Field, PlainValidator, WithJsonSchema

from faregate.kernel.units import parse_size
from faregate.model.addresses import ListenAddress, Network
from faregate.model.audit import Audit
from faregate.model.ledger import EMBEDDED, HERE, KeyMaterial, Ledger, LedgerForm, StorePlace, store_place
from faregate.model.sign_in import SignIn
from faregate.model.values import (
    ALSO_OFF,
    OFF_IS_NONE,
    REFERENCE_PATTERN,
    BodySize,
    Declared,
    Duration,
    FilePath,
    integer,
    integer_reader,
    reads,
    size,
    text_schema,
)

WORKERS_MAX: Final = 64
MEMORY_BYTES_MIN: Final = 64 << 20
MEMORY_BYTES_MAX: Final = 4096 << 30

_read_count: Final = integer_reader(1, WORKERS_MAX, f"auto, or a whole number from 1 to {WORKERS_MAX}")


def _read_workers(value: object) -> int:
    return 0 if isinstance(value, str) and value == "auto" else _read_count(value)


Workers: TypeAlias = Annotated[
    int,
    PlainValidator(_read_workers),
    WithJsonSchema({
        "anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1, "maximum": WORKERS_MAX},
                  {"type": "string", "pattern": REFERENCE_PATTERN}],
        "description": "Worker processes; auto: one per core that this process may use.",
    }),
]  # fmt: skip


def _read_memory(text: str) -> int:
    count = 0 if text == "auto" else parse_size(text)
    if text != "auto" and not MEMORY_BYTES_MIN <= count <= MEMORY_BYTES_MAX:
        raise ValueError("out of range")
    return count


Memory: TypeAlias = Annotated[
    int,
    reads(_read_memory, "auto, or a size from 64MiB to 4096GiB, such as 2GiB"),
    text_schema(
        r"auto|[0-9]{1,12}(B|KiB|MiB|GiB)",
        "Memory of all workers together; auto: three quarters of what the machine or its control group has.",
        "auto",
        "2GiB",
    ),
]


class ServerCertificate(Declared):
    chain: FilePath
    key: FilePath


class ClientCertificates(Declared):
    mode: Literal["none", "optional", "required"]
    ca: FilePath | None = None
    crl: FilePath | None = None


class ListenerTls(Declared):
    certificates: Annotated[list[ServerCertificate], Field(min_length=1)]
    client_certificates: ClientCertificates | None = None


class Listener(Declared):
    """One address that callers connect to."""

    address: ListenAddress
    tls: ListenerTls | None = None


class Manager(Declared):
    """Where the admin API, the console, metrics and health are served, and how changes are made there."""

    address: ListenAddress
    approval: Literal["off", "guarded", "all"] = "off"
    master_key: KeyMaterial | None = None
    sign_in: SignIn | None = None


class GatewayLimits(Declared):
    """What one caller may send."""

    header_bytes: Annotated[int, *size("1KiB", "1MiB")] = 64 << 10
    headers: Annotated[int, *integer(1, 1000, "Header fields of one request.")] = 128
    body: BodySize = 1 << 20
    header_timeout: Duration = 10.0
    body_timeout: Duration = 60.0
    idle_timeout: Duration = 60.0
    connections: Annotated[int, *integer(1, 1_000_000, "Callers' connections, over all workers.")] = 8192
    connections_per_address: Annotated[
        int, *integer(1, 1_000_000, "Of them, those of one address; trusted proxies are not counted.")
    ] = 2048
    calls: Annotated[int, *integer(8, 100_000, "Calls in progress in one worker.")] = 1024
    memory: Memory = Field(default=0, json_schema_extra={"default": "auto"})


class Gateway(Declared):
    """What the processes themselves need."""

    listen: Annotated[list[Listener], Field(min_length=1)] = Field(
        default_factory=lambda: [Listener.model_validate({"address": "127.0.0.1:8080"})]
    )
    manager: Annotated[Manager | None, OFF_IS_NONE, ALSO_OFF] = Manager.model_validate(
        {"address": "127.0.0.1:9090"}
    )
    workers: Workers = 0
    data: FilePath = Field(default="./faregate-data", description="The folder where embedded stores live.")
    store: Annotated[StorePlace, *store_place("postgresql")] = Field(
        default=HERE, json_schema_extra={"default": EMBEDDED}
    )
    shared: Annotated[StorePlace, *store_place("redis", "rediss")] = Field(
        default=HERE, json_schema_extra={"default": EMBEDDED}
    )
    ledger: LedgerForm = Ledger()
    audit: Audit = Audit()
    trusted_proxies: list[Network] = Field(default_factory=list)
    limits: GatewayLimits = GatewayLimits()
