"""The audit of a version on servers: changes break the same links as on files."""

import io
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from project_copy import ProjectCopy
from servers import Stack, Workplace
from tampering import (
    LINKS,
    STAGE,
    TAMPERINGS,
    Report,
    Site,
    Tampering,
    a_byte_of_a_raw_file_in_the_remote,
    a_metric,
)

pytestmark = [pytest.mark.integration, pytest.mark.any_store, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def site(remote_run: Workplace, stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Return a project with two versions, of two commits; the servers forget the second one afterwards."""
    project = remote_run.project.clone(tmp_path_factory.mktemp("audited") / "project")
    site = Site.on_servers(Workplace(project, remote_run.variables), stack)
    with site.undoing("mlflow", "ml-data"):
        yield site.prepare()


@pytest.mark.parametrize("options", [(), ("--deep",)])
def test_untouched(site: Site, options: tuple[str, ...]) -> None:
    """Every link of a version that nobody touched holds."""
    report = site.audit(*options)
    assert (0, dict.fromkeys(LINKS, "holds")) == (report.code, report.states)
    assert "5 raw tables are in cache and remote" in report.details["raw data"]


@pytest.mark.parametrize("tampering", [tampering for tampering in TAMPERINGS if not tampering.variant], ids=str)
def test_is_caught_by_name(site: Site, tampering: Tampering) -> None:
    """A change breaks the links that it should break and no others, and they say what was expected and found."""
    with site.undoing():
        said = tampering.make(site)
        report = site.audit(*["--deep"] * tampering.deep)
    assert (1, tampering.broken) == (report.code, report.broken), report.details
    assert [] == report.untold(said), report.details


def test_only_deep_reads_raw_data(site: Site) -> None:
    """Without `--deep`, a changed byte is not seen, and nothing else is claimed."""
    with site.undoing():
        a_byte_of_a_raw_file_in_the_remote(site)
        report = site.audit()
    assert (0, "holds") == (report.code, report.states["raw data"])
    assert "every byte read" not in report.details["raw data"]


def test_as_a_process(site: Site) -> None:
    """The command itself ends with 1 if a link is broken."""
    workplace = Workplace(site.project, site.variables)
    with site.undoing():
        a_metric(site)
        result = workplace.run("kedro", "model", "audit", site.audited, "--env", "minio", "--json", check=False)
    report = Report.of(result.returncode, result.stdout)
    assert (1, {"metrics"}) == (report.code, report.broken)


def audited_by(identity: str, site: Site, stack: Stack) -> Report:
    """Audit with the keys of an identity, in a process of its own: DVC keeps a connection for the next one."""
    command = ("kedro", "model", "audit", site.audited, "--deep", "--env", "minio", "--json")
    result = Workplace(site.project, stack.reading(identity)).run(*command, check=False)
    return Report.of(result.returncode, result.stdout)


def without_much(site: Site) -> None:
    """Remove all moves of @production, the first one of @staging, and a raw file in the remote."""
    for path in [*site.listed(f"{site.history}/production"), site.moves[0], site.raw("flights")]:
        site.remove(path)


@pytest.mark.minio
@pytest.mark.parametrize(("is_damaged", "code"), [(False, 0), (True, 1)], ids=["whole", "damaged"])
def test_an_auditor_finds_what_the_pipelines_find(site: Site, stack: Stack, is_damaged: bool, code: int) -> None:
    """Who may only read finds the same, to the word: what holds, and what is missing."""
    with site.undoing():
        if is_damaged:
            without_much(site)
        found = audited_by("auditor", site, stack)
        assert (code, audited_by("pipelines", site, stack)) == (found.code, found)
    assert is_damaged == ("the remote lacks flights" in found.details["raw data"])
    assert is_damaged == ("last is no move at all" in found.details["@production"])
    assert is_damaged == ("is missing: the history of @staging" in found.details["@staging"])


@pytest.mark.minio
def test_with_less_than_an_auditor_may_not_every_link_is_checked(site: Site, stack: Stack) -> None:
    """The keys of the service, which may not read what an audit reads, leave open what needs them."""
    found = audited_by("serving", site, stack)
    unchecked = {link for link, state in found.states.items() if state == "cannot be checked here"}
    assert (2, {"@staging", "@production", "decisions"}) == (found.code, unchecked)
    assert "the remote cannot be asked" in found.details["raw data"]


@pytest.fixture(scope="module")
def answer(site: Site) -> str:
    """Return the id of an answer in the log."""
    path = site.listed("ml-data/07_model_output/prediction_log")[0]
    return str(pd.read_parquet(io.BytesIO(site.read(path)))["request_id"].iloc[0])


@pytest.mark.minio
def test_an_auditor_traces_what_the_pipelines_trace(site: Site, stack: Stack, answer: str) -> None:
    """An answer leads to the same version, with the same record; an id that nobody got leads nowhere."""
    auditor, pipelines = (Workplace(site.project, stack.reading(name)) for name in ("auditor", "pipelines"))
    command = ("kedro", "model", "trace", answer, "--env", "minio", "--json")
    assert pipelines.run(*command).stdout == auditor.run(*command).stdout
    nobody = auditor.run("kedro", "model", "trace", f"19700101-{'0' * 32}", "--env", "minio", check=False)
    assert (2, True) == (nobody.returncode, "No answer in the prediction log" in nobody.stderr)


@pytest.mark.minio
def test_an_auditor_brings_the_raw_data(site: Site, stack: Stack, tmp_path: Path) -> None:
    """In a clone of an auditor's own, `dvc pull` brings the raw files; `dvc push` is refused."""
    site.project.run("git", "clone", "--quiet", str(site.project.path), str(tmp_path / "clone"))
    auditor = Workplace(ProjectCopy(tmp_path / "clone"), stack.reading("auditor"))
    auditor.run("dvc", "pull", "--quiet", STAGE)
    mine, theirs = (
        {file.name: file.read_bytes() for file in (project.path / "data/01_raw/sample").iterdir()}
        for project in (auditor.project, site.project)
    )
    assert theirs == mine
    with site.undoing():
        site.remove(site.raw("flights"))
        refused = auditor.run("dvc", "push", STAGE, check=False)
    assert (True, True) == (refused.returncode != 0, "Access Denied" in refused.stderr)
