# make run    the whole pipeline on the sample corpus          make test   the tests          make nightly   the slowest of them
# Both set up .venv first: Python 3.11 and make are all they need.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt

.PHONY: run test nightly venv lint clean

run: venv
	@echo "== the whole pipeline on the sample corpus: minutes on two CPU cores; stopped, it goes on from there the next time"
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
	@$(PYTHON) -c 'import sys; sys.exit("Hanlin needs Python 3.11 or later; name one with make PYTHON=…" if sys.version_info < (3, 11) else 0)'
	@echo "Setting up .venv, once: PyTorch and some 150 packages, about 2 GB on disk. With a fast line it takes three to ten minutes;"
	@echo "pip shows the size of each package, and how far its download is. After an interruption, the same command goes on."
	@echo "== 1 of 3: an environment in .venv"
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "== 2 of 3: PyTorch, the largest package"
	$(PIP) torch==2.13.0
	@echo "== 3 of 3: Hanlin, with Prefect, transformers, DuckDB and what they need"
	$(PIP) --editable .
	@touch $@
	@echo "== .venv is ready: $$(du -sh .venv | cut -f1)"

.venv/.test: .venv/.run
	@echo "== packages for the tests, into .venv"
	$(PIP) --editable '.[test]'
	@touch $@

.venv/.dev: .venv/.test
	@echo "== ruff, mypy and import-linter, into .venv"
	$(PIP) --editable '.[dev]'
	@touch $@
