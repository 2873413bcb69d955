"""Leaving MinIO: the commands of the how-to for AWS, as they stand there, on a store whose buckets have a prefix."""

import re
from pathlib import Path

import pytest
from mlflow import MlflowClient

import servers
from ml_lifecycle.signing.keys import make_pair
from project_copy import MODEL, ProjectCopy
from servers import HOST, PROJECT

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("default")]

BLOCK = re.compile(r"```bash\n(.*?)```", re.DOTALL)


def test_an_environment_of_ones_own(
    kind: str, known_secrets: set[str], small_project: ProjectCopy, local_run: ProjectCopy, tmp_path: Path
) -> None:
    """The new environment is committed, makes the same model, and touches no bucket without the prefix."""
    page = (PROJECT / "docs/how-to/use-minio.md").read_text(encoding="utf-8")
    configure, create, _ = BLOCK.findall(page.partition("## AWS S3")[2])
    project = small_project.clone(tmp_path / "project")
    with servers.object_store(kind, tmp_path) as store:
        known_secrets.add(store.root.secret)
        server = servers.tracking_server(tmp_path, store.root, store.endpoint)
        server.environment["MLFLOW_ARTIFACTS_DESTINATION"] = "s3://acme-mlflow"
        keys = {"AWS_ACCESS_KEY_ID": store.root.key, "AWS_SECRET_ACCESS_KEY": store.root.secret}
        uri = f"http://{HOST}:{servers.port_of(server)}"
        make_pair(project.path / ".keys")  # as `make keys` does
        variables = {**keys, "AWS_ENDPOINT_URL": store.endpoint, "MLFLOW_TRACKING_URI": uri}
        project.run("bash", "-ec", configure)
        project.commit()
        project.run("bash", "-ec", create.replace("unset AWS_ENDPOINT_URL", ""), **variables)  # AWS is not to be had
        server.start()
        try:
            project.run("kedro", "run", "--env", "aws", **variables)
            project.run("dvc", "push", "--quiet", **variables)
            version = MlflowClient(uri).get_model_version_by_alias(MODEL, "production")
        finally:
            server.stop()
        used = {bucket: bool(store.files().find(bucket)) for bucket in store.files().ls("")}
    local = MlflowClient(f"sqlite:///{local_run.path / 'mlflow.db'}").get_model_version(MODEL, "1")
    assert local.tags["model_sha256"] == version.tags["model_sha256"]
    assert version.tags["git.dirty"] == "false"
    assert dict.fromkeys(("acme-ml-data", "acme-dvc", "acme-mlflow"), True) == used
