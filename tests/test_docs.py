"""The documentation keeps to the project: every command, path and link in it is one that exists.

Each check is a function from text to complaints. It is applied to every page, and to a broken example.
"""

import argparse
import itertools
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
import pytest

from candidates import OPTIONS, SEED, TOLERANCE, candidate
from ml_lifecycle import gate
from ml_lifecycle.gate import Evidence
from ml_lifecycle.model_folder import CARD, MODEL, PROVENANCE
from ml_lifecycle.provenance import statement
from ml_lifecycle.provenance.record import CHANGES, DATA_CHANGES, DATA_REPORT, EVALUATION, PROBE_SET
from ml_lifecycle.signing.signature import SIGNATURE
from tampering import LINKS

PROJECT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
#: Third parties warn as their command lines are imported; `kedro run` itself shows none of these.
pytestmark = [
    pytest.mark.filterwarnings("ignore:'BaseCommand' is deprecated:DeprecationWarning"),  # kedro-viz 12.5
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType"),  # kedro-mlflow 2.0.3
]
ADR_SECTIONS = ["Status", "Context", "Decision", "Consequences"]

Check = Callable[[list[str]], list[str]]


def _pages() -> list[Path]:
    """Every page that is there; a new README joins by itself."""
    return sorted([*PROJECT.glob("*.md"), *PROJECT.glob("conf/*.md"), *PROJECT.glob("docs/**/*.md")])


def _name(page: Path) -> str:
    return page.relative_to(PROJECT).as_posix()


def _read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


every_page = pytest.mark.parametrize("page", _pages(), ids=_name)
every_decision = pytest.mark.parametrize("page", sorted(PROJECT.glob("docs/adr/*.md")), ids=_name)


def _commands(page: str) -> Iterator[list[str]]:
    """Yield the words of each command in the page's bash blocks, without assignments of variables."""
    for block in re.findall(r"^```bash\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;")
            lexer.whitespace_split = True
            words: list[str] = []
            for word in [*lexer, ";"]:
                if set(word) <= set("&|;"):
                    if words:
                        yield words
                    words = []
                elif words or not re.fullmatch(r"[A-Z_]+=\S*", word):
                    words.append(word)


@cache
def _make_targets() -> frozenset[str]:
    return frozenset(re.findall(r"^([a-z0-9-]+):", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def _check_make(arguments: list[str]) -> list[str]:
    """Targets, and variables that the Makefile asks for."""
    settings = {word.partition("=")[0] for word in arguments if "=" in word}
    unknown = [name for name in sorted(settings) if f"$({name})" not in _read(PROJECT / "Makefile")]
    targets = [word for word in arguments if "=" not in word and word not in _make_targets()]
    return [f"make is not asked for '{name}'" for name in unknown] + [
        f"no make target '{target}'" for target in targets
    ]


def _check_click(command: click.Command, arguments: list[str], parent: click.Context | None = None) -> list[str]:
    """Parse without executing: subcommands, options and the types of their values."""
    if isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        context = click.Context(command, info_name=command.name, parent=parent)
        inner = command.get_command(context, arguments[0])
        return _check_click(inner, arguments[1:], context) if inner else [f"'{command.name}' has no '{arguments[0]}'"]
    try:
        command.make_context(command.name, [word for word in arguments if word != "--help"], parent)
    except click.exceptions.NoArgsIsHelpError:
        return []
    except click.ClickException as error:
        return [error.format_message()]
    return []


@cache
def _kedro() -> click.Group:
    from kedro.framework.cli.cli import KedroCLI

    return KedroCLI(PROJECT)


def _check_kedro(arguments: list[str]) -> list[str]:
    if arguments[:2] == ["docker", "run"]:  # looks for the image as it parses; the rest goes to `kedro run`
        return _check_kedro(["run", *arguments[2:]])
    kedro = _kedro()
    command = kedro.get_command(click.Context(kedro), arguments[0])
    return _check_click(command, arguments[1:]) if command else [f"kedro has no command '{arguments[0]}'"]


def _check_mlflow(arguments: list[str]) -> list[str]:
    from mlflow.cli import cli

    return _check_click(cli, arguments)


@cache
def _dvc() -> argparse.ArgumentParser:
    from dvc.cli.parser import get_main_parser

    with patch.object(sys, "argv", ["dvc"]):  # the parser looks at the arguments of the process as it is built
        return get_main_parser()


def _check_model_signing(arguments: list[str]) -> list[str]:
    from model_signing._cli import main

    return _check_click(main, arguments)


def _check_dvc(arguments: list[str]) -> list[str]:
    from dvc.cli import DvcParserError

    try:
        _dvc().parse_args(arguments)
    except DvcParserError as error:
        return [f"dvc does not know: {' '.join(arguments)} ({error})"]
    return []


def _check_git(arguments: list[str]) -> list[str]:
    known = subprocess.check_output(["git", "--list-cmds=main"], text=True).split()
    return [] if arguments[0] in known else [f"git has no command '{arguments[0]}'"]


def _check_python(arguments: list[str]) -> list[str]:
    if arguments[0] == "-m":
        return [] if find_spec(arguments[1]) else [f"no module '{arguments[1]}'"]
    return _check_paths(arguments[:1])


def _check_installed(tool: str) -> Check:
    def check(arguments: list[str]) -> list[str]:
        paths = [word for word in arguments if "/" in word and not word.startswith("-")]
        missing = [] if (BIN / tool).exists() else [f"'{tool}' is not installed in .venv"]
        return missing + _check_paths(paths)

    return check


def _check_paths(paths: list[str]) -> list[str]:
    return [f"no file '{path}'" for path in paths if not (PROJECT / path).exists()]


def _check_folder(arguments: list[str]) -> list[str]:
    """A clone is entered by the project's name."""
    return [] if arguments == ["ml-lifecycle"] else [f"cd into '{' '.join(arguments)}'"]


def _check_activation(arguments: list[str]) -> list[str]:
    return (
        []
        if arguments in ([".venv/bin/activate"], [".env"], ["src/ml_lifecycle/defaults.env"])
        else [f"nothing to source: {' '.join(arguments)}"]
    )


def _check_docker(arguments: list[str]) -> list[str]:
    """A build needs its folder with a Dockerfile."""
    folders = arguments[-1:] if arguments[0] == "build" else []
    return [f"nothing to build in '{folder}'" for folder in folders if not (PROJECT / folder / "Dockerfile").exists()]


def _check_minio(arguments: list[str]) -> list[str]:
    """The server is started; it has no other use here."""
    return [] if arguments[0] == "server" else [f"minio is not used for '{arguments[0]}'"]


def _check_tracking_server(arguments: list[str]) -> list[str]:
    """The script takes variables, and no arguments."""
    return [f"deploy/mlflow/server takes no '{argument}'" for argument in arguments]


def _check_engine(arguments: list[str]) -> list[str]:
    """The script is told one of two things."""
    return [] if arguments in (["start"], ["stop"]) else [f"deploy/airgap/engine takes no '{' '.join(arguments)}'"]


def _check_bases(arguments: list[str]) -> list[str]:
    """The script takes variables, and no arguments."""
    return [f"deploy/airgap/bases takes no '{argument}'" for argument in arguments]


def _check_sed(arguments: list[str]) -> list[str]:
    """It changes something in the file that the reader's copy was made of."""
    *_, script, copy = arguments
    original = PROJECT / copy.replace("conf/aws", "conf/minio")
    edited = subprocess.run(["sed", script, str(original)], check=False, capture_output=True, text=True)
    is_changed = edited.returncode == 0 and edited.stdout != original.read_text(encoding="utf-8")
    return [] if is_changed else [f"sed {script} changes nothing in {copy}"]


def _accept(_: list[str]) -> list[str]:
    return []


def _check_curl(arguments: list[str]) -> list[str]:
    """The service answers at the path, and what is sent is there."""
    (url,) = [argument for argument in arguments if argument.startswith("http://127.0.0.1:8000/")]
    path = url.removeprefix("http://127.0.0.1:8000")
    sent = [argument[1:] for argument in arguments if argument.startswith("@")]
    known = f" {path}`" in (PROJECT / "docs/reference/service.md").read_text(encoding="utf-8")
    missing = [f"curl: there is no {file}" for file in sent if not (PROJECT / file).is_file()]
    return missing if known else [f"curl: the service does not answer at {path}", *missing]


def _check_kubectl(arguments: list[str]) -> list[str]:
    """It is asked about Services of ours."""
    named = [argument.removeprefix("service/") for argument in arguments if argument.startswith("service/")]
    text = (PROJECT / "deploy/k8s/base").glob("*.yaml")
    known = set(re.findall(r"^kind: Service\nmetadata:\n  name: (\w+)", "".join(map(_read, text)), re.MULTILINE))
    return [f"no Service '{name}'" for name in named if name not in known] or ([] if named else ["asks for no Service"])


CHECKS: dict[str, Check] = {
    "make": _check_make,
    "kedro": _check_kedro,
    "dvc": _check_dvc,
    "mlflow": _check_mlflow,
    "model_signing": _check_model_signing,
    "git": _check_git,
    "python": _check_python,
    "pytest": _check_installed("pytest"),
    "pre-commit": _check_installed("pre-commit"),
    "cd": _check_folder,
    "source": _check_activation,
    "cp": _accept,  # of the reader's own files
    "sed": _check_sed,
    "set": _accept,
    "export": _accept,
    "unset": _accept,
    "curl": _check_curl,
    "docker": _check_docker,
    "kubectl": _check_kubectl,
    "minio": _check_minio,
    "server": _check_tracking_server,
    "engine": _check_engine,
    "bases": _check_bases,
}


def wrong_commands(page: str) -> list[str]:
    """Complain about commands that do not exist or do not take their arguments."""
    complaints = []
    for tool, *arguments in _commands(page):
        check = CHECKS.get(Path(tool).name)
        complaints += check(arguments) if check else [f"no check for the tool '{tool}'"]
    return complaints


def _without_blocks(page: str) -> str:
    return re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL)


def broken_links(page: str, folder: Path) -> list[str]:
    """Complain about links and images to files that are not there."""
    targets = re.findall(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"", _without_blocks(page))
    inside = [link or image for link, image in targets if not re.match(r"[a-z]+:|#", link or image)]
    return [target for target in inside if not (folder / target.partition("#")[0]).exists()]


@cache
def _paths_of_runs() -> str:
    """The files in which paths that a run makes, or that a reader puts there, are written down."""
    return "\n".join(path.read_text(encoding="utf-8") for path in [PROJECT / "dvc.yaml", *PROJECT.glob("conf/*/*.yml")])


def _is_described(path: str) -> bool:
    """Whether a run makes the path: named as it is, or as a folder in globals with a file in the catalog."""
    if path.rstrip("/") in _paths_of_runs():
        return True
    folder, _, file = path.rpartition("/")
    return folder in _paths_of_runs() and f"/{file}" in _paths_of_runs()


def missing_paths(page: str) -> list[str]:
    """Complain about paths in backticks that are neither in the repository nor made by a run."""
    tops = {path.name for path in PROJECT.iterdir()} | {"build", "mlruns"}
    quoted = re.findall(r"`([\w.-]+/[\w./*<>-]*)`", _without_blocks(page))
    paths = [path for path in quoted if path.partition("/")[0] in tops and "<" not in path]
    of_one_clone = re.compile(r"\.venv/|\.keys/|mlruns/|\.dvc/config\.local")
    return [
        path
        for path in paths
        if not of_one_clone.match(path) and not any(PROJECT.glob(path)) and not _is_described(path)
    ]


def lacking_sections(page: str) -> list[str]:
    """Name the sections that a decision lacks."""
    found = re.findall(r"^## (.+)$", page, re.MULTILINE)
    return [section for section in ADR_SECTIONS if section not in found]


def unexplained_dependencies(page: str) -> list[str]:
    """Name the dependencies without a reason in the page's tables."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    declared = [*project["project"]["dependencies"], *itertools.chain(*project["dependency-groups"].values())]
    names = {re.split(r"[\[<>=~! ]", requirement)[0] for requirement in declared}
    explained = {name for row in re.findall(r"^\|(.+?)\|", page, re.MULTILINE) for name in re.findall(r"`(.+?)`", row)}
    return sorted(names ^ explained)


@every_page
def test_every_command_exists(page: Path) -> None:
    """Each command in a bash block is parsed by the tool it calls, or names a target or file that exists."""
    assert [] == wrong_commands(_read(page))


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("make rnu", "no make target 'rnu'"),
        ("kedro docker run --evn test", "No such option '--evn'"),
        ("deploy/airgap/engine begin", "deploy/airgap/engine takes no 'begin'"),
        ("deploy/airgap/bases all", "deploy/airgap/bases takes no 'all'"),
        ("make deploy TARGTE=k8s", "make is not asked for 'TARGTE'"),
        ("kubectl port-forward service/mlfow 5000", "no Service 'mlfow'"),
        ("kubectl get pods", "asks for no Service"),
        ("kedro rnu", "kedro has no command 'rnu'"),
        ("kedro run --piplines training", "No such option '--piplines'"),
        ("kedro viz rnu", "has no 'rnu'"),
        ("KEDRO_ENV=test kedro jupyter lba", "has no 'lba'"),
        ("dvc reproduce", "dvc does not know: reproduce"),
        ("dvc commit --strong raw_data", "dvc does not know: commit --strong raw_data"),
        ("mlflow iu", "has no 'iu'"),
        ("kedro model adit 1", "'model' has no 'adit'"),
        ("kedro model audit 1 --deeply", "No such option '--deeply'"),
        ("kedro model promote 1 --to productoin", "'productoin' is not one of 'staging', 'production'"),
        ("kedro model trace", "Missing argument 'REQUEST_ID'"),
        ("model_signing veriyf key --signature model.sig --public_key signing.pub model", "has no 'veriyf'"),
        ("model_signing verify sigstore --signature model.sig model", "Missing option '--identity'"),
        ("git comit", "git has no command 'comit'"),
        ("python -m ml_lifecycles", "no module 'ml_lifecycles'"),
        ("python docs/genrate.py", "no file 'docs/genrate.py'"),
        ("pytest tests/test_dosc.py", "no file 'tests/test_dosc.py'"),
        ("cd elsewhere", "cd into 'elsewhere'"),
        ("source venv/bin/activate", "nothing to source: venv/bin/activate"),
        ("make help && make rnu", "no make target 'rnu'"),
        ("make \\\n  rnu", "no make target 'rnu'"),
        ("rnu", "no check for the tool 'rnu'"),
        ("sed -i '/endpoint_ulr/d' conf/aws/credentials.yml", "changes nothing in conf/aws/credentials.yml"),
    ],
)
def test_a_wrong_command_is_found(command: str, complaint: str) -> None:
    """A command that is misspelt in its tool, subcommand, option, target, module or file is a complaint."""
    (found,) = wrong_commands(f"# Page\n\n```bash\n{command}\n```\n")

    assert complaint in found


@every_page
def test_every_link_leads_somewhere(page: Path) -> None:
    """Each relative link and each image is a file."""
    assert [] == broken_links(_read(page), page.parent)


@pytest.mark.parametrize(
    "link", ["[text]({})", "![picture]({})", '<img src="{}" width="400">', '<a href="{}#part">text</a>']
)
def test_a_broken_link_is_found(link: str) -> None:
    """A link or image to a file that is not there is a complaint, however it is written."""
    found = broken_links(link.format("nowhere/page.md"), PROJECT)

    assert ["nowhere/page.md"] == [target.partition("#")[0] for target in found]


@every_page
def test_every_path_exists(page: Path) -> None:
    """Each path in backticks is in the repository, or is one that a run makes."""
    assert [] == missing_paths(_read(page))


@pytest.mark.parametrize("path", ["src/ml_lifecycle/feature.py", "conf/bsae", "data/08_reporting/roc.png"])
def test_a_missing_path_is_found(path: str) -> None:
    """A path that is neither there nor made by a run is a complaint."""
    assert [path] == missing_paths(f"See `{path}` and `docs/index.md` and `data/08_reporting/roc_curve.png`.")


@every_decision
def test_every_decision_has_its_sections(page: Path) -> None:
    """A decision says its status, its context, what was decided and what follows."""
    assert [] == lacking_sections(_read(page))


def test_a_lacking_section_is_found() -> None:
    """A decision without consequences is a complaint."""
    page = "# 0001 Title\n\n## Status\n\n## Context\n\n## Decision\n"

    assert ["Consequences"] == lacking_sections(page)


def test_decisions_are_numbered_without_gaps() -> None:
    """Decisions count from 0001, in the name of the file and in its title alike."""
    pages = sorted(PROJECT.glob("docs/adr/*.md"))
    numbers = [f"{number:04d}" for number in range(1, len(pages) + 1)]

    assert numbers == [page.name[:4] for page in pages]
    assert numbers == [_read(page)[2:6] for page in pages]


def test_every_dependency_has_a_reason() -> None:
    """The decision on dependencies explains those of pyproject.toml, all of them and no other."""
    assert [] == unexplained_dependencies(_read(PROJECT / "docs/adr/0002-dependencies.md"))


def test_an_unexplained_dependency_is_found() -> None:
    """A dependency whose row is missing is a complaint, and so is a row without a dependency."""
    page = _read(PROJECT / "docs/adr/0002-dependencies.md").replace("`holidays`", "`vacations`")

    assert ["holidays", "vacations"] == unexplained_dependencies(page)


def test_every_page_is_on_the_map() -> None:
    """The index links every page of the documentation."""
    index = _read(PROJECT / "docs/index.md")
    pages = {path.relative_to(PROJECT / "docs").as_posix() for path in PROJECT.glob("docs/*/*.md")}

    assert pages == set(re.findall(r"\]\(([\w/-]+\.md)\)", index))


def _generate(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "docs/generate.py", *arguments]
    return subprocess.run(command, cwd=PROJECT, check=False, capture_output=True, text=True)


def test_generated_pages_are_up_to_date() -> None:
    """The reference pages say what the code says."""
    result = _generate("--check")

    assert (0, "") == (result.returncode, result.stdout)


def test_an_outdated_page_is_named(tmp_path: Path) -> None:
    """The check of generated pages names the one that was changed by hand, and only that, and exits 1."""
    shutil.copytree(PROJECT / "docs/reference", tmp_path, dirs_exist_ok=True)
    (tmp_path / "data.md").write_text("changed by hand", encoding="utf-8")

    result = _generate("--check", str(tmp_path))

    assert 1 == result.returncode
    assert ["data.md"] == re.findall(r"([\w.]+) is out of date", result.stderr)


def test_make_help_lists_what_the_reference_lists(tmp_path: Path) -> None:
    """`make help` works on a bare copy of the Makefile, and the reference describes each target it prints."""
    (tmp_path / "src/ml_lifecycle").mkdir(parents=True)
    shutil.copy(PROJECT / "src/ml_lifecycle/defaults.env", tmp_path / "src/ml_lifecycle")
    shutil.copy(PROJECT / "Makefile", tmp_path)

    printed = subprocess.check_output(["make", "--no-print-directory", "help"], cwd=tmp_path, text=True)

    targets = [line.split()[0] for line in printed.splitlines()]
    assert targets == re.findall(r"^\| `make ([\w-]+)`", _read(PROJECT / "docs/reference/commands.md"), re.MULTILINE)


def first_cells(page: str, heading: str) -> list[list[str]]:
    """Read the names in backticks from the first column of the first table below a heading that begins so."""
    below = re.split(rf"^#+ {re.escape(heading)}.*$", page, maxsplit=1, flags=re.MULTILINE)[1]
    table = re.search(r"^\|.*\n\|[-|]+\|\n((?:\|.*\n)+)", below, re.MULTILINE)
    assert table is not None, heading
    return [re.findall(r"`([^`]+)`", row.split("|")[1]) for row in table[1].splitlines()]


def test_cells_are_read_from_the_table_below_the_heading() -> None:
    """Names in prose, in other columns and in other tables are not those of the table."""
    page = "# A\n\n| x |\n|---|\n| `no` |\n\n## B `c`\n\n`no`\n\n| x | y |\n|---|---|\n| `d`, `e` | `no` |\n| f | |\n"

    assert [["d", "e"], []] == first_cells(page, "B")


def _model_commands() -> click.Group:
    command = _kedro().get_command(click.Context(_kedro()), "model")
    assert isinstance(command, click.Group)
    return command


def test_every_model_command_is_in_the_reference() -> None:
    """The reference lists the commands of `kedro model` with their arguments, all of them and no other."""
    described = [command for (command,) in first_cells(_read(PROJECT / "docs/reference/commands.md"), "kedro model")]
    there = {
        " ".join(["kedro model", name, *command.collect_usage_pieces(click.Context(command))[1:]])
        for name, command in _model_commands().commands.items()
    }

    assert sorted(there) == sorted(command.replace(" --to ALIAS", "") for command in described)


def test_every_option_of_model_commands_is_in_the_reference() -> None:
    """The reference lists the options of `kedro model`; `--to` stands in the command itself."""
    page = _read(PROJECT / "docs/reference/commands.md")
    options = {
        opt
        for command in _model_commands().commands.values()
        for option in command.params
        if isinstance(option, click.Option)
        for opt in option.opts
        if opt.startswith("--")
    }

    assert options - {"--to"} == set(re.findall(r"^\| `(--[\w-]+)", page, re.MULTILINE))


def test_every_link_of_an_audit_is_explained() -> None:
    """The table of the guide and the audit name the same links."""
    explained = itertools.chain(*first_cells(_read(PROJECT / "docs/how-to/audit-a-model.md"), "Audit\n"))

    assert sorted(link for link in LINKS if "(data)" not in link) == sorted(explained)


@pytest.mark.parametrize(
    ("page", "heading"), [("docs/how-to/promote-a-model.md", "Promote\n"), ("docs/adr/0012-gate.md", "Decision")]
)
def test_every_rule_of_the_gate_is_explained(page: str, heading: str) -> None:
    """The tables of guide and decision, and the gate, name the same rules in the same order."""
    evidence = Evidence("production", None, None, "unchecked", "", None, None, None, None, TOLERANCE, None, None, None)

    rules = [answer.rule for answer in gate.judge(evidence, OPTIONS, SEED)]
    assert rules == list(itertools.chain(*first_cells(_read(PROJECT / page), heading)))


def _at(statement: dict[str, Any], place: str) -> str:
    """Find a value of a statement by the short names that the reference uses, as a tag has it."""
    predicate = statement["predicate"]
    resources = predicate["buildDefinition"]["resolvedDependencies"]
    found: Any = {
        **statement,
        "details": predicate["mlLifecycle_details"],
        "parameters": predicate["buildDefinition"]["externalParameters"],
        "made of": {resource["name"]: resource for resource in resources},
    }
    for step in place.split("."):
        found = found[int(step)] if isinstance(found, list) else found[step]
    if isinstance(found, list):
        return "+".join(found)
    return str(found).lower() if isinstance(found, bool) else str(found)


def test_every_tag_stands_where_the_reference_says() -> None:
    """The reference lists the tags of a version, all of them and no other, with their places in the statement."""
    page = _read(PROJECT / "docs/reference/provenance.md")
    origin = candidate().provenance
    content = json.loads(statement.write(origin, "small_model"))
    places = dict(re.findall(r"^\| `([\w.<>]+)` \| `([\w .<>]+)` \|", page, re.MULTILINE))

    found = {tag.replace("<table>", "table"): place.replace("<table>", "table") for tag, place in places.items()}
    assert origin.tags() == {tag: _at(content, place) for tag, place in found.items()}


def test_every_file_beside_the_model_is_in_the_reference() -> None:
    """The reference lists the files that a version can have, all of them and no other."""
    described = first_cells(_read(PROJECT / "docs/reference/provenance.md"), "Files beside the model")
    files = {MODEL, PROVENANCE, CARD, EVALUATION, DATA_REPORT, PROBE_SET, CHANGES, DATA_CHANGES, SIGNATURE}

    assert sorted(files) == sorted(itertools.chain(*described))


def test_a_curl_command_that_leads_nowhere_is_named() -> None:
    """A path that the service has not, and a file that is not there."""
    page = "```bash\ncurl -s http://127.0.0.1:8000/prediction -d @docs/nothing.json\n```"
    told = ["curl: the service does not answer at /prediction", "curl: there is no docs/nothing.json"]
    assert told == wrong_commands(page)
