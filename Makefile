# The front door: each target is one line that calls the real tool. `make help` lists them.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
include src/ml_lifecycle/defaults.env
export
export PATH := $(CURDIR)/$(BIN):$(PATH)
COMPILE := uv pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 --generate-hashes --no-header

.DEFAULT_GOAL := help
.PHONY: run serve test test-full test-fallback test-browser lint format lock env viz ui notebook bench bench-storage bench-provenance bench-serving minio stack-init keys clean help
# The variables of .env, if there is one, for a command.
WITH_ENV = set -a && { [ ! -f .env ] || source ./.env; } && set +a &&

# Files of tests side by side, in as many processes.
WORKERS ?= 2
PYTEST := pytest --numprocesses $(WORKERS)

run: env  ## From the locked raw data to a registered model and its predictions
	kedro run

test: env  ## The whole test suite, with coverage
	$(PYTEST)

test-full: env  ## The main job on all 336,776 flights, in a fresh clone
	pytest -m full --no-cov

test-fallback: env  ## The tests of the object store once more, on SeaweedFS
	$(PYTEST) -m "servers and not any_store and not browser" --object-store weed --no-cov

test-browser: env  ## MLflow's page of a run and the pages of the service, in Chromium
	pytest -m browser --no-cov

lint: env  ## Style, types, layers, stripped notebooks, generated pages
	ruff format --check . && ruff check . && mypy && lint-imports && nbstripout --verify notebooks/*.ipynb && python docs/generate.py --check

format: env  ## Rewrite the code in the one style
	ruff format . && ruff check --fix .

lock: env  ## Resolve pyproject.toml again into requirements/*.txt
	$(COMPILE) pyproject.toml --group dev --group stack --upgrade --output-file requirements/dev.txt && $(COMPILE) pyproject.toml --constraint requirements/dev.txt --upgrade --output-file requirements/run.txt

env: .venv/.complete  ## The virtual environment .venv, from the hashed locks

.venv/.complete: requirements/uv.txt requirements/build.txt requirements/dev.txt pyproject.toml
	rm -rf .venv && $(PYTHON) -m venv .venv && $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/uv.txt
	$(BIN)/uv pip install --python $(BIN)/python --compile-bytecode --require-hashes --build-constraints requirements/build.txt --requirement requirements/dev.txt
	$(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps --no-build-isolation --editable .
	touch $@

serve: env  ## Predictions over HTTP by the @production model, at http://127.0.0.1:8000
	$(WITH_ENV) API_AUTHENTICATION=$${API_AUTHENTICATION:-$$([ "$$API_KEY_HASHES" ] && echo on || echo off)} python -m ml_lifecycle.api

viz: env  ## The pipelines as a picture, in the browser
	kedro viz run

ui: env  ## Runs and models, in the browser
	mlflow ui --backend-store-uri sqlite:///mlflow.db

notebook: env  ## Jupyter Lab with catalog, context and pipelines loaded
	kedro jupyter lab

bench: env  ## Kedro against a plain script, and the cost of a no-op
	python -m benchmarks.pipeline

bench-storage: env  ## The lifecycle on MinIO and the tracking server against files, and where the difference goes
	python -m benchmarks.storage

bench-provenance: env  ## What provenance, signing and the gate add to a run
	python -m benchmarks.provenance

bench-serving: env  ## The service under load against others; needs wrk. PEERS=1: LitServe, too, PROFILE=1: where time goes
	python -m benchmarks.serving $(if $(PEERS),--peers) $(if $(PROFILE),--profile)

minio:  ## Build the pinned MinIO server into GOBIN; needs Go
	go install github.com/minio/minio@$$(cat deploy/minio/version)

stack-init: env  ## Buckets and identities on the MinIO server that .env names
	$(WITH_ENV) python deploy/minio/init.py

keys: env  ## A pair of keys to sign models with, for development, in .keys
	python -m ml_lifecycle.signing.keys .keys

clean:  ## Remove everything a run made; raw data and .venv stay
	rm -rf build mlruns mlflow.db $(addsuffix /*,$(filter-out data/01_raw,$(wildcard data/0*)))

help:  ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
