"""Servers fail. Each fault ends in one clear line, nothing is half registered or lost, and the next try succeeds."""

import getpass
import json
import re
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pandas as pd
import pytest
from mlflow import MlflowClient

import servers
from ml_lifecycle import buckets
from ml_lifecycle.hold import Hold
from project_copy import MODEL
from proxy import Proxy, proxy
from servers import HOST, Keys, ObjectStore, Stack, Workplace

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("default")]

RUN = ("kedro", "run", "--env", "minio")
SCORE = (*RUN, "--pipelines", "serving")
PREPARE = (*RUN, "--pipelines", "data_engineering")
#: For a server that stays away for all of a run; by default each request is made again for 15 seconds.
IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
MODEL_FILE = "ml-data/06_models/model.onnx"
Outcome = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Site:
    """A stack of one's own, proxies before both servers, and a machine that knows only the proxies."""

    stack: Stack
    to_store: Proxy
    to_tracking: Proxy
    workplace: Workplace

    @property
    def versions(self) -> list[str]:
        """The registered versions."""
        client = MlflowClient(self.stack.tracking_uri)
        return sorted(str(version.version) for version in client.search_model_versions(f"name = '{MODEL}'"))

    def digest(self, version: str) -> str:
        """The digest of a version."""
        return str(MlflowClient(self.stack.tracking_uri).get_model_version(MODEL, version).tags["model_sha256"])

    @property
    def holder(self) -> str:
        """What `kedro hold show` says."""
        return self.workplace.run("kedro", "hold", "show", "--env", "minio").stdout.strip()

    def resume(self, outcome: Outcome, *, check: bool = True) -> Outcome:
        """Run the command that an error printed."""
        (command,) = re.findall(r"go on with: `([^`]+)`", outcome.stderr)
        variables, words = {}, shlex.split(command)
        while "=" in words[0]:
            name, _, variables[name] = words.pop(0).partition("=")
        return self.workplace.run(*words, check=check, **variables)


@pytest.fixture(scope="module")
def site(
    kind: str,
    known_secrets: set[str],
    person: Callable[[Stack], Workplace],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    """Start the servers with proxies before them, and run the lifecycle once."""
    folder = tmp_path_factory.mktemp("faults")
    with servers.object_store(kind, folder) as store, servers.stack(store, folder) as stack:
        known_secrets |= stack.secrets
        ports = int(store.endpoint.rpartition(":")[2]), servers.port_of(stack.tracking)
        with proxy(ports[0]) as to_store, proxy(ports[1]) as to_tracking:
            workplace = person(stack.behind(to_store.url, to_tracking.url))
            workplace.run(*RUN)
            yield Site(stack, to_store, to_tracking, workplace)


@pytest.fixture
def object_server(site: Site) -> Iterator[servers.Server]:
    """Return the object store's process; it runs again afterwards."""
    server = site.stack.store.server
    assert server is not None
    yield server
    server.kill()
    server.start()


@pytest.fixture
def tracking_server(site: Site) -> Iterator[servers.Server]:
    """Return the tracking server's process; it runs again afterwards."""
    yield site.stack.tracking
    site.stack.tracking.kill()
    site.stack.tracking.start()


@pytest.fixture
def empty_store(kind: str, known_secrets: set[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """Start an object store without buckets."""
    with servers.object_store(kind, tmp_path_factory.mktemp("empty")) as store:
        known_secrets.add(store.root.secret)
        yield store


def the_error(outcome: Outcome) -> str:
    """The one line that says what went wrong; there is no traceback."""
    assert 1 == outcome.returncode, outcome.stderr[-3000:]
    assert "Traceback" not in outcome.stderr, outcome.stderr[-5000:]
    (line,) = [line for line in outcome.stderr.splitlines() if line.startswith("Error:")]
    return line


def nodes_of(outcome: Outcome) -> list[str]:
    """The nodes that ran."""
    return re.findall(r"Running node: (\w+)", outcome.stderr)


def predictions(site: Site) -> pd.DataFrame:
    """The predictions in the store, but for the time of scoring."""
    with site.stack.store.files().open("ml-data/07_model_output/predictions.parquet") as file:
        return pd.read_parquet(file).drop(columns=["request_id", "scored_at"])


def test_object_store_down_at_start(site: Site, object_server: servers.Server) -> None:
    """Without the object store no node runs; when it is back, the same command succeeds."""
    before = site.versions
    object_server.kill()
    failed = site.workplace.run(*SCORE, check=False)
    assert f"The object store at {site.to_store.url} does not answer" in the_error(failed)
    assert [] == nodes_of(failed)
    object_server.start()
    site.workplace.run(*SCORE)
    assert before == site.versions


def test_object_store_killed_while_a_dataset_is_written(site: Site, object_server: servers.Server) -> None:
    """A power cut in the middle of a write: the old file is whole, and the printed command goes on from there."""
    before, key = site.versions, "05_model_input/requests.parquet"
    site.stack.store.files().pipe_file(f"ml-data/{key}", b"what was there before")
    site.to_store.within_request("PUT", key, object_server.kill)
    failed = site.workplace.run(*RUN, check=False)
    assert f"The object store at {site.to_store.url} does not answer" in the_error(failed)
    assert before == site.versions
    object_server.start()
    assert b"what was there before" == site.stack.store.files().cat_file(f"ml-data/{key}")
    resumed = site.resume(failed)
    assert set(nodes_of(failed)) - {nodes_of(failed)[-1]} == set(nodes_of(failed)) - set(nodes_of(resumed))
    assert len(before) + 1 == len(site.versions)
    assert 1 == len({site.digest(version) for version in site.versions})


@pytest.mark.parametrize("only", [("", ""), ("PUT", "predictions.parquet")], ids=["at the start", "on writing"])
def test_object_store_unavailable_for_a_while(site: Site, only: tuple[str, str]) -> None:
    """A few answers of 503 are asked again, and the run succeeds."""
    before = site.to_store.refused
    site.to_store.unavailable, site.to_store.only = 4, only
    site.workplace.run(*SCORE)
    site.to_store.only = ("", "")
    assert before + 4 == site.to_store.refused


def test_object_store_unavailable_for_good(site: Site) -> None:
    """503 without end is asked again a bounded number of times, then said in one line."""
    site.to_store.unavailable = 10**6
    failed = site.workplace.run(*SCORE, check=False)
    asked = 10**6 - site.to_store.unavailable
    site.to_store.unavailable = 0
    assert "kept failing, however often it was asked" in the_error(failed)
    assert 2 <= asked <= 100
    site.workplace.run(*SCORE)


def test_object_store_slow(site: Site) -> None:
    """A slow line makes the run slower, and no different."""
    before = predictions(site)
    site.to_store.pause, site.to_store.bytes_per_chunk = 0.01, 16384
    try:
        site.workplace.run(*SCORE)
    finally:
        site.to_store.pause, site.to_store.bytes_per_chunk = 0.0, 65536
    assert site.to_store.paused > 100
    pd.testing.assert_frame_equal(before, predictions(site), check_exact=True)


@pytest.mark.parametrize(
    "keys", [{"AWS_SECRET_ACCESS_KEY": "not-the-secret"}, {"AWS_ACCESS_KEY_ID": "nobody"}], ids=["secret", "key"]
)
def test_wrong_key(site: Site, keys: dict[str, str]) -> None:
    """Keys that the store does not take are named by their variables; no node runs."""
    failed = site.workplace.run(*SCORE, check=False, **keys)
    line = the_error(failed)
    assert f"The object store at {site.to_store.url} refuses what is asked with these keys" in line
    assert "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in line
    assert [] == nodes_of(failed)
    site.workplace.run(*SCORE)


def test_bucket_of_the_catalog_missing(site: Site, empty_store: ObjectStore) -> None:
    """A store without buckets is recognised before any node runs; with the printed command the next try succeeds."""
    root = {"AWS_ACCESS_KEY_ID": empty_store.root.key, "AWS_SECRET_ACCESS_KEY": empty_store.root.secret}
    failed = site.workplace.run(*PREPARE, check=False, AWS_ENDPOINT_URL=empty_store.endpoint, **root)
    assert f"The object store at {empty_store.endpoint} lacks the bucket" in the_error(failed)
    assert "`make stack-init`" in the_error(failed)
    assert ([], []) == (nodes_of(failed), empty_store.files().ls(""))
    servers.initialise(empty_store, site.stack.identities)
    site.workplace.run(*PREPARE, AWS_ENDPOINT_URL=empty_store.endpoint, **root)


def test_bucket_of_the_tracking_server_missing(
    site: Site, empty_store: ObjectStore, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A tracking server that cannot reach its artifacts is recognised before any node runs, and works with them."""
    folder = tmp_path_factory.mktemp("tracking-without-bucket")
    server = servers.tracking_server(folder, empty_store.root, empty_store.endpoint)
    server.start()
    try:
        uri = f"http://{HOST}:{servers.port_of(server)}"
        failed = site.workplace.run(*PREPARE, check=False, MLFLOW_TRACKING_URI=uri)
        assert f"The tracking server at {uri} answers with" in the_error(failed)
        assert "its artifact store" in the_error(failed)
        assert [] == nodes_of(failed)
        assert "Nobody holds the store." == site.holder
        buckets.create(empty_store.files())
        site.workplace.run(*PREPARE, MLFLOW_TRACKING_URI=uri)
    finally:
        server.stop()


def test_object_store_full(site: Site) -> None:
    """A full bucket is said to be full, or failing; with room again, the next try succeeds and nothing is lost."""
    before, model = site.versions, site.stack.store.files().cat_file(MODEL_FILE)
    with site.stack.store.full("ml-data"):
        failed = site.workplace.run(*PREPARE, check=False)
    says = "is full" if site.stack.store.is_minio else "kept failing"  # SeaweedFS gives no reason
    assert says in the_error(failed)
    assert model == site.stack.store.files().cat_file(MODEL_FILE)
    site.workplace.run(*PREPARE)
    assert before == site.versions


@pytest.mark.any_store
def test_tracking_server_down_at_start(site: Site, tracking_server: servers.Server) -> None:
    """Without the tracking server the run ends before the long work, not after it."""
    before = site.versions
    tracking_server.kill()
    failed = site.workplace.run(*RUN, check=False)
    assert f"The tracking server at {site.to_tracking.url} does not answer" in the_error(failed)
    assert [] == nodes_of(failed)
    tracking_server.start()
    assert before == site.versions
    site.workplace.run(*SCORE)


@pytest.mark.any_store
def test_tracking_server_killed_between_training_and_registration(site: Site, tracking_server: servers.Server) -> None:
    """The finished model is kept, and the printed command registers it, with its origin, without training again."""
    before = site.versions
    site.to_tracking.on_request("PUT", "provenance.json", tracking_server.kill)
    failed = site.workplace.run(*RUN, "--params", "model.random_forest.n_estimators=11", check=False, **IMPATIENT)
    line = the_error(failed)
    assert f"The tracking server at {site.to_tracking.url} does not answer" in line
    assert "--from-nodes package_model" in line
    kept = site.stack.store.files().cat_file(MODEL_FILE)
    tracking_server.start()
    assert before == site.versions
    site.workplace.run(*SCORE)  # which touches nothing that the run goes on with
    resumed = site.resume(failed)
    assert ["package_model", "score", "log_predictions"] == nodes_of(resumed)
    (new,) = set(site.versions) - set(before)
    assert kept == site.stack.store.files().cat_file(MODEL_FILE)
    version = MlflowClient(site.stack.tracking_uri).get_model_version(MODEL, new)
    run = MlflowClient(site.stack.tracking_uri).get_run(version.run_id)
    assert f"MLFLOW_RUN_ID={run.info.run_id}" in line
    assert 11 == json.loads(run.data.params["model"])["random_forest"]["n_estimators"]
    assert "judge.roc_auc" in run.data.metrics
    assert "FINISHED" == run.info.status


@pytest.mark.any_store
def test_a_run_does_not_go_on_with_what_another_wrote(site: Site, tracking_server: servers.Server) -> None:
    """Where another run has written in between, going on is refused, and starting over succeeds: nothing is mixed."""
    before = site.versions
    site.to_tracking.on_request("PUT", "provenance.json", tracking_server.kill)
    failed = site.workplace.run(*RUN, check=False, **IMPATIENT)
    tracking_server.start()
    site.workplace.run(*PREPARE, "--params", "flights.delay_threshold_minutes=30")
    refused = site.resume(failed, check=False)
    line = the_error(refused)
    assert "cannot go on: since it stopped" in line
    assert "wrote data_report, requests, and a model would be made of both" in line
    assert "Start over: `kedro run --env minio`" in line
    assert ([], before) == (nodes_of(refused), site.versions)
    assert "Nobody holds the store." == site.holder
    site.workplace.run(*RUN)
    (new,) = set(site.versions) - set(before)
    assert site.digest("1") == site.digest(new)


@pytest.mark.any_store
def test_tracking_server_killed_within_registration(site: Site, tracking_server: servers.Server) -> None:
    """A version that exists without a decision about it gets one by the printed command; there is no second one."""
    before = site.versions
    site.to_tracking.on_request("POST", "model-versions/set-tag", tracking_server.kill)
    failed = site.workplace.run(*RUN, check=False, **IMPATIENT)
    assert "--from-nodes package_model" in the_error(failed)
    tracking_server.start()
    (new,) = set(site.versions) - set(before)
    client = MlflowClient(site.stack.tracking_uri)
    undecided = client.get_model_version(MODEL, new)
    resumed = site.resume(failed)
    assert sorted([*before, new]) == site.versions
    decided = client.get_model_version(MODEL, new)
    decision = decided.tags["promotion"]
    assert decided.tags == {**undecided.tags, "promotion": decision}
    assert "promotion" not in undecided.tags
    assert f"Registered '{MODEL}' version {new}, SHA-256 {decided.tags['model_sha256']}\n  {decision}" in resumed.stdout


def test_two_runs_at_once(site: Site) -> None:
    """The second run is refused in one line that says who is at work; the first one ends as one version."""
    before = site.versions
    with site.to_store.halted("PUT", "04_feature/flight_requests.parquet") as wait:
        first = site.workplace.start(*RUN)
        wait()
        second = site.workplace.run(*RUN, "--params", "seed=7", check=False)
    outcome = site.workplace.finish(first)
    line = the_error(second)
    assert f"The store is held by {getpass.getuser()} on " in line
    assert f"(process {first.pid})" in line
    assert "`kedro run --env minio`" in line
    assert "clear its hold: `kedro hold clear`" in line
    assert [] == nodes_of(second)
    assert 0 == outcome.returncode, outcome.stderr[-3000:]
    assert len(before) + 1 == len(site.versions)
    assert "Nobody holds the store." == site.holder


@pytest.mark.any_store
def test_a_run_that_was_killed_holds_nothing_up(site: Site) -> None:
    """A run that is killed leaves its hold behind; the next run on this machine sees that, and succeeds."""
    with site.to_store.halted("PUT", "07_model_output/predictions.parquet") as wait:
        killed = site.workplace.start(*SCORE)
        wait()
        killed.send_signal(signal.SIGKILL)
        site.workplace.finish(killed)
    assert f"(process {killed.pid})" in site.holder
    assert "cleared the hold of" in site.workplace.run(*SCORE).stderr


@pytest.mark.any_store
def test_a_run_that_is_ended_gives_the_store_back(site: Site) -> None:
    """A run that a scheduler ends with SIGTERM, in the middle of a write, leaves no hold and no unfinished run."""
    with site.to_store.halted("PUT", "07_model_output/predictions.parquet") as wait:
        ended = site.workplace.start(*SCORE)
        wait()
        ended.send_signal(signal.SIGTERM)
        outcome = site.workplace.finish(ended)
    assert (1, True) == (outcome.returncode, "Aborted!" in outcome.stderr)
    assert "Traceback" not in outcome.stderr
    assert "Nobody holds the store." == site.holder
    newest, *_ = MlflowClient(site.stack.tracking_uri).search_runs(["1"], order_by=["attributes.start_time DESC"])
    assert ("KILLED", "serving") == (newest.info.status, newest.data.tags["kedro.pipelines"])


@pytest.mark.any_store
def test_a_hold_of_another_machine_is_cleared_by_hand(site: Site) -> None:
    """A hold of a machine that is gone stops every run until somebody clears it with the printed command."""
    away = Hold.of_this_process("kedro run --env minio").model_copy(update={"machine": "elsewhere/1", "process": 1})
    site.stack.store.files().pipe_file("ml-data/hold.json", away.model_dump_json().encode())
    assert "on elsewhere (process 1)" in the_error(site.workplace.run(*SCORE, check=False))
    cleared = site.workplace.run("kedro", "hold", "clear", "--env", "minio").stdout
    assert cleared.startswith("Cleared the hold of ")
    site.workplace.run(*SCORE)


def test_the_keys_reach_no_log_and_no_error(site: Site) -> None:
    """After all these faults, no secret stands in what was printed, logged or stored, but in the store's own users."""
    found = servers.secrets_in(site.stack.folder, site.stack.secrets)
    assert [] == [name for name in found if not name.startswith(servers.MINIO_USERS)]
    assert [] == servers.secrets_in(site.workplace.project.path.parent, site.stack.secrets)


def test_a_key_that_leaks_is_found(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The search for secrets finds one that is there."""
    folder, keys = tmp_path_factory.mktemp("leak"), Keys("somebody")
    (folder / "deep").mkdir()
    (folder / "deep/server.log").write_text(f"signed with {keys.secret}", encoding="utf-8")
    found = servers.secrets_in(folder, {keys.secret})
    (folder / "deep/server.log").unlink()
    assert ["deep/server.log"] == found
