# The same commands as CI runs. `make` alone lists them.
.DEFAULT_GOAL := help
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
REQUIREMENTS := requirements/dev.txt
# Not spark: 400 MB and a Java for one slow test, which `make test-all` installs by itself.
EXTRAS := --extra local --extra keyring --extra parquet --extra clickhouse --extra explore --extra pascal

.PHONY: help setup demo test test-all test-minimum check fix docs packages bench rehearsal requirements clean

help: ## List the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

# A stamp, so that the venv is made once and again only when what it is made from changes.
$(VENV)/.made: $(REQUIREMENTS) pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r $(REQUIREMENTS)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

setup: $(VENV)/.made ## Make the virtual environment with everything pinned

demo: setup ## Watch the whole thing work: two arms, a real language server, a report
	$(BIN)/codetrial arms fetch
	$(BIN)/codetrial demo

test: setup ## The fast tests
	$(BIN)/python -m pytest -m "not editor and not model and not slow"

test-all: setup ## All tests, with editors and models
	$(BIN)/pip install --quiet --disable-pip-version-check "pyspark>=3.5"
	$(BIN)/codetrial arms fetch smollm2
	$(BIN)/codetrial arms fetch gemma3-270m
	PYTHON=$(BIN)/python tests/editors/install.sh
	$(BIN)/python -m pytest

test-minimum: ## The fast tests on the oldest dependencies that pyproject.toml admits
	$(PYTHON) -m venv $(VENV)-minimum
	$(VENV)-minimum/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/minimum.txt
	$(VENV)-minimum/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	# What an old package calls may be deprecated in a new one of somebody else's: no error of ours. Pages and workflows
	# are checked by tools that want newer packages than we do.
	$(VENV)-minimum/bin/python -m pytest -W default::DeprecationWarning \
	    --ignore tests/test_docs.py --ignore tests/pr_bot/test_workflow.py -m "not editor and not model and not slow"

check: setup ## Lint, format, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

fix: setup ## Mend what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup ## The pages, offline, in docs/_build; a link that leads nowhere ends it
	$(BIN)/python docs/generate.py --check
	$(BIN)/python docs/licences.py --check
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going docs docs/_build

packages: setup ## Wheel and sdist into dist/, and install them bare, by pipx and with every extra
	rm -rf dist
	$(BIN)/python -m hatchling build -d dist
	$(BIN)/python -m pytest tests/packaging

bench: setup ## Measure; writes bench/RESULTS.md
	$(BIN)/python -m bench

rehearsal: setup ## A team's fortnight with faults, half an hour; every figure is held against the script
	$(BIN)/codetrial arms fetch smollm2
	$(BIN)/codetrial arms fetch gemma3-270m
	$(BIN)/python -m bench.rehearsal

COMPILE := uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-annotate --no-header

requirements: ## Pin the dependencies again (needs uv; the files name no index)
	$(COMPILE) --upgrade --generate-hashes $(EXTRAS) --group dev --output-file $(REQUIREMENTS) pyproject.toml
	$(COMPILE) --generate-hashes --group build --constraint $(REQUIREMENTS) --output-file requirements/action.txt pyproject.toml
	# The oldest of what we name ourselves, and the newest tools that still work with them.
	$(COMPILE) --upgrade --resolution lowest-direct $(EXTRAS) pyproject.toml --output-file requirements/oldest.in
	$(COMPILE) --upgrade --generate-hashes $(EXTRAS) --group test --group build --constraint requirements/oldest.in \
	    --output-file requirements/minimum.txt pyproject.toml
	rm requirements/oldest.in

clean: ## Remove the virtual environment and caches
	rm -rf $(VENV) $(VENV)-minimum .mypy_cache .ruff_cache .pytest_cache .hypothesis
