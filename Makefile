# One command per need; `make demo` and `make test` set up what they use.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# Of torch a plain install may bring gigabytes of GPU libraries that neither the demo nor the tests use. This is the one
# that the lock has; `make newest TORCH=torch` takes the newest.
TORCH ?= torch==2.13.0

.PHONY: demo test lint lock newest oldest soak tables clean

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

# Both install what requirements.lock says, and nothing else: the same packages on any day.
$(VENV)/.demo: pyproject.toml requirements.lock | $(VENV)/bin/python
	@echo "Installing memedit and what it needs into $(VENV); the first time this takes a few minutes."
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable .
	$(BIN)/python -m compileall -q memedit
	@touch $@

$(VENV)/.test: pyproject.toml requirements.lock | $(VENV)/bin/python
	@echo "Installing memedit, what it needs and what its checks need into $(VENV); this takes a few minutes."
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable '.[dev]'
	$(BIN)/python -m compileall -q memedit
	@touch $@ $(VENV)/.demo

# Writes the lock anew: the newest packages that the ranges in pyproject.toml allow today, each with its version.
lock:
	rm -rf .venv-lock
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet "$(TORCH)"
	.venv-lock/bin/python -m pip install --quiet --editable '.[dev]'
	{ sed '/^[^#]/,$$d' requirements.lock; \
	  .venv-lock/bin/python -m pip freeze --exclude-editable | sed 's/+[a-z0-9.]*$$//'; } > .venv-lock/lock
	mv .venv-lock/lock requirements.lock
	rm -rf .venv-lock

# The same tests with the newest packages that the ranges allow today, and with the oldest, each in an environment of its
# own. To be run before a release, and whenever a range is changed.
newest:
	rm -rf .venv-newest
	$(PYTHON) -m venv .venv-newest
	.venv-newest/bin/python -m pip install --quiet "$(TORCH)"
	.venv-newest/bin/python -m pip install --quiet --editable '.[dev]'
	.venv-newest/bin/python -m pytest

oldest:
	rm -rf .venv-oldest
	$(PYTHON) -m venv .venv-oldest
	$(PYTHON) .ci/oldest.py > .venv-oldest/constraints.txt
	.venv-oldest/bin/python -m pip install --quiet "$(TORCH)"
	.venv-oldest/bin/python -m pip install --quiet --constraint .venv-oldest/constraints.txt --editable '.[dev]'
	.venv-oldest/bin/python -m pytest

clean:
	rm -rf $(VENV) .venv-newest .venv-oldest .venv-lock dist build .mypy_cache .ruff_cache .pytest_cache
