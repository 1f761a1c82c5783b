"""Small configurations for tests, and the shortest way from text to diagnostics."""

from collections.abc import Mapping
from pathlib import Path

from faregate.compile import compile_config
from faregate.model.diagnostics import Diagnostic
from faregate.model.load import Loaded, load
from faregate.snapshot.data import Snapshot

UPSTREAM = "upstreams: {pay: {targets: [http://127.0.0.1:9001]}}\n"
PLAN = "plans: {standard: {limits: [100/second]}}\n"
API = """\
apis:
  payments:
    upstream: pay
    authenticate: [api_key]
    versions: {v1: {path: /v1}}
    routes:
      - match: GET /payments
"""
DIGEST = "ab" * 32


def write(folder: Path, files: str | Mapping[str, str]) -> Path:
    """Writes the files (a text alone is ``faregate.yaml``) and returns the first one's path."""
    texts = {"faregate.yaml": files} if isinstance(files, str) else files
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder / next(iter(texts))


def loaded(folder: Path, files: str | Mapping[str, str], **environ: str) -> Loaded:
    return load(write(folder, files), environ)


def check(folder: Path, files: str | Mapping[str, str], **environ: str) -> list[Diagnostic]:
    """All diagnostics; file names relative to ``folder``."""
    _, diagnostics = compile_config(loaded(folder, files, **environ), 1)
    return diagnostics


def compiled(folder: Path, files: str | Mapping[str, str], **environ: str) -> Snapshot:
    """The snapshot of a configuration that has no errors."""
    snapshot, diagnostics = compile_config(loaded(folder, files, **environ), 1)
    assert snapshot is not None, diagnostics
    return snapshot


def brief(diagnostics: list[Diagnostic]) -> list[tuple[str, int, int]]:
    return [(diagnostic.code, diagnostic.line, diagnostic.column) for diagnostic in diagnostics]
