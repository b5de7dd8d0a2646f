# Two commands: `make demo` and `make test`. Both set up a virtual environment inside the clone first, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help install demo test lint benchmarks clean
.DEFAULT_GOAL := help

help:  ## List the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "pyro_ldm needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	@echo "Installing into $(VENV) (once; a minute or two) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

install: $(VENV)/installed  ## Set up the virtual environment

demo: $(VENV)/installed  ## Learn ICA features of natural images and a representation of digits; table and pictures in runs/demo
	@$(BIN)/python models/demo.py

test: $(VENV)/installed  ## Run the whole suite: tests, docstring examples, recipes and notebooks
	@$(BIN)/python -m pytest --numprocesses=auto

lint: $(VENV)/installed  ## Style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

benchmarks: $(VENV)/installed  ## Measure what benchmarks/RESULTS.md records (hours)
	@for b in benchmarks/*.py; do echo "== $$b"; $(BIN)/python $$b || exit 1; done

clean:  ## Remove the virtual environment and what runs left
	rm -rf $(VENV) runs build *.egg-info .pytest_cache .mypy_cache .ruff_cache
