"""What every process of this project starts with: the variables of defaults.env, and what libraries make of them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ml_lifecycle import defaults
from project_copy import PROJECT

TELEMETRY = ("DO_NOT_TRACK", "KEDRO_DISABLE_TELEMETRY", "MLFLOW_DISABLE_TELEMETRY", "DVC_NO_ANALYTICS")
SWITCHES = {
    **dict.fromkeys(TELEMETRY, "true"),
    "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
    "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
    "AWS_RETRY_MODE": "standard",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",
    "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "OMP_WAIT_POLICY": "passive",
}
NUMBERS = {  # how patient clients are, which the file decides
    "AWS_MAX_ATTEMPTS",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR",
    "MLFLOW_HTTP_REQUEST_TIMEOUT",
}
EXPECTED = defaults.read()
PRINT_VARIABLES = "import json, os; print(json.dumps(dict(os.environ)))"
BOTOCORE = """
from botocore.session import Session
client = Session().create_client("s3", region_name="us-east-1")
"""
S3FS = """
import s3fs
files = s3fs.S3FileSystem(anon=True, client_kwargs={"region_name": "us-east-1"})
files.connect()
client = files._s3
"""
PRINT_CONFIG = """
import json
config = client.meta.config
names = ("retries", "request_checksum_calculation", "response_checksum_validation")
print(json.dumps({name: getattr(config, name) for name in names}))
"""
MLFLOW = """
import json
from mlflow import environment_variables as variables
names = [name for name in NAMES if name.startswith("MLFLOW_")]
print(json.dumps({name: getattr(variables, name).get() for name in names}))
"""


def environment(**variables: str) -> dict[str, str]:
    """Return an environment that knows none of the variables but those given, and no configuration of AWS."""
    inherited = {name: value for name, value in os.environ.items() if name not in EXPECTED}
    return {**inherited, "AWS_CONFIG_FILE": os.devnull, **variables}


def in_new_process(code: str, **variables: str) -> dict[str, Any]:
    """Run code in a Python that knows none of the variables but those given; it prints JSON."""
    printed = subprocess.check_output([sys.executable, "-c", code], env=environment(**variables), text=True)
    answer: dict[str, Any] = json.loads(printed)
    return answer


def own(variables: dict[str, Any]) -> dict[str, Any]:
    """Keep the variables that the file is about."""
    return {name: value for name, value in variables.items() if name in EXPECTED}


class TestFile:
    """The file, for all who read it."""

    def test_sets_these_variables(self) -> None:
        """The file sets these variables and no others: switches as they should be, and numbers."""
        assert NUMBERS == set(EXPECTED) - set(SWITCHES)
        assert SWITCHES == {name: EXPECTED[name] for name in SWITCHES}
        assert [] == [name for name in NUMBERS if not EXPECTED[name].isdecimal()]

    def test_lets_clients_ask_again(self) -> None:
        """A server that is away for a moment is asked more than once."""
        assert int(EXPECTED["AWS_MAX_ATTEMPTS"]) > 1
        assert int(EXPECTED["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]) > 0

    @pytest.mark.parametrize("line", defaults.FILE.read_text(encoding="utf-8").splitlines())
    def test_line_is_understood_by_everybody(self, line: str) -> None:
        """Each line is empty, a comment, or a name and a value that Python, shells and make read alike."""
        assert re.fullmatch(r"|# \S.*|[A-Z][A-Z0-9_]*=[A-Za-z0-9_.-]+", line)

    def test_names_are_set_once(self) -> None:
        """No variable is set twice."""
        lines = defaults.FILE.read_text(encoding="utf-8").splitlines()
        assert len(EXPECTED) == len([line for line in lines if line and not line.startswith("#")])

    def test_shell_reads_the_same(self) -> None:
        """A shell that sources the file hands the same values to what it starts."""
        script = 'set -a; source "$1"; set +a; exec "$2" -c "$3"'
        command = ["bash", "-c", script, "bash", str(defaults.FILE), sys.executable, PRINT_VARIABLES]
        assert EXPECTED == own(json.loads(subprocess.check_output(command, env=environment(), text=True)))

    def test_make_reads_the_same(self) -> None:
        """A Makefile that includes the file hands the same values to what it starts."""
        makefile = f"include {defaults.FILE}\nexport\nall:\n\t@'{sys.executable}' -c '{PRINT_VARIABLES}'\n"
        printed = subprocess.check_output(
            ["make", "--no-print-directory", "--file=-"], env=environment(), input=makefile, text=True
        )
        assert EXPECTED == own(json.loads(printed))


class TestProcess:
    """Processes that import the package."""

    @pytest.mark.parametrize("module", ["ml_lifecycle", "ml_lifecycle.quiet", "ml_lifecycle.cli"])
    def test_sees_the_values(self, module: str) -> None:
        """Importing the package, or the modules that Kedro imports first, sets the variables."""
        assert EXPECTED == own(in_new_process(f"import {module}; {PRINT_VARIABLES}"))

    @pytest.mark.parametrize("value", ["false", "0", ""])
    def test_users_setting_wins(self, value: str) -> None:
        """Variables that the user has set stay as they are, even if they are empty."""
        mine = dict.fromkeys(EXPECTED, value)
        assert mine == own(in_new_process(f"import ml_lifecycle; {PRINT_VARIABLES}", **mine))

    def test_one_setting_of_the_user_changes_no_other(self) -> None:
        """The variables that the user has not set are set."""
        seen = own(in_new_process(f"import ml_lifecycle; {PRINT_VARIABLES}", AWS_MAX_ATTEMPTS="17"))
        assert {**EXPECTED, "AWS_MAX_ATTEMPTS": "17"} == seen

    def test_nothing_else_is_set(self) -> None:
        """Importing the package changes no other variable."""
        before, after = (in_new_process(f"{code}{PRINT_VARIABLES}") for code in ("", "import ml_lifecycle; "))
        assert {**before, **EXPECTED} == after

    def test_can_be_applied_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A variable that is gone is set again, one that was changed stays."""
        monkeypatch.delenv("DO_NOT_TRACK")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "17")
        defaults.apply()
        assert ("true", "17") == (os.environ["DO_NOT_TRACK"], os.environ["AWS_MAX_ATTEMPTS"])


class TestLibraries:
    """The libraries that the variables are for."""

    @pytest.mark.parametrize("client", [BOTOCORE, S3FS], ids=["botocore", "s3fs"])
    def test_object_store_is_asked_so(self, client: str) -> None:
        """A new client asks as often as the file says, and sends checksums only where they are required."""
        assert {
            "retries": {"mode": "standard", "total_max_attempts": int(EXPECTED["AWS_MAX_ATTEMPTS"])},
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
        } == in_new_process(f"import ml_lifecycle\n{client}{PRINT_CONFIG}")

    @pytest.mark.parametrize("client", [BOTOCORE, S3FS], ids=["botocore", "s3fs"])
    def test_object_store_is_asked_as_the_user_says(self, client: str) -> None:
        """A client of a user with other settings has these."""
        mine = {"AWS_MAX_ATTEMPTS": "17", "AWS_REQUEST_CHECKSUM_CALCULATION": "when_supported"}
        config = in_new_process(f"import ml_lifecycle\n{client}{PRINT_CONFIG}", **mine)
        assert {"mode": "standard", "total_max_attempts": 17} == config["retries"]
        assert "when_supported" == config["request_checksum_calculation"]

    def test_mlflow_reads_them(self) -> None:
        """MLflow knows each of its variables, and takes them for numbers and switches."""
        numbers = {name: int(EXPECTED[name]) for name in NUMBERS if name.startswith("MLFLOW_")}
        switches = dict.fromkeys(("MLFLOW_DISABLE_TELEMETRY", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"), True)
        switches |= {name: False for name in EXPECTED if name.startswith("MLFLOW_ENABLE_")}
        seen = in_new_process(f"import ml_lifecycle\nNAMES = {list(EXPECTED)}\n{MLFLOW}")
        assert {**numbers, **switches} == seen

    @pytest.mark.parametrize("command", [["python", "-c", "import ml_lifecycle, sklearn"], ["kedro", "--version"]])
    @pytest.mark.parametrize(("mine", "told"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "active"}, "ACTIVE")])
    def test_openmp_reads_it(self, command: list[str], mine: dict[str, str], told: str) -> None:
        """OpenMP reads its variable when it is loaded, and says so: by then the package has been imported."""
        program = Path(sys.executable).with_name(command[0])
        variables = environment(OMP_DISPLAY_ENV="true", **mine)
        said = subprocess.run(
            [program, *command[1:]], cwd=PROJECT, env=variables, capture_output=True, text=True, check=True
        )
        assert f"OMP_WAIT_POLICY = '{told}'" in said.stderr
