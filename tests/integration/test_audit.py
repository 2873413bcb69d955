"""The audit of a version on files: of one that nobody touched, and after each of many changes."""

from collections.abc import Callable

import pytest

from ml_lifecycle import model_commands
from project_copy import Lifecycle
from tampering import (
    LINKS,
    TAMPERINGS,
    UNSEEN,
    Report,
    Site,
    Tampering,
    a_byte_of_a_raw_file_in_the_remote,
    a_metric,
)

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def site(lifecycle: Lifecycle, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Return a project with two versions, of two commits."""
    return Site.on_files(lifecycle.project.clone(tmp_path_factory.mktemp("audited") / "project")).prepare()


@pytest.mark.parametrize(
    ("options", "how"), [((), "sizes compared; --deep reads every byte"), (("--deep",), "every byte read")]
)
def test_untouched(site: Site, options: tuple[str, ...], how: str) -> None:
    """Every link of a version that nobody touched holds; the promotion that was forced is shown."""
    report = site.audit(*options)
    assert (0, dict.fromkeys(LINKS, "holds")) == (report.code, report.states)
    assert f"5 raw tables are in cache and remote ({how})" == report.details["raw data"]
    assert "FORCED: move 2 (promote to version 2 by" in report.details["decisions"]


@pytest.mark.parametrize("tampering", TAMPERINGS, ids=str)
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


def test_a_raw_file_that_only_one_place_holds(site: Site) -> None:
    """One copy is enough, and where it is missing is said."""
    with site.undoing():
        site.remove(site.raw("weather"))
        report = site.audit("--deep")
    assert (0, "holds") == (report.code, report.states["raw data"])
    assert report.details["raw data"].endswith("; the remote lacks weather")


@pytest.mark.parametrize("change", UNSEEN)
def test_is_not_seen(site: Site, change: Callable[[Site], None]) -> None:
    """What an audit does not see, and docs/explanation/trust.md tells of."""
    with site.undoing():
        change(site)
        report = site.audit("--deep")
    assert (0, set()) == (report.code, report.broken)


def test_without_keys(site: Site) -> None:
    """Who has no key to verify with cannot check the signature, nor run the model: no proof against the version."""
    (site.keys / "signing.pub").rename(site.keys / "signing.away")
    try:
        report = site.audit()
    finally:
        (site.keys / "signing.away").rename(site.keys / "signing.pub")
    assert (2, "cannot be checked here") == (report.code, report.states["signature"])
    assert {"signature", "probe"} == {link for link, state in report.states.items() if state != "holds"}


def test_for_people(site: Site) -> None:
    """A line for each link, and one that sums up."""
    untouched = site.kedro(model_commands.model, "audit", site.audited).stdout.splitlines()
    with site.undoing():
        a_metric(site)
        broken = site.kedro(model_commands.model, "audit", site.audited).stdout.splitlines()
    assert [f"✓ {link}" for link in LINKS] == [line.partition("  ")[0] for line in untouched[1:-1]]
    assert f"All {len(LINKS)} links hold." == untouched[-1]
    assert "Broken: metrics. Do not trust this version." == broken[-1]
    assert ["✗ metrics"] == [line[:9] for line in broken if line.startswith("✗")]


def test_as_a_process(site: Site) -> None:
    """The command itself ends with 1 if a link is broken."""
    with site.undoing():
        a_metric(site)
        result = site.project.run("kedro", "model", "audit", site.audited, "--env", "test", "--json", check=False)
    report = Report.of(result.returncode, result.stdout)
    assert (1, {"metrics"}) == (report.code, report.broken)
