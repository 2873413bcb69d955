"""Each overlay as kustomize builds it."""

import copy

import kustomize
import pytest
from manifests import Manifest

#: Without kustomize and without Go to build it, the first lines of a test run say that these are left out.
collect_ignore_glob = [] if kustomize.source() else ["test_*.py"]


@pytest.fixture(scope="session")
def _built() -> dict[str, list[Manifest]]:
    return {overlay: kustomize.build(overlay) for overlay in kustomize.OVERLAYS}


@pytest.fixture
def built(_built: dict[str, list[Manifest]]) -> dict[str, list[Manifest]]:
    """The manifests of each overlay, for this test alone."""
    return copy.deepcopy(_built)
