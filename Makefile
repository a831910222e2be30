# Two commands for a newcomer: `make demo` and `make test`. Both make .venv where it is missing.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/ready

.PHONY: demo test test-all lint types format reference docs clean

demo: $(READY)
	$(BIN)/arctic run data_recipes/runs/quickstart.toml

# Tests of one file run in one process, so that what they share is made once.
test: lint types
	$(BIN)/pytest -n auto --dist loadfile

test-all: test
	$(BIN)/pytest -m slow

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(READY)
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The pages and JSON Schemas that follow from code.
reference: $(READY)
	$(BIN)/python docs/generate.py

docs: $(READY)
	$(BIN)/python -m mkdocs build --strict --site-dir build/site

# torch is named first and exactly: a range would bring gigabytes of GPU libraries to a laptop.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch==2.13.0 setuptools wheel
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
