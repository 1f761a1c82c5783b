# What one does with a checkout. Each command makes the virtual environment first, when it is not there or no
# longer fits (scripts/environment.sh), and then runs from it.
#
#   PYTHON=/usr/bin/python3.12 make ...   builds the environment on this Python; unset, the fastest found
#   VENV=/elsewhere make ...              keeps the environment there; .venv by default
#   make run ARGS="--duration 1m"         hands options on

VENV ?= .venv
# exactly as scripts/environment.sh reads it: an absolute path stays, a relative one lies in the checkout
BIN := $(VENV)/bin
ENVIRONMENT := @VENV="$(VENV)" scripts/environment.sh
ARGS ?=

# The data plane in compiled form, when its sources have changed; a machine that lacks a compiler is told and goes on.
COMPILED := @$(BIN)/python -m faregate.compiled || [ $$? -eq 3 ]

# What waits more than it computes, for deadlines and for databases, comes last among the parallel ones; everything else under tests/ comes
# first by itself.
SLOW := tests/e2e tests/manager tests/ledger_proof tests/faults tests/stores tests/demo
QUICK := $(filter-out $(SLOW) tests/support tests/vectors tests/__pycache__,$(patsubst %/,%,$(sort $(wildcard tests/*/))))
PYTEST := $(BIN)/python -m pytest
# A file's tests in one process: they share its gateways (tests/conftest.py). Ports are chosen free. Quick tests compute, two at a
# time; slow ones wait most of the time, so that four fit two cores, in this order, which ends with short files.
TOGETHER := $(PYTEST) --dist loadfile -m "not proof or beside"
PROOFS := $(sort $(shell grep -rl --include='test_*.py' 'mark\.proof' tests))
# The longest first, tests/soak; the other process plays most of the others meanwhile.
PAIRS := $(shell grep -rl --include='test_*.py' 'mark\.paired' tests | sort -r)

# Python and pytest keep what they make of sources also where they are told not to, as in many images: each process of each gateway, and
# each of pytest's that looks for tests, would make it anew (scripts/environment.py does it for what runs without make).
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help run test check format prove soak fuzz bench compiled environment clean

help: ## what can be made
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 14

run: ## the demo: a gateway, two payment servers, callers; Ctrl-C ends it
	$(ENVIRONMENT) run
	@$(BIN)/faregate demo $(ARGS)

test: ## everything that must hold; quick tests first, proofs that measure last and alone
	$(ENVIRONMENT) dev
	$(COMPILED)
	$(TOGETHER) -n 2 $(QUICK) $(ARGS)
	$(TOGETHER) -n 4 --no-loadscope-reorder $(SLOW) $(ARGS)
	$(PYTEST) --dist loadfile -n 2 --no-loadscope-reorder -m "proof and paired" $(PAIRS) $(ARGS)
	$(PYTEST) -m "proof and not (beside or paired)" $(PROOFS) $(ARGS)

check: ## format, lint, types, import rule
	$(ENVIRONMENT) dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: ## writes what check can correct by itself
	$(ENVIRONMENT) dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

prove: ## the proofs in their long form; several minutes
	$(ENVIRONMENT) dev
	$(COMPILED)
	FAREGATE_PROOF=long $(PYTEST) -m proof $(PROOFS) $(ARGS)
	FAREGATE_PROOF=long $(PYTEST) --timeout 1800 tests/e2e/test_fuzz.py tests/fuzz tests/faults tests/manager -m "not proof" $(ARGS)

soak: ## 30 minutes of seeded faults under load, then every invariant; ARGS="--seconds N --seed S"
	$(ENVIRONMENT) dev
	$(COMPILED)
	$(BIN)/python -m tests.soak $(ARGS)

fuzz: ## coverage-guided fuzzing by atheris, a minute a target; ARGS=--seconds=1800 before a release
	$(ENVIRONMENT) dev
	@$(BIN)/python -c "import atheris" 2>/dev/null || $(BIN)/python -m pip install -q -r fuzz/requirements.txt
	$(BIN)/python fuzz/run.py $(ARGS)

bench: ## beside nginx, HAProxy and Envoy; about 15 minutes
	$(ENVIRONMENT) bench
	$(COMPILED)
	$(BIN)/python -m benchmarks $(ARGS)

compiled: ## the data plane compiled: half the work a call; 40 s, once a version
	$(ENVIRONMENT) dev
	$(COMPILED)

environment: ## only the virtual environment, with the tools
	$(ENVIRONMENT) dev

clean: ## removes what the tools left; the environment stays
	rm -rf build dist .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests benchmarks scripts -name __pycache__ -prune -exec rm -rf {} +
