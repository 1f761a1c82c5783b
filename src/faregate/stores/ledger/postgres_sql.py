"""The statements of the ledger in PostgreSQL: each is one atomic step over a batch, alone in its transaction.

They ask nothing of the session, so that a transaction pooler may stand between: a statement that moves a
record raises ``synchronous_commit`` by itself, for its own transaction, where the server's setting is below
``on``. Time is the server's. Rows that must be locked are reached in the order of their keys, or skipped when
others hold them.

A claim first looks (what cannot be claimed costs no write), then inserts what it saw free. READ COMMITTED:
the insert meets the newest row, whatever the look saw; who loses there gets no row back and asks again.
"""

# ruff: noqa: S608 - a checked name of a table is put in, and constants

import hashlib
from typing import Final

from faregate.stores.ledger.protocol import LEASE_S

VERSION: Final = 1
RELEASED_S: Final = 60
"""How long the trace of a released attempt stays, against commands of it that come late."""
SWEEP_MOST: Final = 1_000
_LEASE: Final = f"interval '{int(LEASE_S)} seconds'"
_TRACE: Final = f"interval '{RELEASED_S} seconds'"
_COUNT_MOST: Final = 10_000

TABLE: Final = "{table}"
"""What stands for the table's name in every text here."""

# States as in the protocol: 1 CLAIMED, 2 SENT, 3 COMPLETED, 4 RELEASED, 5 UNKNOWN.
SCHEMA: Final = (
    """CREATE TABLE {table} (
  key bytea PRIMARY KEY,
  attempt bytea NOT NULL,
  fingerprint bytea NOT NULL,
  state smallint NOT NULL,
  keep_s integer NOT NULL,
  resolves boolean NOT NULL,
  about bytea NOT NULL,
  changed_at timestamptz NOT NULL,
  ends_at timestamptz,
  due_at timestamptz,
  tries integer NOT NULL DEFAULT 0,
  answer bytea NOT NULL DEFAULT '',
  decided_by text NOT NULL DEFAULT '',
  note text NOT NULL DEFAULT ''
) WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.05)""",
    "ALTER TABLE {table} ALTER COLUMN answer SET STORAGE EXTERNAL",
    "CREATE INDEX {table}_ends ON {table} (state, ends_at)",
    "CREATE INDEX {table}_due ON {table} (due_at) WHERE state = 5",
    "CREATE TABLE {table}_version (version integer NOT NULL, mark bytea)",
    f"INSERT INTO {{table}}_version VALUES ({VERSION})",
)
MARK_COLUMN: Final = "ALTER TABLE {table}_version ADD COLUMN IF NOT EXISTS mark bytea"
"""Of tables that were made before there were marks of lookup keys."""

FACTS: Final = """SELECT current_setting('fsync'),
  pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on',
  current_setting('server_version_num')::int, to_regclass('{table}_version') IS NOT NULL, pg_backend_pid(),
  (SELECT relpersistence = 'p' FROM pg_class WHERE oid = to_regclass('{table}')),
  EXISTS (SELECT FROM pg_attribute
    WHERE attrelid = to_regclass('{table}_version') AND attname = 'mark' AND NOT attisdropped)"""
SCHEMA_VERSION: Final = "SELECT max(version) FROM {table}_version"

_DURABLE: Final = """durable AS MATERIALIZED (
  SELECT CASE WHEN current_setting('synchronous_commit') IN ('off', 'local', 'remote_write')
    THEN set_config('synchronous_commit', 'on', true) END)"""

LOOKUP_MARK: Final = "SELECT mark FROM {table}_version ORDER BY version DESC LIMIT 1"
# the mark; who comes second finds that it is not null any more
LEAVE_MARK: Final = f"""WITH {_DURABLE}
UPDATE {{table}}_version SET mark = %b FROM durable WHERE mark IS NULL"""

# keys, attempts, fingerprints, keep_s, resolves, abouts, states
CLAIM: Final = f"""WITH {_DURABLE},
asked AS MATERIALIZED (
  SELECT asked.*, statement_timestamp() AS at FROM unnest(
    %b::bytea[], %b::bytea[], %b::bytea[], %b::int[], %b::bool[], %b::bytea[], %b::smallint[]
  ) AS asked (key, attempt, fingerprint, keep_s, resolves, about, state), durable),
seen AS MATERIALIZED (
  SELECT r.key, r.state, r.attempt, r.fingerprint = a.fingerprint AS same,
    CASE WHEN r.state = 3 THEN r.answer ELSE '' END AS answer,
    extract(epoch FROM a.at
      - CASE WHEN r.state = 2 AND r.ends_at <= a.at THEN r.ends_at ELSE r.changed_at END)
      AS age,
    r.state = 2 AND r.ends_at <= a.at AS lapsed
  FROM asked a CROSS JOIN LATERAL (SELECT * FROM {{table}} WHERE key = a.key OFFSET 0) r
  WHERE (r.state = 4 AND r.attempt = a.attempt) OR (r.state = 3 AND r.ends_at > a.at)
    OR (r.state IN (2, 5) AND r.attempt <> a.attempt)
    OR (r.state = 1 AND r.attempt <> a.attempt AND r.ends_at > a.at)),
won AS (
  INSERT INTO {{table}} AS r
    (key, attempt, fingerprint, state, keep_s, resolves, about, changed_at, ends_at)
  SELECT key, attempt, fingerprint, state, keep_s, resolves, about, at, at + {_LEASE}
  FROM asked WHERE key NOT IN (SELECT key FROM seen) ORDER BY key
  ON CONFLICT (key) DO UPDATE SET
    attempt = excluded.attempt, fingerprint = excluded.fingerprint, keep_s = excluded.keep_s,
    state = CASE WHEN r.state = 2 AND r.ends_at > excluded.changed_at THEN 2 ELSE excluded.state END,
    resolves = excluded.resolves, about = excluded.about, changed_at = excluded.changed_at,
    ends_at = excluded.ends_at, due_at = NULL, tries = 0, answer = '', decided_by = '', note = ''
  WHERE (r.state = 4 AND r.attempt <> excluded.attempt) OR (r.state = 3 AND r.ends_at <= excluded.changed_at)
    OR (r.state IN (1, 2, 5) AND r.attempt = excluded.attempt)
    OR (r.state = 1 AND r.ends_at <= excluded.changed_at)
  RETURNING r.key)
SELECT a.key, w.key IS NOT NULL, s.state, s.attempt, s.same, s.answer, s.age::float8, s.lapsed
FROM asked a LEFT JOIN won w USING (key) LEFT JOIN seen s USING (key)"""

_TRACES: Final = """INSERT INTO {table} AS r
    (key, attempt, fingerprint, keep_s, resolves, about, changed_at, ends_at, state, tries, answer)"""
"""An upsert, so that a row is found by its key whatever the planner thinks of the table's size. What it
inserts where there is no record is the trace of a released one; ``tries`` carries the state that is asked
for.
"""

# keys, attempts
MARK: Final = f"""WITH {_DURABLE},
asked AS MATERIALIZED (
  SELECT asked.*, statement_timestamp() AS at
  FROM unnest(%b::bytea[], %b::bytea[]) AS asked (key, attempt), durable ORDER BY key),
done AS (
  {_TRACES}
  SELECT key, attempt, '', 60, false, '', at, at + {_TRACE}, 4, 0, '' FROM asked ORDER BY key
  ON CONFLICT (key) DO UPDATE SET state = 2, changed_at = excluded.changed_at
  WHERE r.attempt = excluded.attempt AND r.state = 1 AND r.ends_at > excluded.changed_at
  RETURNING r.key, r.state)
SELECT a.key, d.state, r.state, r.ends_at <= a.at FROM asked a LEFT JOIN done d USING (key)
LEFT JOIN LATERAL (SELECT state, ends_at FROM {{table}}
  WHERE d.key IS NULL AND key = a.key AND attempt = a.attempt OFFSET 0) r ON true"""

# keys, attempts, states, answers
SETTLE: Final = f"""WITH {_DURABLE},
asked AS MATERIALIZED (
  SELECT asked.*, statement_timestamp() AS at
  FROM unnest(%b::bytea[], %b::bytea[], %b::smallint[], %b::bytea[])
    AS asked (key, attempt, state, answer), durable ORDER BY key),
done AS (
  {_TRACES}
  SELECT key, attempt, '', 60, false, '', at, at + {_TRACE}, 4, state, answer FROM asked ORDER BY key
  ON CONFLICT (key) DO UPDATE SET
    state = excluded.tries, answer = excluded.answer, changed_at = excluded.changed_at,
    ends_at = CASE excluded.tries WHEN 3 THEN excluded.changed_at + make_interval(secs => r.keep_s)
      WHEN 4 THEN excluded.ends_at END,
    due_at = CASE WHEN excluded.tries = 5 AND r.resolves THEN excluded.changed_at + interval '1 second' END
  WHERE r.attempt = excluded.attempt AND r.state <> excluded.tries
    AND (r.state IN (2, 5) OR (r.state = 1 AND (r.ends_at > excluded.changed_at OR excluded.tries = 4)))
  RETURNING r.key, r.fingerprint = '' AS made)
SELECT a.key, d.made, r.state, r.attempt = a.attempt, r.ends_at <= a.at, a.state
FROM asked a LEFT JOIN done d USING (key)
LEFT JOIN LATERAL (SELECT state, attempt, ends_at FROM {{table}}
  WHERE d.key IS NULL AND key = a.key OFFSET 0) r ON true"""

# keys, attempts
WITHDRAW: Final = f"""WITH {_DURABLE}
INSERT INTO {{table}} AS r (key, attempt, fingerprint, state, keep_s, resolves, about, changed_at, ends_at)
SELECT key, attempt, '', 4, 60, false, '', statement_timestamp(), statement_timestamp() + {_TRACE}
FROM unnest(%b::bytea[], %b::bytea[]) AS asked (key, attempt), durable ORDER BY key
ON CONFLICT (key) DO UPDATE SET state = 4, changed_at = excluded.changed_at, ends_at = excluded.ends_at,
  due_at = NULL, answer = ''
WHERE r.attempt = excluded.attempt AND r.state IN (1, 2, 5)"""

# keys, attempts
RENEW: Final = f"""WITH held AS MATERIALIZED (
  SELECT a.* FROM unnest(%b::bytea[], %b::bytea[]) AS a (key, attempt) CROSS JOIN LATERAL (
    SELECT FROM {{table}} WHERE key = a.key AND attempt = a.attempt AND state IN (1, 2)
    AND ends_at > statement_timestamp() FOR UPDATE SKIP LOCKED) r)
{_TRACES}
SELECT key, attempt, '', 60, false, '', statement_timestamp(), statement_timestamp() + {_LEASE}, 4, 0, ''
FROM held
ON CONFLICT (key) DO UPDATE SET ends_at = excluded.ends_at
WHERE r.attempt = excluded.attempt AND r.state IN (1, 2)"""

# Rows that the first part locked do not change before the second; by their place, so no plan is a bad one.
SWEEP_SENT: Final = f"""WITH lapsed AS MATERIALIZED (
  SELECT ctid FROM {{table}} WHERE state = 2 AND ends_at <= statement_timestamp()
  ORDER BY ends_at LIMIT {SWEEP_MOST} FOR UPDATE SKIP LOCKED)
UPDATE {{table}} SET state = 5, changed_at = ends_at, ends_at = NULL,
  due_at = CASE WHEN resolves THEN ends_at + interval '1 second' END
WHERE ctid = ANY(ARRAY(SELECT ctid FROM lapsed))"""

# the lock's number, a state, from when on; ordered as the index is, so that a batch costs what it holds
SWEEP_GONE: Final = f"""WITH turn AS MATERIALIZED (SELECT pg_try_advisory_xact_lock(%b) AS mine),
gone AS MATERIALIZED (
  SELECT ctid, ends_at FROM {{table}}
  WHERE (SELECT mine FROM turn) AND state = %b AND ends_at <= statement_timestamp()
    AND ends_at >= to_timestamp(%b::float8)
  ORDER BY ends_at LIMIT {SWEEP_MOST} FOR UPDATE SKIP LOCKED),
dropped AS (DELETE FROM {{table}} WHERE ctid = ANY(ARRAY(SELECT ctid FROM gone)))
SELECT count(*)::int, coalesce(extract(epoch FROM max(ends_at)), 0)::float8 FROM gone"""

_ENTRY: Final = """key, attempt, state, fingerprint, about, extract(epoch FROM changed_at)::float8,
  CASE WHEN state = 3 THEN extract(epoch FROM ends_at)::float8 ELSE 0.0::float8 END, resolves, tries,
  decided_by, note"""

# at most so many
DUE: Final = f"""WITH due AS MATERIALIZED (
  SELECT ctid FROM {{table}} WHERE state = 5 AND due_at <= statement_timestamp()
  ORDER BY due_at LIMIT %b FOR UPDATE SKIP LOCKED)
UPDATE {{table}} SET due_at = statement_timestamp() + {_LEASE}
WHERE ctid = ANY(ARRAY(SELECT ctid FROM due)) RETURNING {_ENTRY}"""

# seconds, key, attempt
DEFER: Final = """UPDATE {table}
SET tries = tries + 1, due_at = statement_timestamp() + make_interval(secs => %b)
WHERE key = %b AND attempt = %b AND state = 5"""

# state, answer, by, note, state, state, key, attempt
DECIDE: Final = f"""WITH {_DURABLE}
UPDATE {{table}} AS r SET state = %b::smallint, answer = %b, decided_by = %b, note = %b, due_at = NULL,
  changed_at = statement_timestamp(), ends_at = statement_timestamp()
    + CASE %b::smallint WHEN 3 THEN make_interval(secs => r.keep_s) ELSE {_TRACE} END
FROM durable WHERE r.key = %b AND r.attempt = %b
  AND (r.state = 5 OR (r.state = 2 AND r.ends_at <= statement_timestamp()))"""

# key, attempt, state, by, note
DECIDED: Final = """SELECT 1 FROM {table}
WHERE key = %b AND attempt = %b AND state = %b::smallint AND decided_by = %b AND note = %b"""

# states, after, most
ENTRIES: Final = f"""SELECT {_ENTRY} FROM {{table}}
WHERE state = ANY(%b::smallint[]) AND state <> 4 AND key > %b
  AND (ends_at IS NULL OR ends_at > statement_timestamp()) ORDER BY key LIMIT %b"""

# key
ONE: Final = f"""SELECT {_ENTRY}, answer FROM {{table}}
WHERE key = %b AND state <> 4 AND (ends_at IS NULL OR ends_at > statement_timestamp())"""

FIGURES: Final = f"""SELECT
  (SELECT count(*) FROM (SELECT FROM {{table}} WHERE state = 3 AND ends_at > statement_timestamp()
    LIMIT {_COUNT_MOST}) AS kept),
  (SELECT count(*) FROM {{table}} WHERE state IN (1, 2) AND ends_at > statement_timestamp()),
  (SELECT count(*) FROM {{table}} WHERE state = 5),
  coalesce(
    (SELECT extract(epoch FROM statement_timestamp() - min(changed_at)) FROM {{table}} WHERE state = 5), 0
  )::float8,
  (SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = to_regclass('{{table}}')),
  pg_total_relation_size(to_regclass('{{table}}'))"""


class Statements:
    """The texts for one table, as bytes that psycopg takes."""

    def __init__(self, table: str) -> None:
        def of(text: str) -> bytes:
            return text.replace(TABLE, table).encode()

        self.table = table
        self.schema = tuple(of(text) for text in SCHEMA)
        self.facts, self.version = of(FACTS), of(SCHEMA_VERSION)
        self.mark_column, self.lookup_mark, self.leave_mark = (
            of(MARK_COLUMN), of(LOOKUP_MARK), of(LEAVE_MARK),
        )  # fmt: skip
        self.claim, self.mark, self.settle, self.withdraw = of(CLAIM), of(MARK), of(SETTLE), of(WITHDRAW)
        self.renew, self.sweep_sent, self.sweep_gone = of(RENEW), of(SWEEP_SENT), of(SWEEP_GONE)
        self.due, self.defer, self.decide, self.decided = of(DUE), of(DEFER), of(DECIDE), of(DECIDED)
        self.entries, self.one, self.figures = of(ENTRIES), of(ONE), of(FIGURES)
        number = hashlib.blake2b(b"faregate ledger " + table.encode(), digest_size=7).digest()
        self.lock = int.from_bytes(number, "big")
        """Of the advisory locks: this for the schema, the next for who drops expired records."""
