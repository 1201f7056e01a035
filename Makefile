# The environment lives in .venv; nothing outside the repository is touched but by test-system, which needs root.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROFILE ?= $(or $(R3PP_PROFILE),sample)
# One faiss: the wheel for the GPU where a driver answers, else the one for the CPU. They overwrite each other.
FAISS ?= $(shell if nvidia-smi >/dev/null 2>&1; then echo gpu; else echo cpu; fi)

.PHONY: help demo ui test soak test-system lint format env dev screenshots clean

help:
	@echo "make demo [SOURCE=folder]   the whole graph on the embedded sample (or a folder of Parquet), with scores"
	@echo "make ui [PORT=3000]         the Dagster UI on 127.0.0.1"
	@echo "make test                   unit and end-to-end tests"
	@echo "make soak [ROUNDS=20]       the tests of faults (kills, damaged input) many times over"
	@echo "make test-system            tests with a real browser and a real Slurm (installs Debian packages, needs root)"
	@echo "make lint                   ruff, mypy, import arrows, Dagster's definitions"

env: $(VENV)/.installed-$(FAISS)

# torch first and alone, so that nothing else chooses its version. Another build of the same version (without CUDA, or
# for older cards): make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
$(VENV)/.installed-$(FAISS): pyproject.toml constraints.txt
	@echo "setting up $(VENV) (two to four minutes)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $(PYTHON) is older than Python 3.11; run make PYTHON=python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -qq --constraint constraints.txt setuptools
	$(BIN)/pip install -qq --constraint constraints.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	$(BIN)/pip install -qq --constraint constraints.txt --no-build-isolation --editable '.[$(FAISS),sample]'
	@touch $@

dev: $(VENV)/.installed-dev

$(VENV)/.installed-dev: $(VENV)/.installed-$(FAISS)
	@echo "adding what tests need to $(VENV)"
	$(BIN)/pip install -qq --constraint constraints.txt --no-build-isolation --editable '.[$(FAISS),sample,dev]'
	@touch $@

demo: env
	@$(BIN)/r3pp demo $(if $(SOURCE),--source "$(SOURCE)") $(if $(ROOT),--root "$(ROOT)")

ui: env
	@R3PP_PROFILE=$(PROFILE) $(BIN)/r3pp ui --port $(or $(PORT),3000) $(if $(ROOT),--root "$(ROOT)")

# On two cores, each process with one thread of torch: two threads each would wait for one another's cores.
PYTEST_BY_TWO := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile
# What starts launchers and ranks comes second, so that what the others leave in the environment does not reach it.
LAUNCHING := tests/core/launch tests/core/training tests/faults
test: dev
	$(PYTEST_BY_TWO) -m "not system" tests/core tests/assets $(addprefix --ignore ,$(filter tests/core/%,$(LAUNCHING)))
	$(PYTEST_BY_TWO) -m "not system" $(LAUNCHING)

soak: dev
	$(BIN)/python -m pytest tests/faults --rounds $(or $(ROUNDS),20)
	$(BIN)/python -m pytest -m system tests/system/test_by_itself.py --rounds 10

test-system: dev
	./tests/system/install.sh
	$(PYTEST_BY_TWO) -m system --no-loadscope-reorder tests/system

# Dagster's settings are the project's own, so that telemetry is off here too; its history is of no use.
DG := VIRTUAL_ENV=$(CURDIR)/$(VENV) DAGSTER_HOME=$(CURDIR)/dagster_home R3PP_STORAGE=$(CURDIR)/build/dg $(BIN)/dg

lint: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(DG) check defs
	$(DG) list defs >/dev/null

format: dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

screenshots: dev
	./tests/system/install.sh
	$(BIN)/python tests/system/screenshots.py

clean:
	rm -rf $(VENV) workspace build *.egg-info .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
