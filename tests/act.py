"""Runs the workflows of a copy of the project with act, on this machine, without containers.

What act cannot fetch here is replaced by small actions in tests/workflows/actions, `actions/checkout` as well: the copy
that act makes by itself gives all files new times. The text of the workflows is executed as it is.
"""

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from project_copy import ProjectCopy, environment

PROJECT = Path(__file__).parents[1]
WORKFLOWS = PROJECT / ".github/workflows"
STAND_INS = PROJECT / "tests/workflows/actions"
ACT = Path(sys.executable).with_name("act")
#: What a runner or an outer pytest says of itself is not handed on.
OF_GITHUB = ("GITHUB_", "RUNNER_", "ACTIONS_", "PYTEST_")
SECONDS = 1200


def _stand_ins(workflow: Path) -> list[str]:
    used = set(re.findall(r"uses: (actions/([a-z-]+)@\w+)", workflow.read_text(encoding="utf-8")))
    replaced = [(action, STAND_INS / name) for action, name in sorted(used) if (STAND_INS / name).is_dir()]
    return [part for action, folder in replaced for part in ("--local-repository", f"{action}={folder}")]


@dataclass(frozen=True)
class Ran:
    """What a job told, and whether it is green."""

    is_green: bool
    told: str

    @property
    def why(self) -> str:
        """What the jobs with a failing step told up to there; without one, the end of it all.

        Jobs run side by side, so that the lines of one are not the last ones, nor in one piece.
        """
        lines = re.sub("\x1b\\[[0-9;]*m", "", self.told).splitlines()
        ends = {line.partition("]")[0]: number for number, line in enumerate(lines) if "Failure - " in line}
        pieces = [[line for line in lines[: end + 1] if line.startswith(job)][-50:] for job, end in ends.items()]
        return "\n".join("\n".join(piece) for piece in pieces or [lines[-50:]])


def validated(workflow: Path, folder: Path) -> Ran:
    """Compare a file with the schema of workflows; the folder is for what act wants to keep."""
    (folder / "act").mkdir()
    (folder / "act/actrc").touch()
    command = [str(ACT), "--validate", "--strict", "--workflows", str(workflow)]
    inherited = {**os.environ, "XDG_CONFIG_HOME": str(folder)}
    ended = subprocess.run(command, env=inherited, check=False, capture_output=True, text=True)
    return Ran(ended.returncode == 0, ended.stdout + ended.stderr)


@dataclass(frozen=True)
class Act:
    """A copy of the project as a runner has it after the checkout of `main`, with a virtual environment."""

    project: ProjectCopy
    folder: Path

    @classmethod
    def on(cls, project: ProjectCopy, folder: Path) -> "Act":
        """Make a copy the main branch of a repository at GitHub."""
        project.run("git", "branch", "--move", "--force", "main")
        project.run("git", "config", "remote.origin.url", "https://github.com/Acme/flights.git")
        if not (project.path / ".venv").exists():
            (project.path / ".venv").symlink_to(sys.prefix)
        for file in (project.path / "pyproject.toml", *project.path.glob("requirements/*.txt")):
            os.utime(file, (1, 1))  # older than the environment, which make need not build
        (folder / "config/act").mkdir(parents=True, exist_ok=True)
        (folder / "config/act/actrc").touch()  # without it, act asks for an image
        return cls(project, folder)

    @property
    def artifacts(self) -> Path:
        """Where artifacts end."""
        return self.folder / "artifacts"

    def run(
        self,
        workflow: str,
        event: str,
        job: str,
        *options: str,
        settings: dict[str, dict[str, str]] | None = None,
        variables: dict[str, str] | None = None,
    ) -> Ran:
        """Run a job of a workflow, and the jobs that it needs.

        Args:
            workflow: name of its file.
            event: that starts it.
            job: its name.
            options: of act.
            settings: variables, secrets and inputs (`var`, `secret`, `input`) by name.
            variables: environment of the runner.
        """
        given = [
            part
            for kind, values in (settings or {}).items()
            for name, value in values.items()
            for part in (f"--{kind}", f"{name}={value}")
        ]
        files = [part for kind in ("env", "secret", "var", "input") for part in (f"--{kind}-file", os.devnull)]
        how = ["--job", job, "--no-cache-server", "--no-skip-checkout", "--platform", "ubuntu-latest=-self-hosted"]
        where = ["--workflows", f".github/workflows/{workflow}", "--action-cache-path", str(self.folder / "cache")]
        replaced = _stand_ins(self.project.path / ".github/workflows" / workflow)
        return self._finished([str(ACT), event, *how, *where, *files, *given, *replaced, *options], variables or {})

    def _finished(self, command: list[str], variables: dict[str, str]) -> Ran:
        inherited = environment(self.project.path)
        kept = {name: value for name, value in inherited.items() if not name.startswith(OF_GITHUB)}
        outside = {
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "ARTIFACTS": str(self.artifacts),
            "CHECKOUT": str(self.project.path),
            **dict.fromkeys(("PYTHONPATH", "MYPYPATH"), "src"),  # of the checkout, as if it were installed there
        }
        with subprocess.Popen(
            command,
            cwd=self.project.path,
            env=kept | outside | variables,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process:
            try:
                told, _ = process.communicate(timeout=SECONDS)
            except BaseException:
                process.send_signal(signal.SIGINT)  # upon which act ends what it started
                process.communicate()
                raise
        return Ran(process.returncode == 0, told)
