"""A secret never appears in what the program prints, also not when it is wrong itself."""

import json
from pathlib import Path

import pytest

from faregate.compile import compile_config
from faregate.model.report import as_json, as_text
from tests.model.configs import loaded

SECRET = "hunter2-hunter2"

CASES = {
    "weak": f"issuers: {{a: {{issuer: a, secret: {SECRET}, audience: x, algorithms: [HS256]}}}}",
    "weak block": f"issuers:\n  a:\n    issuer: a\n    secret: {SECRET}\n    audience: x\n    algorithms: [HS256]\n",
    "wrong neighbour": f"issuers: {{a: {{issuer: 1, secret: '{SECRET}', audience: x, algorithms: [XX]}}}}",
    "misspelt": f"issuers: {{a: {{issuer: a, secrett: {SECRET}, audience: x, algorithms: [HS256]}}}}",
    "wrong type": f"issuers: {{a: {{issuer: a, secret: [{SECRET}], audience: x, algorithms: [HS256]}}}}",
    "folded": f'issuers: {{a: {{secret: "x\n  {SECRET}", audience: 1, algorithms: []}}}}',
    "literal block": f"issuers:\n  a:\n    secret: |\n      {SECRET}\n    wrong: 1\n",
    "literal block, broken": f"issuers:\n  a:\n    secret: |\n      {SECRET}\n   \t{SECRET}: [\n",
    "plain, broken": f"issuers:\n  a:\n    secret: abc\n      {SECRET}: x\n",
    "below, broken": f"issuers:\n  a:\n    secret:\n      {SECRET}: {SECRET}: x\n",
    "open quote": f'issuers:\n  a:\n    secret: "abc\n{SECRET}: x\n - [',
    "odd line breaks": f'issuers:\u2028  a:\r    secret: "abc\x85      {SECRET}"\u2029    wrong: 1\n',
    "odd line breaks in a quote": f"x: 'a\u2028\n\nb'\nissuers: {{a: {{secret: \"x\n\n  {SECRET}\", audience: 1}}}}",
    "duplicate": f"issuers: {{a: {{secret: {SECRET}, secret: {SECRET}}}}}",
    "store": f"gateway: {{stor: 1, store: 'postgresql://u:{SECRET}@h/d', shared: redis://:{SECRET}@h}}",
    "ledger": f"gateway: {{ledger: redis://:{SECRET}@h}}",
    "ledger in one line": f"gateway: {{ledger: {{store: 'redis://:{SECRET}@h', lookup_key: {SECRET}, keys: [{{id: a, secret: {SECRET}}}]}}}}",
    "ledger in a block": f"gateway:\n  ledger:\n    store: redis://:{SECRET}@h\n    lookup_key: {SECRET}\n    keys:\n      - {{id: a, secret: {SECRET}}}\n",
    "ledger without keys": f"gateway: {{ledger: {{store: 'postgresql://u:{SECRET}@h', lookup_key: {'0123456789abcdef' * 4}}}}}",
    "ledger, keys misspelt": f"gateway: {{ledger: {{store: 'redis://:{SECRET}@h', lookupkey: {SECRET}, keys: [{{id: a, secrett: {SECRET}}}]}}}}",
    "bad store": f"gateway: {{store: 'mysql://u:{SECRET}@h/d'}}",
    "target": f"upstreams: {{a: {{targets: ['http://u:{SECRET}@h:80']}}}}",
    "key for its digest": f"consumers: {{a: {{credentials: [{{api_key: {{id: k, sha256: {SECRET}}}}}]}}}}",
    "key for its mapping": f"consumers: {{a: {{credentials: [{{api_key: {SECRET}}}]}}}}",
    "key under another name": f"consumers: {{a: {{credentials: [{{api_key: {{id: k, key: {SECRET}}}}}]}}}}",
    "from environment": "issuers: {a: {issuer: a, secret: '${S}', audience: x, algorithms: [HS256]}}",
    "from environment, elsewhere": "consumers: {a: {plan: '${S}', state: '${S}', permissions: ['${S}!'], allow_ips: ['${S}']}}\n"
    "apis: {p: {upstream: '${S}', authenticate: ['${S}'], versions: {v: {path: '${S}', successor: '${S}'}}, routes: [{match: '${S}'}]}}\n"
    "gateway: {workers: '${S}', data: 'a', listen: [{address: '${S}'}]}\nupstreams: {u: {targets: ['${S}'], balance: '${S}', timeouts: {idle: '${S}'}}}",
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_no_secret_in_diagnostics(tmp_path: Path, name: str) -> None:
    configuration = loaded(tmp_path, CASES[name], S=SECRET)
    snapshot, diagnostics = compile_config(configuration, 1)
    assert snapshot is None
    assert diagnostics
    text = as_text(diagnostics, configuration.tree.sources)
    assert SECRET not in text
    assert SECRET not in as_json(diagnostics)
    assert SECRET not in repr(diagnostics)


def test_no_secret_in_diagnostics_of_json(tmp_path: Path) -> None:
    issuer = {"issuer": 1, "secret": SECRET, "audience": "x", "algorithms": ["HS256"]}
    configuration = loaded(tmp_path, {"c.json": json.dumps({"issuers": {"a": issuer}})})
    _, diagnostics = compile_config(configuration, 1)
    assert {diagnostic.code for diagnostic in diagnostics} == {"wrong_type", "weak_secret"}
    assert SECRET not in as_text(diagnostics, configuration.tree.sources)


def test_a_good_secret_prints_as_stars(tmp_path: Path) -> None:
    text = "issuers: {a: {issuer: a, secret: '${S}', audience: x, algorithms: [HS256]}}"
    configuration = loaded(tmp_path, text, S=SECRET * 3)
    snapshot, diagnostics = compile_config(configuration, 1)
    assert diagnostics == []
    assert snapshot is not None
    assert snapshot.issuers[0].secret == (SECRET * 3).encode()
    assert SECRET not in repr(snapshot)
    assert SECRET not in repr(configuration.config)


def test_references_and_other_lines_stay_readable(tmp_path: Path) -> None:
    text = 'issuers: {a: {issuer: 7, secret: "${S}", audience: x, algorithms: [HS256]}}\n'
    configuration = loaded(tmp_path, text, S=SECRET * 3)
    assert text.strip() in as_text(configuration.diagnostics, configuration.tree.sources)
