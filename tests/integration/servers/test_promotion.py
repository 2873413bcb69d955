"""Promotion on servers, by the commands that people type."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

import promotion_story
import servers
from servers import Stack, Workplace

pytestmark = [pytest.mark.integration, pytest.mark.any_store, pytest.mark.filterwarnings("default")]


@pytest.fixture
def workplace(kind: str, person: Callable[[Stack], Workplace], tmp_path: Path) -> Iterator[Workplace]:
    """Return a machine after its first run, on servers of its own: the story moves their aliases."""
    with servers.object_store(kind, tmp_path) as store, servers.stack(store, tmp_path) as running:
        workplace = person(running)
        workplace.run("kedro", "run", "--env", "minio")
        yield workplace


def test_worse_refused_better_promoted_rolled_back_and_traced(workplace: Workplace, tmp_path: Path) -> None:
    """As on files; and an answer in the object store is traced to its version."""
    promotion_story.tell(workplace.run, "minio")
    code = "import sys; from kedro.framework.session import KedroSession as S; s = S.create(env='minio'); "
    code += "s.load_context().catalog.load('predictions').to_parquet(sys.argv[1])"
    script = f"from kedro.framework.startup import bootstrap_project as b; b('.'); {code}"
    workplace.run("python", "-c", script, str(tmp_path / "predictions.parquet"))
    answer = pd.read_parquet(tmp_path / "predictions.parquet").iloc[3]
    traced = workplace.run("kedro", "model", "trace", answer["request_id"], "--env", "minio").stdout
    assert f"Version     1 of 'flight_delay', SHA-256 {answer['model_digest']}" in traced
