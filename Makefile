# Two commands do all: `make run` (set-up, then the whole chain on real data) and `make test` (set-up, all checks, tests).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# No telemetry leaves by default.
export DO_NOT_TRACK := 1
export MLFLOW_DISABLE_TELEMETRY := true
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DVC_NO_ANALYTICS := 1
# Images of Python set it; a run starts some twenty processes, each of which would compile our sources anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev run up test test-long test-team test-operations test-all check format docs bench bench-live soak lock clean audit

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk 'BEGIN {FS = ":.*## "} {printf "  make %-10s %s\n", $$1, $$2}'

$(BIN)/uv: requirements-bootstrap.lock
	@./scripts/prepare-machine
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "Rectory needs Python 3.11 to 3.13; $(PYTHON) is $$($(PYTHON) --version). Say PYTHON=python3.12 make ..."; exit 2; }
	@echo "Setting up $(VENV) from the hashed lock (about a minute, once) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bootstrap.lock
	@touch $@

$(VENV)/.installed: requirements.lock pyproject.toml $(BIN)/uv
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@mkdir -p .rectory  # where prefect.toml keeps history: `prefect server start` works before the first run too
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock scripts/prepare-tests $(VENV)/.installed
	@./scripts/prepare-tests
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements-dev.lock
	@touch $@

setup: $(VENV)/.installed  ## Create .venv from the hashed lock
setup-dev: $(VENV)/.installed-dev  ## The same with the tools of development

run: setup  ## Set-up, then raw log to champion on real data (RECTORY_DATASET=movielens_100k for the small one)
	@$(BIN)/rectory run

up: setup  ## Prefect, MLflow, a worker, the schedules and the API, kept running until Ctrl-C
	@$(BIN)/rectory up

check: setup-dev  ## Format, lint, types, import rules
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: setup-dev  ## Rewrite files in the house style
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

# One more than two cores: tests of servers wait much of the time. A file stays on one worker: its tests share an
# installation. (xdist 3.8's groups do nothing under pytest 9.2.) In the order of the folders, so that the long files
# come first.
WORKERS := -n 3 --dist loadfile --no-loadscope-reorder

test: check  ## Set-up, all checks, the default test suite (real ML-100K run included)
	@$(BIN)/pytest $(WORKERS)

test-long: setup-dev  ## Backtests, a Dask cluster, a tuning, killed and gone on with (two minutes)
	@$(BIN)/pytest $(WORKERS) -m long

test-team: setup-dev  ## A team's installation: both servers on PostgreSQL, models and data on an S3 API (four minutes)
	@$(BIN)/pytest -m "" tests/flows/test_up_on_postgres.py -k "not wrong_password"

test-operations: setup-dev  ## Real servers under fire: PostgreSQL, S3, kill -9 (some forty minutes)
	@$(BIN)/pytest -m "" tests/flows/test_up.py tests/flows/test_up_on_postgres.py tests/faults/test_servers.py tests/faults/test_worker.py

test-all: check  ## The default suite, test-long and the slow real-data suite
	@$(BIN)/pytest $(WORKERS) -m ""

bench: setup-dev  ## Seconds, memory and ratios on both data sets
	@$(BIN)/python -m benchmarks

bench-live: setup-dev  ## The live service under load, swaps of models and kill -9 (PROJECT=., which has a champion)
	@$(BIN)/python -m benchmarks.live --project $(or $(PROJECT),.)

soak: setup-dev  ## 30 simulated days through `rectory up` with faults at random (hours; DAYS=2 SEED=1)
	@$(BIN)/python -m benchmarks.soak --days $(or $(DAYS),30) --seed $(or $(SEED),1)

docs: setup-dev  ## Build the browsable site into site/
	@$(BIN)/python -m docs.generate
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html"

lock: $(BIN)/uv  ## Resolve the hashed locks anew
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header pyproject.toml --extra dev -o requirements-dev.lock
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header pyproject.toml -c requirements-dev.lock -o requirements.lock
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header pyproject.toml --extra auth --extra postgres --extra s3 --extra redis -c requirements-dev.lock -o requirements-server.lock

audit: setup-dev  ## Known vulnerabilities of the locked packages
	@$(BIN)/pip-audit --require-hashes --disable-pip -r requirements.lock

clean:  ## Remove runs and reports; models, data versions and .venv stay
	@rm -rf runs reports site
