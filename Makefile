PYTHON ?= $(shell command -v python3.11 || command -v python3)
BASE ?= main
BIN := .venv/bin
READY := .venv/ready
# Tests of one file run in one process, so that they set up once what they share.
PARALLEL := -n auto --dist loadfile
ENGINES := transformers llama_cpp vllm skypilot
FAULTS ?= 200
SEED ?= 1
FOLDERS := data model infra evaluate

.DEFAULT_GOAL := help
.PHONY: help demo check test test-all $(FOLDERS:%=test-%) interop chaos wheel-smoke lint types format reference docs clean

help: ## List these targets.
	@sed -n 's/^\([a-z][a-z-]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | awk -F'\t' '{ printf "make %-14s %s\n", $$1, $$2 }'

demo: $(READY) ## Run the quickstart recipe into ./store.
	$(BIN)/arctic run data_recipes/runs/quickstart.toml

check: lint types ## Lint, check types, and test what you changed since BASE (main).
	$(BIN)/python tests/changed.py $(BASE)

test: lint types ## Lint, check types, and run all fast tests.
	$(BIN)/pytest $(PARALLEL)

test-all: test ## Run all fast tests, then the slow ones: kills, clusters, jobs, the wheel.
	$(BIN)/pytest -m slow

test-data: $(READY) ## Fast tests of recipes and of the stages from source to mix.
	$(BIN)/pytest $(PARALLEL) tests/data_recipes $(addprefix tests/pipelines/,source score filter dedup tokenize mix artifacts)

test-model: $(READY) ## Fast tests of the model and of the train stage.
	$(BIN)/pytest $(PARALLEL) tests/arctic_model tests/pipelines/train

test-infra: $(READY) ## Fast tests of the stage runner, store, cluster and tracking.
	$(BIN)/pytest $(PARALLEL) tests/infra

test-evaluate: $(READY) ## Fast tests of the evaluate and report stages.
	$(BIN)/pytest $(PARALLEL) tests/pipelines/evaluate tests/pipelines/sandbox tests/pipelines/report

interop: $(READY) $(ENGINES:%=build/interop/%/ready) ## Compare exports with transformers, llama.cpp and vLLM, each in an environment of its own.
	$(BIN)/pytest -m interop tests/interop

# vLLM brings packages for pictures and sound that are built for another torch and keep it from loading.
build/interop/%/ready: tests/interop/%.txt
	$(PYTHON) -m venv --clear build/interop/$*
	build/interop/$*/bin/python -m pip install --quiet --requirement $<
	build/interop/$*/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $@

chaos: $(READY) ## Disturb a small chain by FAULTS (200) seeded faults, and write the table of docs/reliability.md.
	$(BIN)/python -m tests.chaos.campaign --faults $(FAULTS) --seed $(SEED) --table docs/reliability.md

wheel-smoke: $(READY) ## Build the wheel and run it outside the checkout.
	$(BIN)/pytest -m slow tests/test_wheel.py

lint: $(READY) ## Check style, format and import rules.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(READY) ## Check types with mypy.
	$(BIN)/mypy

format: $(READY) ## Format the code and apply safe fixes.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

reference: $(READY) ## Generate the reference pages and JSON Schemas from the code.
	$(BIN)/python docs/generate.py

docs: $(READY) ## Build the documentation site into build/site.
	$(BIN)/python -m mkdocs build --strict --site-dir build/site

# torch is named first and exactly: a range would bring gigabytes of GPU libraries to a laptop.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed, not ' + sys.version.split()[0] + '. Name one: make PYTHON=python3.11')"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch==2.13.0 setuptools wheel
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/arctic compile
	touch $@

clean: ## Remove the environment and all caches.
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
