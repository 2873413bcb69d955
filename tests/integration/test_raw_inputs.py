"""Raw inputs are what DVC recorded, or nothing runs."""

import hashlib
import shutil
from pathlib import Path

import dvc_data.hashfile.hash
import pytest
import yaml
from mlflow import MlflowClient

from ml_lifecycle.errors import RawInputError
from ml_lifecycle.provenance import raw_inputs
from ml_lifecycle.provenance.record import RawInput
from project_copy import MODEL, KedroRun, Lifecycle, ProjectCopy, inside

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("default"),  # of third parties; test_lifecycle.py tests that a user sees none
]

AIRLINES = "data/01_raw/sample/airlines.csv"
ORDERS = "data/01_raw/orders.csv"
ORDERS_MD5 = "e5ebd4c02cefbe7955977c67ada242b7"  # of "a,b\n1,2\n"


def raw_md5(project: ProjectCopy) -> str:
    """Compute the MD5 of the file of airlines."""
    return hashlib.md5((project.path / AIRLINES).read_bytes()).hexdigest()  # noqa: S324  # DVC's choice


def verify(project: ProjectCopy, name: str, path: str) -> RawInput:
    """Check one raw input of the copy."""
    with inside(project):
        return raw_inputs.verify(project.path, {name: Path(path)})[name]


def flip_a_byte(file: Path) -> bytes:
    """Change one byte; return what the file holds then."""
    content = bytearray(file.read_bytes())
    content[-2] ^= 1
    file.write_bytes(content)
    return bytes(content)


@pytest.fixture(scope="session")
def own_data(tmp_path_factory: pytest.TempPathFactory) -> ProjectCopy:
    """Make a small DVC project with a file and a folder of a user's own, and a remote that is a local folder."""
    project = ProjectCopy(tmp_path_factory.mktemp("own") / "project")
    folder = project.path / "data/01_raw/many"
    folder.mkdir(parents=True)
    (project.path / ORDERS).write_text("a,b\n1,2\n", encoding="utf-8")
    (folder / "part.csv").write_text("a\n1\n", encoding="utf-8")
    project.run("git", "init", "--quiet")
    project.run("dvc", "init", "--quiet")
    project.run("dvc", "add", "--quiet", ORDERS, "data/01_raw/many")
    project.commit()
    return project


@pytest.fixture
def own(own_data: ProjectCopy, tmp_path: Path) -> ProjectCopy:
    """Return a copy of one's own of the small project."""
    return own_data.clone(tmp_path / "own")


class TestChanged:
    """A raw file that differs from its record."""

    def test_stops_the_run(self, finished_project: ProjectCopy) -> None:
        """A flipped byte ends the run with 1 and one line that names file, hashes and the way out."""
        recorded = raw_md5(finished_project)
        flip_a_byte(finished_project.path / AIRLINES)
        result = finished_project.run("kedro", "run", "--env", "test", check=False)
        errors = [line for line in result.stderr.splitlines() if line.startswith("Error:")]
        expected = (
            f"Error: The raw input 'airlines' ({AIRLINES}) has changed: DVC recorded MD5 {recorded}, "
            f"found {raw_md5(finished_project)}. Nothing was run. To accept the change: "
            f"`dvc commit --force conf/test/dvc.yaml:raw_sample`"
            f" and commit the record; to undo it: `dvc checkout --force {AIRLINES}`."
        )
        assert (result.returncode, errors) == (1, [expected])
        assert "Running node" not in result.stderr
        assert "Traceback" not in result.stderr

    def test_leaves_the_file_alone(self, finished_project: ProjectCopy, kedro_run: KedroRun) -> None:
        """The changed file is not overwritten."""
        flipped = flip_a_byte(finished_project.path / AIRLINES)
        kedro_run(finished_project)
        assert flipped == (finished_project.path / AIRLINES).read_bytes()

    def test_opens_no_mlflow_run(
        self, lifecycle: Lifecycle, finished_project: ProjectCopy, kedro_run: KedroRun
    ) -> None:
        """A refused run leaves nothing in MLflow."""
        flip_a_byte(finished_project.path / AIRLINES)
        kedro_run(finished_project)
        client = MlflowClient(finished_project.tracking_uri)
        runs = client.search_runs([client.get_experiment_by_name(MODEL).experiment_id])
        assert [lifecycle.run.info.run_id] == [run.info.run_id for run in runs]

    def test_can_be_accepted(self, finished_project: ProjectCopy) -> None:
        """The command that the error names makes the changed file the recorded one."""
        flip_a_byte(finished_project.path / AIRLINES)
        finished_project.run("dvc", "commit", "--force", "conf/test/dvc.yaml:raw_sample")
        assert raw_md5(finished_project) == verify(finished_project, "airlines", AIRLINES).md5

    def test_can_be_undone(self, finished_project: ProjectCopy) -> None:
        """The other command that the error names brings the recorded file back."""
        recorded = raw_md5(finished_project)
        flip_a_byte(finished_project.path / AIRLINES)
        finished_project.run("dvc", "checkout", "--force", AIRLINES)
        assert recorded == verify(finished_project, "airlines", AIRLINES).md5


class TestMissing:
    """A raw file that is not there."""

    def test_comes_from_the_cache(self, finished_project: ProjectCopy, caplog: pytest.LogCaptureFixture) -> None:
        """A deleted file is restored from DVC's cache."""
        (finished_project.path / AIRLINES).unlink()
        with caplog.at_level("INFO", "ml_lifecycle"):
            verify(finished_project, "airlines", AIRLINES)
        assert "raw input 'airlines' restored from the DVC cache" in caplog.messages

    def test_comes_from_its_stage(self, finished_project: ProjectCopy, caplog: pytest.LogCaptureFixture) -> None:
        """Without a cache, the stage that makes the file runs."""
        (finished_project.path / AIRLINES).unlink()
        shutil.rmtree(finished_project.path / ".dvc/cache")
        with caplog.at_level("INFO", "ml_lifecycle"):
            verify(finished_project, "airlines", AIRLINES)
        assert "raw input 'airlines' restored by its stage 'conf/test/dvc.yaml:raw_sample'" in caplog.messages

    def test_comes_from_the_remote(self, own: ProjectCopy, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """Without cache and stage, the file is pulled from the DVC remote."""
        own.run("dvc", "remote", "add", "--quiet", "--default", "store", str(tmp_path / "remote"))
        own.run("dvc", "push", "--quiet")
        (own.path / ORDERS).unlink()
        shutil.rmtree(own.path / ".dvc/cache")
        with caplog.at_level("INFO", "ml_lifecycle"):
            verify(own, "orders", ORDERS)
        assert "raw input 'orders' restored from the DVC remote" in caplog.messages

    @pytest.mark.parametrize(
        ("url", "complaint"),
        [("s3://dvc", r"no remote is set up"), ("s3://acme-dvc", r"(?!no remote).+")],
        ids=["shipped", "own"],
    )
    def test_asks_a_remote_of_ones_own(
        self, own: ProjectCopy, monkeypatch: pytest.MonkeyPatch, url: str, complaint: str
    ) -> None:
        """A remote on AWS is asked without an address; the one that comes with the project is not."""
        own.run("dvc", "remote", "add", "--quiet", "--default", "--force", "minio", url)
        (own.path / ORDERS).unlink()
        shutil.rmtree(own.path / ".dvc/cache")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(own.path / "aws"))
        (own.path / "aws").write_text("[default]\nendpoint_url = http://127.0.0.1:1\n", encoding="utf-8")
        with pytest.raises(RawInputError, match=rf"a remote \({complaint}\)"):
            verify(own, "orders", ORDERS)

    def test_says_how_to_get_it(self, own: ProjectCopy) -> None:
        """A file that nothing can restore is refused with what to do."""
        (own.path / ORDERS).unlink()
        shutil.rmtree(own.path / ".dvc/cache")
        with pytest.raises(
            RawInputError,
            match=rf"'orders' \({ORDERS}, MD5 {ORDERS_MD5}\) is missing.*`dvc remote add`.*`dvc pull {ORDERS}`",
        ):
            verify(own, "orders", ORDERS)


class TestOwnData:
    """Files that a user has added with `dvc add`."""

    def test_a_file_is_verified(self, own: ProjectCopy) -> None:
        """An added file has its path, hash and size in the record."""
        assert RawInput(path=ORDERS, md5=ORDERS_MD5, size=8) == verify(own, "orders", ORDERS)

    def test_a_changed_file_is_refused(self, own: ProjectCopy) -> None:
        """An added file that has changed is refused with the command that accepts it."""
        flip_a_byte(own.path / ORDERS)
        with pytest.raises(RawInputError, match=rf"has changed.*`dvc commit --force {ORDERS}\.dvc`"):
            verify(own, "orders", ORDERS)

    def test_accepting_needs_no_answer(self, own: ProjectCopy) -> None:
        """The command that accepts a changed file works without a terminal."""
        flip_a_byte(own.path / ORDERS)
        own.run("dvc", "commit", "--force", f"{ORDERS}.dvc")
        assert ORDERS_MD5 != verify(own, "orders", ORDERS).md5

    def test_an_untracked_file_is_refused(self, own: ProjectCopy) -> None:
        """A file that DVC does not know is refused with the command that locks it."""
        (own.path / "data/01_raw/loose.csv").write_text("a\n1\n", encoding="utf-8")
        with pytest.raises(RawInputError, match=r"not locked by DVC.*`dvc add data/01_raw/loose\.csv`"):
            verify(own, "loose", "data/01_raw/loose.csv")

    def test_a_file_in_a_folder_is_verified(self, own: ProjectCopy) -> None:
        """A file inside an added folder carries the folder's hash, the only one that DVC records."""
        record = yaml.safe_load((own.path / "data/01_raw/many.dvc").read_text(encoding="utf-8"))
        assert record["outs"][0]["md5"] == verify(own, "part", "data/01_raw/many/part.csv").md5

    def test_a_changed_file_in_a_folder_is_refused(self, own: ProjectCopy) -> None:
        """A changed file inside an added folder is refused."""
        flip_a_byte(own.path / "data/01_raw/many/part.csv")
        with pytest.raises(RawInputError, match=r"'part'.*has changed"):
            verify(own, "part", "data/01_raw/many/part.csv")

    def test_a_stage_that_never_ran_is_refused(self, own: ProjectCopy) -> None:
        """An output without a recorded hash is refused with the command that makes it."""
        (own.path / "dvc.yaml").write_text("stages: {make: {cmd: 'true', outs: [made.csv]}}", encoding="utf-8")
        with pytest.raises(RawInputError, match=r"no hash of the raw input 'made'.*`dvc repro make`"):
            verify(own, "made", "made.csv")

    def test_a_folder_without_dvc_is_refused(self, tmp_path: Path) -> None:
        """Outside a DVC project nothing can be checked, so nothing is read."""
        with pytest.raises(RawInputError, match=r"not a DVC project.*`dvc init`"):
            raw_inputs.verify(tmp_path, {"orders": Path(ORDERS)})


class TestHashing:
    """Large files are not read again without need."""

    @pytest.fixture
    def hashed(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Return the names of the files that DVC hashes from now on."""
        names: list[str] = []
        hash_file = dvc_data.hashfile.hash._hash_file

        def counted(path: str, *arguments: object, **options: object) -> object:
            names.append(Path(path).name)
            return hash_file(path, *arguments, **options)

        monkeypatch.setattr(dvc_data.hashfile.hash, "_hash_file", counted)
        return names

    def test_a_file_is_hashed_once(self, own: ProjectCopy, hashed: list[str]) -> None:
        """The first check hashes the file, the second trusts its size, time and inode."""
        for _ in range(2):
            verify(own, "orders", ORDERS)
        assert hashed == ["orders.csv"]

    def test_a_changed_file_is_hashed_again(self, own: ProjectCopy, hashed: list[str]) -> None:
        """A file that was written to is hashed again."""
        verify(own, "orders", ORDERS)
        flip_a_byte(own.path / ORDERS)
        with pytest.raises(RawInputError, match="has changed"):
            verify(own, "orders", ORDERS)
        assert hashed == ["orders.csv", "orders.csv"]
