"""A person in front of the real service, in Chromium: nothing is asked of anybody else, and what changes is said."""

import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, Route, expect, sync_playwright

import candidates
from candidates import World
from ml_lifecycle import export
from ml_lifecycle.api.keys import make_key
from ml_lifecycle.api.model_cache import ModelCache, VersionFacts
from ml_lifecycle.model_folder import MODEL, ModelFolder
from ml_lifecycle.model_version import Candidate
from ml_lifecycle.onnx_model import OUTPUT, OnnxModel
from ml_lifecycle.roles import TableRoles
from servers import plain_environment
from service import ALIAS, Service

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("default")]  # of third parties

DESKTOP, PHONE = (1280, 900), (360, 780)
ON_TIME, LATE = "<b>on time</b>", "<b>late</b>"
CARD = "# Card\n\n<script>alert(1)</script>\n\n| Table | rows |\n|---|---:|\n| `flights` | 7 |\n"
ROLES = TableRoles(
    table="flights",
    feature_set="flights",
    key="flight_key",
    time="scheduled_local",
    target="late",
    labels=(ON_TIME, LATE),
    numeric=["hour", "distance", "humidity", "wind_gust"],
    categorical=["carrier"],
    baselines={},
)
#: WCAG 2.2, success criterion 1.4.3.
CONTRAST = 4.5
#: The contrast of each text that is visible.
CONTRASTS = """() => {
  const colour = (text) => text.match(/[0-9.]+/g).map(Number);
  const light = (part) => (part /= 255) <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => 0.2126 * light(r) + 0.7152 * light(g) + 0.0722 * light(b);
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const found = colour(getComputedStyle(node).backgroundColor);
      if (found.length < 4 || found[3] > 0) return found;
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !node.checkVisibility()) continue;
    const style = getComputedStyle(node);
    const ink = colour(node instanceof SVGElement ? style.fill : style.color);
    const [a, b] = [luminance(ink), luminance(ground(node))].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), walker.currentNode.data.trim()]);
  }
  return found;
}"""


def hour_model(threshold: float) -> OnnxModel:
    """Build a model that answers with the hour of departure as a share of the day, whatever else is told."""
    numbers = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None]) for name in ROLES.numeric]
    texts = [helper.make_tensor_value_info(name, TensorProto.STRING, [None]) for name in ROLES.categorical]
    answer = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [None])
    day = helper.make_tensor("day", TensorProto.FLOAT, [1], [24.0])
    graph = helper.make_graph(
        [helper.make_node("Div", ["hour", "day"], [OUTPUT], name=OUTPUT)], "hour", [*numbers, *texts], [answer], [day]
    )
    proto: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return export.seal(proto, ROLES, threshold)


def made(threshold: float = 0.5) -> Candidate:
    """A model of departures with all that is told about it; each threshold is another model."""
    rows = pd.DataFrame({"hour": [6, 18], "distance": [229, 529], "humidity": [78.5, 40], "wind_gust": [None, 20]})
    candidate = candidates.candidate(hour_model(threshold), rows.astype("float32").assign(carrier=["EV", "US"]))
    return replace(candidate, model_card=CARD)


def put(service: Service) -> None:
    """Put a model into the cache of a service, with the example that MLflow stores beside it."""
    candidate = made()
    example = json.dumps(candidate.probe.drop(columns="probability").to_dict(orient="split"))  # with NaN, as MLflow's
    folder = ModelFolder(service.folder / "fetched")
    folder.path.mkdir()
    (folder.path / MODEL).write_bytes(candidate.model.content)
    (folder.path / "input_example.json").write_text(example, encoding="utf-8")
    folder.describe(candidate, service.model)
    folder.sign(service.keys)
    facts = VersionFacts(
        name=service.model,
        version="1",
        digest=candidate.model.digest,
        alias=ALIAS,
        run_id="r",
        created=datetime(2013, 10, 1, tzinfo=UTC),
        aliases=(ALIAS,),
    )
    ModelCache(service.cache, service.model, ALIAS).place(facts, folder.path)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service with a model that nobody replaces."""
    folder = tmp_path_factory.mktemp("service")
    found = Service(folder, candidates.keys(folder))
    put(found)
    found.start()
    yield found
    found.stop()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Make an empty registry."""
    with candidates.world(tmp_path) as found:
        yield found


@pytest.fixture
def new_service(world: World) -> Iterator[Service]:
    """Return a service on the registry, not yet started."""
    folder = world.folder / "service"
    folder.mkdir()
    found = Service(folder, world.keys, tracking_uri=f"sqlite:///{world.folder / 'mlflow.db'}")
    yield found
    found.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start Debian's Chromium, or Chrome."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    assert path is not None, "install Chromium: `apt-get install chromium`"
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=arguments, env=plain_environment())
        yield started
        started.close()


class Visit:
    """A page, with what it asked for and what the browser complained about."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.asked: list[str] = []
        self.complaints: list[str] = []
        page.on("request", self._note)
        page.on("console", self._listen)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))
        page.route(self._is_foreign, _refuse)

    def _note(self, request: Request) -> None:
        self.asked.append(request.url)

    def _listen(self, message: ConsoleMessage) -> None:
        self.complaints.append(f"{message.type}: {message.text} ({message.location.get('url')})")

    def _is_foreign(self, address: str) -> bool:
        return not address.startswith((f"{self.url}/", "data:", "blob:"))

    @property
    def foreign(self) -> list[str]:
        """What was asked of others."""
        return [address for address in self.asked if self._is_foreign(address)]

    def open(self, path: str = "/") -> Page:
        """Open a page, and wait until it has asked what it asks at first."""
        self.page.goto(f"{self.url}{path}", wait_until="networkidle")
        return self.page

    def field(self, name: str) -> Locator:
        """An input, by its label."""
        return self.page.get_by_label(name, exact=True)

    def predict(self) -> Locator:
        """Press the button, and wait for what comes."""
        before = self.page.locator("#answer").inner_html()
        self.page.get_by_role("button", name="Predict").click()
        self.page.wait_for_function("before => document.getElementById('answer').innerHTML !== before", arg=before)
        return self.page.locator("#answer")

    def record(self) -> dict[str, Any]:
        """What the next press of the button sends."""
        with self.page.expect_request("**/predict") as sent:
            self.page.get_by_role("button", name="Predict").click()
        record: dict[str, Any] = sent.value.post_data_json
        return record


def _refuse(route: Route) -> None:
    route.abort()


Visits = Callable[..., Visit]


@pytest.fixture
def visits(browser: Browser) -> Iterator[Visits]:
    """Return a function: a new visitor of a service, with a screen of a size."""
    contexts = []

    def new(service: Service, size: tuple[int, int] = DESKTOP, **options: Any) -> Visit:
        width, height = size
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        return Visit(context.new_page(), service.url)

    yield new
    for context in contexts:
        context.close()


@pytest.fixture
def visit(visits: Visits, service: Service) -> Visit:
    """Return a visitor of the service at a desk."""
    return visits(service)


@pytest.mark.parametrize("path", ["/", "/docs"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_page_loads_without_a_complaint_and_asks_nobody_else(
    visits: Visits, service: Service, path: str, size: tuple[int, int]
) -> None:
    """What the Content-Security-Policy refuses would stand in the console."""
    visit = visits(service, size)
    visit.open(path)
    visit.page.locator("#latency, .opblock").first.wait_for()
    assert [] == visit.complaints
    assert [] == visit.foreign
    assert 4 <= len(visit.asked)


def test_what_is_asked_of_others_is_refused_by_the_policy_and_seen_by_these_tests(
    visits: Visits, service: Service
) -> None:
    """The check above finds what it looks for."""
    ask = "document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.2/x.png'}))"
    guarded, unguarded = visits(service), visits(service, bypass_csp=True)
    for visit in (guarded, unguarded):
        visit.open()
    with guarded.page.expect_console_message():
        guarded.page.evaluate(ask)
    assert all("Content Security Policy" in complaint for complaint in guarded.complaints)
    with unguarded.page.expect_request("http://127.0.0.2/x.png"):
        unguarded.page.evaluate(ask)
    assert "http://127.0.0.2/x.png" in unguarded.foreign


def test_the_page_says_what_is_not_as_usual(visit: Visit) -> None:
    """The registry is away: the model from the cache serves, and the page says so."""
    visit.open()
    expect(visit.page.locator("#notices")).to_contain_text("The registry does not answer")


@pytest.mark.parametrize(
    ("local", "percent", "decision"), [("2013-12-20T18:00", 75, LATE), ("2013-12-20T06:00:30.500", 25, ON_TIME)]
)
def test_the_form_shows_what_the_service_answers(visit: Visit, local: str, percent: int, decision: str) -> None:
    """The clock on the wall goes through the form as it stands, and labels are text, whatever is in them."""
    visit.open()
    visit.field("scheduled_local").fill(local)
    with visit.page.expect_response("**/predict") as received:
        answer = visit.predict()
    share = f"{percent}.0\u00a0%"
    assert decision == answer.locator(".decision b").inner_text()
    assert f"probability of {LATE}: {share}" == answer.locator(".decision span").inner_text()
    assert f"{percent}%" == answer.locator(".share").get_attribute("width")
    assert "50%" == answer.locator("line").get_attribute("x1")
    assert f"Probability {share}, threshold 50.0\u00a0%" == answer.get_by_role("img").get_attribute("aria-label")
    named = received.value.header_value("x-prediction-id")
    assert f"kedro model trace {named}" == answer.locator("dd").nth(1).inner_text()
    assert named == answer.locator("dd").first.inner_text()
    assert [] == visit.complaints


def test_the_record_sent_is_the_one_in_the_form(visit: Visit, service: Service) -> None:
    """Numbers are numbers, an empty field is null."""
    visit.open()
    visit.page.get_by_text("more, which may be left empty").click()
    for name, value in {"scheduled_local": "2013-12-20T18:00", "distance": "229", "humidity": "78.5"}.items():
        visit.field(name).fill(value)
    visit.field("wind_gust").fill("")
    visit.field("carrier").fill('O\'Hare \\ "x"')
    record = visit.record()
    assert {
        "scheduled_local": "2013-12-20T18:00:00",
        "distance": 229,
        "humidity": 78.5,
        "wind_gust": None,
        "carrier": 'O\'Hare \\ "x"',
    } == record
    visit.page.locator("#answer").get_by_text("The same with curl").click()
    words = shlex.split(visit.page.locator("#answer pre").inner_text())
    assert ["curl", f"{service.url}/predict"] == [words[0], words[-1]]
    assert record == json.loads(words[words.index("-d") + 1])
    assert 0.75 == service.post("/predict", words[words.index("-d") + 1].encode()).json["probability"]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("distance", "0", ">= 1"),
        ("distance", "1.5", "int"),
        ("distance", "", "null"),
        ("scheduled_local", "", "null"),
        ("humidity", "1e39", "<= 3.4"),
    ],
)
def test_what_is_refused_is_explained_beside_its_field(visit: Visit, name: str, value: str, said: str) -> None:
    """The field is marked, unfolded and has the focus; corrected, it is as the others."""
    visit.open()
    field = visit.field(name)
    before = field.input_value()
    field.evaluate("(input, value) => { input.value = value }", value)
    answer = visit.predict()
    expect(answer).to_contain_text("A value is refused")
    expect(field).to_be_focused()
    expect(field).to_have_attribute("aria-invalid", "true")
    error = field.locator("xpath=..").locator(".error")
    expect(error).to_be_visible()
    assert said in error.inner_text()
    assert error.get_attribute("id") in str(field.get_attribute("aria-describedby")).split()
    field.fill(before)
    expect(error).to_be_hidden()
    expect(visit.predict()).to_contain_text("probability of")
    assert all("422" in complaint for complaint in visit.complaints)


def test_half_a_number_is_not_sent(visit: Visit) -> None:
    """The browser knows that it is no number; the page says so instead of sending nothing."""
    visit.open()
    visit.field("distance").click()
    visit.page.keyboard.press("Control+A")
    visit.page.keyboard.type("-")
    expect(visit.predict()).to_contain_text("A value is refused")
    expect(visit.page.locator(".error:visible")).to_contain_text("no number")
    assert f"{visit.url}/predict" not in visit.asked


def test_the_form_goes_back_to_the_example(visit: Visit) -> None:
    """Whatever was typed."""
    visit.open()
    example = visit.field("distance").input_value()
    visit.field("distance").fill("0")
    visit.predict()
    visit.page.get_by_role("button", name="Back to the example").click()
    assert example == visit.field("distance").input_value()
    expect(visit.page.locator(".error:visible")).to_have_count(0)
    assert "" == visit.page.locator("#answer").inner_html()


def test_the_page_can_be_used_with_the_keyboard_alone(visit: Visit) -> None:
    """Enter in a field sends; the answer is announced, since it comes into a live region."""
    visit.open()
    visit.field("carrier").focus()
    visit.page.keyboard.press("Enter")
    expect(visit.page.locator("#answer")).to_contain_text("probability of")
    assert "status" == visit.page.locator("#answer").get_attribute("role")


def test_latency_is_that_of_the_service_and_of_ones_own_tries(visit: Visit, service: Service) -> None:
    """Both have numbers as soon as something was answered."""
    visit.open()
    visit.predict()
    visit.predict()
    told = service.get("/latency").json
    expect(visit.page.locator('[data-slot="count"]')).to_have_text(str(told["count"]))
    for slot in ("p50", "p99"):
        assert re.fullmatch(r"[0-9.]+\u00a0ms", visit.page.locator(f'[data-slot="{slot}"]').inner_text())
    rows = visit.page.locator("#tries tbody tr")
    expect(rows).to_have_count(2)
    assert re.search(r"[0-9.]+\u00a0ms$", rows.first.inner_text())
    expect(visit.page.locator("#tries")).to_contain_text("Median of 2")


def test_a_card_is_shown_as_text(visit: Visit) -> None:
    """Markdown is laid out, a script in it is read and not run."""
    visit.open()
    visit.page.get_by_text("Model card").click()
    card = visit.page.locator(".card")
    expect(card).to_contain_text("<script>alert(1)</script>")
    expect(card.get_by_role("cell", name="flights")).to_be_visible()
    assert 0 == card.locator("script").count()
    assert [] == visit.complaints


def _unfold(page: Page) -> None:
    for summary in page.locator("summary").all():
        summary.click()


@pytest.mark.parametrize("path", ["/", "/docs"])
@pytest.mark.parametrize("width", [320, 360, 390])
def test_nothing_scrolls_sideways_on_a_phone(visits: Visits, service: Service, path: str, width: int) -> None:
    """Not even with everything unfolded, an answer and an error."""
    visit = visits(service, (width, 780))
    page = visit.open(path)
    if path == "/":
        visit.predict()
        _unfold(page)
        visit.field("distance").fill("0")
        visit.predict()
    assert width >= page.evaluate("document.documentElement.scrollWidth")


def test_there_are_two_columns_at_a_desk_and_one_on_a_phone(visits: Visits, service: Service) -> None:
    """What belongs together stays together."""
    places = {}
    for size in (DESKTOP, PHONE):
        page = visits(service, size).open()
        boxes = [page.locator(part).bounding_box() for part in ("#quality", "#try")]
        assert all(boxes)
        places[size] = [(box["x"], box["y"]) for box in boxes if box]
    assert places[DESKTOP][0][0] < places[DESKTOP][1][0]
    assert places[DESKTOP][0][1] == places[DESKTOP][1][1]
    assert places[PHONE][0][0] == places[PHONE][1][0]
    assert places[PHONE][0][1] < places[PHONE][1][1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(visits: Visits, service: Service, scheme: str) -> None:
    """Contrast is at least 4.5, in both colour schemes, of answers and errors as well."""
    visit = visits(service, color_scheme=scheme)
    page = visit.open()
    _unfold(page)
    visit.predict()
    found = page.evaluate(CONTRASTS)
    visit.field("distance").fill("0")
    visit.predict()
    found += page.evaluate(CONTRASTS)
    assert 100 < len(found)
    assert [] == [(ratio, text) for ratio, text in found if ratio < CONTRAST]


def test_a_text_that_cannot_be_read_is_found(visit: Visit) -> None:
    """The check above finds what it looks for."""
    page = visit.open()
    page.evaluate("document.styleSheets[0].insertRule('h2 { color: #777 !important; background: #888 }')")
    faint = {text for ratio, text in page.evaluate(CONTRASTS) if ratio < CONTRAST}
    assert {"How good", "Made from", "Try it"} <= faint


def test_swagger_ui_shows_the_operations_and_tries_them(visit: Visit, service: Service) -> None:
    """Every operation of the description is there, and the answer of the service to its own example."""
    page = visit.open("/docs")
    paths = service.get("/openapi.json").json["paths"]
    expect(page.locator(".opblock")).to_have_count(sum(len(methods) for methods in paths.values()))
    shown = page.locator(".opblock", has=page.get_by_text("/predict", exact=True))
    shown.locator(".opblock-summary").click()
    shown.get_by_role("button", name="Execute").click()
    live = shown.locator(".live-responses-table")
    expect(live.locator(".response-col_status").last).to_contain_text("200")
    expect(live).to_contain_text("probability")
    assert [] == visit.complaints
    assert [] == visit.foreign


def test_the_page_waits_for_a_model_and_becomes_whole_by_itself(
    visits: Visits, new_service: Service, world: World
) -> None:
    """It says why there is none, as /ready does."""
    new_service.start(until_ready=False)
    visit = visits(new_service)
    page = visit.open()
    expect(page.get_by_role("heading", name="No model yet")).to_be_visible()
    reason = new_service.get("/ready").json["reason"]
    expect(page.locator("#reason")).to_contain_text(reason[:40])
    assert all("/ready" in complaint and "503" in complaint for complaint in visit.complaints)
    assert [] == visit.foreign
    world.promote(world.add(made()))
    expect(page.locator("#model h1")).to_contain_text("version 1", timeout=20_000)
    expect(visit.predict()).to_contain_text("probability of")


def test_the_page_says_that_the_model_was_replaced_and_keeps_what_was_typed(
    visits: Visits, new_service: Service, world: World
) -> None:
    """The facts are those of the new version; its columns are the same, so the form stays."""
    world.promote(world.add(made()))
    new_service.start()
    visit = visits(new_service)
    page = visit.open()
    visit.field("distance").fill("777")
    world.promote(world.add(made(threshold=0.9)))
    expect(page.locator("#notices")).to_contain_text("Version 2 has replaced version 1", timeout=20_000)
    expect(page.locator("#model h1")).to_contain_text("version 2")
    expect(page.locator("#origin")).to_contain_text("kedro model audit 2")
    expect(page.locator("#model")).to_contain_text("90.0\u00a0%")
    assert "777" == visit.field("distance").input_value()
    visit.field("scheduled_local").fill("2013-12-20T18:00")
    answer = visit.predict()
    expect(answer).to_contain_text("version 2")
    assert ON_TIME == answer.locator(".decision b").inner_text()
    assert [] == visit.complaints


def test_an_answer_by_another_version_brings_its_facts_at_once(
    visits: Visits, new_service: Service, world: World
) -> None:
    """Nobody reads an answer beside the facts of a model that did not give it."""
    world.promote(world.add(made()))
    new_service.start()
    visit = visits(new_service)
    page = visit.open()
    page.route("**/ready", lambda route: route.abort())
    world.promote(world.add(made(threshold=0.9)))
    while new_service.get("/ready").json["model"]["version"] == "1":
        page.wait_for_timeout(50)
    visit.predict()
    expect(page.locator("#model h1")).to_contain_text("version 2", timeout=3_000)


def test_the_page_says_when_the_service_is_gone_and_when_it_is_back(
    visits: Visits, new_service: Service, world: World
) -> None:
    """A page that stays open tells no old story."""
    world.promote(world.add(made()))
    new_service.start()
    visit = visits(new_service)
    page = visit.open()
    new_service.stop()
    expect(visit.predict()).to_contain_text("cannot be reached")
    gone = page.get_by_text("The service cannot be reached. Trying again.")
    expect(gone).to_be_visible(timeout=20_000)
    new_service.start()
    expect(gone).to_be_hidden(timeout=20_000)


def test_a_key_is_asked_for_once_by_the_browser_itself(visits: Visits, new_service: Service, world: World) -> None:
    """With the key as the password, everything on the page works; without it there is no page."""
    key, digest = make_key()
    new_service.extra |= {"API_AUTHENTICATION": "on", "API_KEY_HASHES": digest}
    world.promote(world.add(made()))
    new_service.start()
    stranger = visits(new_service).page.request.get(new_service.url)
    assert (401, True) == (stranger.status, "basic" in stranger.headers["www-authenticate"].lower())
    visit = visits(new_service, http_credentials={"username": "anybody", "password": key})
    visit.open()
    expect(visit.predict()).to_contain_text("probability of")
    visit.open("/docs").locator(".opblock").first.wait_for()
    assert [] == visit.complaints
