"""Watching an alias: on a real registry, with real signatures; whatever happens to them, what serves stays."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import pytest

import candidates
import servers
from candidates import NAME, World, candidate, small_model
from ml_lifecycle import faults
from ml_lifecycle.api import attendant_log
from ml_lifecycle.api.duties import be_impatient
from ml_lifecycle.api.model_cache import CURRENT, Current, ModelCache, Status, VersionFacts
from ml_lifecycle.api.registry_watch import RegistryWatch
from ml_lifecycle.model_folder import CARD, MODEL
from ml_lifecycle.registry import versions
from ml_lifecycle.registry.versions import Version
from ml_lifecycle.signing.keys import PUBLIC, SIGNING_KEY, VERIFYING_KEYS, Keys
from unservable import UNSERVABLE, unservable

pytestmark = pytest.mark.filterwarnings("default")  # of third parties, as in tests/registry/test_versions.py


@pytest.fixture(autouse=True)
def _as_in_an_attendant(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (SIGNING_KEY, VERIFYING_KEYS, "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Make an empty registry the current one."""
    with candidates.world(tmp_path) as made:
        yield made


@pytest.fixture
def cache(tmp_path: Path) -> ModelCache:
    """Make an empty cache."""
    made = ModelCache(tmp_path / "cache", NAME, "production")
    made.prepare()
    return made


@pytest.fixture
def watch(world: World, cache: ModelCache) -> RegistryWatch:
    """Watch the registry, and look at a refused version at each look."""
    return RegistryWatch(NAME, "production", world.keys, cache, patience=0.0)


@pytest.fixture
def lines(capfd: pytest.CaptureFixture[str]) -> Callable[[], list[dict[str, object]]]:
    """Read the lines of the log since the last time."""
    return lambda: [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith('{"at"')]


def point_to(world: World, threshold: float, keys: Keys | None = None) -> Version:
    """Register a model of its own and let the alias point to it."""
    version = world.add(candidate(small_model(threshold)), keys)
    versions.set_alias(NAME, "production", version.number)
    return versions.find(NAME, version.number)


def serving(watch: RegistryWatch) -> tuple[str, str]:
    """Version and digest of what a serving process would load, verified."""
    current = watch.cache.find_current()
    return current.version, watch.cache.load_verified(current, watch.keys).model.digest


def told(version: Version) -> tuple[str, str]:
    """Version and digest."""
    return version.number, version.digest


def test_the_first_look_fetches_and_the_next_ones_only_ask(
    world: World, watch: RegistryWatch, lines: Callable[[], list[dict[str, object]]]
) -> None:
    """A look that finds nothing new touches nothing on the disk."""
    version = point_to(world, 0.5)
    watch.look()
    assert serving(watch) == told(version)
    current, stamp, asked = watch.cache.find_current(), watch.cache.stamp(), watch.asked_at
    assert (current.run_id, current.created, current.aliases) == (version.run_id, version.created, ("production",))
    assert (watch.error, watch.refused) == (None, None)
    assert asked is not None
    watch.look()
    assert watch.cache.stamp() == stamp
    assert watch.asked_at is not None
    assert watch.asked_at > asked
    assert [("version placed", "1")] == [(line["event"], line["version"]) for line in lines()]


def test_an_alias_that_moves_there_and_back_is_followed(world: World, watch: RegistryWatch) -> None:
    """Each look places what the alias points to then."""
    first = point_to(world, 0.5)
    watch.look()
    second = point_to(world, 0.75)
    watch.look()
    assert serving(watch) == told(second)
    versions.set_alias(NAME, "production", first.number)
    watch.look()
    assert serving(watch) == told(first)
    assert len(list((watch.cache.folder / "models").iterdir())) == 2


def test_two_versions_with_the_same_bytes_are_two_versions(world: World, watch: RegistryWatch) -> None:
    """A model that was trained again says who made it."""
    for _ in range(2):
        version = point_to(world, 0.5)
        watch.look()
        assert serving(watch) == told(version)


def _without_signature(world: World, version: Version) -> None:
    (world.stored(version).path / "model.sig").unlink()


def _tampered(world: World, version: Version) -> None:
    (world.stored(version).path / CARD).write_text("The best model ever.", encoding="utf-8")


def _another_model(world: World, version: Version) -> None:
    (world.stored(version).path / MODEL).write_bytes(small_model(0.9).content)


def _another_model_signed(world: World, version: Version) -> None:
    _another_model(world, version)
    world.stored(version).sign(world.keys)


def _half(world: World, version: Version) -> None:
    path = world.stored(version).path / MODEL
    path.write_bytes(path.read_bytes()[:100])


def _lacking(world: World, version: Version) -> None:
    (world.stored(version).path / MODEL).unlink()


def _by_somebody_else(world: World, version: Version) -> None:
    world.stored(version).sign(candidates.keys(world.folder, "others"))


def _unservable(kind: str) -> Callable[[World, Version], None]:
    """It is signed and registered as any other, by somebody who is trusted."""

    def replace(world: World, version: Version) -> None:
        model = unservable(kind).model
        (world.stored(version).path / MODEL).write_bytes(model.content)
        world.stored(version).sign(world.keys)
        mlflow.MlflowClient().set_model_version_tag(NAME, version.number, versions.MODEL_DIGEST, model.digest)

    return replace


def _without_its_digest(world: World, version: Version) -> None:
    mlflow.MlflowClient().delete_model_version_tag(NAME, version.number, versions.MODEL_DIGEST)


BAD: dict[Callable[[World, Version], None], str] = {
    _without_signature: "is refused: it is not signed",
    _by_somebody_else: "signed by a key that is not trusted",
    _tampered: "is refused: it is not what was signed",
    _another_model: "is refused: it is not what was signed",
    _another_model_signed: "is damaged: registered with SHA-256",
    _half: "is refused: it is not what was signed",
    _lacking: "is refused: it is not what was signed",
    _without_its_digest: "is damaged: registered with SHA-256 ,",
    **{_unservable(kind): f"is what was signed, and {reason} (" for kind, (_, reason) in UNSERVABLE.items()},
}


@pytest.mark.parametrize(("damage", "reason"), BAD.items())
def test_a_bad_version_is_refused_told_and_counted_once_and_taken_once_it_is_good(
    world: World,
    watch: RegistryWatch,
    lines: Callable[[], list[dict[str, object]]],
    damage: Callable[[World, Version], None],
    reason: str,
) -> None:
    """The old one serves until then."""
    good = point_to(world, 0.5)
    watch.look()
    bad = point_to(world, 0.75)
    kept = world.folder / "kept"
    shutil.copytree(world.stored(bad).path, kept)
    damage(world, bad)
    stamp = watch.cache.stamp()
    lines()
    for _ in range(3):
        watch.look()
        assert watch.refused is not None
        assert (serving(watch), watch.refused.version, watch.error) == (told(good), bad.number, None)
        assert reason in watch.refused.reason
    assert watch.cache.stamp() == stamp
    assert watch.refused_total == 1
    assert [("version refused", bad.number)] == [(line["event"], line["version"]) for line in lines()]
    shutil.rmtree(world.stored(bad).path)
    shutil.copytree(kept, world.stored(bad).path)
    mlflow.MlflowClient().set_model_version_tag(NAME, bad.number, versions.MODEL_DIGEST, bad.digest)
    watch.look()
    assert (serving(watch), watch.refused) == (told(bad), None)


def test_without_a_good_version_there_is_none(world: World, watch: RegistryWatch) -> None:
    """A first version that is bad never serves."""
    _without_signature(world, point_to(world, 0.5))
    watch.look()
    assert watch.cache.read_current() is None
    assert watch.refused is not None
    assert not (watch.cache.folder / "models").exists()


def test_a_refused_version_is_fetched_again_only_after_a_while(world: World, watch: RegistryWatch) -> None:
    """Looks come every two seconds, and a model may be large."""
    watch.patience = 0.6
    version = point_to(world, 0.5)
    _without_signature(world, version)
    watch.look()
    begun = time.monotonic()
    world.stored(version).sign(world.keys)
    while watch.cache.read_current() is None:
        assert time.monotonic() - begun < 30
        watch.look()
    assert time.monotonic() - begun > 0.5
    assert watch.refused is None


def test_a_refusal_is_forgotten_when_the_alias_points_elsewhere(world: World, watch: RegistryWatch) -> None:
    """Back to the good version, or to none: then nothing is refused."""
    good = point_to(world, 0.5)
    watch.look()
    bad = point_to(world, 0.75)
    _without_signature(world, bad)
    watch.look()
    assert watch.refused is not None
    versions.set_alias(NAME, "production", good.number)
    watch.look()
    assert watch.refused is None
    versions.set_alias(NAME, "production", bad.number)
    watch.look()
    assert (watch.refused is not None, watch.refused_total) == (True, 2)
    mlflow.MlflowClient().delete_registered_model_alias(NAME, "production")
    watch.look()
    assert (watch.refused, serving(watch)) == (None, told(good))


@pytest.mark.parametrize("kind", UNSERVABLE)
def test_one_that_an_earlier_release_placed_and_that_cannot_serve_is_refused(
    world: World, watch: RegistryWatch, kind: str
) -> None:
    """And tried again only after a while."""
    watch.patience = 60.0
    version = point_to(world, 0.5)
    watch.look()
    placed = watch.cache.find_current()
    _unservable(kind)(world, version)
    version = versions.find(NAME, version.number)
    facts = VersionFacts(**{**placed.model_dump(), "digest": version.digest})
    watch.cache.place(facts, world.stored(version).path)
    later = RegistryWatch(NAME, "production", world.keys, watch.cache, patience=60.0)
    later.look()
    assert later.refused is not None
    assert (later.refused.version, later.refused.digest) == told(version)
    assert UNSERVABLE[kind][1] in later.refused.reason
    world.stored(version).path.rename(world.folder / "away")
    later.look()  # would be told if it were fetched
    assert (later.error, later.refused_total) == (None, 1)


def test_another_attendant_goes_on_counting(world: World, watch: RegistryWatch) -> None:
    """What was refused before is not refused anew."""
    _without_signature(world, point_to(world, 0.5))
    watch.look()
    assert watch.refused is not None
    status = Status(asked_at=watch.asked_at, refused=(watch.refused,), refused_total=7)
    another = RegistryWatch(NAME, "production", world.keys, watch.cache)
    another.go_on(status)
    assert another.asked_at == watch.asked_at
    another.look()
    assert (another.refused, another.refused_total) == (watch.refused, 7)


def test_without_a_key_nothing_is_fetched(world: World, watch: RegistryWatch) -> None:
    """It says so, and goes on once there is one."""
    version = point_to(world, 0.5)
    public = world.keys.folder / PUBLIC
    public.rename(world.folder / "away")
    (world.folder / "artifacts").rename(world.folder / "unreachable")
    watch.look()
    assert watch.refused is not None
    assert "There is no key to verify signatures with" in watch.refused.reason
    (world.folder / "unreachable").rename(world.folder / "artifacts")
    (world.folder / "away").rename(public)
    watch.look()
    assert serving(watch) == told(version)


def test_a_model_without_the_alias_is_told_and_the_old_one_serves(
    world: World, watch: RegistryWatch, lines: Callable[[], list[dict[str, object]]]
) -> None:
    """There may never have been one."""
    watch.look()
    assert "No version of the model 'small_model' carries the alias '@production'" in str(watch.error)
    version = point_to(world, 0.5)
    watch.look()
    assert watch.error is None
    mlflow.MlflowClient().delete_registered_model_alias(NAME, "production")
    for _ in range(3):
        watch.look()
    assert "carries the alias '@production'" in str(watch.error)
    assert serving(watch) == told(version)
    events = ["no version can be had", "version placed", "the registry answers again", "no version can be had"]
    assert events == [line["event"] for line in lines()]  # once each, however often it looks


def test_a_database_that_is_gone_is_told_and_not_made_anew(world: World, watch: RegistryWatch) -> None:
    """And the one that is restored is asked, although it is another file."""
    first = point_to(world, 0.5)
    watch.look()
    asked = watch.asked_at
    database = world.folder / "mlflow.db"
    database.rename(world.folder / "away.db")
    watch.look()
    assert f"The registry's database {database} does not exist" in str(watch.error)
    assert (serving(watch), watch.asked_at, database.exists()) == (told(first), asked, False)
    shutil.copyfile(world.folder / "away.db", database)
    second = point_to(world, 0.75)
    watch.look()
    assert (serving(watch), watch.error) == (told(second), None)


def test_a_database_that_is_none_is_told(world: World, watch: RegistryWatch) -> None:
    """In one line, whatever the database's own words are."""
    first = point_to(world, 0.5)
    watch.look()
    database, content = world.folder / "mlflow.db", (world.folder / "mlflow.db").read_bytes()
    database.write_bytes(b"no database" * 1000)
    watch.look()
    database.write_bytes(content)
    assert watch.error == "MlflowException: (sqlite3.DatabaseError) file is not a database"
    assert serving(watch) == told(first)


def test_artifacts_that_are_gone_are_told_and_fetched_once_they_are_there(world: World, watch: RegistryWatch) -> None:
    """The registry answers, the store does not."""
    first = point_to(world, 0.5)
    watch.look()
    second = point_to(world, 0.75)
    (world.folder / "artifacts").rename(world.folder / "away")
    watch.look()
    assert f"The artifacts of version {second.number} of 'small_model' cannot be fetched" in str(watch.error)
    assert serving(watch) == told(first)
    (world.folder / "away").rename(world.folder / "artifacts")
    watch.look()
    assert (serving(watch), watch.error) == (told(second), None)


def test_a_disk_that_refuses_is_told(world: World, watch: RegistryWatch) -> None:
    """A file stands where the models belong."""
    version = point_to(world, 0.5)
    models = watch.cache.folder / "models"
    models.write_bytes(b"")
    watch.look()
    assert "FileExistsError" in str(watch.error)
    models.unlink()
    watch.look()
    assert serving(watch) == told(version)


def _damaged(cache: ModelCache, current: Current) -> None:
    path = cache.folder_of(current) / MODEL
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def _removed(cache: ModelCache, current: Current) -> None:
    shutil.rmtree(cache.folder_of(current))


def _untold(cache: ModelCache, current: Current) -> None:
    (cache.folder / CURRENT).write_bytes(b"{")


@pytest.mark.parametrize("damage", [_damaged, _removed, _untold])
@pytest.mark.parametrize("is_new", [False, True], ids=["the same attendant", "a new attendant"])
def test_a_copy_that_is_damaged_is_fetched_again(
    world: World, watch: RegistryWatch, damage: Callable[[ModelCache, Current], None], *, is_new: bool
) -> None:
    """Although the alias has not moved."""
    version = point_to(world, 0.5)
    watch.look()
    damage(watch.cache, watch.cache.find_current())
    watch = RegistryWatch(NAME, "production", world.keys, watch.cache) if is_new else watch
    watch.look()
    assert (serving(watch), watch.error, watch.refused) == (told(version), None, None)


def test_a_version_signed_anew_is_taken_when_the_keys_have_changed(world: World, watch: RegistryWatch) -> None:
    """The copy has the signature of the old key, which nobody trusts any more."""
    version = point_to(world, 0.5)
    watch.look()
    others = candidates.keys(world.folder, "others")
    world.stored(version).sign(others)
    later = RegistryWatch(NAME, "production", others, watch.cache)
    later.look()
    assert (serving(later), later.refused) == (told(version), None)


def test_another_alias_or_model_is_not_served_from_the_same_cache(world: World, watch: RegistryWatch) -> None:
    """Settings may change: then what is there is fetched under its own name."""
    first = point_to(world, 0.5)
    watch.look()
    cache = ModelCache(watch.cache.folder, NAME, "staging")
    staging = RegistryWatch(NAME, "staging", world.keys, cache)
    staging.look()
    assert "@staging" in str(staging.error)
    assert cache.read_current() is None
    versions.set_alias(NAME, "staging", first.number)
    staging.look()
    assert serving(staging) == told(first)


def test_a_version_whose_record_lies_in_its_run_keeps_it(world: World, watch: RegistryWatch) -> None:
    """As versions were made once."""
    version = point_to(world, 0.5)
    folder = world.stored(version)
    record = folder.read("provenance.json")
    kept = world.folder / "provenance.json"
    (folder.path / "provenance.json").rename(kept)
    mlflow.MlflowClient().log_artifact(version.run_id, str(kept))
    folder.sign(world.keys)
    watch.look()
    assert watch.cache.load_verified(watch.cache.find_current(), world.keys).folder.read("provenance.json") == record


# Over HTTP


def tracking(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    """Ask a server, as an attendant does."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    for name in ("MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "AWS_MAX_ATTEMPTS"):
        monkeypatch.delenv(name, raising=False)
    be_impatient()
    mlflow.set_tracking_uri(uri)


@pytest.fixture
def server(world: World) -> Iterator[servers.Server]:
    """Start MLflow's server on the registry."""
    port = servers.free_port()
    address = f"http://{servers.HOST}:{port}"

    def is_healthy() -> bool:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    stores = {
        "backend-store-uri": f"sqlite:///{world.folder / 'mlflow.db'}",
        "default-artifact-root": str(world.folder),
    }
    options = {**stores, "host": servers.HOST, "port": str(port), "workers": "1"}
    command = [sys.executable, "-m", "mlflow", "server", "--no-serve-artifacts"]
    command += [part for name, value in options.items() for part in (f"--{name}", value)]
    made = servers.Server(
        command,
        {**servers.plain_environment(), "MLFLOW_TRACKING_URI": address},
        world.folder / "server.log",
        is_healthy,
    )
    made.start()
    yield made
    made.stop()


def test_a_server_is_asked_and_when_it_is_away_the_old_version_serves(
    world: World, watch: RegistryWatch, server: servers.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And once it is back, what has changed is fetched."""
    own = mlflow.get_tracking_uri()
    first = point_to(world, 0.5)
    tracking(monkeypatch, server.environment["MLFLOW_TRACKING_URI"])
    watch.look()
    assert (serving(watch), watch.error) == (told(first), None)
    mlflow.MlflowClient().delete_registered_model_alias(NAME, "production")
    watch.look()
    assert "carries the alias '@production'" in str(watch.error)
    server.stop()
    begun = time.monotonic()
    watch.look()
    assert time.monotonic() - begun < 15
    assert str(watch.error).startswith(f"The tracking server at {server.environment['MLFLOW_TRACKING_URI']} does not")
    assert serving(watch) == told(first)
    mlflow.set_tracking_uri(own)
    second = point_to(world, 0.75)
    mlflow.set_tracking_uri(server.environment["MLFLOW_TRACKING_URI"])
    server.start()
    watch.look()
    assert (serving(watch), watch.error) == (told(second), None)
    mlflow.set_tracking_uri(own)


def test_a_server_that_never_answers_does_not_hold_up_a_look_for_long(
    world: World, watch: RegistryWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes the connection, and that is all."""
    own = mlflow.get_tracking_uri()
    version = point_to(world, 0.5)
    watch.look()
    with socket.create_server((servers.HOST, 0)) as silent:
        tracking(monkeypatch, f"http://somebody:secret@{servers.HOST}:{silent.getsockname()[1]}")
        begun = time.monotonic()
        watch.look()
        mlflow.set_tracking_uri(own)
    assert 3 < time.monotonic() - begun < 30
    assert "does not answer" in str(watch.error)
    assert "secret" not in str(watch.error)
    assert serving(watch) == told(version)


def test_what_the_user_has_set_is_not_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    """But what every process of this project starts with is."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "4")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "5")
    be_impatient()
    names = ("MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "AWS_MAX_ATTEMPTS")
    assert [os.environ[name] for name in names] == ["77", "1", "2"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("to postgresql://me:pa@ss@host/db failed", "to postgresql://host/db failed"),
        ("GET https://s3/bucket/key?X-Amz-Signature=abc&x=1 failed", "GET https://s3/bucket/key failed"),
        ("it failed [SQL: SELECT 1\n] [parameters: ('secret',)]", "it failed"),
        ("plain", "plain"),
    ],
)
def test_errors_of_others_are_told_without_their_secrets(text: str, expected: str) -> None:
    """With their kind, in one line, and not for pages."""
    assert faults.explain(ValueError(text)) is None
    assert attendant_log.plain(ValueError(text)) == f"ValueError: {expected}"
    assert attendant_log.plain(ValueError()) == "ValueError"
    assert len(attendant_log.plain(ValueError("x y\n" * 1000))) < 600


def test_warnings_of_libraries_are_lines_without_secrets() -> None:
    """Also those that MLflow would write in a form of its own."""
    program = (
        "from ml_lifecycle.api.attendant_log import take_over; take_over(); import logging, warnings, mlflow;"
        "logging.getLogger('mlflow.x').warning('at %s', 'http://me:secret@host/');"
        "logging.getLogger('mlflow.x').info('not told'); warnings.warn('careful http://me:secret@host/')"
    )
    ran = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    found = [json.loads(line) for line in ran.stderr.splitlines()]
    assert [("warning", True), ("warning", True)] == [
        (line["level"], "http://host/" in line["event"]) for line in found
    ]
    assert "secret" not in ran.stderr
