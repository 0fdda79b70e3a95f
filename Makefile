# Everything runs in .venv, which the first `make demo` or `make test` sets up; nothing outside it is installed.
# Another interpreter than the first one found: make PYTHON=/path/to/python3.13 ...

SHELL := bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
PY := $(VENV)/bin/python
# requirements.lock holds the exact versions of whatever pyproject.toml asks for
INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable

# pip runs again only when one of these is newer than the stamp of the last set-up
DEPENDENCIES := pyproject.toml requirements.lock

.PHONY: help setup setup-dev demo test lint format bench notebooks lock clean

help:  ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/make \1|\2/p' Makefile | column -t -s '|'

setup: $(VENV)/.core  ## .venv with mle_pp and what it needs to run

setup-dev: $(VENV)/.dev  ## .venv with the extras and tools for developing, too

demo: setup  ## the main job, end to end: python -m models
	$(PY) -m models

test: lint  ## every check: lint, then the tests
	$(PY) -m pytest

lint: setup-dev  ## ruff and mypy
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy

format: setup-dev  ## mend what ruff can mend
	$(PY) -m ruff check --fix
	$(PY) -m ruff format

bench: setup-dev  ## side by side with peers
	$(PY) tests/benchmarks/run.py
	$(PY) tests/benchmarks/bootstrap.py
	$(PY) tests/benchmarks/profiles.py
	$(PY) tests/benchmarks/mixed.py

notebooks: setup-dev  ## execute all notebooks, outputs in place
	$(PY) -m nbconvert --to notebook --execute --inplace --ExecutePreprocessor.record_timing=False \
	  --ClearMetadataPreprocessor.enabled=True --ClearMetadataPreprocessor.preserve_nb_metadata_mask kernelspec \
	  notebooks/*.ipynb

# Resolved over all extras, in an environment of its own, so that any of them fits the others.
LOCK := build/lock
lock:  ## the newest versions that fit pyproject.toml into requirements.lock
	rm -rf $(LOCK)
	$(MAKE) VENV=$(LOCK) $(LOCK)/pyvenv.cfg
	$(LOCK)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,nutpie,dask]'
	$(LOCK)/bin/python -m pip list --format=freeze --exclude-editable --exclude pip > requirements.lock

clean:  ## remove .venv and all caches
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The first interpreter that is new enough. Each is run, not only looked up: a pyenv shim may exist and fail.
$(VENV)/pyvenv.cfg:
	@for python in $(PYTHON) $$(type -ap python3 python3.14 python3.13 python3.12); do \
	  if "$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then \
	    echo "Making $(VENV) with $$("$$python" --version)."; \
	    exec "$$python" -m venv --clear $(VENV); \
	  fi; \
	done; \
	echo "mle_pp needs Python 3.12 or newer, with venv and pip, and none is on the PATH." >&2; \
	echo "Install one (on Debian or Ubuntu with its -venv package), or name it: make PYTHON=/path/to/python3" >&2; \
	exit 1

$(VENV)/.core: $(VENV)/pyvenv.cfg $(DEPENDENCIES)
	@echo "Installing mle_pp and what it needs into .venv; a minute or two, only this once."
	@$(INSTALL) .
	@touch $@

# What the tests need contains what a run needs: one installation makes both stamps.
$(VENV)/.dev: $(VENV)/pyvenv.cfg $(DEPENDENCIES)
	@echo "Installing mle_pp, its extras and the tools for developing into .venv; some minutes, only this once."
	@$(INSTALL) '.[dev]'
	@touch $(VENV)/.core $@
