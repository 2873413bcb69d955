"""The store that several machines share, as an environment names it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ml_lifecycle import shared_store
from ml_lifecycle.errors import ConfigurationError

pytestmark = pytest.mark.filterwarnings("default")  # of third parties, as files are opened

OPEN = pytest.mark.parametrize("open_file", [shared_store.hold_file, shared_store.ledger])


def loader(place: str | None) -> Any:
    """Make what is read of a configuration."""
    return {"globals": {"store": {"hold": place, "ledger": place, "credentials": None}}}


@OPEN
@pytest.mark.parametrize("endpoint", ["127.0.0.1:9000", "http://localhost:9000 ", "ada:s3cret@localhost:9000"])
def test_a_store_has_to_have_an_address(
    monkeypatch: pytest.MonkeyPatch, open_file: Callable[[Any], Any], endpoint: str
) -> None:
    """An address of the store that is none is refused, without a password it may hold."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises(ConfigurationError, match="AWS_ENDPOINT_URL is no address of an object store") as caught:
        open_file(loader("s3://ml-data/file.json"))
    assert "s3cret" not in caught.value.message


@OPEN
def test_an_environment_that_shares_nothing_has_no_file(
    monkeypatch: pytest.MonkeyPatch, open_file: Callable[[Any], Any]
) -> None:
    """Where no file is named, none is opened, whatever the variable of the address says."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "nonsense")
    assert open_file(loader(None)) is None


@OPEN
def test_a_file_that_is_named_is_opened(tmp_path: Path, open_file: Callable[[Any], Any]) -> None:
    """What is named can be asked."""
    assert not open_file(loader(f"file://{tmp_path}/file.json")).read()
