"""Settings: from the environment, from the project's configuration, and refused where they would be unsafe."""

import hashlib
from pathlib import Path

import pytest

from ml_lifecycle import api
from ml_lifecycle.api.settings import Settings, is_loopback, read_settings
from ml_lifecycle.errors import ConfigurationError

DIGEST = hashlib.sha256(b"key").hexdigest()
NEEDED = {"model": "m", "alias": "production", "tracking_uri": "http://registry", "prediction_log": "s3://b/log"}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside the project, without variables of the user's."""
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "KEDRO_ENV", *(f"API_{name.upper()}" for name in Settings.model_fields)):
        monkeypatch.delenv(name, raising=False)


def test_every_setting_is_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {**NEEDED, "port": "8123", "workers": "2", "key_hashes": f" {DIGEST},{'0' * 64} ", "start_seconds": "5.5"}
    for name, value in given.items():
        monkeypatch.setenv(f"API_{name.upper()}", value)
    found = read_settings()
    assert (found.model, found.alias, found.tracking_uri) == ("m", "production", "http://registry")
    assert (found.port, found.workers, found.start_seconds) == (8123, 2, 5.5)
    assert found.key_hashes == (DIGEST, "0" * 64)


def test_the_tracking_server_may_be_named_as_mlflow_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    others = {name: value for name, value in NEEDED.items() if name != "tracking_uri"}
    assert read_settings(**others, key_hashes=(DIGEST,)).tracking_uri == "http://mlflow:5000"


@pytest.mark.parametrize("missing", NEEDED)
def test_what_is_needed_and_not_set_is_named(missing: str) -> None:
    others = {name: value for name, value in NEEDED.items() if name != missing}
    with pytest.raises(ConfigurationError, match=rf"{missing.upper()}: is not set"):
        read_settings(**others, key_hashes=(DIGEST,))


def test_without_a_key_nobody_could_ask() -> None:
    with pytest.raises(ConfigurationError, match="API_KEY_HASHES names no key"):
        read_settings(**NEEDED)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.2", "::", "example.org"])  # noqa: S104
def test_authentication_can_be_off_on_loopback_only(host: str) -> None:
    assert read_settings(**NEEDED, authentication="off").authentication == "off"
    assert read_settings(**NEEDED, authentication="off", host="::1").is_on_loopback
    with pytest.raises(ConfigurationError, match=f"allowed on loopback only .* got the host {host}"):
        read_settings(**NEEDED, authentication="off", host=host)
    assert read_settings(**NEEDED, key_hashes=(DIGEST,), host=host).host == host


def test_a_key_in_place_of_its_digest_is_refused_and_not_told() -> None:
    with pytest.raises(ConfigurationError, match="entry 2 is no SHA-256") as raised:
        read_settings(**NEEDED, key_hashes=f"{DIGEST},the-secret-key")
    assert "the-secret-key" not in raised.value.message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "x"),
        ("port", 70_000),
        ("workers", 0),
        ("max_rows", -1),
        ("log_when_full", "lose"),
        ("authentication", ""),
    ],
)
def test_a_value_that_cannot_be_used_is_told_with_its_variable(name: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=f"API_{name.upper()}: .*got {value!r}"):
        read_settings(**NEEDED, key_hashes=(DIGEST,), **{name: value})


def _project(folder: Path) -> None:
    for file, text in {
        "base/globals.yml": "registry: {model: flights, alias: production}\npaths: {model_output: data/07}\n",
        "base/mlflow.yml": 'server: {mlflow_tracking_uri: "sqlite:///${in_project:mlflow.db}"}\n',
        "minio/globals.yml": "registry: {history: s3://x}\npaths: {model_output: s3://ml-data/07}\n",
        "minio/mlflow.yml": "server: {mlflow_tracking_uri: null}\n",
    }.items():
        path = folder / "conf" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def test_in_the_project_its_configuration_gives_the_defaults(tmp_path: Path) -> None:
    _project(tmp_path)
    found = read_settings(authentication="off")
    assert (found.model, found.alias) == ("flights", "production")
    assert found.tracking_uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert found.prediction_log == f"{tmp_path}/data/07/prediction_log"


def test_an_environment_of_the_project_is_laid_over_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _project(tmp_path)
    monkeypatch.setenv("KEDRO_ENV", "minio")
    with pytest.raises(ConfigurationError, match="TRACKING_URI: is not set"):
        read_settings(authentication="off")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    found = read_settings(authentication="off")
    assert (found.model, found.prediction_log) == ("flights", "s3://ml-data/07/prediction_log")
    assert found.tracking_uri == "http://127.0.0.1:5000"


def test_a_variable_wins_over_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _project(tmp_path)
    monkeypatch.setenv("API_ALIAS", "staging")
    assert read_settings(authentication="off").alias == "staging"


def test_the_project_itself_has_all_that_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    project = Path(__file__).parents[2]
    monkeypatch.chdir(project)
    found = read_settings(authentication="off")
    assert found.model == "flight_delay"
    assert found.tracking_uri == f"sqlite:///{project}/mlflow.db"
    assert found.prediction_log == f"{project}/data/07_model_output/prediction_log"


def test_an_application_without_usable_settings_is_not_made() -> None:
    with pytest.raises(ConfigurationError, match="API_MODEL: is not set"):
        api.create_app()


@pytest.mark.parametrize(
    ("host", "expected"), [("127.9.9.9", True), ("localhost", True), ("10.0.0.1", False), ("x", False)]
)
def test_loopback_is_told_from_other_addresses(host: str, expected: bool) -> None:
    assert is_loopback(host) == expected
