"""The micro-benchmarks still fit what they measure: each runs, with hardly any calls, and prints its figures."""

import importlib

import pytest


@pytest.mark.parametrize("name", ["audit", "balancer", "counters", "exchange", "validate"])
def test_a_micro_benchmark_runs(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = importlib.import_module(f"benchmarks.micro_{name}")
    for constant, value in (("ROUNDS", 1), ("CALLS", 20), ("WARM_UP_CALLS", 5)):
        monkeypatch.setattr(module, constant, value, raising=False)
    monkeypatch.setattr("gc.freeze", lambda: None)
    monkeypatch.setattr("gc.set_threshold", lambda *_: None)
    module.main()
    assert any(character.isdigit() for character in capsys.readouterr().out)
