.PHONY: tools nightly test-faults refusals help setup packages demo test check lint bench serve clean
.DEFAULT_GOAL := help

VENV := .venv
# The distribution's Python is built with optimisations that others often lack: signatures take a tenth less CPU.
PYTHON ?= $(shell /usr/bin/python3 -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo /usr/bin/python3 || echo python3)
CUSTODY ?= software
DATABASE ?= sqlite
PARALLEL := --numprocesses 2 --dist loadfile
WITH_KEYS := tests/signing tests/timestamping tests/api/test_walk.py tests/cli/test_init.py \
	tests/cli/test_onboarding.py tests/client/test_end_to_end.py tests/client/test_receipt.py tests/ceremony/test_flows.py \
	--ignore tests/signing/test_sandbox.py --ignore tests/signing/test_chosen_profiles.py
WITH_STORE := tests/signing/test_stamps.py tests/api/test_walk.py tests/api/test_refusals.py tests/api/test_sandbox.py tests/cli/test_onboarding.py
FAULTS = $(shell grep -o '`tests/[a-z_/]*\.py`' docs/reliability.md | tr -d '`' | sort -u)
WITH_STORE := tests/api/test_walk.py tests/api/test_refusals.py tests/api/test_sandbox.py tests/api/test_ledger.py tests/client/test_receipt.py \
	tests/cli/test_onboarding.py
BIN := $(VENV)/bin
STAMP := $(VENV)/.locked
TOOLS := $(VENV)/tools
export INTAGLIO_HOME ?= intaglio-home

help: ## Show what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup: $(STAMP) ## Install everything into .venv (PYTHON=/path/to/python3.x chooses which Python)
	@echo "Installed. Next: make demo"

$(STAMP): requirements.lock pyproject.toml
	@PYTHON=$(PYTHON) scripts/packages python
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)

$(TOOLS)/.locked: deploy/tools.lock $(STAMP)
	@scripts/tools $(PYTHON) $(TOOLS)
	@touch $@

tools: $(TOOLS)/.locked ## Install what judges deployment files: helm, hadolint, schemas

demo: $(STAMP) ## Sign a real contract for the long term (PDF=my.pdf takes yours, CUSTODY=softhsm keeps keys on a token)
	@CUSTODY=$(CUSTODY) scripts/demo $(PDF)

check: $(STAMP) $(TOOLS)/.locked lint ## Style, types, floors, all tests (CUSTODY=softhsm: keys on a token; DATABASE=postgresql)
	@scripts/packages test
	INTAGLIO_TEST_CUSTODY=$(CUSTODY) INTAGLIO_TEST_DATABASE=$(DATABASE) $(BIN)/pytest $(PARALLEL)

test: check ## Everything that CI does: all checks, then with every key on a token, then on PostgreSQL
	INTAGLIO_TEST_CUSTODY=softhsm $(BIN)/pytest $(PARALLEL) $(WITH_KEYS)
	INTAGLIO_TEST_DATABASE=postgresql $(BIN)/pytest $(PARALLEL) $(WITH_STORE)

nightly: $(STAMP) ## The property tests of names and policies, with 100,000 cases each
	INTAGLIO_CASES=100000 $(BIN)/pytest --numprocesses 2 --timeout 0 -m hypothesis tests/accounts tests/pki/test_subject.py

test-faults: $(STAMP) ## What it must survive: every test that docs/reliability.md names, and what was counted
	@scripts/packages test && scripts/packages faults
	$(BIN)/pytest -q --timeout 600 $(FAULTS)

refusals: $(STAMP) ## Send every bad request of the table and print what each gets
	$(BIN)/python tests/api/bad_requests.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP) ## Measure; prints a table and writes bench.json
	@scripts/packages bench
	$(BIN)/python bench/run.py

serve: $(STAMP) ## Serve from $INTAGLIO_HOME (made first if missing)
	@test -e $(INTAGLIO_HOME)/intaglio.toml || $(BIN)/intaglio init
	$(BIN)/intaglio serve

clean: ## Remove what was made here
	rm -rf $(VENV) demo build dist bench.json
