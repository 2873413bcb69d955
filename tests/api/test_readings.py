"""What watches over a service: what strangers and others are told, and HEAD, by which load balancers ask."""

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

import candidates
from ml_lifecycle.api.guard import OPEN
from ml_lifecycle.api.keys import digest_of
from ml_lifecycle.api.model_cache import LogStatus, ModelCache, Status
from servers import HOST
from service import NO_REGISTRY, Service, place, running

KEY = "a-key-for-this-test"
WITH_A_KEY = {"API_AUTHENTICATION": "on", "API_KEY_HASHES": digest_of(KEY)}
FOR_STRANGERS = {"ready", "reason", "model", "source", "registry", "prediction_log"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service that asks for a key, with a model and without a registry."""
    with running(tmp_path_factory.mktemp("guarded"), **WITH_A_KEY) as found:
        yield found


@pytest.fixture(scope="module")
def without_model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service that asks for a key, and has no model and an ailing log."""
    folder = tmp_path_factory.mktemp("without_model")
    service = Service(folder, candidates.keys(folder), extra=dict(WITH_A_KEY))
    service.log_folder.write_bytes(b"a file where the log belongs")
    service.start(until_ready=False)
    yield service
    service.stop()


def _secrets(service: Service) -> tuple[str, ...]:
    return str(service.folder), NO_REGISTRY, NO_REGISTRY.removeprefix("http://"), "current.json", "SignatureError"


def test_strangers_hear_how_it_is_doing_and_no_paths_or_addresses(guarded: Service) -> None:
    answer = guarded.get("/ready")
    told = answer.json
    assert (answer.status, set(told)) == (200, FOR_STRANGERS)
    assert (told["ready"], told["reason"], told["source"]) == (True, "a verified model answers", "cache")
    assert (told["model"]["name"], told["model"]["version"]) == (candidates.NAME, "1")
    assert (told["registry"], told["prediction_log"]) == ({"well": False}, {"well": True})


def test_strangers_hear_that_there_is_no_model_and_not_where_it_was_looked_for(without_model: Service) -> None:
    for headers in ({}, {"X_API_Key": "wrong"}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic !"}):
        answer = without_model.get("/ready", **headers)
        assert (answer.status, set(answer.json), answer.json["reason"]) == (503, FOR_STRANGERS, "no verified model yet")
        other = without_model.get("/v2/health/ready", **headers)
        assert (other.status, "no verified model yet" in other.json["error"]) == (503, True)
        bodies = (answer.body + other.body).decode()
        assert [secret for secret in _secrets(without_model) if secret in bodies] == []


def test_strangers_hear_of_a_registry_and_a_log_that_are_well_or_not(without_model: Service) -> None:
    without_model.stop()
    cache = ModelCache(without_model.cache)
    cache.write_status(Status(log=LogStatus(error="away")))
    without_model.start(until_ready=False)
    told = without_model.get("/ready").json
    assert (told["registry"], told["prediction_log"]) == ({"well": False}, {"well": False})


@pytest.mark.parametrize("headers", [{"X_API_Key": KEY}, {"Authorization": f"Bearer {KEY}"}])
def test_who_shows_a_key_hears_all_of_it(guarded: Service, without_model: Service, headers: dict[str, str]) -> None:
    told = guarded.get("/ready", **headers).json
    assert set(told) == FOR_STRANGERS | {"refused"}
    assert set(told["registry"]) == {"asked_at", "error"}
    assert set(told["prediction_log"]) == {"shipped_rows", "waiting_bytes", "error", "damaged"}
    reason = without_model.get("/ready", **headers).json["reason"]
    assert str(without_model.folder) in reason
    assert str(without_model.folder) in without_model.get("/v2/health/ready", **headers).json["error"]


def test_without_authentication_everybody_hears_all_of_it(service: Service) -> None:
    assert set(service.get("/ready").json) == FOR_STRANGERS | {"refused"}


def _ask(service: Service, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
    with closing(http.client.HTTPConnection(HOST, service.port, timeout=30)) as caller:
        caller.request(method, path)
        answer = caller.getresponse()
        told = answer.read()
        caller.request("GET", "/health")  # over the same connection: nothing is left on it
        assert json.loads(caller.getresponse().read()) == {"status": "ok"}
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, told


@pytest.mark.parametrize("path", sorted(OPEN))
def test_load_balancers_may_ask_by_head_what_get_would_answer(
    guarded: Service, without_model: Service, path: str
) -> None:
    for service in (guarded, without_model):
        status, headers, body = _ask(service, "GET", path)
        by_head = _ask(service, "HEAD", path)
        assert (by_head[0], by_head[2]) == (status, b"")
        assert by_head[1]["content-length"] == headers["content-length"] == str(len(body))
        assert by_head[1]["content-type"] == headers["content-type"]


@pytest.mark.parametrize("path", sorted(OPEN))
def test_other_methods_are_refused_and_both_are_named(guarded: Service, path: str) -> None:
    status, headers, _ = _ask(guarded, "POST", path)
    assert (status, {name.strip() for name in headers["allow"].split(",")}) == (405, {"GET", "HEAD"})


def test_the_description_has_each_of_them_once(service: Service) -> None:
    paths = service.get("/openapi.json").json["paths"]
    assert {path: set(paths[path]) for path in OPEN} == {path: {"get"} for path in OPEN}
    names = [operation["operationId"] for operations in paths.values() for operation in operations.values()]
    assert len(names) == len(set(names))


def test_why_a_version_is_refused_is_told_to_nobody_without_a_key(guarded: Service) -> None:
    """The reason names the folder of the cache."""
    made = place(guarded.cache, candidates.keys(guarded.folder, "foreign"), version="2")
    deadline = time.monotonic() + 30
    while not guarded.get("/ready", X_API_Key=KEY).json["refused"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (refused,) = guarded.get("/ready", X_API_Key=KEY).json["refused"]
    assert (refused["digest"], str(guarded.folder) in refused["reason"]) == (made.digest, True)
    bodies = "".join(guarded.get(path).body.decode() for path in OPEN)
    assert [secret for secret in _secrets(guarded) if secret in bodies] == []
