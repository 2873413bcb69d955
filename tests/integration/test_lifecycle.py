"""One run from raw data to predictions: what it prints, stores, registers and promises."""

import hashlib
import json
import re

import jsonschema
import mlflow
import numpy as np
import onnxruntime
import pandas as pd
import pytest
from click.testing import Result
from mlflow import MlflowClient

from ml_lifecycle.provenance import statement
from ml_lifecycle.provenance.record import raw_input_tags, run_tags
from ml_lifecycle.provenance.statement import Statement
from project_copy import MODEL, PROJECT, KedroRun, Lifecycle, ProjectCopy, inside, run_kedro

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("default"),  # of third parties; TestCommand tests that a user sees none
]

SCHEMA = PROJECT / "docs/reference/provenance.schema.json"
SHA256 = r"[0-9a-f]{64}"
RAW = ("flights", "weather", "planes", "airports", "airlines")


def versions(project: ProjectCopy) -> list[str]:
    """List the registered versions, oldest first."""
    found = MlflowClient(project.tracking_uri).search_model_versions(f"name = '{MODEL}'")
    return sorted((str(version.version) for version in found), key=int)


def aliases(project: ProjectCopy) -> dict[str, str]:
    """Map the aliases of the model to versions."""
    found = MlflowClient(project.tracking_uri).get_registered_model(MODEL).aliases
    return {alias: str(version) for alias, version in found.items()}


def table(project: ProjectCopy, path: str) -> pd.DataFrame:
    """Read a table that a run made."""
    return pd.read_parquet(project.results / path)


def report(project: ProjectCopy, name: str) -> dict:
    """Read a report that a run made."""
    return json.loads((project.results / f"08_reporting/{name}.json").read_text(encoding="utf-8"))


def provenance(lifecycle: Lifecycle) -> str:
    """Read the provenance record of the version."""
    return (lifecycle.model_folder / "provenance.json").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def probe(lifecycle: Lifecycle) -> pd.DataFrame:
    """Return rows with the answers that the model gave in training."""
    return table(lifecycle.project, "06_models/probe_set.parquet")


class TestCommand:
    """What the person who starts a run sees."""

    def test_succeeds(self, lifecycle: Lifecycle) -> None:
        """A run in a fresh clone without data ends with 0."""
        assert lifecycle.result.returncode == 0, lifecycle.result.stderr

    def test_is_quiet(self, lifecycle: Lifecycle) -> None:
        """No warning reaches the terminal."""
        assert [] == [line for line in lifecycle.result.stderr.splitlines() if "warning" in line.lower()]

    def test_leaves_git_clean(self, lifecycle: Lifecycle) -> None:
        """Nothing that a run makes is left for Git to pick up."""
        assert lifecycle.project.run("git", "status", "--porcelain").stdout == ""

    @pytest.mark.parametrize(
        "line",
        [
            r"  flights +[\d,]+ in = +[\d,]+ kept \+ +[\d,]+ quarantined",
            r" +[\d,]+ no label: the flight never left",
            r"  slices +train [\d,]+, choose [\d,]+, judge [\d,]+",
            r"  roc_auc +0\.\d{3} \[0\.\d{3}, 0\.\d{3}\]",
            r"  log_loss +0\.\d{3} \[0\.\d{3}, 0\.\d{3}\]",
            rf"Registered 'flight_delay' version 1, SHA-256 {SHA256}",
            r"  aliases: @production = version 1, @staging = version 1",
            r"Pictures +build/test/08_reporting/roc_curve\.png",
            r"Model card +build/test/08_reporting/model_card\.html",
            r"Predictions +build/test/07_model_output/predictions\.parquet: [\d,]+ rows by 'flight_delay' version 1",
            r"Next +`kedro viz run`",
        ],
    )
    def test_sums_up(self, lifecycle: Lifecycle, line: str) -> None:
        """The summary names rows, quality, version, aliases, pictures and what to do next."""
        assert re.search(f"^{line}", lifecycle.result.stdout, re.MULTILINE), lifecycle.result.stdout

    def test_names_pictures_that_exist(self, lifecycle: Lifecycle) -> None:
        """Every picture named in the summary is a PNG file."""
        named = re.search(r"^Pictures +(.*)$", lifecycle.result.stdout, re.MULTILINE)[1].split()
        heads = {(lifecycle.project.path / name).read_bytes()[:4] for name in named}
        assert heads == {b"\x89PNG"}


class TestRows:
    """Nothing disappears."""

    def test_input_is_kept_plus_quarantined(self, lifecycle: Lifecycle) -> None:
        """For each raw table, the rows read are those kept and those quarantined."""
        rows = report(lifecycle.project, "data_report")["rows"].values()
        assert [table["in"] for table in rows] == [table["kept"] + sum(table["quarantined"].values()) for table in rows]

    def test_quarantine_holds_every_row(self, lifecycle: Lifecycle) -> None:
        """The quarantine table has as many rows as the report counts."""
        rows = report(lifecycle.project, "data_report")["rows"].values()
        counted = sum(sum(table["quarantined"].values()) for table in rows)
        assert counted == len(table(lifecycle.project, "02_intermediate/quarantine.parquet"))

    def test_slices_are_the_kept_flights(self, lifecycle: Lifecycle) -> None:
        """The slices together are the kept rows of the table that is learned from."""
        described = report(lifecycle.project, "data_report")
        assert described["rows"]["flights"]["kept"] == sum(part["rows"] for part in described["slices"].values())


class TestRegistry:
    """What a run registers."""

    def test_registers_one_version(self, lifecycle: Lifecycle) -> None:
        """A run registers exactly one version."""
        assert versions(lifecycle.project) == ["1"]

    def test_promotes_the_first_version(self, lifecycle: Lifecycle) -> None:
        """The first version, which beats its baselines, answers under both aliases."""
        assert aliases(lifecycle.project) == {"staging": "1", "production": "1"}

    def test_stores_the_recorded_bytes(self, lifecycle: Lifecycle) -> None:
        """The model file in the registry has the recorded SHA-256."""
        stored = (lifecycle.model_folder / "model.onnx").read_bytes()
        assert lifecycle.version.tags["model_sha256"] == hashlib.sha256(stored).hexdigest()

    def test_stores_the_file_of_the_run(self, lifecycle: Lifecycle) -> None:
        """The model in the registry is the file in the models folder, byte for byte."""
        stored = (lifecycle.model_folder / "model.onnx").read_bytes()
        assert stored == (lifecycle.project.results / "06_models/model.onnx").read_bytes()

    def test_tags_are_complete(self, lifecycle: Lifecycle) -> None:
        """Every part of the provenance record is a tag of the version."""
        recorded = statement.read(provenance(lifecycle))
        assert recorded.tags() == {name: lifecycle.version.tags[name] for name in recorded.tags()}

    def test_code_is_clean(self, lifecycle: Lifecycle) -> None:
        """A run in a clean clone is tagged with its commit and as clean."""
        commit = lifecycle.project.run("git", "rev-parse", "HEAD").stdout.strip()
        tags = lifecycle.version.tags
        assert (tags["git.commit"], tags["git.dirty"]) == (commit, "false")

    def test_every_raw_input_is_a_tag(self, lifecycle: Lifecycle) -> None:
        """The MD5 of each raw file is a tag of the version."""
        tables = {"flights": "flights.csv.zip", **{name: f"{name}.csv" for name in RAW if name != "flights"}}
        raw = lifecycle.project.path / "data/01_raw/sample"
        found = {name: hashlib.md5((raw / file).read_bytes()).hexdigest() for name, file in tables.items()}  # noqa: S324  # DVC hashes with MD5
        assert found == {name: lifecycle.version.tags[f"dvc.{name}"] for name in tables}

    def test_pyfunc_answers_as_in_training(self, lifecycle: Lifecycle, probe: pd.DataFrame) -> None:
        """MLflow's own model gives the probe's probabilities to the last bit, text columns included."""
        mlflow.set_tracking_uri(lifecycle.project.tracking_uri)
        model = mlflow.pyfunc.load_model(f"models:/{MODEL}@production")
        answers = model.predict(probe[model.metadata.get_input_schema().input_names()])
        assert np.array_equal(probe["probability"], answers["probability"])

    def test_probe_has_text_columns(self, probe: pd.DataFrame) -> None:
        """The probe carries text as pandas 3 reads it, which is what a server receives."""
        assert {"str"} == {str(probe[name].dtype) for name in ("carrier", "origin", "dest", "route")}


class TestProvenance:
    """What a model is made of."""

    def test_record_follows_the_schema(self, lifecycle: Lifecycle) -> None:
        """The stored record validates against the published schema."""
        jsonschema.validate(json.loads(provenance(lifecycle)), json.loads(SCHEMA.read_text(encoding="utf-8")))

    def test_schema_refuses_a_missing_part(self, lifecycle: Lifecycle) -> None:
        """A record without the commit does not validate."""
        record = json.loads(provenance(lifecycle))
        del record["predicate"]["mlLifecycle_details"]["git"]["commit"]
        with pytest.raises(jsonschema.ValidationError, match="'commit' is a required property"):
            jsonschema.validate(record, json.loads(SCHEMA.read_text(encoding="utf-8")))

    def test_names_every_raw_input(self, lifecycle: Lifecycle) -> None:
        """All five raw tables are in the record."""
        materials = json.loads(provenance(lifecycle))["predicate"]["buildDefinition"]["resolvedDependencies"]
        assert {*RAW, "code", "requirements/run.txt"} == {material["name"] for material in materials}


class TestTracking:
    """What the MLflow run holds."""

    def test_has_metrics_with_intervals(self, lifecycle: Lifecycle) -> None:
        """The model's quality is in the run, with both ends of its interval."""
        metrics = lifecycle.run.data.metrics
        assert metrics["judge.roc_auc.low"] < metrics["judge.roc_auc"] < metrics["judge.roc_auc.high"]

    def test_metrics_are_those_of_the_report(self, lifecycle: Lifecycle) -> None:
        """The run holds the figures of the evaluation report."""
        reported = report(lifecycle.project, "evaluation")["model"]["roc_auc"]["value"]
        assert reported == lifecycle.run.data.metrics["judge.roc_auc"]

    def test_has_params(self, lifecycle: Lifecycle) -> None:
        """Every group of parameters and the seed are in the run."""
        groups = {"baseline", "evaluation", "export", "features", "flights", "model", "search", "seed", "split"}
        assert groups == set(lifecycle.run.data.params)

    def test_has_files(self, lifecycle: Lifecycle) -> None:
        """Pictures, reports, model card and what was decided are artifacts of the run."""
        files = {file.path for file in lifecycle.client.list_artifacts(lifecycle.run.info.run_id)}
        pictures = {"roc_curve.png", "precision_recall_curve.png", "calibration_curve.png", "importance_chart.png"}
        reports = {"evaluation.json", "slice_metrics.csv", "model_card.md", "model_card.html", "records"}
        assert pictures | reports <= files

    def test_has_tags(self, lifecycle: Lifecycle) -> None:
        """The origin of the run, the raw inputs' hashes included, is on the run as tags."""
        recorded = statement.read(provenance(lifecycle))
        expected = {**run_tags(recorded.run), **raw_input_tags(recorded.raw_inputs)}
        assert expected == {name: lifecycle.run.data.tags[name] for name in expected}

    def test_is_finished(self, lifecycle: Lifecycle) -> None:
        """The run is closed."""
        assert lifecycle.run.info.status == "FINISHED"


@pytest.fixture(scope="module")
def predictions(lifecycle: Lifecycle) -> pd.DataFrame:
    """Return the predictions of the run."""
    return table(lifecycle.project, "07_model_output/predictions.parquet")


class TestPredictions:
    """What a prediction says about itself."""

    def test_carry_their_origin(self, lifecycle: Lifecycle, predictions: pd.DataFrame) -> None:
        """Each row names model, version, digest."""
        named = predictions[["model_name", "model_version", "model_digest"]].drop_duplicates().to_numpy().tolist()
        assert named == [[MODEL, "1", lifecycle.version.tags["model_sha256"]]]

    def test_carry_the_time(self, lifecycle: Lifecycle, predictions: pd.DataFrame) -> None:
        """Each row carries the start of the run, in UTC."""
        started = statement.read(provenance(lifecycle)).run.started_at
        assert [pd.Timestamp(started)] == list(predictions["scored_at"].unique())

    def test_equal_the_judged_scores(self, lifecycle: Lifecycle, predictions: pd.DataFrame) -> None:
        """Serving answers what was judged, to the last bit, on every judge row."""
        scores = table(lifecycle.project, "07_model_output/evaluation_scores.parquet")
        judged = scores[scores["row_split"] == "judge"].set_index("row_key")["model"]
        answered = predictions.set_index("request_key")["probability"]
        assert np.array_equal(judged.to_numpy(), answered.loc[judged.index].to_numpy())


class TestRebuilding:
    """Bit for bit, with one thread and another hash seed."""

    def test_model_is_the_same(self, lifecycle: Lifecycle, rebuilt: ProjectCopy) -> None:
        """The model file does not depend on threads or on the hash seed."""
        built = [project.results / "06_models/model.onnx" for project in (lifecycle.project, rebuilt)]
        assert built[0].read_bytes() == built[1].read_bytes()

    def test_probe_is_the_same(self, lifecycle: Lifecycle, rebuilt: ProjectCopy) -> None:
        """The recorded digest of the probe's answers is the same."""
        version = MlflowClient(rebuilt.tracking_uri).get_model_version(MODEL, "1")
        assert lifecycle.version.tags["probe_sha256"] == version.tags["probe_sha256"]

    def test_seed_decides(self, lifecycle: Lifecycle, kedro_run: KedroRun, finished_project: ProjectCopy) -> None:
        """Another seed makes another model, so equal bytes mean something."""
        kedro_run(finished_project, "--params", "seed=1", "--from-nodes", "search_options", "--to-nodes", "seal_model")
        model = "06_models/model.onnx"
        first, second = lifecycle.project.results / model, finished_project.results / model
        assert first.read_bytes() != second.read_bytes()


@pytest.fixture(scope="module")
def boosted(lifecycle: Lifecycle, tmp_path_factory: pytest.TempPathFactory) -> tuple[ProjectCopy, Result]:
    """Train another estimator in a project that has a version in production."""
    project = lifecycle.project.clone(tmp_path_factory.mktemp("boosted") / "project")
    options = "model.estimator=hist_gradient_boosting,model.hist_gradient_boosting.max_iter=5,baseline.max_iter=3"
    with inside(project):
        return project, run_kedro(project, "--pipelines", "training", "--params", options)


class TestAgain:
    """Later runs in the same clone."""

    def test_registers_the_next_version(self, boosted: tuple[ProjectCopy, Result]) -> None:
        """A second run registers version 2."""
        assert versions(boosted[0]) == ["1", "2"]

    def test_leaves_production_alone(self, boosted: tuple[ProjectCopy, Result]) -> None:
        """Production stays with version 1."""
        assert aliases(boosted[0]) == {"staging": "1", "production": "1"}

    def test_says_why_not(self, boosted: tuple[ProjectCopy, Result]) -> None:
        """The summary says that a person decides between the versions."""
        assert (
            "not promoted: version 1 is in production; compare them: `kedro model promote 2 --to production`"
            in boosted[1].stdout
        )

    def test_boosted_trees_are_exported(self, boosted: tuple[ProjectCopy, Result]) -> None:
        """The ONNX form of boosted trees agrees with scikit-learn."""
        compared = report(boosted[0], "export_report")
        assert compared["largest_difference"] <= compared["tolerance"]

    def test_boosted_model_is_boosted(self, boosted: tuple[ProjectCopy, Result]) -> None:
        """The chosen estimator is the one that was trained."""
        chosen = json.loads((boosted[0].results / "06_models/chosen_options.json").read_text(encoding="utf-8"))
        assert (chosen["estimator"], chosen["options"]["max_iter"]) == ("hist_gradient_boosting", 5)

    def test_boosted_model_is_plain_onnx(self, boosted: tuple[ProjectCopy, Result]) -> None:
        """The file opens in onnxruntime alone."""
        session = onnxruntime.InferenceSession(boosted[0].results / "06_models/model.onnx")
        assert [output.name for output in session.get_outputs()] == ["probability"]

    def test_packages_without_training(self, finished_project: ProjectCopy, kedro_run: KedroRun) -> None:
        """`--from-nodes package_model` registers the model file that is there."""
        result = kedro_run(finished_project, "--from-nodes", "package_model")
        client = MlflowClient(finished_project.tracking_uri)
        digests = {client.get_model_version(MODEL, number).tags["model_sha256"] for number in ("1", "2")}
        assert (result.exit_code, len(digests)) == (0, 1)

    def test_second_run_in_a_process_is_a_run_of_its_own(
        self, finished_project: ProjectCopy, kedro_run: KedroRun
    ) -> None:
        """Two runs in one process, as in a notebook, are two MLflow runs."""
        for _ in range(2):
            kedro_run(finished_project, "--pipelines", "serving")
        client = MlflowClient(finished_project.tracking_uri)
        runs = client.search_runs([client.get_experiment_by_name(MODEL).experiment_id])
        assert ["__default__", "serving", "serving"] == sorted(run.info.run_name for run in runs)


class TestServing:
    """Batch scoring by the version behind an alias."""

    def test_takes_the_alias_asked_for(self, finished_project: ProjectCopy, kedro_run: KedroRun) -> None:
        """Another alias than production can answer."""
        client = MlflowClient(finished_project.tracking_uri)
        first = client.get_model_version(MODEL, "1")
        client.create_model_version(MODEL, first.source, tags=first.tags)
        client.set_registered_model_alias(MODEL, "staging", "2")
        kedro_run(finished_project, "--pipelines", "serving", "--params", "alias=staging")
        answered = table(finished_project, "07_model_output/predictions.parquet")["model_version"]
        assert list(answered.unique()) == ["2"]

    def test_refuses_an_unknown_alias(self, finished_project: ProjectCopy, kedro_run: KedroRun) -> None:
        """An alias that no version carries is refused in one line that names the ones in use."""
        result = kedro_run(finished_project, "--pipelines", "serving", "--params", "alias=champion")
        error = "Error: No version of the model 'flight_delay' carries the alias '@champion', so nothing can be scored."
        (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error:")]
        assert (result.exit_code, line[: len(error)], line[-20:]) == (1, error, "production, staging.")

    def test_refuses_a_damaged_model(self, finished_project: ProjectCopy, kedro_run: KedroRun) -> None:
        """A model file that is not the registered one answers nothing."""
        (stored,) = finished_project.results.glob("mlruns/models/*/artifacts/model.onnx")
        stored.write_bytes(stored.read_bytes() + b"\0")
        result = kedro_run(finished_project, "--pipelines", "serving")
        assert result.exit_code == 1
        assert f"Error: Version 1 of '{MODEL}' is refused: it is not what was signed: Hash mismatch" in result.stderr


class TestRefusals:
    """What is refused before any node runs."""

    @pytest.mark.parametrize(
        ("arguments", "reason"),
        [
            ("model.estimatr=x", "unknown key 'estimatr'. Did you mean 'estimator'? Allowed: estimator, hist_gradient"),
            ("features.columns=[air_minutes]", "Not known at the prediction moment 'before_departure': 'air_minutes'"),
            (
                "model.estimator=svm",
                "Input should be 'random_forest', 'hist_gradient_boosting' or 'logistic_regression'",
            ),
            ("split.judge_from=2013-08-01", "choose_from (2013-09-01) must lie before judge_from (2013-08-01)"),
            ("flights.delay_threshold_minutes=-1", "Input should be greater than 0"),
        ],
    )
    def test_bad_parameters(self, clean_project: ProjectCopy, kedro_run: KedroRun, arguments: str, reason: str) -> None:
        """A parameter that cannot be used is refused with what is allowed, before any data are read."""
        result = kedro_run(clean_project, "--params", arguments)
        assert result.exit_code == 1
        assert reason in result.stderr
        assert not (clean_project.path / "data/01_raw/sample").exists()

    @pytest.mark.parametrize(
        ("arguments", "reason"),
        [
            (("--pipelines", "trainig"), "Failed to find the pipeline named 'trainig'."),
            (("--from-nodes", "fit_modle"), "Pipeline does not contain nodes named ['fit_modle']. Nothing was run."),
            (("--tags", "fast"), "Pipeline contains no nodes after applying all provided filters."),
            (("--env", "minoi"), "conf/minoi. Environments are the folders in conf/."),
        ],
    )
    def test_unknown_names(
        self, clean_project: ProjectCopy, kedro_run: KedroRun, arguments: tuple[str, str], reason: str
    ) -> None:
        """A pipeline, node, tag or environment that does not exist is refused in one line."""
        result = kedro_run(clean_project, *arguments)
        assert (1, True) == (result.exit_code, result.stderr.startswith("Error: "))
        assert reason in result.stderr
        assert not (clean_project.path / "data/01_raw/sample").exists()

    def test_no_commit(self, project: ProjectCopy, kedro_run: KedroRun) -> None:
        """Outside a Git repository nothing can be named, so nothing runs."""
        (project.path / ".git").rename(project.path / "no-git")
        result = kedro_run(project, "--pipelines", "serving")
        assert result.exit_code == 1
        assert "cannot be determined" in result.stderr

    def test_no_git_repository_with_raw_inputs(self, project: ProjectCopy, kedro_run: KedroRun) -> None:
        """Outside a Git repository the raw inputs are not read either."""
        (project.path / ".git").rename(project.path / "no-git")
        result = kedro_run(project)
        assert (result.exit_code, project.results.exists()) == (1, False)
        assert re.search(r"^Error: .*Git", result.stderr, re.MULTILINE)


def test_schema_is_that_of_the_record() -> None:
    """The published schema of the provenance record is the one of the code."""
    assert Statement.model_json_schema() == json.loads(SCHEMA.read_text(encoding="utf-8"))
