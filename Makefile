# What a person would do here. `make help` lists it.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TINY_JUKEBOX := $(or $(AUGRUN_OUTPUT),outputs)/tiny-jukebox
SHELL := /bin/bash
# A process that crashes ends the tests: where another takes its place, xdist 3.8 may wait for it without end.
SPREAD := -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow check tables bench env-augment env-ddsp tracking-server clean

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade-strategy only-if-needed -c constraints.txt -e '.[dev,jukebox,functionals,launchers,server,tuning]'
	@touch $@

setup: $(STAMP) ## make .venv and install augrun with everything its tests need

demo: $(STAMP) ## the main job on a rendered stand-in corpus: baseline, DDSP, augmented classifier, comparison
	$(BIN)/augrun

test: $(STAMP) ## the tests, without those marked slow
	$(BIN)/python -m pytest -q $(SPREAD) tests

test-slow: $(STAMP) ## the tests marked slow
	$(BIN)/python -m pytest -q -m slow $(SPREAD) tests

check: $(STAMP) ## ruff, the type checker, and the rules of who may import whom
	$(BIN)/ruff check augrun hydra_plugins scripts tests
	$(BIN)/ruff format --check augrun hydra_plugins scripts tests
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

tables: $(STAMP) ## the published tables at demo scale, on the stand-ins; Jukebox by random weights unless AUGRUN_JUKEBOX names real ones
	@test -n "$$AUGRUN_JUKEBOX" -o -d $(TINY_JUKEBOX) || $(BIN)/python scripts/tiny_jukebox.py $(TINY_JUKEBOX)
	$(BIN)/augrun table godwin2021_table1
	export AUGRUN_JUKEBOX="$${AUGRUN_JUKEBOX:-$(TINY_JUKEBOX)}" && \
	$(BIN)/augrun -m experiment=godwin2021_table3a scale=demo && \
	$(BIN)/augrun -m experiment=godwin2021_table3b scale=demo && \
	$(BIN)/augrun -m experiment=godwin2021_table3c scale=demo && \
	$(BIN)/augrun table godwin2021_table2 scale=demo
	$(BIN)/augrun -m experiment=chatziagapi2019_table2 scale=demo
	$(BIN)/augrun -m experiment=chatziagapi2019_table3 scale=demo
	$(BIN)/augrun table bao2019_table1 scale=demo
	@set -e; for table in bao2019_table2 bao2019_table3 latif2020_table1 latif2020_table2 latif2020_table3; do \
		$(BIN)/augrun -m experiment=$$table scale=demo; done

bench: $(STAMP) ## all benchmarks into one table, outputs/bench (10 to 20 minutes on two cores); ONLY="features sweep" for some
	@sh scripts/setup_augment_env.sh .venv-augment $(BIN)/python || echo "make env-augment failed: the table says what it lacks"
	$(BIN)/python scripts/bench.py $(if $(ONLY),--only $(ONLY))

env-augment: $(STAMP) ## audiomentations and torch-audiomentations beside augrun's packages (.venv-augment), for make bench
	sh scripts/setup_augment_env.sh .venv-augment $(BIN)/python

env-ddsp: ## Magenta's ddsp 3.7.0 in an environment of its own (.venv-ddsp), for generator=ddsp_magenta and comparisons
	PYTHON=$(PYTHON) bash scripts/setup_ddsp_env.sh .venv-ddsp

tracking-server: $(STAMP) ## an MLflow server with PostgreSQL and an artifact proxy, on this machine's loopback (PORT=5000)
	$(BIN)/python -m augrun.tracking.server $(if $(PORT),--port $(PORT))

clean: ## remove caches and build leftovers; outputs stay
	rm -rf build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis tests/output
	find augrun scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +
