# Every target works on a fresh clone: those that need the environment make it first.
#   make PYTHON=python3.12 ...   the interpreter a new environment is made with
#   make VENV=folder ...         another environment than .venv
#   make dev PORT=3001           another port for the UI
#   make dev AUTOMATION=on       switch schedules and sensors on

VENV ?= .venv
PYTHON ?= python3
PORT ?= 3000
AUTOMATION ?= off
COVERAGE ?=
TESTS ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PEERS := $(VENV)/.peers
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 POLARS_MAX_THREADS=1
HOME_OF_DAGSTER = from tft_pipeline.pipeline.runs import prepare_dagster_home as prepare; \
	from tft_pipeline.storage.layout import default_layout; print(prepare(default_layout()))

.DEFAULT_GOAL := help
.PHONY: help setup demo dev test test-slow coverage mutants faults screenshots docs lint types audit bench

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile

setup: $(STAMP) ## make the environment with the versions of constraints.txt

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/pip || $(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else \
		"$(PYTHON) is Python %d.%d, 3.11 to 3.13 is needed: name another one, such as make setup PYTHON=python3.12" % v)'
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev,distributed,exchanges]"
	@touch $@

demo: $(STAMP) ## run the whole graph on the embedded sample
	$(BIN)/tft run experiments/demo.yaml
	@echo
	@echo "model card:  $(BIN)/tft card --experiment demo --release newest"
	@echo "the graph:   make dev, then open http://127.0.0.1:$(PORT)"

dev: $(STAMP) ## open Dagster's UI on this machine; AUTOMATION=on starts schedules and sensors
	@DAGSTER_HOME="$$($(BIN)/python -c '$(HOME_OF_DAGSTER)')" && test -n "$$DAGSTER_HOME" && \
	export DAGSTER_HOME OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 TFT_AUTOMATION=$(AUTOMATION) && \
	exec $(BIN)/dg dev -w workspace.yaml --host 127.0.0.1 --port $(PORT)

test: $(STAMP) ## run the tests that take seconds
	$(ONE_THREAD) $(BIN)/python -m pytest -m "not slow and not browser" -n auto --maxprocesses 4 --dist loadfile $(TESTS) $(COVERAGE)

# two tests at a time: the runs that they start compute in one process each
test-slow: $(STAMP) ## run the tests that take minutes or a browser (Chromium)
	$(ONE_THREAD) TFT_WORKERS=1 $(BIN)/python -m pytest -m "slow or browser" -n 2 --dist loadfile --no-loadscope-reorder

coverage: $(STAMP) ## run the tests that take seconds, and write what of domain, model and storage they reach; fails below 90 %
	@$(MAKE) --no-print-directory test COVERAGE="--cov --cov-report=term --cov-report=json:$(VENV)/coverage.json"
	$(BIN)/python benchmarks/quality.py $(VENV)/coverage.json

mutants: $(STAMP) ## change domain in 300 places, one at a time, and write how many changes its tests notice (an hour)
	$(ONE_THREAD) $(BIN)/python benchmarks/mutants.py

faults: $(STAMP) ## inject every fault and write docs/faults.md (half an hour; some need root)
	TFT_REQUIRE_FAULTS=1 $(ONE_THREAD) $(BIN)/python -m pytest -m fault --junitxml=$(VENV)/faults.xml
	$(BIN)/python -m tft_pipeline_tests.faults.table $(VENV)/faults.xml

screenshots: $(STAMP) ## walk through the whole demo in Chromium and write docs/images (a quarter of an hour)
	TFT_REQUIRE_BROWSER=1 TFT_SCREENSHOTS=docs/images $(ONE_THREAD) $(BIN)/python -m pytest \
		--basetemp="$$(mktemp -d /tmp/tft-XXXX)/ui" tft_pipeline_tests/browser/test_walk.py

docs: $(STAMP) ## build the site of the documentation into site/; it loads nothing from the network
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "site/index.html, or with search and as you write: $(BIN)/python -m mkdocs serve"

lint: $(STAMP) ## check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP) ## check types
	$(BIN)/mypy

audit: $(STAMP) ## ask a public database for known vulnerabilities of the pinned versions; needs the network
	@test -x $(VENV)/audit/bin/python || $(BIN)/python -m venv $(VENV)/audit
	@$(VENV)/audit/bin/python -m pip install --quiet 'pip-audit>=2.10,<3'
	$(VENV)/audit/bin/pip-audit --strict --no-deps --disable-pip --progress-spinner off -r constraints.txt

bench: $(PEERS) ## measure speed and memory against other libraries; writes docs/speed.md (half an hour)
	$(BIN)/python benchmarks/run_all.py

$(PEERS): $(STAMP)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev,distributed,exchanges,peers]"
	@touch $@
