"""Tells what a run made, as Markdown: ``make summary VERSION=3``; without a number, the newest version of this commit.

What a version is, how good, what the gate said and how it differs from the version in place. Prints it, adds it to the
file that GITHUB_STEP_SUMMARY names, and leaves it with the pictures of the run in ``build/summary``.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from asking import CANNOT, PROJECT, YES, Models, StateError, version_or_newest

from ml_lifecycle.metrics import interval

FOLDER = PROJECT / "build/summary"
PAGE = "summary.md"


def cell(content: Any) -> str:
    """Make a text safe within a table."""
    return str(content).replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def table(head: list[str], rows: list[list[Any]]) -> Iterator[str]:
    """Yield the lines of a table."""
    for line in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(cell(content) for content in line)} |"


def run_address(run: str, experiment: str) -> str | None:
    """Where people look at a run, if there is a tracking server."""
    server = os.environ.get("MLFLOW_TRACKING_URI", "")
    return f"{server.rstrip('/')}/#/experiments/{experiment}/runs/{run}" if server.startswith("http") else None


def job_address() -> str | None:
    """Where the artifacts of this job are, if it is one."""
    parts = [os.environ.get(f"GITHUB_{name}", "") for name in ("SERVER_URL", "REPOSITORY", "RUN_ID")]
    return "{}/{}/actions/runs/{}#artifacts".format(*parts) if all(parts) else None


def about(facts: dict[str, Any], run: str) -> Iterator[str]:
    """Say what a version is made of."""
    record = facts["record"] or {}
    environment = record.get("run", {}).get("environment", {})
    clean = {True: "clean", False: "with uncommitted changes", None: "unknown whether clean"}[facts["clean"]]
    rows = [
        ["SHA-256", f"`{facts['digest']}`"],
        ["aliases", ", ".join(f"@{alias}" for alias in facts["aliases"]) or "none"],
        ["signature", f"{facts['signature']}, {facts['signature_detail']}"],
        ["commit", f"`{facts['commit']}`, {clean}"],
        *[[f"data {name}", f"MD5 `{md5}`"] for name, md5 in facts["data"].items()],
        ["image", f"`{environment['image']}`" if environment.get("image") else "none"],
        ["lock", f"SHA-256 `{environment.get('lock_sha256')}`"],
        ["run", run],
    ]
    yield from table(["version", facts["version"]], rows)


def quality(facts: dict[str, Any]) -> Iterator[str]:
    """Tell the metrics on the judge rows, with their intervals."""
    figures = facts["metrics"] or {}
    rows = [[name, interval(figure, 4)] for name, figure in figures.items() if figure]
    yield from table(["metric", "value, interval"], rows) if rows else ["Its evaluation cannot be read."]


def decision(told: dict[str, Any]) -> Iterator[str]:
    """Tell what the gate said, the difference to the version in place first."""
    yield f"### The gate for @{told['alias']}: {told['answer']}"
    yield ""
    against = f"against version {told['incumbent']}" if told["incumbent"] else "with nobody in place"
    found = [rule for rule in told["rules"] if rule["rule"] == "incumbent"]
    yield from [f"**{against}**: {rule['explanation']}" for rule in found]
    yield ""
    rows = [[rule["rule"], rule["answer"], rule["explanation"]] for rule in told["rules"]]
    yield from table(["rule", "answer", "found"], rows)


def page(facts: dict[str, Any], run: str, pictures: list[str]) -> str:
    """Put the page together."""
    lines = [f"## Version {facts['version']}", "", *about(facts, run), "", "### Quality", "", *quality(facts), ""]
    latest = {told["alias"]: told for told in facts["decisions"] if told and "rules" in told}
    for told in latest.values():
        lines += [*decision(told), ""]
    if not latest:
        lines += ["The gate was not asked.", ""]
    where = job_address()
    named = ", ".join(f"`{name}`" for name in pictures) or "none"
    lines += ["### Pictures", "", f"{named}{f', in the [artifacts of this job]({where})' if where else ''}", ""]
    return "\n".join(lines)


def fetch_pictures(run_id: str, folder: Path) -> tuple[str, list[str]]:
    """Fetch the pictures of a run; return where people look at the run, and the names."""
    import mlflow

    client = mlflow.MlflowClient()
    names = [file.path for file in client.list_artifacts(run_id) if file.path.endswith((".png", "model_card.html"))]
    for name in names:
        client.download_artifacts(run_id, name, str(folder))
    where = run_address(run_id, client.get_run(run_id).info.experiment_id)
    return f"[{run_id}]({where})" if where else f"`{run_id}`", names


def tell(environment: str, version: str) -> str:
    """Make the page of a version, with its pictures beside it.

    Raises:
        StateError: there is no such version, or it cannot be read.
    """
    models = Models(environment)
    told = models.ask("show", version_or_newest(models, version))
    if told.code != YES:
        raise StateError(told.error)
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    with in_workspace(environment):
        run, pictures = fetch_pictures(told.facts["run"], FOLDER)
    return page(told.facts, run, pictures)


def in_workspace(environment: str) -> Any:
    """Open the environment, so that MLflow is the one that it names."""
    from kedro.framework.startup import bootstrap_project

    from ml_lifecycle.workspace import open_workspace

    os.chdir(PROJECT)
    bootstrap_project(PROJECT)
    return open_workspace(environment)


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version", nargs="?", default="", help="the newest of this commit, if none is given")
    parser.add_argument("--env", default=os.environ.get("KEDRO_ENV") or "minio", help="environment of the project")
    given = parser.parse_args()
    try:
        content = tell(given.env, given.version)
    except StateError as error:
        print(f"Error: {error}.", file=sys.stderr)
        return CANNOT
    (FOLDER / PAGE).write_text(content, encoding="utf-8")
    if file := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(file).open("a", encoding="utf-8") as job:
            job.write(content)
    print(content)
    return YES


if __name__ == "__main__":
    sys.exit(main())
