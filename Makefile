# One command per need; `make demo` and `make test` set up what they use.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint soak tables clean

demo: $(VENV)/.demo
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh examples/demo.sh

test: lint
	$(BIN)/python -m pytest

lint: $(VENV)/.test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# Long ones, on demand: kills a writing process again and again and looks for what it lost.
soak: $(VENV)/.test
	$(BIN)/python tests/soak.py --kills 200

# Hours: every table of docs/evaluation.md and docs/methods.md, from a folder of the public datasets.
tables: $(VENV)/.test
	PATH="$(CURDIR)/$(BIN):$$PATH" DATA="$(DATA)" sh docs/tables.sh

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing memedit and what it needs into $(VENV); the first time this takes a few minutes."
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	$(BIN)/python -m compileall -q memedit
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing memedit, what it needs and what its checks need into $(VENV); this takes a few minutes."
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m compileall -q memedit
	@touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache
