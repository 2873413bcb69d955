"""Gives a version an alias and sees that the service takes it up: ``make promote VERSION=3 ALIAS=staging SERVICE=…``.

The gate is asked. If it says yes and the alias moved, the service has to name the version and its digest, several times
in a row, and to answer a record with it. If it does not within the time given, the alias is moved back, and the script
waits until the service answers with what it answered with before. Without a service only the gate is asked.

Exit codes: 0 the version has the alias, and answers; 1 no, and the alias is where it was; 2 cannot decide, or cannot go
back: the last line says where the alias is. The variable API_KEY holds the key that the service asks for.
"""

import argparse
import json
import math
import os
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asking import CANNOT, NO, PROJECT, YES, Models, Reply, Service, StateError, Told, address, version_or_newest

MARKS = {"yes": "✓", "no": "✗", "cannot decide": "?"}
#: Answers in a row that must name the version: of several processes, or of several services behind one address.
IN_A_ROW = 5
PAUSE = 0.3
HTTP_OK, REFUSED = 200, {401, 403}


class ServiceError(Exception):
    """The service does not answer with the version."""


@dataclass(frozen=True)
class Answering:
    """What the service says that it answers with."""

    version: str
    digest: str

    @classmethod
    def of(cls, reply: Reply) -> "Answering | None":
        """Read /ready, or an answer to a record."""
        model = reply.content.get("model") if isinstance(reply.content, dict) else None
        return cls(str(model["version"]), str(model["digest"])) if isinstance(model, dict) else None

    def __str__(self) -> str:
        """In one line."""
        return f"version {self.version}, SHA-256 {self.digest}"


@dataclass(frozen=True)
class Smoke:
    """The service, the record to send to it, and for how many seconds it may not yet answer as it should."""

    service: Service
    record: Any
    seconds: float

    def before(self, alias: str) -> Answering | None:
        """What it answers with before anything is moved; None if it has no model yet.

        Raises:
            StateError: nobody answers, it does not know the key, or it answers for another alias.
        """
        health, facts = self.service.ask("/health"), self.service.ask("/model")
        if health.status != HTTP_OK:
            raise StateError(
                f"the service at {self.service.url} is not well ({health}). Nothing was moved: start it first"
            )
        if facts.status in REFUSED:
            raise StateError(
                f"the service at {self.service.url} refuses the key in API_KEY ({facts}). Nothing was moved"
            )
        if facts.status == HTTP_OK and facts.content["alias"] != alias:
            raise StateError(
                f"the service at {self.service.url} answers for @{facts.content['alias']}, not for @{alias}. Nothing "
                "was moved: name the one that does"
            )
        return Answering(facts.content["version"], facts.content["digest"]) if facts.status == HTTP_OK else None

    def wait_for(self, wanted: Answering) -> None:
        """Wait until the service names a version, several times in a row.

        Raises:
            ServiceError: it does not in time, or it has refused the version.
        """
        deadline, named, reply = time.monotonic() + self.seconds, 0, Reply(0, None)
        while named < IN_A_ROW:
            if time.monotonic() > deadline:
                raise ServiceError(f"it does not name {wanted} within {self.seconds:g} s; its last answer: {reply}")
            reply = self.service.ask("/ready")
            named = named + 1 if reply.status == HTTP_OK and Answering.of(reply) == wanted else 0
            for refused in (reply.content or {}).get("refused", []) if isinstance(reply.content, dict) else []:
                if refused["digest"] == wanted.digest:
                    raise ServiceError(f"it refuses {wanted}: {refused['reason']}")
            time.sleep(PAUSE)

    def try_record(self, wanted: Answering) -> str:
        """Send the record; say what came back.

        Raises:
            ServiceError: no probability came back, or one of another version.
        """
        reply = self.service.ask("/predict", self.record)
        if reply.status != HTTP_OK or Answering.of(reply) != wanted:
            raise ServiceError(f"it does not answer a record with {wanted}: {reply}")
        probability = reply.content.get("probability")
        if not isinstance(probability, int | float) or not math.isfinite(probability) or not 0 <= probability <= 1:
            raise ServiceError(f"its answer to a record has no probability from 0 to 1: {reply}")
        return f"{probability:.4f} -> {reply.content.get('decision')}"

    def passes(self, wanted: Answering) -> None:
        """Wait for a version and send it the record."""
        self.wait_for(wanted)
        print(f"The service at {self.service.url} answers with {wanted}: {self.try_record(wanted)}")


@dataclass(frozen=True)
class Promotion:
    """A version that shall have an alias."""

    models: Models
    version: str
    alias: str
    reason: str

    def look(self) -> tuple[Answering, bool]:
        """The version as the service will name it, and whether it has the alias already.

        Raises:
            StateError: there is no such version.
        """
        told = self.models.ask("show", self.version)
        if told.code != YES:
            raise StateError(f"{told.error} Nothing was moved")
        return Answering(told.facts["version"], told.facts["digest"]), self.alias in told.facts["aliases"]

    def ask_gate(self, version: str) -> Told:
        """Ask the gate about the version with a number, and print what its rules say; a yes moves the alias."""
        told = self.models.ask("promote", version, "--to", self.alias, "--reason", self.reason)
        for rule in told.facts.get("rules", []):
            print(f"{MARKS.get(rule['answer'], '?')} {rule['rule']}: {rule['explanation']}")
        print(f"The gate for @{self.alias}, version {version}: {told.facts.get('answer')} {told.error}".strip())
        return told

    def go_back(self, wanted: Answering, because: str) -> None:
        """Move the alias back, if it still points to the version that was promoted.

        Raises:
            StateError: it does not, or it cannot be moved back.
        """
        now = self.models.ask("show", f"@{self.alias}")
        if now.code == YES and now.facts["version"] != wanted.version:
            raise StateError(
                f"@{self.alias} points to version {now.facts['version']} meanwhile, moved by somebody else: it was "
                f"left there. `kedro model history {self.alias}` tells who"
            )
        told = self.models.ask("rollback", self.alias, "--reason", because)
        if told.code != YES:
            raise StateError(
                f"@{self.alias} could not be moved back, and points to version {wanted.version}: {told.error}"
            )
        print(f"Rolled back: @{self.alias} points to version {told.facts['move']['to']} again.")


def carry_out(promotion: Promotion, smoke: Smoke | None) -> int:
    """Promote, wait, try, and go back if need be; return the exit code.

    Raises:
        StateError: nothing was done, or it could not be undone.
    """
    before = smoke.before(promotion.alias) if smoke else None
    wanted, has_it = promotion.look()
    if has_it:
        print(f"Version {wanted.version} has @{promotion.alias} already; the gate is not asked again.")
        return _seen(smoke, wanted)
    gate = promotion.ask_gate(wanted.version)
    if gate.code != YES:
        return NO if gate.code == NO else CANNOT
    try:
        if smoke:
            smoke.passes(wanted)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - whatever it is, nobody has seen the version answer
        for ending in (signal.SIGINT, signal.SIGTERM):
            signal.signal(ending, signal.SIG_IGN)  # for Kedro below as well: who asks twice does not stop the way back
        because = str(error) or type(error).__name__
        print(f"Error: the service at {smoke.service.url if smoke else ''}: {because}", file=sys.stderr, flush=True)
        promotion.go_back(wanted, f"the service did not take version {wanted.version} up: {because}"[:500])
        _see_again(smoke, before)
        return NO
    print(f"Version {wanted.version} has @{promotion.alias}.")
    return YES


def _seen(smoke: Smoke | None, wanted: Answering) -> int:
    """See that the service answers with a version that nobody has moved just now: there is nothing to move back."""
    try:
        if smoke:
            smoke.passes(wanted)
    except ServiceError as error:
        print(f"Error: the service: {error}. Nothing was moved.", file=sys.stderr)
        return NO
    return YES


def _see_again(smoke: Smoke | None, before: Answering | None) -> None:
    """See that the service answers with what it answered with before."""
    if smoke is None or before is None:
        return
    try:
        smoke.wait_for(before)
    except ServiceError as error:
        raise StateError(f"the alias was moved back, but the service did not follow: {error}") from error
    print(f"The service answers with {before} again.")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version", nargs="?", default="", help="the newest of this commit, if none is given")
    parser.add_argument("--to", choices=["staging", "production"], default="production", help="the alias")
    parser.add_argument("--service", default="", help="address of the service that answers for the alias")
    parser.add_argument("--reason", default="", help="kept with the decision and in the history")
    parser.add_argument("--env", default=os.environ.get("KEDRO_ENV") or "minio", help="environment of the project")
    parser.add_argument("--within", type=float, default=120.0, help="seconds in which the service takes the version up")
    parser.add_argument("--record", type=Path, default=PROJECT / "docs/how-to/flight.json", help="what to send to it")
    return parser.parse_args()


def main() -> int:
    """Do what the command line says."""
    given = _arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a cancelled job goes back as well
    models = Models(given.env)
    try:
        record = json.loads(given.record.read_text(encoding="utf-8"))
        service = Service(address(given.service), os.environ.get("API_KEY", "")) if given.service else None
        smoke = Smoke(service, record, given.within) if service else None
        if smoke is None:
            print("No service is named: the gate alone is asked.")
        promotion = Promotion(models, version_or_newest(models, given.version), given.to, given.reason)
        return carry_out(promotion, smoke)
    except (StateError, ValueError, OSError) as error:
        print(f"Error: {error}.", file=sys.stderr)
    except (Exception, KeyboardInterrupt):  # noqa: BLE001 - a crash must not read as a no
        traceback.print_exc()
        print("Error: stopped half-way. `kedro model history` tells where the aliases are.", file=sys.stderr)
    return CANNOT


if __name__ == "__main__":
    sys.exit(main())
