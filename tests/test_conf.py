"""The conventions of this project, as tests: dvc.yaml, catalog, parameters, telemetry, locks, make targets."""

import copy
import inspect
import itertools
import re
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from kedro.io import CatalogConfigResolver
from kedro.pipeline import Node, Pipeline
from omegaconf import OmegaConf
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from dvc_consistency import (
    NOT_OWNED_BY_DVC,
    PROJECT,
    STAND_INS,
    WITHOUT_STAGE,
    Project,
    catalog_of,
    declared,
    differences,
    file_of,
    is_raw,
    read_project,
)
from ml_lifecycle.hooks.origin import RAW_INPUTS, RUN_RECORD
from ml_lifecycle.parameters import Parameters

Stages = dict[str, Any]
FROM_HOOKS = {RAW_INPUTS, RUN_RECORD}
STAGED = ("data_engineering", "training", "serving")


@pytest.fixture(scope="module")
def project() -> Project:
    """Return the project as it is."""
    return read_project()


@pytest.fixture
def stages() -> Stages:
    """Return the stages of dvc.yaml."""
    files = ("dvc.yaml", "conf/test/dvc.yaml")
    return {
        name: stage
        for file in files
        for name, stage in yaml.safe_load((PROJECT / file).read_text(encoding="utf-8"))["stages"].items()
    }


def datasets(pipeline: Pipeline) -> set[str]:
    """Name the datasets of a pipeline, parameters aside."""
    return {name for name in pipeline.datasets() if not name.startswith("params:")}


class TestDvc:
    """One stage per pipeline, with exactly its data, code and parameters."""

    def test_agrees_with_the_project(self, stages: Stages, project: Project) -> None:
        """The file dvc.yaml names what catalog, pipelines, parameters and imports say, and nothing else."""
        found = differences(stages, project)
        assert found == [], "\n".join(found)

    def test_notices_a_missing_stage(self, stages: Stages, project: Project) -> None:
        """A pipeline without a stage is a difference."""
        del stages["training"]
        assert differences(stages, project) == ["stages: training is missing in dvc.yaml"]

    def test_notices_an_unknown_stage(self, stages: Stages, project: Project) -> None:
        """A stage without a pipeline is a difference."""
        stages["deploying"] = {"cmd": "true"}
        assert differences(stages, project) == ["stages: deploying does not belong in dvc.yaml"]

    @pytest.mark.parametrize(
        ("stage", "part"),
        [
            *itertools.product(["raw_data", "raw_sample"], ["deps", "outs"]),
            *itertools.product(["data_engineering", "training"], ["deps", "outs", "params"]),
            ("serving", "deps"),
        ],
    )
    def test_notices_what_is_dropped(self, stages: Stages, project: Project, stage: str, part: str) -> None:
        """Each dependency, output and parameter file that is dropped is a difference."""
        missed = []
        for position, entry in enumerate(stages[stage][part]):
            broken = copy.deepcopy(stages)
            del broken[stage][part][position]
            name = next(iter(entry)) if isinstance(entry, dict) else entry
            if f"{stage}, {part}: {name} is missing in dvc.yaml" not in differences(broken, project):
                missed.append(name)
        assert missed == []

    @pytest.mark.parametrize("stage", ["raw_data", "raw_sample", "data_engineering", "training", "serving"])
    @pytest.mark.parametrize(("part", "entry"), [("deps", "src/ml_lifecycle/cli.py"), ("outs", "data/other.csv")])
    def test_notices_what_is_added(self, stages: Stages, project: Project, stage: str, part: str, entry: str) -> None:
        """A dependency or an output that does not belong to the stage is a difference."""
        stages[stage].setdefault(part, []).append(entry)
        assert differences(stages, project) == [f"{stage}, {part}: {entry} does not belong in dvc.yaml"]

    def test_notices_a_foreign_parameter_file(self, stages: Stages, project: Project) -> None:
        """A parameter file that the pipeline does not use is a difference."""
        foreign = "conf/base/parameters_training.yml"
        stages["data_engineering"]["params"].append({foreign: None})
        assert differences(stages, project) == [f"data_engineering, params: {foreign} does not belong in dvc.yaml"]

    def test_notices_that_more_than_the_seed_is_watched(self, stages: Stages, project: Project) -> None:
        """Of the globals, only the seed is a parameter."""
        stages["training"]["params"] = [
            {"conf/base/parameters_training.yml": None},
            {"conf/base/globals.yml": ["seed", "paths"]},
        ]
        assert differences(stages, project) == [
            "training, params: conf/base/globals.yml has ['seed', 'paths'], should have ['seed']"
        ]

    def test_notices_another_command(self, stages: Stages, project: Project) -> None:
        """A stage that runs something else than its pipeline is a difference."""
        stages["serving"]["cmd"] = "kedro run --pipelines serving"
        (found,) = differences(stages, project)
        assert "should be 'kedro run --pipelines serving --env base'" in found

    @pytest.mark.parametrize("name", ["model_input", "quarantine", "onnx_model", "airlines"])
    def test_notices_a_dataset_that_left_the_catalog(self, stages: Stages, project: Project, name: str) -> None:
        """A file in dvc.yaml that the catalog no longer has is a difference."""
        catalog = {key: entry for key, entry in project.catalog.items() if key != name}
        found = differences(stages, replace(project, catalog=catalog))
        assert any(f"{file_of(project.catalog, name)} does not belong in dvc.yaml" in line for line in found)

    def test_notices_a_new_import(self, stages: Stages, project: Project) -> None:
        """A module that a pipeline begins to import is a difference until it is a dependency."""
        imports = {**project.imports, "serving": project.imports["serving"] | {"ml_lifecycle.metrics"}}
        found = differences(stages, replace(project, imports=imports))
        assert found == ["serving, deps: src/ml_lifecycle/metrics.py is missing in dvc.yaml"]

    @pytest.mark.parametrize(
        "reason", [*WITHOUT_STAGE.values(), *NOT_OWNED_BY_DVC.values(), STAND_INS["registered_model"][1]]
    )
    def test_exemptions_have_a_reason(self, reason: str) -> None:
        """Each exemption says why it is one."""
        assert len(reason.split()) > 5

    def test_only_raw_data_are_cached(self, stages: Stages) -> None:
        """What a pipeline makes is rebuilt, never taken from a cache that would register nothing."""
        outs = [options for stage in STAGED for out in stages[stage].get("outs", []) for options in out.values()]
        assert [{"cache": False}] * len(outs) == outs


def crossing(pipelines: Mapping[str, Pipeline]) -> set[str]:
    """Name the datasets that more than one staged pipeline uses, apart from what hooks provide."""
    used = [name for stage in STAGED for name in datasets(pipelines[stage])]
    return {name for name in used if used.count(name) > 1} - FROM_HOOKS


def undeclared(catalog: Mapping[str, Any], pipelines: Mapping[str, Pipeline]) -> set[str]:
    """Name the datasets that come from outside a pipeline or leave it, and are not in the catalog."""
    ends = set.union(*(pipeline.inputs() | pipeline.outputs() for pipeline in pipelines.values()))
    named = {name for name in ends if not name.startswith("params:")} - FROM_HOOKS
    return {name for name in named if declared(catalog, name) is None}


def not_persisted(catalog: Mapping[str, Any], pipelines: Mapping[str, Pipeline]) -> set[str]:
    """Name the datasets that cross a boundary between pipelines in memory only."""
    lasting = {name for name in crossing(pipelines) if file_of(catalog, name)}
    return crossing(pipelines) - lasting - set(STAND_INS)


def without_contract(catalog: Mapping[str, Any], pipelines: Mapping[str, Pipeline]) -> set[str]:
    """Name the tables that cross a boundary, or enter from outside, without a validator."""
    entries = {name: declared(catalog, name) or {} for name in crossing(pipelines)}
    entries |= {name: entry for name, entry in catalog.items() if is_raw(entry)}
    return {
        name
        for name, entry in entries.items()
        if str(entry.get("type", "")).startswith("pandas.") and not entry.get("validator")
    }


def orphans(catalog: Mapping[str, Any], pipelines: Mapping[str, Pipeline]) -> set[str]:
    """Name the entries, patterns included, that no dataset of a pipeline uses."""
    resolver = CatalogConfigResolver(dict(catalog))
    used = set.union(*map(datasets, pipelines.values()))
    matched = {resolver.match_dataset_pattern(name) for name in used if name not in catalog}
    return set(catalog) - used - matched


class TestCatalog:
    """The catalog holds what the pipelines use."""

    def test_declares_what_enters_or_leaves(self, project: Project) -> None:
        """Every dataset that enters or leaves a pipeline is in the catalog."""
        assert undeclared(project.catalog, {name: project.pipelines[name] for name in STAGED}) == set()

    def test_notices_an_undeclared_dataset(self, project: Project) -> None:
        """A dataset that leaves a pipeline and is not in the catalog is found."""
        catalog = {name: entry for name, entry in project.catalog.items() if name != "requests"}
        assert undeclared(catalog, {name: project.pipelines[name] for name in STAGED}) == {"requests"}

    def test_declares_the_table_of_ones_own(self, project: Project) -> None:
        """The environment for a table of one's own declares what its pipeline needs."""
        assert undeclared(catalog_of("tabular"), {"tabular": project.pipelines["tabular"]}) == set()

    def test_has_no_orphans(self, project: Project) -> None:
        """Every entry and every pattern is used."""
        assert orphans(project.catalog, project.pipelines) == set()

    @pytest.mark.parametrize("name", ["left_over", "{name}_left_over"])
    def test_notices_an_orphan(self, project: Project, name: str) -> None:
        """An entry that nothing uses is found, a pattern too."""
        entry = {"type": "json.JSONDataset", "filepath": "data/other.json"}
        assert orphans({**project.catalog, name: entry}, project.pipelines) == {name}

    def test_persists_what_crosses_a_boundary(self, project: Project) -> None:
        """What one pipeline hands to another lies in a file."""
        assert not_persisted(project.catalog, project.pipelines) == set()

    def test_notices_a_boundary_in_memory(self, project: Project) -> None:
        """A dataset that is handed on in memory is found."""
        catalog = {**project.catalog, "model_input": {"type": "MemoryDataset"}}
        assert not_persisted(catalog, project.pipelines) == {"model_input"}

    def test_has_contracts_at_boundaries(self, project: Project) -> None:
        """Every table that enters from outside or crosses a boundary has a validator."""
        assert without_contract(project.catalog, project.pipelines) == set()

    @pytest.mark.parametrize("name", ["flights", "model_input", "requests"])
    def test_notices_a_missing_contract(self, project: Project, name: str) -> None:
        """A raw table or a boundary without a validator is found."""
        entry = {key: value for key, value in project.catalog[name].items() if key != "validator"}
        assert without_contract({**project.catalog, name: entry}, project.pipelines) == {name}

    def test_names_have_no_dots(self, project: Project) -> None:
        """No dataset and no node has a dot in its name, which Kedro takes for a namespace."""
        names = set(project.catalog)
        for pipeline in project.pipelines.values():
            names |= datasets(pipeline) | {node.name for node in pipeline.nodes}
        assert [name for name in names if "." in name] == []

    def test_raw_datasets_lie_in_the_raw_folder(self, project: Project) -> None:
        """The layer `raw` and the folder of raw data are the same thing."""
        folder = "data/01_raw/"
        layer = {name for name, entry in project.catalog.items() if is_raw(entry)}
        placed = {name for name in project.catalog if str(file_of(project.catalog, name)).startswith(folder)}
        assert layer == placed

    def test_raw_datasets_are_never_written(self, project: Project) -> None:
        """No pipeline has a raw dataset among its outputs."""
        raw = {name for name, entry in project.catalog.items() if is_raw(entry)}
        assert raw & set.union(*(pipeline.all_outputs() for pipeline in project.pipelines.values())) == set()

    @pytest.mark.parametrize("environment", ["base", "test", "tabular"])
    def test_every_dataset_has_a_layer(self, environment: str) -> None:
        """Each entry says in which layer Kedro-Viz shows it."""
        entries = catalog_of(environment).items()
        assert [name for name, entry in entries if "layer" not in entry.get("metadata", {}).get("kedro-viz", {})] == []


def parameter_nodes(pipelines: Mapping[str, Pipeline]) -> Iterator[tuple[Node, str, Any]]:
    """List node, key and annotation of each parameter that a node takes."""
    for node in {node for pipeline in pipelines.values() for node in pipeline.nodes}:
        hints = inspect.get_annotations(node.func, eval_str=True)
        arguments = inspect.signature(node.func).bind(*node._inputs) if isinstance(node._inputs, list) else None
        named = arguments.arguments if arguments else node._inputs
        named = {next(iter(hints)): named} if isinstance(named, str) else named
        for argument, name in (named or {}).items():
            if str(name).startswith("params:"):
                yield node, name.removeprefix("params:"), hints[argument]


def untyped(pipelines: Mapping[str, Pipeline]) -> set[str]:
    """Name the parameters that a node takes without a model; the seed is a plain number."""
    return {
        key
        for _, key, hint in parameter_nodes(pipelines)
        if not (key == "seed" and hint is int) and not (inspect.isclass(hint) and issubclass(hint, Parameters))
    }


def conf_files(pattern: str) -> list[Path]:
    """Find configuration files that are committed."""
    return [file for file in sorted((PROJECT / "conf").rglob(pattern)) if "local" not in file.parts]


class TestParameters:
    """Parameters are typed, used and literal."""

    def test_are_typed(self, project: Project) -> None:
        """Each parameter that a node takes has a model that refuses unknown keys."""
        assert untyped(project.pipelines) == set()

    def test_notices_an_untyped_parameter(self) -> None:
        """A node that takes a parameter as a plain dictionary is found."""

        def plain(options: dict[str, Any]) -> dict[str, Any]:
            return options

        assert untyped({"own": Pipeline([Node(plain, "params:own", "result", name="plain")])}) == {"own"}

    def test_are_used(self, project: Project) -> None:
        """Every key of a parameter file is used by a node, and every key used is in a file."""
        own = yaml.safe_load((PROJECT / "conf/tabular/parameters.yml").read_text(encoding="utf-8"))
        declared_keys = set.union(*project.parameter_files.values()) | set(own)
        of_commands = {"gate"}  # asked by `kedro model promote`, not by a node
        assert declared_keys - of_commands == {key for _, key, _ in parameter_nodes(project.pipelines)}
        assert of_commands <= declared_keys

    def test_are_literal(self) -> None:
        """Parameter files hold values, because DVC reads them as they are; only the seed refers to the globals."""
        referring = {
            file.relative_to(PROJECT).as_posix(): line
            for file in conf_files("parameters*.yml")
            for line in file.read_text(encoding="utf-8").splitlines()
            if "${" in line
        }
        assert referring == {"conf/base/parameters.yml": "seed: ${globals:seed}"}

    @pytest.mark.parametrize("environment", ["test", "tabular"])
    def test_environments_add_no_keys(self, environment: str) -> None:
        """An environment changes globals of `base`, apart from the path of a table of one's own."""
        base, other = (
            yaml.safe_load((PROJECT / f"conf/{name}/globals.yml").read_text(encoding="utf-8"))
            for name in ("base", environment)
        )
        added = {key for group in other for key in set(other[group]) - set(base[group])}
        assert added <= {"table"}


def test_nothing_is_versioned_by_kedro() -> None:
    """DVC and MLflow keep versions; `versioned: true` would be a third owner."""
    found = [file.name for file in conf_files("*.yml") if re.search(r"versioned:\s*true", file.read_text())]
    assert found == []


def test_environment_variables_are_for_credentials() -> None:
    """Only credentials are read from the environment."""
    assert [
        file.name for file in conf_files("*.yml") if "oc.env" in file.read_text() and "credentials" not in file.name
    ] == []


class TestTelemetry:
    """Telemetry of every tool is off in its own place, too."""

    def test_of_dvc(self) -> None:
        """DVC's configuration switches analytics and the check for updates off."""
        config = (PROJECT / ".dvc/config").read_text(encoding="utf-8")
        settings = dict(re.findall(r"^\s*(\w+)\s*=\s*(\w+)", config, re.MULTILINE))
        assert ("false", "false") == (settings["analytics"], settings["check_update"])

    def test_of_kedro(self) -> None:
        """Kedro's file of consent says no."""
        assert {"consent": False} == yaml.safe_load((PROJECT / ".telemetry").read_text(encoding="utf-8"))

    def test_of_make(self) -> None:
        """The make targets read the same variables as the package."""
        assert "include src/ml_lifecycle/defaults.env\nexport\n" in (PROJECT / "Makefile").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("path", "ignored"),
    [
        ("data/01_raw/table.csv", True),
        ("data/01_raw/table.csv.dvc", False),
        ("data/01_raw/folder/table.csv.dvc", False),
        ("data/06_models/model.onnx", True),
        ("data/08_reporting/.gitkeep", False),
        ("conf/local/globals.yml", True),
        ("conf/base/credentials.yml", True),
        ("conf/minio/credentials.yml", False),
        (".env", True),
        (".env.example", False),
        ("mlflow.db", True),
        ("uv.lock", True),
    ],
)
def test_git_keeps_hashes_and_no_data(path: str, ignored: bool) -> None:
    """Git ignores data, secrets and stores, and keeps DVC's records."""
    result = subprocess.run(["git", "check-ignore", "--quiet", "--no-index", path], cwd=PROJECT, check=False)
    assert ignored == (result.returncode == 0)


PIN = re.compile(r"^([a-zA-Z0-9._-]+)(?:\[[^]]*\])?==([^\s;\\]+)", re.MULTILINE)


def pins(lock: str) -> dict[str, set[str]]:
    """Map each package of a lock to its versions; forks for other platforms have several."""
    found: dict[str, set[str]] = {}
    for name, version in PIN.findall(lock):
        found.setdefault(canonicalize_name(name), set()).add(version)
    return found


def without_hash(lock: str) -> list[str]:
    """Name the pins of a lock that no hash follows."""
    blocks = re.split(r"^(?=[a-zA-Z0-9])", lock, flags=re.MULTILINE)
    return [block.split()[0] for block in blocks if PIN.match(block) and "--hash=sha256:" not in block]


class TestLocks:
    """What is installed is exactly what was locked."""

    @pytest.fixture
    def locks(self) -> dict[str, str]:
        """Return the texts of the locks by name."""
        files = (PROJECT / "requirements").glob("*.txt")
        return {file.stem: file.read_text(encoding="utf-8") for file in files}

    def test_hold_every_group(self, locks: dict[str, str]) -> None:
        """`make lock` names each group of pyproject.toml, uv may read them, and each dependency of theirs is pinned."""
        project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
        groups = project["dependency-groups"]
        makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
        of_images = re.findall(r"^IMAGE_LOCKS := (.*)$", makefile, re.MULTILINE)[0].split()
        assert set(groups) == {*re.findall(r"--group (\w+)", makefile), *of_images}
        assert "uv" not in project["tool"]  # with managed = false it reads no groups
        found = pins(locks["dev"])
        for want in (Requirement(text) for group in groups.values() for text in group):
            versions = found[canonicalize_name(want.name)]
            assert versions == set(want.specifier.filter(versions)), want

    def test_hold_every_dependency(self, locks: dict[str, str]) -> None:
        """Each dependency of pyproject.toml is pinned to a version that it allows."""
        wanted = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
        found = pins(locks["run"])
        refused = [
            each
            for each in map(Requirement, wanted)
            if not all(each.specifier.contains(version) for version in found[canonicalize_name(each.name)])
        ]
        assert refused == []

    def test_have_hashes(self, locks: dict[str, str]) -> None:
        """Every pin of every lock has a hash."""
        assert [pin for text in locks.values() for pin in without_hash(text)] == []

    def test_notices_a_pin_without_hash(self) -> None:
        """A pin that no hash follows is found."""
        assert without_hash("a==1 \\\n    --hash=sha256:0\nb==2\n    # via a\n") == ["b==2"]

    def test_have_no_addresses(self, locks: dict[str, str]) -> None:
        """No lock names a place to download from."""
        assert [name for name, text in locks.items() if "://" in text] == []

    def test_agree(self, locks: dict[str, str]) -> None:
        """What runs, here or in an image, is what was tested: no lock pins another version than that of `dev`."""
        dev = pins(locks["dev"])
        assert [] == different_pins({name: text for name, text in locks.items() if name in OF_RUNS}, dev)

    def test_notices_another_version(self) -> None:
        """A lock with a version that was not tested is found, and so is a package that was not."""
        found = different_pins({"api": "a==1\nb==2\nc==3\n"}, {"a": {"1"}, "b": {"1"}})
        assert ["api: b is 2, tested was 1", "api: c is 3, tested was nothing"] == found


#: The locks of what runs; `uv` and `build` make environments.
OF_RUNS = ("run", "api", "tracking", "workbench", "package")


def different_pins(locks: dict[str, str], tested: dict[str, set[str]]) -> list[str]:
    """Name what a lock pins that was not tested."""
    return [
        f"{lock}: {name} is {', '.join(versions)}, tested was {', '.join(tested.get(name, ())) or 'nothing'}"
        for lock, text in locks.items()
        for name, versions in pins(text).items()
        if versions != tested.get(name)
    ]


def rules(makefile: str) -> dict[str, list[str]]:
    """Map each target that has a help text to its recipe, continued lines joined."""
    joined = makefile.replace("\\\n", " ")
    found = re.findall(r"^([a-z0-9-]+):[^\n]*?  ## [^\n]+\n((?:\t[^\n]*\n?)*)", joined, re.MULTILINE)
    return {target: recipe.splitlines() for target, recipe in found}


class TestMake:
    """The front door."""

    @pytest.fixture
    def makefile(self) -> str:
        """Return the text of the Makefile."""
        return (PROJECT / "Makefile").read_text(encoding="utf-8")

    def test_help_lists_every_target(self, makefile: str) -> None:
        """`make help` prints each target with a sentence."""
        printed = subprocess.check_output(["make", "--no-print-directory", "help"], cwd=PROJECT, text=True)
        phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split()
        assert sorted(phony) == sorted(line.split()[0] for line in printed.splitlines() if len(line.split()) > 1)

    def test_targets_are_one_line(self, makefile: str) -> None:
        """Each target calls the real tool in one line; `env` only needs its stamp."""
        assert {target: len(recipe) for target, recipe in rules(makefile).items() if len(recipe) != 1} == {"env": 0}

    def test_notices_a_longer_recipe(self, makefile: str) -> None:
        """A second line in a recipe is found."""
        longer = makefile.replace("\tkedro run\n", "\tkedro run\n\techo done\n")
        assert len(rules(longer)["run"]) == 2

    def test_targets_exist(self, makefile: str) -> None:
        """The targets that people rely on are there."""
        relied_on = {"run", "test", "lint", "lock", "ui", "viz", "notebook", "bench", "env", "clean", "help"}
        assert relied_on <= set(rules(makefile))


def test_paths_in_the_project_are_absolute_after_a_look_at_the_catalog() -> None:
    """Kedro keeps the first resolver of a name in a process: what these tests load with is what later runs get."""
    catalog_of("base")
    assert str(PROJECT / "mlruns") == OmegaConf.create({"path": "${in_project:mlruns}"}).path


def test_compiled_python_is_no_dependency_of_a_stage() -> None:
    """DVC ignores what Python writes beside the sources: importing a module makes no stage out of date."""
    assert "__pycache__/" in (PROJECT / ".dvcignore").read_text(encoding="utf-8").splitlines()


class TestServers:
    """What a machine has to know about servers."""

    def test_every_variable_is_documented(self) -> None:
        """The example of .env names every variable that the environment and the scripts in deploy/ read."""
        named = re.findall(r"^(?:# )?(\w+)=", (PROJECT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE)
        read = {
            *re.findall(r"oc\.env:(\w+)[},]", (PROJECT / "conf/minio/credentials.yml").read_text(encoding="utf-8")),
            *re.findall(r"\$\{([A-Z_]+):[?-]", (PROJECT / "deploy/mlflow/server").read_text(encoding="utf-8")),
        }
        for identity in ("AWS", "TRACKING", "SERVING", "AUDITOR"):
            read |= {f"{identity}_ACCESS_KEY_ID", f"{identity}_SECRET_ACCESS_KEY"}
        assert set() == read - {*named}

    def test_no_secret_is_given(self) -> None:
        """The example leaves every secret empty."""
        lines = (PROJECT / ".env.example").read_text(encoding="utf-8").splitlines()
        secrets = [line for line in lines if re.match(r"\w*(SECRET|PASSWORD)\w*=", line)]
        assert 6 == len(secrets)
        assert all(line.endswith("=") for line in secrets)

    def test_the_remote_has_no_address(self) -> None:
        """DVC's remote names the bucket only; the address comes from the environment, secrets never stand there."""
        config = (PROJECT / ".dvc/config").read_text(encoding="utf-8")
        assert "url = s3://dvc" in config
        assert [] == re.findall(r"endpointurl|access_key_id|secret_access_key|profile", config)

    def test_minio_is_known_in_one_place(self) -> None:
        """No module of the package, and no script but those in deploy/minio, imports MinIO's client."""
        files = [*(PROJECT / "src").rglob("*.py"), *(PROJECT / "benchmarks").rglob("*.py")]
        assert [] == [file for file in files if re.search(r"^\s*(import|from) minio", file.read_text(), re.MULTILINE)]
