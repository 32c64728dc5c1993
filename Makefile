# make setup | demo | test | test-unit | lint | bench | tiny-base | constraints | clean
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
export AXOLOTL_DO_NOT_TRACK := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-unit lint bench tiny-base constraints clean

help:
	@echo "make setup        create $(VENV) with every pinned dependency"
	@echo "make demo         raw data to a checked best checkpoint, on the CPU"
	@echo "make test         all tests (make test-unit: the fast tier alone)"
	@echo "make lint         ruff and mypy"
	@echo "make bench        every benchmark (25 minutes on two quiet cores)"
	@echo "make tiny-base    train the tiny base model again (85 minutes on two cores)"
	@echo "make constraints  resolve every pin again"

setup: $(VENV)/.installed

# torch first: what comes after then keeps the build that pip chose for this machine
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: setup
	$(BIN)/cogex demo

# a thread for each of two processes: more threads than cores wait for one another
test: test-unit
	OMP_NUM_THREADS=1 $(BIN)/pytest -m engine --numprocesses 2 --dist loadgroup

test-unit: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest -m "not engine" --numprocesses 2

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup
	$(BIN)/python -m benchmarks

tiny-base: setup
	$(BIN)/python -m tools.tiny

constraints:
	tools/resolve_constraints.sh

clean:
	rm -rf $(VENV) outputs data/tiny data/tiny-base
