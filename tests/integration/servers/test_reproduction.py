"""A version made on servers is made again on files, and one made on files is made again on servers."""

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient

from project_copy import MODEL, ProjectCopy
from servers import Stack, Workplace
from tampering import STAGE

pytestmark = [pytest.mark.integration, pytest.mark.any_store, pytest.mark.filterwarnings("default")]


def test_made_on_servers_and_again_on_files(remote_run: Workplace, stack: Stack, tmp_path: Path) -> None:
    """The version of `minio` is equal when an auditor makes it again in `base`, and the server keeps the verdict.

    The auditor has a fresh clone, keys of the store that may only read, and no key to sign with.
    """
    remote_run.run("dvc", "push", "--quiet", STAGE)
    remote_run.run("git", "clone", "--quiet", str(remote_run.project.path), str(tmp_path / "clone"))
    auditor = Workplace(ProjectCopy(tmp_path / "clone"), stack.reading("auditor"))
    said = auditor.run("kedro", "model", "reproduce", "1", "--env", "minio", "--json")
    assert "yes" == json.loads(said.stdout)["answer"]
    version = MlflowClient(stack.tracking_uri).get_model_version(MODEL, "1")
    assert version.tags["reproduced"].startswith("yes: equal")


def test_made_on_files_and_again_on_servers(local_run: ProjectCopy, stack: Stack) -> None:
    """The version of `base` is equal when its tables lie in the object store, of which nothing is left."""
    before = set(stack.store.files().find("ml-data"))
    command = ("kedro", "model", "reproduce", "@production", "--on", "minio", "--json")
    signed_with = {"MODEL_VERIFYING_KEYS": str(local_run.path / ".keys/signing.pub")}
    said = Workplace(local_run, stack.variables).run(*command, **signed_with)
    assert {"yes", "minio"} == {json.loads(said.stdout)[name] for name in ("answer", "on")}
    assert before == set(stack.store.files().find("ml-data"))
    progress = [line for line in said.stderr.splitlines() if line.endswith("steps")]
    assert progress


def test_what_lies_elsewhere_is_left_alone(local_run: ProjectCopy, stack: Stack, tmp_path: Path) -> None:
    """A run that would write outside of the reproduction is not started, and cleaning up removes nothing of others."""
    project = local_run.clone(tmp_path / "project")
    table = tmp_path / "shared/model_input.parquet"
    catalog = project.path / "conf/base/catalog_data_engineering.yml"
    text = catalog.read_text(encoding="utf-8")
    own = "${globals:paths.model_input}/model_input.parquet\n  credentials: ${globals:store.credentials}"
    assert own in text
    catalog.write_text(text.replace(own, str(table)), encoding="utf-8")
    project.commit()
    project.run("kedro", "run", "--pipelines", "data_engineering,training")
    before, content = set(stack.store.files().find("ml-data")), table.read_bytes()
    signed_with = {"MODEL_VERIFYING_KEYS": str(project.path / ".keys/signing.pub")}
    command = ("kedro", "model", "reproduce", "2", "--on", "minio", "--json")
    said = Workplace(project, stack.variables).run(*command, check=False, **signed_with)
    assert (2, "") == (said.returncode, project.run("git", "status", "--porcelain").stdout)
    assert f"would write outside of the reproduction: 'model_input' ({table})" in json.loads(said.stdout)["explanation"]
    assert "could not be removed" not in said.stderr
    assert (before, content) == (set(stack.store.files().find("ml-data")), table.read_bytes())
    assert [] == list((project.path / "build/reproduce").iterdir())
