# The images of this project, by --target; `make images` builds them all.
#
#   tracking   MLflow's server, the migration of its database, buckets and identities of the object store
#   api        predictions over HTTP, and nothing else: no shell, no Kedro, DVC, pandas or scikit-learn
#   workbench  pipelines with JupyterLab and Kedro-Viz
#   pipelines  kedro run …; the last one, which `kedro docker build` builds
#
# PYTHON_IMAGE is the base of all of them. BASE_IMAGE, KEDRO_UID and KEDRO_GID are what kedro-docker calls base and owner.
# COMMIT, DIRTY, DIFF_SHA256 and LOCK_SHA256 say what is built; `python deploy/images.py arguments` prints them.
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm
ARG BASE_IMAGE=${PYTHON_IMAGE}

# ---- Environments, from the hashed locks

FROM ${BASE_IMAGE} AS tools
WORKDIR /build
ENV PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1
COPY requirements/uv.txt requirements/build.txt requirements/package.txt requirements/
RUN python3 -m venv tools && tools/bin/python -m pip install --quiet --no-cache-dir --disable-pip-version-check \
    --require-hashes --requirement requirements/uv.txt --requirement requirements/package.txt
COPY deploy/images/ .

FROM tools AS api-environment
COPY requirements/api.txt requirements/
RUN ./environment api
RUN set -- aiohttp fastapi fastapi_swagger filecmp holidays httptools jinja2 markdown mlflow.artifacts mlflow.tracking \
    model_signing.signing model_signing.verifying msgspec numpy.typing omegaconf onnxruntime prometheus_client.multiprocess \
    pydantic_settings s3fs uvicorn.protocols.http.httptools_impl uvloop \
 && ./bytecode.py "$@" && ./root.py /environment && ROOT=/environment ./bytecode.py "$@" && ./placed

FROM tools AS tracking-environment
COPY requirements/tracking.txt requirements/
RUN ./environment tracking
RUN ./bytecode.py boto3 minio mlflow.cli mlflow.server.fastapi_app mlflow.store.db.utils psycopg s3fs \
 && ./placed

FROM tools AS pipelines-environment
COPY requirements/run.txt requirements/
RUN ./environment run
RUN ./bytecode.py dvc.cli dvc.repo kedro.framework.cli kedro.framework.session kedro_datasets.pandas \
    kedro_mlflow.framework.hooks mlflow.onnx model_signing.signing model_signing.verifying onnxruntime optuna pandera.pandas \
    s3fs skl2onnx sklearn.ensemble sqlalchemy \
 && ./placed

FROM pipelines-environment AS workbench-environment
COPY requirements/workbench.txt requirements/
RUN ./environment workbench
RUN ./bytecode.py jupyterlab.labapp kedro_viz.launchers.cli && ./placed

# ---- Our files, each in its place below /ours

FROM api-environment AS api-files
WORKDIR /source
COPY pyproject.toml README.md ./
COPY src src
RUN /build/package wheel /ours \
 && ROOT=/ours PYTHONPATH=$(echo /ours/opt/venv/lib/python3.*/site-packages) /build/bytecode.py \
    ml_lifecycle.api.__main__ ml_lifecycle.api.app ml_lifecycle.api.duties
COPY conf /ours/app/conf
RUN mkdir -p /ours/app/build && chown 10001:10001 /ours/app/build && /build/dated /ours

FROM tracking-environment AS tracking-files
COPY src /ours/app/src
COPY deploy/minio /ours/app/deploy/minio
COPY deploy/mlflow /ours/app/deploy/mlflow
RUN /build/dated /ours

FROM pipelines-environment AS pipelines-files
ARG KEDRO_UID=10001
ARG KEDRO_GID=10001
WORKDIR /home/kedro_docker
COPY pyproject.toml README.md dvc.yaml dvc.lock .telemetry ./
COPY .dvc .dvc
COPY conf conf
COPY notebooks notebooks
COPY requirements requirements
COPY src src
ARG COMMIT=""
ARG DIRTY=""
ARG DIFF_SHA256=""
ARG LOCK_SHA256=""
RUN /build/code && printf '[core]\n    no_scm = true\n' >.dvc/config.local \
 && /build/package editable /ours && PYTHONPATH=src /build/bytecode.py ml_lifecycle.cli ml_lifecycle.pipeline_registry \
 && mkdir -p .dvc/cache .dvc/tmp build conf/local data mlruns /ours/etc /ours/home && cp -a . /ours/home/kedro_docker \
 && cp -p /etc/passwd /ours/etc && echo "kedro_docker:x:$KEDRO_UID:$KEDRO_GID::/home/kedro_docker:/bin/sh" >>/ours/etc/passwd \
 && cd /ours/home/kedro_docker && chown "$KEDRO_UID:$KEDRO_GID" . .dvc/* build conf/local conf/test dvc.lock conf/test/dvc.lock data mlruns notebooks notebooks/* \
 && /build/dated /ours

# ---- Images

FROM ${BASE_IMAGE} AS tracking
LABEL org.opencontainers.image.title="ml-lifecycle tracking" \
      org.opencontainers.image.description="MLflow's server with PostgreSQL and S3, and what sets its stores up" \
      org.opencontainers.image.licenses="Apache-2.0"
WORKDIR /app
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin HOME=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/app/src
COPY --from=tracking-environment /environment/ /
COPY --from=tracking-files /ours/ /
USER 10001:10001
EXPOSE 5000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
  CMD ["python", "-c", "import urllib.request as web; web.urlopen('http://127.0.0.1:5000/health', timeout=4)"]
CMD ["deploy/mlflow/server"]

FROM scratch AS api
LABEL org.opencontainers.image.title="ml-lifecycle api" \
      org.opencontainers.image.description="Predictions over HTTP by a registered model" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=api-environment /environment/ /
COPY --from=api-files /ours/ /
WORKDIR /app
ENV PATH=/opt/venv/bin HOME=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUTF8=1 API_HOST=0.0.0.0 API_CACHE=/app/build
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s \
  CMD ["python", "-I", "-c", "import urllib.request as web; web.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
CMD ["python", "-m", "ml_lifecycle.api"]

FROM ${BASE_IMAGE} AS project
ARG KEDRO_UID=10001
ARG KEDRO_GID=10001
WORKDIR /home/kedro_docker
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin HOME=/tmp PYTHONDONTWRITEBYTECODE=1 DVC_SITE_CACHE_DIR=/tmp/dvc \
    GIT_PYTHON_REFRESH=quiet
USER ${KEDRO_UID}:${KEDRO_GID}
CMD ["kedro", "run"]

FROM project AS workbench
LABEL org.opencontainers.image.title="ml-lifecycle workbench" \
      org.opencontainers.image.description="The pipelines with JupyterLab and Kedro-Viz" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=workbench-environment /environment/ /
COPY --from=pipelines-files /ours/ /
EXPOSE 4141 8888

FROM project AS pipelines
LABEL org.opencontainers.image.title="ml-lifecycle pipelines" \
      org.opencontainers.image.description="From locked raw data to a registered model and its predictions" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=pipelines-environment /environment/ /
COPY --from=pipelines-files /ours/ /
