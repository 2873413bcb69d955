"""Copies of raw inputs in DVC's cache and remote, on a real DVC project."""

import hashlib
import json
import shutil
import socket
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from ml_lifecycle.errors import RawInputError
from ml_lifecycle.provenance.raw_copies import Copy, check, locked, recorded
from ml_lifecycle.provenance.record import RawInput
from project_copy import ProjectCopy

pytestmark = pytest.mark.filterwarnings("default")  # of third parties; test_lifecycle.py tests that a user sees none

ORDERS = b"order\n1\n2\n"
PARTS = {"a.csv": b"part\n1\n", "deep/b.csv": b"part\n2\n"}


def md5_of(content: bytes) -> str:
    """Digest as DVC has it."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@dataclass
class Store:
    """A DVC project with a file and a folder in its cache and in a remote beside it."""

    path: Path
    told: list[tuple[str, Exception]] = field(default_factory=list)

    @property
    def raw(self) -> dict[str, RawInput]:
        """What a record says of file and folder."""
        locks = recorded(self.path)
        return {
            "orders": RawInput(path="orders.csv", md5=locks["orders.csv"], size=len(ORDERS)),
            "parts": RawInput(path="parts", md5=locks["parts"], size=4096),
        }

    def object(self, place: str, md5: str) -> Path:
        """The file behind a hash, made writable."""
        folder = self.path / ".dvc/cache" if place == "cache" else self.path.parent / "remote"
        found = folder / "files/md5" / md5[:2] / md5[2:]
        found.chmod(0o644)
        return found

    def check(self, *, deep: bool = False) -> dict[str, list[Copy]]:
        """Check both; what could not be asked is in ``told``."""
        return check(self.path, self.raw, deep=deep, failed=lambda place, error: self.told.append((place, error)))


NO_SCM = "[core]\n    no_scm = True\n"
FINE = [Copy("cache", ""), Copy("remote", "")]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the project, once."""
    folder = tmp_path_factory.mktemp("copies")
    project = ProjectCopy(folder / "project")
    for name, content in {"orders.csv": ORDERS, **{f"parts/{name}": part for name, part in PARTS.items()}}.items():
        (project.path / name).parent.mkdir(parents=True, exist_ok=True)
        (project.path / name).write_bytes(content)
    project.run("dvc", "init", "--quiet", "--no-scm")
    project.run("dvc", "add", "--quiet", "orders.csv", "parts")
    project.run("dvc", "remote", "add", "--quiet", "--default", "store", "../remote")
    project.run("dvc", "push", "--quiet")
    return folder


@pytest.fixture
def store(prepared: Path, tmp_path: Path) -> Store:
    """Return a project of one's own, with cache and remote."""
    shutil.copytree(prepared, tmp_path / "copies")
    return Store(tmp_path / "copies/project")


class TestCheck:
    """What is found in cache and remote."""

    @pytest.mark.parametrize("deep", [False, True])
    def test_all_is_well(self, store: Store, deep: bool) -> None:
        """File and folder are in both places, as recorded; nobody had to be told anything."""
        assert {"orders": FINE, "parts": FINE} == store.check(deep=deep)
        assert [] == store.told

    @pytest.mark.parametrize("deep", [False, True])
    @pytest.mark.parametrize("place", ["cache", "remote"])
    def test_another_size(self, store: Store, place: str, deep: bool) -> None:
        """A copy that is longer is told from its size; the other place is not blamed."""
        store.object(place, md5_of(ORDERS)).write_bytes(ORDERS + b"3\n")
        copies = store.check(deep=deep)
        expected = Copy(place, f"expected {len(ORDERS)} bytes, found {len(ORDERS) + 2}")
        assert [expected if copy.place == place else copy for copy in FINE] == copies["orders"]
        assert FINE == copies["parts"]

    @pytest.mark.parametrize("place", ["cache", "remote"])
    def test_one_byte(self, store: Store, place: str) -> None:
        """A byte that was flipped is found by who reads every byte, and only then."""
        flipped = ORDERS.replace(b"2", b"3")
        store.object(place, md5_of(ORDERS)).write_bytes(flipped)
        assert FINE == store.check()["orders"]
        expected = Copy(place, f"expected MD5 {md5_of(ORDERS)}, found {md5_of(flipped)}")
        assert [expected if copy.place == place else copy for copy in FINE] == store.check(deep=True)["orders"]

    def test_the_working_copy_does_not_count(self, store: Store) -> None:
        """What lies in the working tree is no copy: changed or gone, cache and remote are what is asked."""
        (store.path / "orders.csv").unlink()
        shutil.rmtree(store.path / "parts")
        assert {"orders": FINE, "parts": FINE} == store.check(deep=True)

    def test_missing_in_one_place(self, store: Store) -> None:
        """Where there is no copy, none is told."""
        store.object("cache", md5_of(ORDERS)).unlink()
        assert FINE[1:] == store.check()["orders"]

    def test_missing_everywhere(self, store: Store) -> None:
        """An input of which there is no copy has an empty list, not none at all."""
        shutil.rmtree(store.path / ".dvc/cache/files")
        shutil.rmtree(store.path.parent / "remote/files")
        assert ({"orders": [], "parts": []}, []) == (store.check(), store.told)

    def test_an_unknown_hash(self, store: Store) -> None:
        """A hash that DVC never saw has no copy."""
        raw = {"orders": RawInput(path="orders.csv", md5="0" * 32, size=1)}
        assert {"orders": []} == check(store.path, raw, deep=True, failed=lambda *told: store.told.append(told))
        assert [] == store.told

    def test_without_a_remote(self, store: Store) -> None:
        """Without a remote the cache alone is asked, and that is no failure."""
        (store.path / ".dvc/config").write_text(NO_SCM, encoding="utf-8")
        assert ({"orders": FINE[:1], "parts": FINE[:1]}, []) == (store.check(), store.told)

    def test_a_remote_that_cannot_be_asked(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        """A remote that does not answer is told, and the cache is asked all the same."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            nowhere = f"http://127.0.0.1:{listener.getsockname()[1]}"
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        remote = f"['remote \"store\"']\n    url = s3://dvc\n    endpointurl = {nowhere}\n"
        keys = "    access_key_id = a\n    secret_access_key = b\n"
        (store.path / ".dvc/config").write_text(f"{NO_SCM}    remote = store\n{remote}{keys}", encoding="utf-8")
        assert {"orders": FINE[:1], "parts": FINE[:1]} == store.check()
        assert ["remote"] == [place for place, _ in store.told]
        assert "Could not connect" in str(store.told[0][1])

    def test_outside_a_project(self, tmp_path: Path) -> None:
        """A folder that is no DVC project is refused."""
        with pytest.raises(RawInputError, match="is not a DVC project"):
            check(tmp_path, {}, deep=False, failed=lambda *_: None)


class TestFolder:
    """A raw input that is a folder."""

    @pytest.mark.parametrize("place", ["cache", "remote"])
    def test_one_byte_in_it(self, store: Store, place: str) -> None:
        """A byte of a file in it that was flipped is found by who reads every byte."""
        flipped = PARTS["deep/b.csv"].replace(b"2", b"3")
        store.object(place, md5_of(PARTS["deep/b.csv"])).write_bytes(flipped)
        assert FINE == store.check()["parts"]
        expected = Copy(place, f"expected MD5 {md5_of(PARTS['deep/b.csv'])}, found {md5_of(flipped)}")
        assert [expected if copy.place == place else copy for copy in FINE] == store.check(deep=True)["parts"]

    def test_a_file_that_lacks(self, store: Store) -> None:
        """A folder of which a file is gone is no right copy, also without reading every byte; others are asked."""
        store.object("cache", md5_of(PARTS["a.csv"])).unlink()
        cache, remote = store.check()["parts"]
        assert ("cache", FINE[1]) == (cache.place, remote)
        assert cache.problem.startswith("expected a folder with all its files, found FileNotFoundError")
        assert [] == store.told

    @pytest.mark.parametrize("content", [b"{", b"[1]", b"[{}]", b"\xff", b'{"md5": "0"}'])
    def test_a_damaged_list(self, store: Store, content: bytes) -> None:
        """A folder whose list of files cannot be read is no right copy."""
        store.object("cache", store.raw["parts"].md5).write_bytes(content)
        cache, remote = store.check()["parts"]
        assert ("cache", FINE[1]) == (cache.place, remote)
        assert cache.problem

    def test_another_list(self, store: Store) -> None:
        """A list from which a file was taken out is found by who reads every byte."""
        listed = store.object("cache", store.raw["parts"].md5)
        listed.write_text(json.dumps(json.loads(listed.read_text(encoding="utf-8"))[:1]), encoding="utf-8")
        expected = f"expected MD5 {store.raw['parts'].md5.removesuffix('.dir')}, found "
        assert store.check(deep=True)["parts"][0].problem.startswith(expected)


class TestRecorded:
    """What DVC's files lock, read without DVC."""

    def test_a_file_and_a_folder(self, store: Store) -> None:
        """Both are found by their path, with the hash that DVC gave them."""
        locks = recorded(store.path)
        assert {"orders.csv": md5_of(ORDERS), "parts": locks["parts"]} == locks
        assert locks["parts"].endswith(".dir")

    def test_a_link_into_the_cache(self, store: Store) -> None:
        """A file that DVC has linked is found by its own path."""
        (store.path / "orders.csv").unlink()
        (store.path / "orders.csv").symlink_to(store.object("cache", md5_of(ORDERS)))
        assert md5_of(ORDERS) == recorded(store.path)["orders.csv"]

    def test_without_dvc(self, tmp_path: Path) -> None:
        """A folder without DVC's files locks nothing."""
        (tmp_path / "code.py").touch()
        assert {} == recorded(tmp_path)

    @pytest.mark.parametrize(
        ("described", "path"),
        [
            ({"make": {"cmd": "true"}}, "data/raw.csv"),
            ({"make": {"cmd": "true", "wdir": "sub"}}, "sub/data/raw.csv"),
            ({"make": {"cmd": "true", "wdir": "../.."}}, None),
            ({"make@one": {"cmd": "true"}}, "data/raw.csv"),
            ({}, "data/raw.csv"),
        ],
    )
    def test_the_folder_of_a_stage(self, tmp_path: Path, described: dict[str, object], path: str | None) -> None:
        """Paths of a stage are relative to its folder, which stands in dvc.yaml; what lies outside is left out."""
        locked_by(tmp_path, described, "make")
        assert ({} if path is None else {path: "0" * 32}) == recorded(tmp_path)

    @pytest.mark.parametrize(
        ("stage", "path"),
        [
            ({"foreach": ["one"], "do": {"cmd": "true"}}, "data/raw.csv"),
            ({"foreach": ["one"], "do": {"cmd": "true", "wdir": "sub"}}, "sub/data/raw.csv"),
            ({"matrix": {"name": ["one"]}, "cmd": "true", "wdir": "sub"}, "sub/data/raw.csv"),
        ],
    )
    def test_a_stage_of_many(self, tmp_path: Path, stage: dict[str, object], path: str) -> None:
        """A stage that stands for several is found by its name before the @."""
        locked_by(tmp_path, {"make": stage}, "make@one")
        assert {path: "0" * 32} == recorded(tmp_path)

    def test_in_a_folder_below(self, tmp_path: Path) -> None:
        """Each folder may have DVC's files; paths are those of the whole."""
        (tmp_path / "conf/test").mkdir(parents=True)
        locked_by(tmp_path / "conf/test", {"make": {"cmd": "true", "wdir": "../.."}}, "make")
        single = {"outs": [{"md5": "1" * 32, "path": "a.csv"}], "wdir": ".."}
        (tmp_path / "conf/a.csv.dvc").write_text(yaml.safe_dump(single), encoding="utf-8")
        assert {"data/raw.csv": "0" * 32, "a.csv": "1" * 32} == recorded(tmp_path)

    def test_what_has_no_hash(self, tmp_path: Path) -> None:
        """An output that was never made, and an empty file, lock nothing."""
        (tmp_path / "a.csv.dvc").write_text(yaml.safe_dump({"outs": [{"path": "a.csv"}]}), encoding="utf-8")
        (tmp_path / "b.csv.dvc").touch()
        (tmp_path / "dvc.lock").write_text(yaml.safe_dump({"stages": {"make": {"cmd": "true"}}}), encoding="utf-8")
        assert {} == recorded(tmp_path)

    def test_as_dvc_does(self, prepared: Path, tmp_path: Path) -> None:
        """What DVC itself writes for stages with folders and loops is read rightly."""
        project = ProjectCopy(tmp_path / "project")
        make = "python -c \"open('out.csv', 'w').write('made')\""
        stages = {
            "plain": {"cmd": make, "outs": ["out.csv"]},
            "inside": {"cmd": make, "wdir": "inside", "outs": ["out.csv"]},
            "each": {"foreach": ["x"], "do": {"cmd": make, "wdir": "each", "outs": ["out.csv"]}},
        }
        for folder in ("inside", "each"):
            (project.path / folder).mkdir(parents=True)
        (project.path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}), encoding="utf-8")
        project.run("dvc", "init", "--quiet", "--no-scm")
        project.run("dvc", "repro", "--quiet")
        made = md5_of(b"made")
        assert {"out.csv": made, "inside/out.csv": made, "each/out.csv": made} == recorded(project.path)


def locked_by(folder: Path, described: dict[str, object], stage: str) -> None:
    """Write dvc.yaml and a dvc.lock that locks one file by a stage."""
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": described}), encoding="utf-8")
    out = {"path": "data/raw.csv", "hash": "md5", "md5": "0" * 32, "size": 1}
    lock = {"schema": "2.0", "stages": {stage: {"cmd": "true", "outs": [out]}}}
    (folder / "dvc.lock").write_text(yaml.safe_dump(lock), encoding="utf-8")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("data/a.csv", "a"),
        ("data/raw/b.csv", "raw"),
        ("data/raw/deep/c.csv", "raw"),
        ("data/raw", "raw"),
        ("data/raw2/b.csv", None),
        ("data/b.csv", None),
        ("data", None),
    ],
)
def test_a_path_is_locked_by_itself_or_by_a_folder(path: str, expected: str | None) -> None:
    """The nearest lock counts; a name that only begins alike does not."""
    assert expected == locked(path, {"data/a.csv": "a", "data/raw": "raw"})


def test_everything_may_be_locked_at_once() -> None:
    """The project's folder itself can be locked."""
    assert "all" == locked("data/a.csv", {".": "all"})
