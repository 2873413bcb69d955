"""The registry as a dataset."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kedro.io import DatasetError
from mlflow import MlflowClient
from pydantic import ValidationError

import candidates
from candidates import NAME
from ml_lifecycle.datasets.registered_model import RegisteredModelDataset
from ml_lifecycle.model_version import Candidate
from ml_lifecycle.promotion import ALIASES
from ml_lifecycle.registry import versions
from ml_lifecycle.signing.keys import PUBLIC, SIGNING_KEY, VERIFYING_KEYS
from ml_lifecycle.signing.signature import SignatureError
from mlflow_store import own_mlflow

pytestmark = pytest.mark.filterwarnings("default")  # of third parties; test_lifecycle.py tests that a user sees none


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a lock, and no keys of the user."""
    for name in (SIGNING_KEY, VERIFYING_KEYS):
        monkeypatch.delenv(name, raising=False)
    candidates.lock(tmp_path)
    return tmp_path


@pytest.fixture
def client(folder: Path) -> Iterator[MlflowClient]:
    """Make an MLflow of one's own the current one, with an open run."""
    with own_mlflow(folder) as client:
        yield client


def dataset(folder: Path, alias: str = "production", **registry: Any) -> RegisteredModelDataset:
    """Make the dataset as the catalog does."""
    options = {
        "model": NAME,
        "alias": alias,
        "promote_first": "any_tree",
        "history": str(folder / "history"),
        "development_keys": True,
    }
    return RegisteredModelDataset(
        registry=options | registry, alias=alias, lock=str(folder / "run.txt"), keys=str(folder / ".keys")
    )


def candidate(threshold: float = 0.5) -> Candidate:
    """Make a candidate; each threshold is another model."""
    return candidates.candidate(candidates.small_model(threshold))


def test_saving_registers_and_promotes(client: MlflowClient, folder: Path) -> None:
    """The first candidate becomes version 1 and answers under the alias."""
    made = candidate()
    dataset(folder).save(made)
    loaded = dataset(folder).load()
    assert ("1", made.model.content) == (loaded.version, loaded.model.content)


def test_saving_keeps_history_and_decision(client: MlflowClient, folder: Path) -> None:
    """The first version's way to both aliases is told by history and tag."""
    dataset(folder).save(candidate())
    registrar = dataset(folder).registrar()
    for alias in ALIASES:
        assert [("1", "first")] == [(move.to, move.action) for move in registrar.history.read(NAME, alias)]
        assert registrar.history.problems(NAME, alias, registrar.incumbent(alias)) == []
    assert versions.find(NAME, "1").decision.startswith("promoted to staging and production")


def test_loading_gives_the_promoted_version(client: MlflowClient, folder: Path) -> None:
    """What comes out is the version behind the alias, not the one that was saved last."""
    for threshold in (0.5, 0.75):
        dataset(folder).save(candidate(threshold))
    loaded = dataset(folder).load()
    assert ("1", candidate().model.digest) == (loaded.version, loaded.model.digest)
    assert versions.find(NAME, "2").decision.startswith("not promoted: version 1 is in production")


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("any_tree", ["production", "staging"]), ("clean_tree", ["staging"]), ("never", [])],
)
def test_what_a_dirty_first_version_gets(client: MlflowClient, folder: Path, policy: str, expected: list[str]) -> None:
    """The policy of the registry decides what uncommitted changes cost."""
    dataset(folder, promote_first=policy).save(candidates.candidate(dirty=True))
    assert sorted(versions.aliases(NAME)) == expected


def test_the_gate_of_the_run_decides(client: MlflowClient, folder: Path) -> None:
    """Asked for is what the parameters of the run that trained ask for."""
    strict = candidates.PARAMETERS | {"gate": candidates.GATE | {"floors": {"roc_auc": 0.9}}}
    dataset(folder).save(candidates.candidate(parameters=strict))
    assert versions.aliases(NAME) == {}
    assert "floors: roc_auc 0.8000, needed: at least 0.9" in versions.find(NAME, "1").decision


def test_saving_again_changes_nothing(client: MlflowClient, folder: Path) -> None:
    """A run that goes on after a fault finds its version, its aliases and its decision."""
    for _ in range(2):
        dataset(folder).save(candidate())
    assert ["1"] == [version.number for version in versions.every(NAME)]
    assert len(dataset(folder).registrar().history.read(NAME, "production")) == 1


def test_development_keys_are_made(client: MlflowClient, folder: Path) -> None:
    """Where a pair may be made, the first version makes it."""
    dataset(folder).save(candidate())
    assert (folder / ".keys" / PUBLIC).is_file()


def test_without_a_key_nothing_is_promoted(client: MlflowClient, folder: Path) -> None:
    """Where no pair may be made, the version is there, but has no signature and no alias."""
    dataset(folder, development_keys=False).save(candidate())
    assert not (folder / ".keys").exists()
    assert versions.aliases(NAME) == {}
    assert "not promoted to staging: no: signature: refused: it is not signed" in versions.find(NAME, "1").decision


def test_loading_verifies(client: MlflowClient, folder: Path) -> None:
    """A version whose files were changed is not loaded; Kedro wraps the reason."""
    dataset(folder).save(candidate())
    (stored,) = (folder / "artifacts").rglob("evaluation.json")
    stored.write_text("{}", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"it is not what was signed: .*evaluation\.json") as refused:
        dataset(folder).load()
    assert isinstance(refused.value.__cause__, SignatureError)


def test_exists_once_a_version_has_the_alias(client: MlflowClient, folder: Path) -> None:
    """The dataset exists if there is a version behind the alias."""
    before = dataset(folder).exists()
    dataset(folder).save(candidate())
    assert (before, dataset(folder).exists(), dataset(folder, "champion").exists()) == (False, True, False)


@pytest.mark.parametrize("registry", [{"promote_first": True}, {"promote_first": "always"}, {"unknown": 1}])
def test_options_are_checked(folder: Path, registry: dict[str, Any]) -> None:
    """A policy that does not exist, or an option that nobody reads, is refused."""
    with pytest.raises(ValidationError):
        dataset(folder, **registry)


def test_describes_itself(folder: Path) -> None:
    """Messages name model and alias."""
    assert str(dataset(folder)).endswith("RegisteredModelDataset(name='small_model', alias='production')")
