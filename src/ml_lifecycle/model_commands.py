"""`kedro model …`: what may be asked about a version, answered with yes, no or cannot decide."""

import functools
import json
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import click
from kedro.framework.cli.utils import env_option

from ml_lifecycle.errors import LifecycleError
from ml_lifecycle.explanations import explained
from ml_lifecycle.gate import Answer
from ml_lifecycle.nested import flat

EXIT = {Answer.YES: 0, Answer.NO: 1, Answer.CANNOT: 2}
MARKS = {"holds": "✓", "broken": "✗", "cannot be checked here": "?", "yes": "✓", "no": "✗", "cannot decide": "?"}
CLEAN = {True: "clean", False: "dirty", None: "unknown whether clean"}
#: What every record has, decisions and reproductions alike.
IN_RECORDS = {"at", "kind", "by", "where", "answer"}
SHORT = 8


@dataclass(frozen=True)
class Report:
    """What a command found: the answer, the facts for programs, and the lines for people."""

    answer: Answer
    facts: dict[str, Any]
    lines: list[str] = field(default_factory=list)


def _json_of(answer: Answer, facts: dict[str, Any]) -> str:
    return json.dumps({"answer": answer.value, **facts}, indent=2, default=str)


def _answering(command: Callable[..., Report]) -> Callable[..., None]:
    """Print the report of a command and exit with its answer; what stops it leaves the question open."""

    @env_option
    @click.option("--json", "as_json", is_flag=True, help="For programs.")
    @functools.wraps(command)
    def run(*args: Any, env: str | None, as_json: bool, **options: Any) -> None:
        from ml_lifecycle.workspace import open_workspace

        def ask() -> Report:
            with open_workspace(env) as workspace:
                return command(workspace, *args, **options)

        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite end cleans up as Ctrl-C does
        try:
            report = explained(ask)
        except LifecycleError as error:
            if as_json:
                click.echo(_json_of(Answer.CANNOT, {"error": error.message}))
            else:
                error.show()
            sys.exit(EXIT[Answer.CANNOT])
        except KeyboardInterrupt:
            click.echo("Aborted!", err=True)
            sys.exit(EXIT[Answer.CANNOT])
        except Exception as error:  # noqa: BLE001 - a crash must not read as a no
            traceback.print_exc()
            if as_json:
                click.echo(_json_of(Answer.CANNOT, {"error": f"{type(error).__name__}: {error}"}))
            sys.exit(EXIT[Answer.CANNOT])
        click.echo(_json_of(report.answer, report.facts) if as_json else "\n".join(report.lines))
        sys.exit(EXIT[report.answer])

    return cast("Callable[..., None]", run)


version_argument = click.argument("version")


@click.group()
def model() -> None:
    """Versions of the model: by number, by alias (@production) or by digest.

    Exit codes: 0 yes, 1 no, 2 cannot decide.
    """


@model.command(name="list")
@_answering
def list_(workspace: Any) -> Report:
    """List the versions, the newest first."""
    from ml_lifecycle import lineage
    from ml_lifecycle.registry import versions

    found = [lineage.in_short(version, workspace) for version in versions.every(workspace.model)]
    lines = [line for facts in found for line in _short_lines(facts)]
    none = f"There are no versions of '{workspace.model}' yet. Make one: `kedro run`."
    return Report(Answer.YES, {"model": workspace.model, "versions": found}, lines or [none])


def _short_lines(facts: dict[str, Any]) -> Iterator[str]:
    from ml_lifecycle.metrics import interval

    named = " ".join(f"@{alias}" for alias in facts["aliases"])
    yield f"Version {facts['version']}  {named or '(no alias)'}  made {facts['created']}"
    yield f"  model     SHA-256 {facts['digest']}, signature {facts['signature']}: {facts['signature_detail']}"
    data = ", ".join(f"{name} {md5[:SHORT]}" for name, md5 in facts["data"].items())
    yield f"  code      {(facts['commit'] or 'unknown')[:SHORT]} ({CLEAN[facts['clean']]})"
    yield f"  data      {data or 'unknown'}"
    if facts["metrics"]:
        yield "  quality   " + ", ".join(f"{name} {interval(figure)}" for name, figure in facts["metrics"].items())
    for title, verdict in facts["verdicts"].items():
        yield f"  {title}: {verdict}"


@model.command()
@version_argument
@_answering
def show(workspace: Any, version: str) -> Report:
    """Show what is recorded of a version."""
    from ml_lifecycle import lineage

    facts = lineage.in_full(workspace.find(version), workspace)
    record = facts["record"] or {}
    run = record.get("run", {})
    lines = list(_short_lines(facts))
    lines.append(f"  run       {facts['run']}, started {run.get('started_at', 'unknown')}")
    environment = run.get("environment", {})
    lines += [f"  made on   Python {environment.get('python')}, {environment.get('platform')}"] * bool(environment)
    lines += [f"  image     {image}" for image in (environment.get("image"),) if image]
    lines += [f"  parameter {name} = {value}" for name, value in flat(run.get("parameters", {})).items()]
    for kept in (*facts["decisions"], *facts["reproductions"]):
        lines.append(f"  {_record_line(kept)}")
    return Report(Answer.YES, facts, lines)


def _record_line(kept: dict[str, Any] | None) -> str:
    if kept is None or not kept.keys() >= IN_RECORDS:
        return "a record that cannot be read"
    about = f" for @{kept['alias']}" if "alias" in kept else ""
    why = f": {kept['reason']}" if kept.get("reason") else ""
    return f"{kept['at']} {kept['kind']}{about} by {kept['by']} on {kept['where']}: {kept['answer']}{why}"


@model.command()
@version_argument
@click.option("--deep", is_flag=True, help="Read every byte of the raw data again.")
@_answering
def audit(workspace: Any, version: str, deep: bool) -> Report:
    """Check every link between a version and the world."""
    from ml_lifecycle.audit import chain
    from ml_lifecycle.audit.finding import State, overall

    chosen = workspace.find(version)
    findings = chain.audit(workspace.project, workspace.registrar, chosen, deep=deep)
    answer = overall(findings)
    width = max(len(finding.link) for finding in findings)
    lines = [f"Audit of {chosen}, SHA-256 {chosen.digest}"]
    lines += [f"{MARKS[found.state]} {found.link:<{width}}  {found.state}: {found.detail}" for found in findings]
    broken = [found.link for found in findings if found.state is State.BROKEN]
    open_ = [found.link for found in findings if found.state is State.UNCHECKED]
    said = {
        Answer.YES: f"All {len(findings)} links hold.",
        Answer.NO: f"Broken: {', '.join(broken)}. Do not trust this version.",
        Answer.CANNOT: f"Nothing is broken, but {', '.join(open_)} cannot be checked here.",
    }
    facts = {
        "model": chosen.name,
        "version": chosen.number,
        "digest": chosen.digest,
        "links": [finding.model_dump(mode="json") for finding in findings],
    }
    return Report(answer, facts, [*lines, said[answer]])


@model.command()
@version_argument
@click.option("--on", default="base", help="Environment whose store its tables go to; base keeps them in files.")
@click.option("--python", default=None, help="Interpreter to build its environment from.")
@click.option("--keep", is_flag=True, help="Keep the worktree.")
@click.option("--no-record", is_flag=True, help="Do not write the verdict on the version, as with read-only access.")
@_answering
def reproduce(workspace: Any, version: str, on: str, python: str | None, keep: bool, no_record: bool) -> Report:
    """Make a version again from its commit, lock, data and parameters, and compare bit for bit."""
    from ml_lifecycle.lineage import REPRODUCED
    from ml_lifecycle.registry import records, versions
    from ml_lifecycle.reproduction.reproduction import Reproduction, new_root

    chosen = workspace.find(version)
    with versions.folder(chosen) as folder:
        versions.verified(chosen, folder, workspace.keys)  # it runs what the folder names
        root, say = new_root(workspace.project, chosen.number), functools.partial(click.echo, err=True)
        found = Reproduction(workspace.project, folder, root, on, python, say).reproduce(keep=keep)
    rows = [
        {"what": row.what, "recorded": row.recorded, "reproduced": row.reproduced, "equal": row.equal}
        for row in found.rows
    ]
    facts = {
        "version": chosen.number,
        "digest": chosen.digest,
        "on": on,
        "explanation": found.explanation,
        "rows": rows,
    }
    lines = [f"Reproduction of {chosen}", *_table(rows), f"{found.answer.value.capitalize()}: {found.explanation}"]
    if not no_record:
        content = {**facts, "answer": found.answer.value, "python": found.python}
        tag = (REPRODUCED, f"{found.answer}: {found.explanation}"[:5000])
        try:
            lines.append(f"Kept with the version: {records.store(chosen, records.REPRODUCTION, content, tag).path}")
        except Exception as error:  # noqa: BLE001 - whatever refuses it: the verdict stands, and was long work
            click.echo(f"The verdict could not be kept with the version ({error}); --no-record does not try.", err=True)
    return Report(found.answer, facts, lines)


def _table(rows: list[dict[str, Any]]) -> Iterator[str]:
    width = max((len(row["what"]) for row in rows), default=0)
    for row in rows:
        mark = "✓" if row["equal"] else "✗"
        beside = "" if row["equal"] else f"  reproduced {row['reproduced']}"
        yield f"{mark} {row['what']:<{width}}  {row['recorded']}{beside}"


@model.command()
@version_argument
@click.option("--to", "alias", required=True, type=click.Choice(["staging", "production"]), help="The alias it gets.")
@click.option("--reason", default="", help="Kept with the decision.")
@click.option(
    "--force", is_flag=True, help="Also if the gate does not say yes; needs a reason, and audits show it for ever."
)
@_answering
def promote(workspace: Any, version: str, alias: str, reason: str, force: bool) -> Report:
    """Give a version an alias, if the gate says yes."""
    from ml_lifecycle import promotion

    if force and not reason.strip():
        raise promotion.PromotionError(
            "--force needs a --reason: it is kept, and every audit shows it. Nothing was moved."
        )
    chosen = workspace.find(version)
    if alias in chosen.aliases:
        raise promotion.PromotionError(f"{chosen.title} has @{alias} already. Nothing was moved.")
    evidence = promotion.gather(chosen, alias, workspace.registrar, workspace.circumstances)
    asked = promotion.Application(reason, force=force)
    decision = promotion.decide(chosen, evidence, workspace.gate, workspace.parameters["seed"], asked)
    lines = [f"The gate for @{alias}: {chosen}, {_against(decision.incumbent, alias)}"]
    width = max(len(rule.rule) for rule in decision.rules)
    lines += [
        f"{MARKS[rule.answer]} {rule.rule:<{width}}  {rule.answer}: {rule.explanation}" for rule in decision.rules
    ]
    facts = {"version": chosen.number, "digest": chosen.digest, **decision.model_dump(mode="json"), "moved": False}
    if not decision.moves:
        refused = [rule.rule for rule in decision.against()]
        told = f"{decision.answer.value.capitalize()}: @{alias} stays where it is, because of {', '.join(refused)}."
        if force:
            told += (
                f" --force cannot help: {', '.join(sorted(promotion.NEVER_FORCED))} is needed to load a model at all."
            )
        return Report(decision.answer, facts, [*lines, told])
    move = workspace.registrar.move(chosen, decision)
    how = f"Forced ({reason})" if decision.forced else "Yes"
    told = (
        f"{how}: @{alias} of '{chosen.name}' now points to version {chosen.number}, before: {move.found or 'nothing'}."
    )
    undo = f"Undo: `kedro model rollback {alias}`, with the --env of this command."
    facts |= {"moved": True, "move": move.model_dump(mode="json"), "answer": Answer.YES.value}
    return Report(Answer.YES, facts | {"gate": decision.answer.value}, [*lines, told, undo])


def _against(incumbent: str | None, alias: str) -> str:
    return f"with nobody in @{alias}" if incumbent is None else f"against version {incumbent}"


@model.command()
@click.argument("alias")
@click.option("--reason", default="", help="Kept in the history.")
@_answering
def rollback(workspace: Any, alias: str, reason: str) -> Report:
    """Let an alias point to the version it pointed to before."""
    move = workspace.registrar.roll_back(_alias(alias), reason)
    told = f"@{move.alias} of '{move.model}' points to version {move.to} again, before: {move.found or 'nothing'}."
    return Report(Answer.YES, {"move": move.model_dump(mode="json")}, [told])


def _alias(text: str) -> str:
    from ml_lifecycle.promotion import ALIASES, PromotionError

    name = text.removeprefix("@")
    if name not in ALIASES:
        raise PromotionError(f"There is no alias '{text}'. Allowed: {', '.join(ALIASES)}.")
    return name


@model.command()
@click.argument("alias", required=False)
@_answering
def history(workspace: Any, alias: str | None) -> Report:
    """Tell who moved the aliases from where to where, when and why; no if the history is damaged."""
    from ml_lifecycle.promotion import ALIASES

    registrar = workspace.registrar
    asked = [_alias(alias)] if alias else list(ALIASES)
    facts: dict[str, Any] = {}
    lines: list[str] = []
    for name in asked:
        problems = registrar.history.problems(registrar.model, name, registrar.incumbent(name))
        moves = [] if problems else registrar.history.read(registrar.model, name)
        seams = [] if problems else registrar.history.seams(registrar.model, name)
        kept = [move.model_dump(mode="json") for move in moves]
        facts[name] = {"problems": problems, "notes": seams, "moves": kept}
        lines.append(f"@{name}: {len(moves)} moves")
        lines += [f"  ✗ {problem}" for problem in problems]
        lines += [_move_line(move) for move in moves]
        lines += [f"  NOTE: {seam}" for seam in seams]
    damaged = any(facts[name]["problems"] for name in asked)
    return Report(Answer.NO if damaged else Answer.YES, {"model": registrar.model, "aliases": facts}, lines)


def _move_line(move: Any) -> str:
    forced = " FORCED" if move.forced else ""
    why = f": {move.reason}" if move.reason else ""
    route = f"{move.found or 'nothing'} -> {move.to}"
    return f"  {move.number}. {move.at}  {route}  {move.action}{forced} by {move.by} on {move.where}{why}"


@model.command()
@version_argument
@_answering
def sign(workspace: Any, version: str) -> Report:
    """Sign everything the artifact store keeps of a version."""
    from ml_lifecycle.registry import versions
    from ml_lifecycle.signing.signature import NOT_SIGNED, SIGNATURE

    chosen = workspace.find(version)
    with versions.folder(chosen) as folder:
        versions.refuse_another(chosen, folder)
        folder.vouch(workspace.keys)
        versions.store_file(chosen, folder.path / SIGNATURE)
        files = sorted(file.name for file in folder.path.iterdir() if file.name not in NOT_SIGNED)
    facts = {"version": chosen.number, "digest": chosen.digest, "files": files}
    return Report(Answer.YES, facts, [f"Signed {chosen}, with these files: {', '.join(files)}."])


@model.command()
@version_argument
@_answering
def verify(workspace: Any, version: str) -> Report:
    """Say whether a version is as a trusted key signed it."""
    from ml_lifecycle.promotion import signature_of
    from ml_lifecycle.registry import versions

    chosen = workspace.find(version)
    with versions.folder(chosen) as folder:
        found, detail = signature_of(folder, workspace.keys)
    answer = {"verified": Answer.YES, "refused": Answer.NO, "unchecked": Answer.CANNOT}[found]
    facts = {"version": chosen.number, "digest": chosen.digest, "signature": found, "detail": detail}
    return Report(answer, facts, [f"The signature of {chosen}: {found}, {detail}"])


@model.command()
@click.argument("request_id")
@_answering
def trace(workspace: Any, request_id: str) -> Report:
    """Trace an answer back to its version, run, commit, data, parameters, environment and verdicts."""
    from ml_lifecycle import lineage

    prediction, version = lineage.trace(request_id, workspace)
    facts = lineage.in_full(version, workspace)
    record = facts["record"] or {}
    run = record.get("run", {})
    environment = run.get("environment", {})
    threshold = "" if prediction.threshold is None else f" (threshold {prediction.threshold:.6f})"
    decision = f"{prediction.decision}{threshold}"
    lines = [
        f"Answer      {prediction.probability:.6f} -> {decision}, at {prediction.scored_at.isoformat()}",
        f"Request     {_request_line(prediction)}",
        *([] if prediction.inputs is None else [f"Inputs      {prediction.inputs}"]),
        f"Version     {version.number} of '{version.name}', SHA-256 {version.digest}",
        f"Run         {version.run_id}, started {run.get('started_at', 'unknown')}",
        f"Commit      {facts['commit']} ({CLEAN[facts['clean']]})",
        *[f"Data        {name} MD5 {md5}" for name, md5 in facts["data"].items()],
        *[f"Parameter   {name} = {value}" for name, value in flat(run.get("parameters", {})).items()],
        f"Environment Python {environment.get('python')}, {environment.get('platform')}",
        f"Lock        SHA-256 {environment.get('lock_sha256')}",
        *[f"Verdict     {title}: {verdict}" for title, verdict in facts["verdicts"].items()],
        f"Next        `kedro model audit {version.number}`, `kedro model reproduce {version.number}`",
    ]
    told = {**prediction.model_dump(mode="json"), "inputs": _inputs_of(prediction)}
    return Report(Answer.YES, {"prediction": told, **facts}, lines)


def _request_line(prediction: Any) -> str:
    told = [prediction.request_key or "without a key"]
    told += [f"over /{prediction.protocol}"] if prediction.protocol else []
    told += [f"the caller's id {prediction.correlation_id}"] if prediction.correlation_id else []
    return ", ".join(told)


def _inputs_of(prediction: Any) -> Any:
    try:
        return json.loads(prediction.inputs or "null")
    except ValueError:  # a file of somebody else's, with a column of that name
        return prediction.inputs
