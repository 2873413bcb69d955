"""A service with a small model, for all tests of a module."""

from collections.abc import Iterator

import pytest

from ml_lifecycle.signing.keys import SIGNING_KEY, VERIFYING_KEYS
from service import Service, running


@pytest.fixture(autouse=True)
def _without_keys_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (SIGNING_KEY, VERIFYING_KEYS):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service whose model answers with the column ``share``."""
    with running(tmp_path_factory.mktemp("service")) as found:
        yield found
