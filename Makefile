# make run    the whole pipeline on the sample corpus          make test   the tests          make nightly   the slowest of them
# Both set up .venv first: Python 3.11 and make are all they need.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: run test nightly venv lint clean

run: venv
	$(BIN)/hanlin run sample

test: .venv/.test
	$(BIN)/python -m pytest

nightly: .venv/.test
	$(BIN)/python -m pytest -m nightly

venv: .venv/.run

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

clean:
	rm -rf .venv build *.egg-info

# torch first: any other order may pull a build with gigabytes of CUDA
.venv/.run: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) torch==2.13.0
	$(PIP) --editable .
	touch $@

.venv/.test: .venv/.run
	$(PIP) --editable '.[test]'
	touch $@

.venv/.dev: .venv/.test
	$(PIP) --editable '.[dev]'
	touch $@
