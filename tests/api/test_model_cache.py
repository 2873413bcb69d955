"""Fetched models on this machine's disk: placed whole or not at all, and read only if they verify."""

import json
import os
import resource
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

import candidates
from ml_lifecycle.api import whole_file
from ml_lifecycle.api.model_cache import CURRENT, STATUS, CacheError, Current, ModelCache, Refused, Status, VersionFacts
from ml_lifecycle.errors import RegistryError
from ml_lifecycle.model_folder import CARD, MODEL, ModelFolder
from ml_lifecycle.signing.keys import SIGNING_KEY, VERIFYING_KEYS, Keys
from ml_lifecycle.signing.signature import ChangedError, MissingKeyError, SignatureError

#: Forks one process after another that places version after version, and kills each at a random moment.
PLACER = """
import os, random, signal, sys, time
from pathlib import Path
from ml_lifecycle.api.model_cache import ModelCache, VersionFacts

cache, sources = ModelCache(Path(sys.argv[1])), [line.split("=") for line in sys.argv[3:]]

def place():
    while True:
        before = cache.read_current()
        number = int(before.version) + 1 if before else 1
        digest, source = sources[number % len(sources)]
        facts = VersionFacts(
            name="m", version=str(number), digest=digest, alias="a", run_id="r", created="2013-01-01T00:00:00Z"
        )
        cache.place(facts, Path(source))

for kill in range(int(sys.argv[2])):
    child = os.fork()
    if child == 0:
        place()
    time.sleep(random.random() * 0.2)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""


@pytest.fixture(autouse=True)
def _without_keys_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (SIGNING_KEY, VERIFYING_KEYS):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """Make a pair of keys."""
    return candidates.keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def fetched(tmp_path: Path, keys: Keys) -> Callable[..., ModelFolder]:
    """Make folders as they are fetched from the store, each with another model."""

    def make(threshold: float = 0.5, signer: Keys | None = keys) -> ModelFolder:
        folder = ModelFolder(tmp_path / f"fetched-{threshold}")
        (folder.path / "deeper").mkdir(parents=True)
        (folder.path / "deeper" / "file").write_text("deep", encoding="utf-8")
        made = candidates.candidate(candidates.small_model(threshold))
        (folder.path / MODEL).write_bytes(made.model.content)
        folder.describe(made, candidates.NAME)
        if signer is not None:
            folder.sign(signer)
        return folder

    return make


@pytest.fixture
def cache(tmp_path: Path) -> ModelCache:
    """Name a cache that is not there yet."""
    return ModelCache(tmp_path / "new" / "cache", candidates.NAME, "production")


def facts(folder: ModelFolder, version: str = "1", **changes: object) -> VersionFacts:
    """What the registry would say of a folder."""
    told = {
        "name": candidates.NAME,
        "version": version,
        "digest": folder.digest_of(MODEL),
        "alias": "production",
        "run_id": "c0ffee",
        "created": datetime(2013, 1, 1, tzinfo=UTC),
        "aliases": ("production", "staging"),
    }
    return VersionFacts.model_validate({**told, **changes})


def place(cache: ModelCache, folder: ModelFolder, version: str = "1", **changes: object) -> Current:
    """Place a folder as a version."""
    return cache.place(facts(folder, version, **changes), folder.path)


def rewrite(path: Path, content: bytes) -> None:
    """Write to a file that is read-only."""
    path.chmod(0o600)
    path.write_bytes(content)


def content_of(folder: Path) -> dict[str, bytes]:
    """Read every file of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_empty_cache_holds_nothing_and_says_so(cache: ModelCache) -> None:
    """Before the first fetch there is no folder at all."""
    assert cache.read_current() is None
    assert cache.read_status() == Status()
    with pytest.raises(CacheError, match=r"No model was fetched yet: .*current.json does not exist"):
        cache.find_current()


def test_what_is_placed_is_read_verified(cache: ModelCache, fetched: Callable[..., ModelFolder], keys: Keys) -> None:
    """Byte for byte, with what the registry says of it."""
    folder = fetched()
    placed = place(cache, folder)
    current = cache.find_current()
    assert placed == current
    assert facts(folder) == VersionFacts.model_validate(current.model_dump())
    assert abs((datetime.now(UTC) - current.fetched_at).total_seconds()) < 60
    loaded = cache.load_verified(current, keys)
    assert (loaded.model.content, loaded.signed_by) == (folder.read(MODEL), keys.public()[0])
    assert loaded.folder.path == cache.folder / "models" / f"1-{current.digest}"
    assert content_of(folder.path) == content_of(loaded.folder.path)
    assert loaded.folder.provenance() == folder.provenance()


def test_current_json_has_the_fields_that_others_read(cache: ModelCache, fetched: Callable[..., ModelFolder]) -> None:
    """The page, the metrics and an operator read it."""
    current = place(cache, fetched())
    told = json.loads((cache.folder / CURRENT).read_bytes())
    names = {"name", "version", "digest", "folder", "alias", "run_id", "created", "fetched_at", "aliases"}
    assert names == set(told) - {"earlier_record"}
    assert told["folder"] == f"models/1-{current.digest}"


def test_what_is_placed_is_read_only_and_its_owners(cache: ModelCache, fetched: Callable[..., ModelFolder]) -> None:
    """Nobody else reads or changes it."""
    path = cache.folder_of(place(cache, fetched()))
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.rglob("*") if file.is_file()} == {0o400}
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_the_record_of_an_earlier_version_comes_along(
    cache: ModelCache, fetched: Callable[..., ModelFolder], keys: Keys
) -> None:
    """Records once lay in the run, not in the version's folder."""
    folder = fetched(signer=None)
    record = folder.read("provenance.json")
    (folder.path / "provenance.json").unlink()
    folder.sign(keys)
    place(cache, folder, earlier_record=record.decode())
    loaded = cache.load_verified(cache.find_current(), keys)
    assert loaded.folder.read("provenance.json") == record


def test_placing_what_is_there_already_keeps_its_files(cache: ModelCache, fetched: Callable[..., ModelFolder]) -> None:
    """An alias that goes back costs no copy."""
    first, second = fetched(0.5), fetched(0.75)
    path = cache.folder_of(place(cache, first, "1"))
    inode = (path / MODEL).stat().st_ino
    place(cache, second, "2")
    again = place(cache, first, "1")
    assert (cache.folder_of(again), (path / MODEL).stat().st_ino) == (path, inode)
    assert cache.read_current() == again


def _changed(path: Path) -> None:
    rewrite(path / CARD, b"x" + (path / CARD).read_bytes()[1:])


def _shortened(path: Path) -> None:
    rewrite(path / MODEL, b"")


def _lacking(path: Path) -> None:
    (path / CARD).unlink()


def _with_more(path: Path) -> None:
    (path / "more").write_bytes(b"")


def _linked(path: Path) -> None:
    (path / CARD).rename(path.parent / "elsewhere")
    (path / CARD).symlink_to(path.parent / "elsewhere")


def _a_link_itself(path: Path) -> None:
    path.rename(path.parent / "moved")
    path.symlink_to(path.parent / "moved")


@pytest.mark.parametrize("damage", [_changed, _shortened, _lacking, _with_more, _linked, _a_link_itself])
def test_a_damaged_copy_is_refused_and_replaced(
    cache: ModelCache, fetched: Callable[..., ModelFolder], keys: Keys, damage: Callable[[Path], None]
) -> None:
    """Whatever became of it, the next placing repairs it."""
    folder = fetched()
    current = place(cache, folder)
    path, stamp = cache.folder_of(current), cache.stamp()
    fingerprint = cache.fingerprint(current)
    damage(path)
    with pytest.raises((ChangedError, RegistryError)):
        cache.load_verified(current, keys)
    if not path.is_symlink():
        assert cache.fingerprint(current) != fingerprint
    again = place(cache, folder)
    assert cache.changed(stamp)
    assert cache.load_verified(again, keys).model.content == folder.read(MODEL)
    assert content_of(folder.path) == content_of(path)


def test_another_signature_over_the_same_model_is_taken_over(
    cache: ModelCache, fetched: Callable[..., ModelFolder], keys: Keys, tmp_path: Path
) -> None:
    """Keys are changed without a new model."""
    folder, others = fetched(), candidates.keys(tmp_path, "others")
    place(cache, folder)
    folder.sign(others)
    current = place(cache, folder)
    assert cache.load_verified(current, others).signed_by == others.public()[0]


def test_a_copy_that_is_not_signed_is_refused(
    cache: ModelCache, fetched: Callable[..., ModelFolder], keys: Keys
) -> None:
    """As the registry's own would be."""
    current = place(cache, fetched(signer=None))
    with pytest.raises(SignatureError, match=r"The copy of version 1 of 'small_model' in .* is refused: it is not sig"):
        cache.load_verified(current, keys)


def test_a_copy_signed_by_somebody_else_is_refused(
    cache: ModelCache, fetched: Callable[..., ModelFolder], tmp_path: Path
) -> None:
    """A signature alone is worth nothing."""
    current = place(cache, fetched())
    with pytest.raises(SignatureError, match="signed by a key that is not trusted"):
        cache.load_verified(current, candidates.keys(tmp_path, "others"))


def test_without_a_key_nothing_is_loaded(
    cache: ModelCache, fetched: Callable[..., ModelFolder], tmp_path: Path
) -> None:
    """Nothing is trusted that cannot be verified."""
    current = place(cache, fetched())
    with pytest.raises(MissingKeyError, match="There is no key to verify"):
        cache.load_verified(current, Keys(tmp_path / "none"))


def test_another_model_that_is_signed_is_refused(
    cache: ModelCache, fetched: Callable[..., ModelFolder], keys: Keys
) -> None:
    """Its signature holds, but it is not what the registry knows by this version."""
    current, other = place(cache, fetched()), fetched(0.75)
    path = cache.folder_of(current)
    path.rename(path.parent / "away")
    other.path.rename(path)
    with pytest.raises(RegistryError, match=f"damaged: registered with SHA-256 {current.digest}"):
        cache.load_verified(current, keys)


def test_a_copy_that_is_gone_is_told(cache: ModelCache, fetched: Callable[..., ModelFolder], keys: Keys) -> None:
    """And what will be done about it."""
    current = place(cache, fetched())
    cache.folder_of(current).rename(cache.folder / "away")
    with pytest.raises(CacheError, match=r"does not exist\. The attendant fetches it"):
        cache.load_verified(current, keys)


def test_what_is_not_the_registered_model_is_never_placed(
    cache: ModelCache, fetched: Callable[..., ModelFolder]
) -> None:
    """What serves stays, and nothing is left of the other."""
    good = place(cache, fetched())
    with pytest.raises(RegistryError, match="registered is " + "0" * 64):
        place(cache, fetched(0.75), "2", digest="0" * 64)
    assert cache.read_current() == good
    assert [path.name for path in (cache.folder / "models").iterdir()] == [f"1-{good.digest}"]
    assert not list(cache.incoming.iterdir())


def test_a_full_disk_changes_nothing(cache: ModelCache, fetched: Callable[..., ModelFolder], keys: Keys) -> None:
    """What serves stays, and nothing is left of the other."""
    good, other = place(cache, fetched()), fetched(0.75)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(OSError, match=r"too large|shutil"):
            place(cache, other, "2")
        with pytest.raises(OSError, match="too large"):
            cache.write_status(Status(error="x" * 200))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert cache.load_verified(cache.find_current(), keys).folder.path == cache.folder_of(good)
    assert not list(cache.incoming.iterdir())


def _told(current: Current, **changes: object) -> bytes:
    return json.dumps({**current.model_dump(mode="json"), **changes}).encode()


NOT_OURS: dict[str, Callable[[Current], bytes]] = {
    "nothing": lambda _: b"",
    "half": lambda current: _told(current)[: len(_told(current)) // 2],
    "no object": lambda _: b"[]",
    "no text": lambda _: b"\xff\xfe\0",
    "without a digest": lambda current: _told(current, digest=None),
    "another kind of digest": lambda current: _told(current, digest="../" * 21 + "x"),
    "a version that is a path": lambda current: _told(current, version="../1"),
    "a folder above": lambda current: _told(current, folder=f"models/../../models/1-{current.digest}"),
    "an absolute folder": lambda current: _told(current, folder=f"/models/1-{current.digest}"),
    "the folder of another": lambda current: _told(current, folder=f"models/2-{current.digest}"),
    "another model": lambda current: _told(current, name="another"),
    "another alias": lambda current: _told(current, alias="staging"),
    "a moment without a time zone": lambda current: _told(current, created="2013-01-01T00:00:00"),
    "too much": lambda current: _told(current, run_id="x" * whole_file.LARGEST),
}


@pytest.mark.parametrize("content", NOT_OURS.values(), ids=NOT_OURS)
def test_a_current_json_that_is_not_ours_is_none_and_the_reason_is_told(
    cache: ModelCache, fetched: Callable[..., ModelFolder], keys: Keys, content: Callable[[Current], bytes]
) -> None:
    """And the next placing repairs it."""
    folder = fetched()
    current = place(cache, folder)
    (cache.folder / CURRENT).write_bytes(content(current))
    assert cache.read_current() is None
    with pytest.raises(CacheError, match=r"current\.json") as refused:
        cache.find_current()
    assert len(refused.value.message) < 1000
    place(cache, folder)
    assert cache.load_verified(cache.find_current(), keys).model.digest == current.digest


def test_a_folder_elsewhere_is_never_read(
    cache: ModelCache, fetched: Callable[..., ModelFolder], keys: Keys, tmp_path: Path
) -> None:
    """Also not if what lies there is signed."""
    current = place(cache, fetched())
    path = cache.folder_of(current)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    outside = current.model_copy(update={"folder": "../elsewhere"})
    for claimed in (current, outside):
        with pytest.raises(CacheError, match=r"link|allowed is"):
            cache.load_verified(claimed, keys)
    assert cache.read_current() is None


def test_models_that_are_kept_elsewhere_are_neither_read_nor_placed(
    cache: ModelCache, fetched: Callable[..., ModelFolder], tmp_path: Path
) -> None:
    """A link could lead to where others write."""
    folder = fetched()
    place(cache, folder)
    (cache.folder / "models").rename(tmp_path / "elsewhere")
    (cache.folder / "models").symlink_to(tmp_path / "elsewhere")
    assert cache.read_current() is None
    with pytest.raises(CacheError, match="is a link"):
        place(cache, folder)


def _link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("change", [_link, _pipe, _folder])
@pytest.mark.parametrize("name", [CURRENT, STATUS])
def test_only_a_file_is_read_and_nobody_waits_for_it(
    cache: ModelCache, fetched: Callable[..., ModelFolder], name: str, change: Callable[[Path], None]
) -> None:
    """No link is followed, and a pipe does not hold up a serving process."""
    place(cache, fetched())
    cache.write_status(Status(error="something"))
    change(cache.folder / name)
    found = {CURRENT: cache.read_current(), STATUS: cache.read_status().error}
    assert found[name] is None
    assert found[CURRENT if name == STATUS else STATUS] is not None


def test_a_cache_without_a_model_of_its_own_gives_out_what_is_there(
    cache: ModelCache, fetched: Callable[..., ModelFolder]
) -> None:
    """With one, it gives out no other."""
    current = place(cache, fetched())
    assert ModelCache(cache.folder).read_current() == current
    with pytest.raises(CacheError, match=r"tells of version 1 of 'small_model', fetched by @production; this service"):
        ModelCache(cache.folder, candidates.NAME, "staging").find_current()


def test_a_status_is_read_as_it_was_written_and_a_damaged_one_is_none(cache: ModelCache) -> None:
    """It only tells, so it stops nothing."""
    now = datetime.now(UTC)
    refused = Refused(version="2", digest="d", reason="it is not signed", at=now)
    status = Status(asked_at=now, error="away", refused=(refused,), refused_total=3)
    cache.write_status(status)
    assert cache.read_status() == status
    told = json.loads((cache.folder / STATUS).read_bytes())
    assert {"asked_at", "error", "refused", "refused_total", "log"} == set(told)
    assert [{"version", "digest", "reason", "at"}] == [set(entry) for entry in told["refused"]]
    (cache.folder / STATUS).write_bytes(b"{")
    assert cache.read_status() == Status()


def test_fields_of_a_later_release_do_not_stop_an_earlier_one(
    cache: ModelCache, fetched: Callable[..., ModelFolder]
) -> None:
    """A roll-back of the service keeps its cache."""
    current = place(cache, fetched())
    (cache.folder / CURRENT).write_bytes(_told(current, more=1))
    assert cache.read_current() == current


def test_the_stamp_changes_with_either_file_and_with_nothing_else(
    cache: ModelCache, fetched: Callable[..., ModelFolder]
) -> None:
    """So a process can look at it many times a second."""
    folder = fetched()
    seen = cache.stamp()
    assert seen == (None, None)
    place(cache, folder)
    placed = cache.stamp()
    assert (placed.current is not None, placed.status) == (True, None)
    assert cache.changed(seen)
    cache.write_status(Status())
    written = cache.stamp()
    assert (written.current, written.status is not None) == (placed.current, True)
    cache.tidy(0)
    assert not cache.changed(written)
    cache.write_status(Status())
    assert cache.stamp().current == placed.current
    assert cache.changed(written)


def test_tidying_keeps_what_serves_and_what_has_just_served(
    cache: ModelCache, fetched: Callable[..., ModelFolder], keys: Keys
) -> None:
    """The rest is gone."""
    placed = [place(cache, fetched(0.5 + number / 10), str(number)) for number in range(3)]
    names = [current.folder.removeprefix("models/") for current in placed]
    long_ago = time.time() - 3600
    for current in placed:
        os.utime(cache.folder_of(current), (long_ago, long_ago))
    newest = place(cache, fetched(0.9), "9")
    assert names[:2] == sorted(cache.tidy())  # 2 served until now: a process may just be reading it
    assert cache.load_verified(placed[2], keys).model.digest == placed[2].digest
    assert [names[2]] == cache.tidy(kept_seconds=0)
    assert cache.load_verified(newest, keys).model.digest == newest.digest
    assert [path.name for path in (cache.folder / "models").iterdir()] == [newest.folder.removeprefix("models/")]
    assert not list(cache.incoming.iterdir())


def test_tidying_removes_nothing_without_a_current_one(cache: ModelCache, fetched: Callable[..., ModelFolder]) -> None:
    """What is there may be all there is."""
    place(cache, fetched())
    (cache.folder / CURRENT).write_bytes(b"{")
    assert cache.tidy(0) == []
    assert len(list((cache.folder / "models").iterdir())) == 1


def test_preparing_removes_what_was_left_half_done_and_nothing_else(
    cache: ModelCache, fetched: Callable[..., ModelFolder]
) -> None:
    """An attendant that was killed leaves what it was fetching."""
    current = place(cache, fetched())
    cache.write_status(Status(error="something"))
    (cache.incoming / "left" / "model").mkdir(parents=True)
    (cache.incoming / "left" / "model" / MODEL).write_bytes(b"half")
    cache.prepare()
    assert not list(cache.incoming.iterdir())
    assert (cache.read_current(), cache.read_status().error) == (current, "something")
    assert cache.folder_of(current).is_dir()


@pytest.fixture
def placer(cache: ModelCache, fetched: Callable[..., ModelFolder]) -> Iterator["subprocess.Popen[bytes]"]:
    """Start what places versions and is killed, again and again."""
    folders = [fetched(threshold) for threshold in (0.25, 0.5, 0.75)]
    sources = [f"{folder.digest_of(MODEL)}={folder.path}" for folder in folders]
    with subprocess.Popen([sys.executable, "-c", PLACER, str(cache.folder), "60", *sources]) as process:
        yield process
        process.kill()


def test_a_process_killed_while_it_places_leaves_a_whole_model_or_none(
    cache: ModelCache, keys: Keys, placer: "subprocess.Popen[bytes]"
) -> None:
    """Whoever reads at any moment finds one that verifies, and never an older one than before."""
    anyone, seen = ModelCache(cache.folder), [0]
    while placer.poll() is None:
        try:
            current = anyone.find_current()
        except CacheError as error:
            assert (seen, "No model was fetched yet" in error.message) == ([0], True)  # noqa: PT017 - not every time
            continue
        assert anyone.load_verified(current, keys).model.digest == current.digest
        assert int(current.version) >= seen[-1]
        seen.append(int(current.version))
    assert placer.returncode == 0
    assert len(set(seen)) > 10, "too few were placed to tell"
    assert list(cache.incoming.iterdir()), "no placing was interrupted"
    cache.prepare()
    assert anyone.load_verified(anyone.find_current(), keys).model.digest == anyone.find_current().digest


@pytest.mark.parametrize("module", ["model_cache", "attendant"])
def test_serving_processes_import_nothing_heavy(module: str) -> None:
    """They start in a moment and stay small."""
    heavy = {"mlflow", "pandas", "pyarrow", "kedro", "sklearn", "pandera", "s3fs", "boto3", "onnx", "botocore"}
    told = f"import sys, ml_lifecycle.api.{module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    loaded = subprocess.run([sys.executable, "-c", told], check=True, capture_output=True, text=True).stdout.split()
    assert not heavy & set(loaded)
    assert "onnxruntime" in loaded  # it is what answers
