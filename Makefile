# The front door: each target is one line that calls the real tool. `make help` lists them.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
include src/ml_lifecycle/defaults.env
export
export PATH := $(CURDIR)/$(BIN):$(PATH)
COMPILE := uv pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 --generate-hashes --no-header

.DEFAULT_GOAL := help
.PHONY: run serve test test-full test-fallback test-browser test-stack lint format lock env viz ui notebook bench bench-storage bench-provenance bench-serving minio images images-report stack stack-init stack-data stack-run stack-down stack-clean keys clean help test-k8s kustomize deploy test-workflows audit-dependencies project-images registry-login publish train gate promote summary reproduce public-key
# The variables of .env for a command; those of the shell go before them, as they do for Compose.
WITH_ENV = shell=$$(declare -px) && set -a && source ./.env && set +a && eval "$$shell" &&
# The stores that the environment names, as CI does; else those of .env. Names of the environment stay `$$NAME` for the shell:
# nothing that somebody typed into a form of CI is read by make. What CI leaves empty is not set.
WITH_STORES = { [ "$${MLFLOW_TRACKING_URI:-}" ] || { set -a && source ./.env && set +a; }; } && { [ "$${AWS_ENDPOINT_URL:-}" ] || unset AWS_ENDPOINT_URL; } &&

# What images hold, each a group of pyproject.toml and a lock.
IMAGE_LOCKS := api package tracking workbench

# The stack of docker-compose.yml: RUN is what `make stack-run` runs, RAW the raw data it reads.
RUN ?= kedro run --env minio
RAW ?= raw_data

# Files of tests side by side, in as many processes.
WORKERS ?= 2
PYTEST := pytest --numprocesses $(WORKERS)

run: env  ## From the locked raw data to a registered model and its predictions
	kedro run

test: env  ## The whole test suite, with coverage
	$(PYTEST)

test-full: env  ## The main job on all 336,776 flights, in a fresh clone
	pytest -m full --no-cov tests/full

test-fallback: env  ## The tests of the object store once more, on SeaweedFS
	$(PYTEST) -m "servers and not any_store and not browser" --object-store weed --no-cov tests/integration/servers

test-workflows: env  ## The workflows of CI, executed on this machine with act; needs a Docker Engine
	$(PYTEST) -m workflows --no-cov tests/workflows

test-browser: env  ## MLflow's page of a run and the pages of the service, in Chromium
	pytest -m browser --no-cov tests/api tests/integration/servers

test-stack: env  ## Images and the Compose stack, built and run; needs a Docker Engine
	pytest -m stack --no-cov tests/stack

test-k8s: env kustomize  ## The manifests and make deploy on an API server of Kubernetes, which Go builds first; needs etcd
	CGO_ENABLED=0 go -C tests/k8s/server build -trimpath -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$$(go -C tests/k8s/server list -m -f '{{.Version}}' k8s.io/kubernetes)" -o $(CURDIR)/build/k8s/ tool && pytest -m k8s_server --no-cov tests/k8s

lint: env  ## Style, types, layers, stripped notebooks, generated pages
	ruff format --check . && ruff check . && mypy && lint-imports && nbstripout --verify notebooks/*.ipynb && python docs/generate.py --check

format: env  ## Rewrite the code in the one style
	ruff format . && ruff check --fix .

lock: env  ## Resolve pyproject.toml again into requirements/*.txt
	$(COMPILE) pyproject.toml --group dev --group stack --upgrade --output-file requirements/dev.txt && for lock in run $(IMAGE_LOCKS); do $(COMPILE) $$([ $$lock = run ] && echo pyproject.toml || echo "--group $$lock") --constraint requirements/dev.txt --upgrade --output-file requirements/$$lock.txt || exit 1; done

audit-dependencies: env  ## Known vulnerabilities of what the images hold; asks the package registry
	pip-audit --strict --require-hashes --disable-pip --requirement requirements/run.txt --requirement requirements/tracking.txt --requirement requirements/workbench.txt

env: .venv/.complete .env  ## The virtual environment .venv, from the hashed locks; .env with random passwords, once

.venv/.complete: requirements/uv.txt requirements/build.txt requirements/dev.txt pyproject.toml
	rm -rf .venv && $(PYTHON) -m venv .venv && $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/uv.txt
	$(BIN)/uv pip install --python $(BIN)/python --compile-bytecode --require-hashes --build-constraints requirements/build.txt --requirement requirements/dev.txt
	$(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps --no-build-isolation --editable .
	touch $@

.env: .env.example | .venv/.complete
	python deploy/env_file.py

serve: env  ## Predictions over HTTP by the @production model, at http://127.0.0.1:8000
	$(if $(filter minio,$(KEDRO_ENV)),$(WITH_ENV)) API_AUTHENTICATION=$${API_AUTHENTICATION:-$$([ "$$API_KEY_HASHES" ] && echo on || echo off)} python -m ml_lifecycle.api

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
	deploy/go-tool github.com/minio/minio "$$(cat deploy/minio/version)"

kustomize:  ## Build the pinned kustomize into GOBIN; needs Go
	deploy/go-tool sigs.k8s.io/kustomize/kustomize/v5 "$$(cat deploy/k8s/version)"

images: env keys  ## The container images of this commit; MinIO's as well, if there is none
	python deploy/images.py build tracking api pipelines minio

images-report: env  ## Sizes of the images, the time the service takes to be ready, secrets found in them
	python deploy/images_report.py

project-images: env  ## The project's own images, TARGETS of them: tracking api pipelines
	python deploy/images.py build $(TARGETS)

registry-login:  ## Log in to the registry of images with GITHUB_TOKEN
	@docker login "$${REGISTRY:-ghcr.io}" --username "$$GITHUB_ACTOR" --password-stdin <<<"$$GITHUB_TOKEN"

publish: env  ## Push the images of this commit, and tell their digests
	deploy/publish

stack: images  ## MinIO, PostgreSQL, MLflow and the service, in containers on this machine
	docker compose up --detach --wait

stack-init: env  ## Buckets and identities on the MinIO server that .env names
	$(WITH_ENV) python deploy/minio/init.py

stack-data: env  ## The locked raw data into the stack's DVC remote
	$(WITH_ENV) dvc repro --quiet --single-item $(RAW) && dvc push --quiet $(RAW)

stack-run: stack-data  ## kedro run --env minio in a container; the service takes the new version up
	$(WITH_ENV) deploy/in-stack $(RUN)

stack-down:  ## Stop the containers; data and models stay
	docker compose --profile '*' down

stack-clean:  ## Stop the containers and remove their data, after a question
	@read -r -p "Remove all models, data and predictions of the stack? Type 'yes': " answer && [ "$$answer" = yes ] && docker compose --profile '*' down --volumes

train:  ## kedro run in a container, on the stores that the environment names
	$(WITH_STORES) deploy/train

gate: env  ## Ask the gate for @staging for VERSION, else the newest of this commit; a no is an answer
	$(WITH_STORES) { python deploy/promote.py --to=staging --reason="$${REASON:-the newest of its commit}" -- "$$VERSION" || [ $$? = 1 ]; }

promote: env  ## VERSION gets ALIAS; SERVICE has to take it up and answer a record, or the alias goes back
	$(WITH_STORES) python deploy/promote.py --to="$${ALIAS:-production}" --service="$$SERVICE" --reason="$$REASON" -- "$$VERSION"

summary: env  ## What a run made, as Markdown, with its pictures, in build/summary
	$(WITH_STORES) python deploy/summary.py -- "$$VERSION"

reproduce: env  ## Make the version in production again, and compare bit for bit
	$(WITH_STORES) set -o pipefail && kedro model reproduce @production --no-record --env "$${KEDRO_ENV:-minio}" | tee -a "$${GITHUB_STEP_SUMMARY:-/dev/null}"

deploy: env keys  ## To where TARGET says, compose or k8s; OVERLAY=local, production or gpu
	python deploy/deploy.py $(TARGET) $(if $(OVERLAY),--overlay $(OVERLAY))

keys: env  ## A pair of keys to sign models with, for development, in .keys
	python -m ml_lifecycle.signing.keys .keys

public-key:  ## The team's public key, MODEL_PUBLIC_KEY, into .keys/signing.pub
	@[ ! -e .keys/signing.key ] || { echo "Error: .keys holds a pair of its own, whose public half would be lost. Move it away." >&2; exit 1; } && mkdir -p .keys && printf '%b\n' "$${MODEL_PUBLIC_KEY:?is the public key of the team, see docs/how-to/ci.md}" >.keys/signing.pub

clean:  ## Remove everything a run made; raw data and .venv stay
	rm -rf build mlruns mlflow.db $(addsuffix /*,$(filter-out data/01_raw,$(wildcard data/0*)))

help:  ## This list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "%-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
