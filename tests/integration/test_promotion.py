"""Promotion on files, by the commands that people type."""

import pytest

import promotion_story
from project_copy import ProjectCopy

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("default")]


def test_worse_refused_better_promoted_and_rolled_back(finished_project: ProjectCopy) -> None:
    """A worse challenger is refused with numbers, a better one promoted and rolled back; the history is complete."""
    promotion_story.tell(finished_project.run, "test")


def test_a_dirty_version_is_not_for_production(finished_project: ProjectCopy) -> None:
    """Uncommitted changes keep a version out of production, unless somebody forces it, which audits show."""
    (finished_project.path / "notes.md").write_text("A change.\n", encoding="utf-8")
    finished_project.run("kedro", "run", "--env", "test", "--params", promotion_story.BETTER)
    asked = ("kedro", "model", "promote", "2", "--to", "production", "--env", "test")
    refused = finished_project.run(*asked, check=False)
    assert (1, True) == (refused.returncode, "because of clean_tree." in refused.stdout)
    forced = finished_project.run(*asked, "--force", "--reason", "the fair is tomorrow")
    assert "Forced (the fair is tomorrow): @production of 'flight_delay' now points to version 2" in forced.stdout
    finished_project.run("kedro", "model", "rollback", "production", "--env", "test")
    audited = finished_project.run("kedro", "model", "audit", "2", "--env", "test").stdout
    assert "FORCED: move 2 (promote to version 2 by " in audited
    assert "the fair is tomorrow" in audited


def test_bounds_that_are_not_committed(finished_project: ProjectCopy) -> None:
    """Who lowers the gate's bounds commits that first; otherwise the gate names each of them and says no."""
    finished_project.run("kedro", "run", "--env", "test", "--params", promotion_story.BETTER)
    lowered = finished_project.path / "conf/test/parameters_gate.yml"
    lowered.write_text("gate: {minimum_gain: 0.5, comparison: non_inferiority}\n", encoding="utf-8")
    asked = ("kedro", "model", "promote", "2", "--to", "staging", "--env", "test")
    refused = finished_project.run(*asked, check=False)
    assert (1, True) == (refused.returncode, "because of bounds." in refused.stdout)
    assert "are not those of the commit: gate.comparison, gate.minimum_gain; needed: 0" in refused.stdout
    finished_project.commit()
    assert "Yes: @staging of 'flight_delay' now points to version 2" in finished_project.run(*asked).stdout


def test_an_answer_is_traced(finished_project: ProjectCopy) -> None:
    """The id of an answer leads to version, run, commit, data, parameters, environment and verdicts."""
    import pandas as pd

    answers = pd.read_parquet(finished_project.results / "07_model_output/predictions.parquet")
    answer = answers.iloc[17]
    traced = finished_project.run("kedro", "model", "trace", answer["request_id"], "--env", "test").stdout
    commit = finished_project.run("git", "rev-parse", "HEAD").stdout.strip()
    for line in (
        f"Answer      {answer['probability']:.6f} -> {answer['decision']}",
        f"Request     {answer['request_key']}",
        f"Version     1 of 'flight_delay', SHA-256 {answer['model_digest']}",
        "Run         ",
        f"Commit      {commit} (clean)",
        "Data        flights MD5 ",
        "Parameter   seed = 2013",
        "Environment Python 3",
        "Verdict     gate for @production: yes",
    ):
        assert f"\n{line}" in f"\n{traced}", line
