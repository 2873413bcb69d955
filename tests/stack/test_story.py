"""From a machine without a stack to predictions by a second version, and through a restart of everything."""

import json

import pytest

import kedro_process
from compose import RAW, Compose, registered
from project_copy import ProjectCopy, environment
from promotion_story import BETTER

pytestmark = [pytest.mark.stack, pytest.mark.filterwarnings("default")]


def test_the_whole_story(compose: Compose, small_project: ProjectCopy) -> None:
    """Train, predict, train again, promote, and come back after everything was down."""
    compose.make("stack-clean", given="yes\n")
    assert "" == compose.docker("volume", "ls", "--quiet", "--filter", f"name={compose.variables['STACK_NAME']}_")
    compose.make("stack")
    run = compose.make("stack-run", f"RAW={RAW}")
    number, digest = registered(run.stdout + run.stderr)
    told = compose.wait_for_version(number)
    answer = compose.ask("/predict", {**told["request"]["example"], "flight_key": "first"})
    assert (answer.status, answer.json["model"]["digest"]) == (200, digest)

    made = json.loads(compose.kedro("model", "show", number, "--env", "minio", "--json").stdout)["record"]["run"]
    built = {"commit": compose.run("git", "rev-parse", "HEAD").stdout.strip(), "dirty": False}
    assert built == {name: made["git"][name] for name in built}
    image = compose.docker(
        "image", "inspect", "--format", "{{.Id}}", f"{compose.variables['IMAGE_PREFIX']}-pipelines:test"
    )
    assert image == made["environment"]["image"]

    outside = kedro_process.run(("kedro", "run"), small_project.path, environment(small_project.path))
    assert digest == registered(outside.stdout + outside.stderr)[1], "in a container it is another model"

    run = compose.make("stack-run", f"RAW={RAW}", f"RUN=kedro run --env minio --params {BETTER}")
    second, other = registered(run.stdout + run.stderr)
    assert (compose.version_served(), digest != other) == (number, True)
    promote = ("model", "promote", second, "--to", "production", "--env", "minio", "--json")
    promoted = json.loads(compose.kedro(*promote, check=False).stdout)
    assert promoted["moved"], [rule["explanation"] for rule in promoted["rules"] if rule["answer"] != "yes"]
    assert compose.wait_for_version(second)["digest"] == other
    request_id = compose.ask("/predict", {**told["request"]["example"], "flight_key": "second"}).json["request_id"]

    assert compose.make("stack-clean", check=False, given="no\n").returncode
    compose.make("stack-down")
    compose.make("stack")
    assert compose.wait_for_version(second)["digest"] == other
    traced = compose.trace(request_id)
    assert (traced["digest"], traced["prediction"]["request_key"]) == (other, "second")
    versions = json.loads(compose.kedro("model", "list", "--env", "minio", "--json").stdout)["versions"]
    assert {number, second} == {version["version"] for version in versions}
