"""`kedro run`, `kedro hold` and `kedro model` as Kedro offers them; what errors look like: test_explanations.py."""

import functools
import json
import socket
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.project import configure_project
from kedro.io import DatasetError

from ml_lifecycle import __main__, cli, model_commands
from ml_lifecycle.hold import Hold, HoldFile

ELSEWHERE = Hold(
    token="0" * 32,
    user="ada",
    machine="laptop/ab12cd",
    process=4711,
    process_started=1370080800.25,
    since="2013-06-01T10:00:00+00:00",
    command="kedro run --env shared",
)


def test_run_takes_what_kedros_run_takes() -> None:
    """The options of `kedro run` are those of Kedro."""
    assert [option.opts for option in kedro_run.params] == [option.opts for option in cli.run.params]


def test_kedros_own_command_is_untouched() -> None:
    """Only this project's command is changed, not Kedro's."""
    assert kedro_run.callback is not cli.run.callback


def test_group_holds_all_commands() -> None:
    """Kedro finds the commands in the project's group."""
    assert {"run": cli.run, "hold": cli.hold, "model": model_commands.model} == cli.cli.commands


@pytest.mark.filterwarnings("default")  # of third parties, as settings are imported
def test_run_explains_its_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Kedro's own command raises is explained, and its arguments are handed on."""
    given = {}

    def fail(**options: object) -> None:
        given.update(options)
        raise DatasetError("Failed while loading data from dataset flights")

    monkeypatch.setattr(cli.run, "callback", functools.partial(cli._interruptible, fail))
    result = CliRunner().invoke(cli.run, ["--env", "test"])
    expected = (1, "", "Error: Failed while loading data from dataset flights\n")
    assert expected == (result.exit_code, result.stdout, result.stderr)
    assert "test" == given["env"]


def test_an_interrupted_run_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """After Ctrl-C the MLflow run is closed, and the interruption goes on."""
    closed = []
    monkeypatch.setattr(cli, "close_interrupted", lambda: closed.append(True))

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cli._interruptible(interrupt)
    assert [True] == closed


def test_group_explains_itself() -> None:
    """The group has a help text."""
    assert "Commands of this project." in CliRunner().invoke(cli.cli, ["--help"]).output


@pytest.mark.filterwarnings("default")  # of third parties, as settings are imported
def test_module_is_kedro_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m ml_lifecycle` takes the options of `kedro run`."""
    monkeypatch.setattr(sys, "argv", ["ml_lifecycle", "--help"])
    with pytest.raises(SystemExit, match="0"):
        __main__.main()
    assert "--pipelines" in capsys.readouterr().out


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder with configuration the current project; its environment `shared` names a hold, others do not."""
    for environment, file, text in (
        ("base", "globals.yml", "store: {credentials: null, hold: null, ledger: null}\n"),
        ("local", "globals.yml", ""),
        ("test", "globals.yml", "seed: 1\n"),
        ("shared", "globals.yml", f"store: {{hold: 'file://{tmp_path}/hold.json'}}\n"),
    ):
        (tmp_path / "conf" / environment).mkdir(parents=True, exist_ok=True)
        (tmp_path / "conf" / environment / file).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    configure_project("ml_lifecycle")
    return tmp_path


def hold_command(*arguments: str) -> Result:
    """Run `kedro hold …`, as the project's group offers it."""
    return CliRunner().invoke(cli.cli, ["hold", *arguments])


@pytest.mark.filterwarnings("default")  # of third parties, as settings are imported
class TestHold:
    """`kedro hold show` and `kedro hold clear`."""

    @pytest.fixture
    def file(self, project: Path) -> Path:
        """Return the file that the environment `shared` names, while somebody is at work."""
        file = project / "hold.json"
        file.write_text(ELSEWHERE.model_dump_json(), encoding="utf-8")
        return file

    def test_show_tells_who_is_at_work(self, file: Path) -> None:
        """The command prints who, where, since when, doing what, and leaves the hold alone."""
        before = file.read_bytes()
        result = hold_command("show", "--env", "shared")
        assert (0, f"The store is held by {ELSEWHERE}.\n", "") == (result.exit_code, result.stdout, result.stderr)
        assert before == file.read_bytes()

    def test_show_tells_that_nobody_is_at_work(self, project: Path) -> None:
        """Without a hold, the command says so."""
        result = hold_command("show", "--env", "shared")
        assert (0, "Nobody holds the store.\n", "") == (result.exit_code, result.stdout, result.stderr)

    def test_show_tells_of_a_run(self, project: Path) -> None:
        """What a run of this process acquires is shown, until it is released."""
        file = HoldFile(f"file://{project}/hold.json")
        hold = file.acquire("kedro run --env shared")
        assert f"The store is held by {hold}.\n" == hold_command("show", "--env", "shared").stdout
        file.release(hold)
        assert "Nobody holds the store.\n" == hold_command("show", "--env", "shared").stdout

    def test_clear_tells_whose_hold_it_cleared(self, file: Path) -> None:
        """The command removes the hold, and prints whose it was."""
        result = hold_command("clear", "--env", "shared")
        assert (0, f"Cleared the hold of {ELSEWHERE}.\n", "") == (result.exit_code, result.stdout, result.stderr)
        assert not file.exists()

    @pytest.mark.parametrize("content", [None, "{}"], ids=["nothing", "unreadable"])
    def test_clear_leaves_no_hold(self, project: Path, content: str | None) -> None:
        """Where there is no hold, or none that can be read, there is none afterwards."""
        if content is not None:
            (project / "hold.json").write_text(content, encoding="utf-8")
        result = hold_command("clear", "--env", "shared")
        assert (0, "There is no hold any more.\n", "") == (result.exit_code, result.stdout, result.stderr)
        assert not (project / "hold.json").exists()

    def test_show_refuses_an_unreadable_hold(self, file: Path) -> None:
        """A hold that cannot be read is an error in one line, which names the file and the way out."""
        file.write_text("{}", encoding="utf-8")
        result = hold_command("show", "--env", "shared")
        assert (1, "", 1) == (result.exit_code, result.stdout, len(result.stderr.splitlines()))
        assert result.stderr.startswith(f"Error: file://{file} says that the store is held")
        assert "`kedro hold clear`" in result.stderr

    @pytest.mark.parametrize("command", ["show", "clear"])
    @pytest.mark.parametrize(
        ("arguments", "environment"), [([], "base"), (["--env", "base"], "base"), (["--env", "test"], "test")]
    )
    def test_refuses_an_environment_that_shares_nothing(
        self, project: Path, command: str, arguments: list[str], environment: str
    ) -> None:
        """Where no file is named there is nothing to hold: one line says so, and names an environment that has one."""
        result = hold_command(command, *arguments)
        assert (1, "") == (result.exit_code, result.stdout)
        assert (
            f"Error: The environment '{environment}' shares no store: its globals.yml names no store.hold. "
            "Name an environment that does: `--env minio`.\n"
        ) == result.stderr

    @pytest.mark.parametrize("command", ["show", "clear"])
    def test_refuses_an_environment_whose_variables_are_not_set(
        self, file: Path, command: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each variable that the environment refers to is named in one line, before anything is opened."""
        monkeypatch.delenv("STORE_KEY", raising=False)
        monkeypatch.setenv("STORE_SECRET", "")
        values = ("key: ${oc.env:STORE_KEY}", "secret: ${oc.env:STORE_SECRET}", "token: ${oc.env:STORE_TOKEN, null}")
        keys = "\n  ".join(["keys:", *values])
        (file.parent / "conf/shared/credentials.yml").write_text(keys, encoding="utf-8")
        result = hold_command(command, "--env", "shared")
        assert (1, "", 1) == (result.exit_code, result.stdout, len(result.stderr.splitlines()))
        assert result.stderr.startswith("Error: The environment 'shared' needs STORE_KEY, STORE_SECRET, not set")
        assert file.exists()

    def test_opens_the_store_with_its_credentials(self, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The store is opened as its entry in credentials.yml says; if it is away, one line says so."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            nowhere = f"http://127.0.0.1:{listener.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", nowhere)
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        keys = {"keys": {"key": "a", "secret": "b", "client_kwargs": {"endpoint_url": nowhere}}}
        shared = project / "conf/shared"
        (shared / "credentials.yml").write_text(json.dumps(keys), encoding="utf-8")
        (shared / "globals.yml").write_text("store: {credentials: keys, hold: 's3://data/hold.json'}", encoding="utf-8")
        files = cli._hold_file("shared")._fs
        assert keys["keys"] == {"key": files.key, "secret": files.secret, "client_kwargs": files.client_kwargs}
        result = hold_command("show", "--env", "shared")
        assert (1, "") == (result.exit_code, result.stdout)
        assert (
            f"Error: The object store at {nowhere} does not answer (EndpointConnectionError). Start it, or correct "
            "AWS_ENDPOINT_URL.\n"
        ) == result.stderr
