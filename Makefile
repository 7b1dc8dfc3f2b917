# Each target sets up .venv by itself. On Linux without a GPU, TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu
# spares the download of CUDA libraries.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCH := $(shell sed -n 's/^torch==/torch==/p' constraints.txt)
PIP_INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check

# The tests of `make test-python`: files, scores, reads, models, imports and exports, under two minutes on two cores.
FAST_TESTS := tests/io tests/metrics tests/reads tests/runs tests/models tests/genomes tests/pipelines \
	tests/metagenomes/test_export.py tests/cli/test_doctor.py tests/test_registration.py tests/test_public_interface.py \
	tests/test_optional_imports.py tests/test_sinks.py
OTHER := $(VENV)/$(notdir $(PYTHON))

.PHONY: demo test pytest test-python conformance check types lint fuzz notebooks docs clean

demo: $(VENV)/.demo-ready  ## the main job on the example cohort, with the shipped checkpoint
	$(BIN)/biomeformer demo --output demo-output

# The type checker takes half a minute on one core, beside the linters and then the tests.
test: $(VENV)/workflows/.ready $(VENV)/export/.ready $(VENV)/quantisation/.ready  ## linters, type checker and all tests
	$(MAKE) --no-print-directory --jobs=2 types lint pytest

pytest: $(VENV)/.test-ready
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test-python: $(OTHER)/.ready  ## the fast tests on another interpreter, with what [export] installs: PYTHON=python3.13
	$(OTHER)/bin/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile $(FAST_TESTS)

conformance: $(VENV)/.test-ready  ## the common test suites of transformers, from its source distribution, on every class
	PYTHONPATH=tests $(BIN)/python -m conformance

N ?= 10000
SEED ?= 0
fuzz: $(VENV)/.test-ready  ## N damaged files of every format; fails if one is read wrongly or not refused clearly
	$(BIN)/python benchmarks/reliability.py --trials $(N) --seed $(SEED)

notebooks: $(VENV)/.docs-ready  ## executes all notebooks
	$(BIN)/python packaging/site/notebooks.py

docs: notebooks  ## the documentation site, in site/; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --config-file packaging/site/mkdocs.yml

SCRIPTS := packaging/slurm/*.sbatch benchmarks/gpu.sh .ci/run
check: $(VENV)/.test-ready
	$(MAKE) --no-print-directory --jobs=2 types lint

types: $(VENV)/.test-ready
	$(BIN)/mypy

lint: $(VENV)/.test-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m biomeformer.hub.cards model_cards --check
	$(BIN)/shellcheck --shell bash $(SCRIPTS)
	$(BIN)/hadolint packaging/docker/Dockerfile*

$(VENV)/.demo-ready: pyproject.toml constraints.txt
	@echo "Setting up $(VENV): some minutes the first time."
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) '$(TORCH)' $(if $(TORCH_INDEX_URL),--extra-index-url $(TORCH_INDEX_URL))
	$(PIP_INSTALL) -c constraints.txt -e '.[cpu]'
	@touch $@

$(VENV)/.test-ready: $(VENV)/.demo-ready
	$(PIP_INSTALL) -c constraints.txt -e '.[cpu,dev]'
	@touch $@

$(VENV)/.docs-ready: $(VENV)/.demo-ready
	$(PIP_INSTALL) -c constraints.txt -e '.[cpu,tuning,docs]'
	@touch $@

# An environment of their own, since they require other versions than constraints.txt.
$(VENV)/workflows/.ready: packaging/workflows.txt | $(VENV)/.test-ready
	$(PYTHON) -m venv $(VENV)/workflows
	$(VENV)/workflows/bin/pip install --quiet --disable-pip-version-check -r packaging/workflows.txt
	@touch $@

# Packages that are put before those of .venv.
$(VENV)/export/.ready: packaging/export.txt | $(VENV)/.test-ready
	rm -rf $(VENV)/export
	$(PIP_INSTALL) --no-deps --target $(VENV)/export -r packaging/export.txt
	@touch $@

$(OTHER)/.ready: pyproject.toml constraints.txt packaging/export.txt
	$(PYTHON) -m venv $(OTHER)
	$(OTHER)/bin/pip install --quiet '$(TORCH)' $(if $(TORCH_INDEX_URL),--extra-index-url $(TORCH_INDEX_URL))
	$(OTHER)/bin/pip install --quiet -c constraints.txt -e '.[cpu,export,tuning]' fair-esm hypothesis parameterized pytest pytest-xdist
	$(OTHER)/bin/pip install --quiet --no-deps --upgrade -r packaging/export.txt
	@touch $@

# Beside the environment, without what it has already.
$(VENV)/quantisation/.ready: packaging/quantisation.txt | $(VENV)/.test-ready
	$(PIP_INSTALL) --no-deps --upgrade --target $(VENV)/quantisation -r packaging/quantisation.txt
	@touch $@

clean:
	rm -rf $(VENV) demo-output build site *.egg-info modeling/*.egg-info .mypy_cache .pytest_cache .ruff_cache
