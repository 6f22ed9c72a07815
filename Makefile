# make install: .venv from constraints.txt; make demo: the main job in a few minutes; make test: everything that CI runs
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed
KDLAB_DATA ?= $(abspath $(wildcard ../shared/data))
export KDLAB_DATA
export WANDB_MODE ?= offline

.PHONY: install demo test lint clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "kdlab needs Python 3.11 or later, but $(PYTHON) is " + sys.version.split()[0] + ": make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

demo: $(STAMP)
	$(BIN)/python -m experiments.demo

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest

clean:
	rm -rf .venv build *.egg-info
