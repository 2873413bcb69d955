"""Asks `kedro model …` and the service, for the scripts beside this file."""

import json
import re
import subprocess
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[1]
YES, NO, CANNOT = 0, 1, 2
#: To a version: number, alias or digest.
REFERENCE = re.compile(r"\d+|@staging|@production|[0-9a-f]{8,64}")
#: For one answer of the service.
SECONDS = 10.0


class StateError(Exception):
    """What was asked for cannot be decided or undone from here; the message says where things are."""


@dataclass(frozen=True)
class Told:
    """What `kedro model …` answered: 0 yes, 1 no, 2 cannot decide, and the facts."""

    code: int
    facts: dict[str, Any]

    @property
    def error(self) -> str:
        """Why it cannot decide."""
        return str(self.facts.get("error", ""))


@dataclass(frozen=True)
class Models:
    """The registry of one environment of the project, as its commands tell of it."""

    environment: str

    def ask(self, *arguments: str) -> Told:
        """Run a command; what it says on its standard error is passed on."""
        command = ["kedro", "model", *arguments, "--json", "--env", self.environment]
        done = subprocess.run(command, cwd=PROJECT, check=False, stdout=subprocess.PIPE, text=True)
        try:
            return Told(done.returncode, json.loads(done.stdout))
        except ValueError:
            said = (done.stdout.strip().splitlines() or ["nothing"])[-1]
            told = f"`kedro model {arguments[0]}` ended with {done.returncode} and said no JSON, but: {said}"
            return Told(CANNOT, {"error": told})

    def newest_of(self, commit: str) -> str | None:
        """Number of the newest version that was made from a commit.

        Raises:
            StateError: the registry does not tell.
        """
        told = self.ask("list")
        if told.code != YES:
            raise StateError(told.error)
        made = [found["version"] for found in told.facts["versions"] if found["commit"] == commit]
        return max(made, key=int, default=None)


def commit_here() -> str:
    """The commit that is checked out."""
    return subprocess.check_output(["git", "-C", str(PROJECT), "rev-parse", "HEAD"], text=True).strip()


def version_or_newest(models: Models, version: str) -> str:
    """Name the version that was given or, if none was, the newest that was made from the commit that is checked out.

    Raises:
        StateError: there is none, or the text names no version.
    """
    if version and not REFERENCE.fullmatch(version):
        raise StateError(
            f"'{version}' names no version. Allowed: a number, @staging, @production, digits of the digest"
        )
    if version:
        return version
    found = models.newest_of(commit_here())
    if found is None:
        raise StateError(
            f"no version in the registry of the environment '{models.environment}' was made from the commit that "
            f"is checked out, {commit_here()}. Make one, `make train` or `kedro run`, or name a version: VERSION=…"
        )
    return found


@dataclass(frozen=True)
class Reply:
    """What the service answered; status 0 if nobody did."""

    status: int
    content: Any

    def __str__(self) -> str:
        """In one line."""
        return f"{self.status or 'no answer'}: {json.dumps(self.content) if self.content is not None else 'no JSON'}"


@dataclass(frozen=True)
class Service:
    """The service at an address, asked with a key if there is one."""

    url: str
    key: str = ""

    def ask(self, path: str, content: Any = None) -> Reply:
        """Get something, or send JSON."""
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if self.key:
            headers["X-API-Key"] = self.key
        body = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(f"{self.url}{path}", body, headers)  # noqa: S310 - http or https: see address
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310 - as above
                return Reply(answer.status, _json_of(answer.read()))
        except urllib.error.HTTPError as error:
            with error:
                return Reply(error.code, _json_of(error.read()))
        except OSError as error:
            return Reply(0, str(error))


def _json_of(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def address(text: str) -> str:
    """Read the address of a service.

    Raises:
        ValueError: it is none.
    """
    if not text.startswith(("http://", "https://")):
        raise ValueError(f"'{text}' is no address of a service. Allowed: http://… or https://…")
    return text.rstrip("/")
