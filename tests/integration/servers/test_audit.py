"""The audit of a version on servers: changes break the same links as on files."""

from collections.abc import Iterator

import pytest

from servers import Stack, Workplace
from tampering import LINKS, TAMPERINGS, Report, Site, Tampering, a_byte_of_a_raw_file_in_the_remote, a_metric

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("default")]


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
