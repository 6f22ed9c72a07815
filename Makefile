# make install: .venv from constraints.txt, with all extras; make demo: the main job in a few minutes; make study: seven
# runs over three seeds, resumable (both without the tools of the tests); make test: lint, types, all tests; make docs:
# the site in build/docs/html, with the notebooks as the tests left them; make lowest: the tests with the lowest versions
# (gigabytes)
PYTHON ?= python3
BIN := .venv/bin
DEMO := .venv/installed-demo
STAMP := .venv/installed
KDLAB_DATA ?= $(abspath $(wildcard ../shared/data))
export KDLAB_DATA
export WANDB_MODE ?= offline
unexport PYTHONDONTWRITEBYTECODE  # what is imported is compiled once, not by each process

.PHONY: install demo study test docs lint lowest clean

install: $(STAMP)

define install
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "kdlab needs Python 3.11 or later, but $(PYTHON) is " + sys.version.split()[0] + ": make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e ".[$(1)]"
	@touch $(2)
endef

$(STAMP): pyproject.toml constraints.txt
	$(call install,dev,$(DEMO) $@)
	$(BIN)/python -m compileall -qq -j 0 .venv/lib || true  # files for other versions of Python do not compile

$(DEMO): pyproject.toml constraints.txt
	$(call install,shoulder,$@)

demo: $(DEMO)
	$(BIN)/python -m experiments.demo

study: $(DEMO)
	$(BIN)/kdlab study experiments/basic_motions/study.yaml --jobs 2

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	OMP_NUM_THREADS=1 KDLAB_NOTEBOOKS=$(CURDIR)/build/notebooks $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --durations=15

docs: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m docs.site

lowest: $(STAMP)
	$(BIN)/python -m benchmarks.long.lowest build/lowest

clean:
	rm -rf .venv build *.egg-info
