# make setup | demo | test | test-unit | lint | bench | tiny-base | lock | clean
export VENV ?= .venv
export PYTHON TORCH
BIN := $(VENV)/bin
SCHEMA := $(BIN)/check-jsonschema --quiet --builtin-schema vendor.
export DO_NOT_TRACK := true

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-unit lint bench tiny-base lock clean

help:
	@echo "make setup        create $(VENV) with every locked dependency"
	@echo "                  (PYTHON=python3.13 names an interpreter, TORCH=cpu takes PyTorch's CPU build)"
	@echo "make demo         raw data to a checked best checkpoint, on the CPU"
	@echo "make test         all tests (make test-unit: the fast tier alone)"
	@echo "make lint         ruff, mypy, and the schemas of the forge's files"
	@echo "make bench        every benchmark (about half an hour on two quiet cores)"
	@echo "make tiny-base    train the tiny base model again (85 minutes on two cores)"
	@echo "make lock         resolve requirements.lock again"

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml requirements.lock tools/setup.sh
	@tools/setup.sh
	@touch $@

demo: setup
	$(BIN)/cogex demo

# a thread for each of two processes: more threads than cores wait for one another; tests/conftest.py
# says which tests go to one process, and in what order
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --no-loadscope-reorder

test: setup
	$(PYTEST)

test-unit: setup
	$(PYTEST) -m "not engine"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(SCHEMA)github-workflows .github/workflows/*.yml
	$(SCHEMA)github-issue-forms .github/ISSUE_TEMPLATE/*.yml
	$(SCHEMA)citation-file-format CITATION.cff
	$(SCHEMA)compose-spec docker/compose.yml

bench: setup
	$(BIN)/python -m benchmarks

tiny-base: setup
	$(BIN)/python -m tools.tiny

lock:
	@tools/setup.sh lock

clean:
	rm -rf $(VENV) $(VENV)-uv outputs data/tiny data/tiny-base
