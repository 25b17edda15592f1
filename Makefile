# What a contributor needs. `make help` lists it; every target does its own set-up.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
NODE_STAMP := node_modules/.installed
PYTHON_STAMP := $(VENV)/.installed
TORCH_STAMP := .venv-torch/.installed
INFRA_STAMP := .venv-infra/.installed

.PHONY: help python setup torch infra-check start demo test test-all faults lint format bench models environments clean lock samples

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

python: $(PYTHON_STAMP) ## the virtual environment alone, for a machine without Node.js (the hooks of azd)

setup: $(PYTHON_STAMP) $(NODE_STAMP) ## a virtual environment and Azurite, from the lock files (GPU=1: ONNX Runtime for CUDA)
ifeq ($(GPU),1)
	@$(BIN)/python -m pip uninstall --quiet --yes onnxruntime
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r scoring/environments/gpu.txt
endif

$(PYTHON_STAMP): requirements.lock pyproject.toml
	@scripts/make-venv.sh $(VENV)
	@echo "Installing the locked Python packages (a minute or two the first time) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(NODE_STAMP): package.json package-lock.json
	@scripts/check-node.sh
	@echo "Installing Azurite from package-lock.json …"
	@npm ci --no-progress --loglevel=error
	@touch $@

torch: $(TORCH_STAMP) ## an environment with PyTorch in .venv-torch, for training styles (style_transfer/train)

$(TORCH_STAMP): scoring/environments/torch.txt scoring/environments/vgg.txt
	@scripts/make-torch-venv.sh .venv-torch
	@touch $@

start: setup ## Azurite and the Functions host on this machine, until Ctrl-C
	@$(BIN)/batchscore start

demo: setup ## paint a clip in the style of a picture (STYLE=picture.jpg, VIDEO=clip.mp4), then score an hour of sensors
	@$(BIN)/python scripts/demo.py $(if $(STYLE),--style-image "$(STYLE)") $(if $(VIDEO),--video "$(VIDEO)")

test: setup ## every test but the slow ones
	@$(BIN)/pytest -m "not slow"

test-all: setup ## every test
	@$(BIN)/pytest

infra-check: setup $(INFRA_STAMP) ## Bicep, hooks, azure.yaml and host.json: rules, bicepcheck (BATCHSCORE_SHARED), checkov, planted faults
	@$(BIN)/pytest -rs tests/infra

$(INFRA_STAMP): requirements/infra.lock
	@scripts/make-venv.sh .venv-infra
	@echo "Installing checkov in .venv-infra …"
	@.venv-infra/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/infra.lock
	@touch $@

faults: setup ## random faults on the real thing, then a table (N=60 faults, SEED=7, WORLDS=2 side by side)
	@$(BIN)/python -m tests.faults --faults $(or $(N),60) --seed $(or $(SEED),7) --worlds $(or $(WORLDS),2)

lint: setup ## formatting, lint, types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@cd scoring && ../$(BIN)/mypy --config-file ../pyproject.toml .

format: setup ## let ruff put the code in order
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: setup ## measure speed and memory; benchmarks/README.md keeps the figures
	@$(BIN)/python -m benchmarks

samples: setup ## Azure ML's public samples on this machine: EXAMPLES=folder of Azure/azureml-examples, PYTHON=what they import
	@$(BIN)/python scripts/samples.py $(or $(EXAMPLES),../azureml-examples) $(if $(PYTHON),--python "$(PYTHON)")

models: setup ## make the shipped models again, from their published weights and from data
	@$(BIN)/python scoring/digits/train.py
	@$(BIN)/python scoring/models/export_arbitrary.py
	@$(BIN)/python scoring/models/card_pictures.py

environments: setup ## do the packages of Azure ML's images install, and do entry scripts import in them (NAMES="gpu torch": gigabytes)
	@$(BIN)/python scripts/environments.py check $(or $(NAMES),cpu sensors)

lock: setup ## write the lock files anew from the requirement files
	@$(BIN)/uv pip compile --quiet --python $(BIN)/python --universal --generate-hashes --no-header requirements/app.in scoring/environments/cpu.txt scoring/environments/sensors.txt requirements/dev.in -o requirements.lock
	@$(BIN)/uv pip compile --quiet --python $(BIN)/python --python-platform x86_64-manylinux_2_28 --python-version 3.13 --generate-hashes --no-annotate --custom-compile-command "make lock" --constraints requirements.lock requirements/app.in -o requirements.txt
	@$(BIN)/uv pip compile --quiet --python $(BIN)/python --universal --generate-hashes --no-header requirements/infra.in -o requirements/infra.lock
	@$(BIN)/python scripts/environments.py lock

clean: ## remove what was built, downloaded or written here
	@rm -rf $(VENV) .venv-torch .venv-infra node_modules demo-output .batchscore .azurite .eventhubs .azureml .mypy_cache .ruff_cache .pytest_cache .hypothesis .python_packages .python_packages.new
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
