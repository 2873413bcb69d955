"""The pages for people say what the model is, take any table, show texts as texts and ask nobody else."""

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from fastapi import FastAPI

from ml_lifecycle.api import page

STATIC = Path(page.__file__).parent / "static"
ATTACK = "\"'></code></title><script>alert(1)</script><img src=x onerror=alert(1)>"
COMMIT, DIGEST = "c0ffee" * 6 + "c0de", "0a" * 32
CARD = "# Model card\n\n| Table | rows |\n|---|---:|\n| `flights` | 336,776 |\n"


def _figure(value: float, low: float | None = None, high: float | None = None) -> dict[str, float | None]:
    return {"value": value, "low": low, "high": high}


def _column(name: str, kind: str, **changes: Any) -> dict[str, Any]:
    return {"name": name, "kind": kind, "nullable": False, "minimum": None, "about": "", **changes}


def _facts(**changes: Any) -> dict[str, Any]:
    """What /model answers, with a column of each kind."""
    return {
        "name": "flight_delay",
        "version": "7",
        "alias": "production",
        "digest": DIGEST,
        "threshold": 0.2045,
        "labels": ["on_time", "late"],
        "created": "2013-12-01T10:00:00+00:00",
        "fetched_at": "2013-12-01T12:30:00+02:00",
        "signed_by": "public.pem",
        "source": "registry",
        "run": "bdd89a65",
        "record": {
            "commit": COMMIT,
            "dirty": False,
            "started_at": "2013-12-01T09:00:00+00:00",
            "kedro_environment": "base",
            "pipelines": ["training"],
            "python": "3.11.7",
            "platform": "Linux",
            "lock_sha256": "1c" * 32,
            "data": {"flights": "bada9f8a" * 4},
            "parameters": {"seed": 7, "split.judge_from": "2013-10-01"},
        },
        "metrics": {"roc_auc": _figure(0.741236, 0.719604, 0.755424), "calibration_gap": _figure(-0.00773)},
        "evaluation": {
            "rows": 82609,
            "positives": 18972,
            "confidence": 0.95,
            "baselines": {"schedule_only": {"roc_auc": _figure(0.637223, 0.612371, 0.658848)}},
            "decisions": {name: _figure(0.388489, 0.35108, 0.420722) for name in ("precision", "recall", "f1")},
        },
        "card": CARD,
        "request": {
            "schema": {},
            "example": {
                "scheduled_local": "2013-10-05T14:30:00",
                "known_at": "2013-10-05T16:30:00.250+02:00",
                "carrier": "EV",
                "distance": 229,
                "humidity": 78.0,
                "wind_gust": float("nan"),
            },
            "columns": [
                _column("scheduled_local", "moment", about="the wall clock in New York"),
                _column("known_at", "moment"),
                _column("carrier", "text"),
                _column("distance", "whole", minimum=1, about="miles"),
                _column("humidity", "number", nullable=True, about="%"),
                _column("wind_gust", "number", nullable=True, minimum=0, about="mph"),
            ],
        },
        **changes,
    }


@dataclass
class Document(HTMLParser):
    """What stands in a page: its elements with their attributes, and its text."""

    elements: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    scripts: list[str] = field(default_factory=list)
    _open: str = ""

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep an element."""
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self._open = tag
        self._part(tag)

    def handle_endtag(self, tag: str) -> None:
        """Leave it."""
        self._open = ""
        self._part(tag)

    def _part(self, tag: str) -> None:
        """Words in different blocks are different words."""
        if tag not in ("a", "b", "code", "span", "wbr"):
            self.pieces.append(" ")

    def handle_data(self, data: str) -> None:
        """Keep a text."""
        (self.scripts if self._open in ("script", "style") else self.pieces).append(data)

    @property
    def text(self) -> str:
        """What a person reads, with single spaces."""
        return " ".join("".join(self.pieces).split())

    def all(self, tag: str) -> list[dict[str, str]]:
        """The attributes of each element of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]

    def input(self, name: str) -> dict[str, str]:
        """The attributes of the input of a column."""
        (found,) = (attributes for attributes in self.all("input") if attributes["name"] == name)
        return found

    @property
    def addresses(self) -> list[str]:
        """Where it leads, and what it fetches."""
        names = ("href", "src", "action", "srcset", "data", "poster", "formaction")
        return [attributes[name] for _, attributes in self.elements for name in names if name in attributes]

    def forbidden(self) -> Iterator[str]:
        """Say what a strict Content-Security-Policy would refuse, and what leads elsewhere."""
        yield from (f"a script or style in the page: {text}" for text in self.scripts if text.strip())
        for tag, attributes in self.elements:
            yield from (f"{name} of {tag}" for name in attributes if name == "style" or name.startswith("on"))
            if tag == "style" or (tag == "script" and "src" not in attributes):
                yield f"{tag} without an address"
        yield from (f"leads to {address}" for address in self.addresses if re.match(r"\s*(\w+:|//|/)", address))


def read(html: str) -> Document:
    """Take a page apart."""
    document = Document()
    document.feed(html)
    document.close()
    return document


@dataclass
class Answer:
    """What an application answered."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    async def take(self, message: Any) -> None:
        """Take a part of it."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        self.body += message.get("body", b"")

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()


@dataclass(frozen=True)
class Caller:
    """Asks an application in this process, for a path as it stands here: no client has tidied it up."""

    app: FastAPI

    def get(self, path: str, **headers: str) -> Answer:
        """Ask for a path."""
        named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "method": "GET", "path": unquote(path), "query_string": b"", "headers": named}
        answer = Answer()

        async def ask() -> None:
            await self.app(scope, lambda: asyncio.sleep(0, {"type": "http.request"}), answer.take)

        asyncio.run(ask())
        return answer


def _served(facts: Callable[[], dict[str, Any] | None]) -> Caller:
    app = FastAPI(docs_url=None, redoc_url=None)
    page.add_routes(app, facts)
    return Caller(app)


@pytest.fixture
def client() -> Caller:
    """Return a caller of a service with a model."""
    return _served(_facts)


def _page(client: Caller, path: str = "/") -> Document:
    response = client.get(path)
    assert (200, "text/html; charset=utf-8") == (response.status, response.headers["content-type"])
    return read(response.text)


@pytest.mark.parametrize(
    "said",
    [
        "flight_delay version 7",
        "@production",
        "the probability of late, and decides for it from 20.4 % on, else for on_time",
        "82,609 rows it had not seen, 23.0 % of them late. In brackets, 95 % intervals.",
        "ROC AUC 0.5 guesses, 1 is perfect 0.741 [0.720, 0.755] 0.637 [0.612, 0.659]",
        "−0.008",
        "Precision 0.388 [0.351, 0.421]",
        f"Commit {COMMIT} clean",
        "Started 2013-12-01 09:00 UTC",
        "Fetched 2013-12-01 10:30 UTC",
        "Signed by public.pem",
        f"Model, SHA-256 {DIGEST}",
        "Data: 1 table flights " + "bada9f8a" * 4,
        "Parameters: 2 seed 7 split.judge_from 2013-10-01",
        "Environment: Python 3.11.7",
        "Lock, SHA-256 " + "1c" * 32,
        "MLflow run bdd89a65",
        "kedro model audit 7",
        "kedro model reproduce 7",
        "Table rows flights 336,776",
    ],
)
def test_the_page_says_which_model_how_good_and_made_from_what(client: Caller, said: str) -> None:
    """Each fact can be read without a script."""
    assert said in _page(client).text


def test_uncommitted_changes_and_a_model_from_the_cache_are_pointed_out() -> None:
    """What makes a model less than clean does not hide."""
    dirty = {**_facts()["record"], "dirty": True}
    shown = _page(_served(lambda: _facts(record=dirty, source="cache"))).text
    assert f"{COMMIT} with uncommitted changes" in shown
    assert "from the cache" in shown


@pytest.mark.parametrize(
    ("column", "attributes"),
    [
        ("scheduled_local", {"type": "datetime-local", "value": "2013-10-05T14:30:00", "data-zone": ""}),
        ("known_at", {"type": "datetime-local", "value": "2013-10-05T14:30:00.250000", "data-zone": "UTC"}),
        ("carrier", {"type": "text", "value": "EV", "required": ""}),
        ("distance", {"type": "number", "value": "229", "step": "1", "min": "1", "required": ""}),
        ("humidity", {"type": "number", "value": "78", "step": "any", "placeholder": "not known"}),
        ("wind_gust", {"type": "number", "value": "", "min": "0", "placeholder": "not known"}),
    ],
)
def test_the_form_has_an_input_of_its_kind_for_each_column(
    client: Caller, column: str, attributes: dict[str, str]
) -> None:
    """The example is filled in; a moment with a zone is shown in UTC, a wall clock as it is."""
    found = _page(client).input(column)
    assert attributes == {name: found.get(name) for name in attributes}
    assert ("required" in attributes) == ("required" in found) or found["type"] == "datetime-local"


def test_without_a_script_the_example_can_be_sent_as_it_stands(client: Caller) -> None:
    """It is JSON, in which a missing number is null."""
    shown = re.search(r"<noscript>.*?<pre>(.*?)</pre>", client.get("/").text, re.DOTALL)
    assert shown is not None
    assert {**_facts()["request"]["example"], "wind_gust": None} == json.loads(shown[1])


def test_each_input_has_a_label_and_its_unit(client: Caller) -> None:
    """Whoever cannot see the form hears the name of the column, and what is known about it."""
    document = _page(client)
    inputs = document.all("input")
    assert [entry["id"] for entry in inputs] == [label["for"] for label in document.all("label")]
    described = {entry["id"] for _, entry in document.elements if "id" in entry}
    assert {part for entry in inputs for part in entry["aria-describedby"].split()} <= described
    assert "distance miles, at least 1" in document.text


def test_a_form_is_told_from_another_by_its_columns() -> None:
    """What was typed stays if the next model asks for the same columns, and only then."""
    same = _facts(version="8", threshold=0.5)
    fewer = _facts(request={**same["request"], "columns": same["request"]["columns"][1:]})
    marks = [read(page.render(facts)).all("form")[0]["data-columns"] for facts in (_facts(), same, fewer)]
    assert marks[0] == marks[1] != marks[2]


def _attacked(value: Any) -> Any:
    """The same facts with markup in every text and name, but for the names that the contract gives."""
    if isinstance(value, dict):
        free = ("data", "parameters", "baselines", "metrics", "example")
        return {
            name: {f"{inner}{ATTACK}": _attacked(each) for inner, each in part.items()}
            if name in free
            else _attacked(part)
            for name, part in value.items()
        }
    if isinstance(value, list):
        return [_attacked(each) for each in value]
    return (
        f"{value}{ATTACK}" if isinstance(value, str) and value not in ("moment", "text", "whole", "number") else value
    )


def test_markup_in_any_fact_stays_text() -> None:
    """Whatever a name, a label, a unit or a card holds, it makes no element and closes none."""
    plain, attacked = read(page.render(_facts())), read(page.render(_attacked(_facts())))
    assert [] == list(attacked.forbidden())
    assert 30 < attacked.text.count("<script>alert(1)</script>")
    harmless = ("p", "code", "wbr")  # the card's table is no table any more
    assert [tag for tag, _ in plain.elements if tag in ("script", "img", "link", "input", "form", "title")] == [
        tag for tag, _ in attacked.elements if tag in ("script", "img", "link", "input", "form", "title")
    ]
    assert {tag for tag, _ in attacked.elements} <= {tag for tag, _ in plain.elements} | {*harmless}


@pytest.mark.parametrize(
    "card",
    [
        "<script>alert(1)</script>",
        "Text <img src=x onerror=alert(1)> text",
        "<div style='position:fixed'>\n\n# Title\n\n</div>",
        "[press](javascript:alert(1))",
        "![picture](https://example.org/picture.png)",
        "<https://example.org>",
        "[press][1]\n\n[1]: https://example.org",
        "![press][1]\n\n[1]: https://example.org/x.png",
        "| a |\n|:-:|\n| <b onclick=alert(1)>x</b> |",
        "`<script>alert(1)</script>`",
        "```html\n<script>alert(1)</script>\n```",
        '<a href="https://example.org">press</a>',
        "&lt;script&gt;alert(1)&lt;/script&gt;",
    ],
)
def test_a_card_shows_text_and_leads_nowhere(card: str) -> None:
    """Of Markdown only what shows text is used."""
    document = read(page.render(_facts(card=card)))
    assert [] == list(document.forbidden())
    ours = read(page.render(_facts(card="")))
    assert ours.all("a") == document.all("a")
    assert [] == document.all("img")


def test_a_card_is_laid_out(client: Caller) -> None:
    """Headings and tables of Markdown are those of the page."""
    document = _page(client)
    assert {"h3", "table", "td", "code"} <= {tag for tag, _ in document.elements}
    assert 1 == len(document.all("h1"))
    assert "| Table |" not in document.text


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_nothing_in_a_page_is_inline_or_foreign(client: Caller, path: str) -> None:
    """A Content-Security-Policy of 'self' takes nothing away, and no other address is asked."""
    assert [] == list(_page(client, path).forbidden())


def test_nothing_in_the_waiting_page_is_inline_or_foreign() -> None:
    """The same while there is no model."""
    assert [] == list(_page(_served(lambda: None)).forbidden())


@pytest.mark.parametrize(
    "broken",
    [
        "<p style='color:red'>",
        "<p onclick='f()'>",
        "<script>f()</script>",
        "<style>p {}</style>",
        "<script src='https://cdn.example.org/x.js'></script>",
        "<link href='//cdn.example.org/x.css'>",
        "<a href='javascript:f()'>",
        "<form action='http://example.org'>",
        "<img src='/picture.png'>",
    ],
)
def test_the_check_of_pages_finds_what_it_looks_for(broken: str) -> None:
    """An address from the root is found as well: behind a proxy, the service may lie deeper."""
    assert 1 <= len(list(read(broken).forbidden()))


@pytest.mark.parametrize("file", sorted(path.name for path in STATIC.iterdir()))
def test_files_of_the_pages_name_no_foreign_address(file: str) -> None:
    """But for the name space of SVG, which nobody fetches."""
    text = (STATIC / file).read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert [] == re.findall(r"https?://|url\(\s*['\"]?(?:https?:)?//|@import", text)


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_everything_that_a_page_fetches_is_served(client: Caller, path: str) -> None:
    """Scripts, styles and the icon come with the type a browser insists on."""
    document = _page(client, path)
    fetched = [each["src"] for each in document.all("script")] + [each["href"] for each in document.all("link")]
    types = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
    for address in fetched:
        response = client.get(f"/{address}")
        assert 200 == response.status
        assert response.headers["content-type"].startswith(types[address.rpartition(".")[2]])
    assert 3 <= len(fetched)


@pytest.mark.parametrize("name", ["nothing.js", "../page.py", "..%2fpage.py", "swagger/__init__.py", "", "swagger/"])
def test_no_other_file_is_served(client: Caller, name: str) -> None:
    """Names are looked up in a list: there is no path to climb."""
    assert 404 == client.get(f"/static/{name}").status


def test_a_browser_that_has_a_file_gets_no_second_copy(client: Caller) -> None:
    """It asks whether its copy is still right, and pays nothing if it is."""
    first = client.get("/static/swagger/swagger-ui-bundle.js")
    assert 1_000_000 < len(first.body)
    again = client.get("/static/swagger/swagger-ui-bundle.js", if_none_match=first.headers["etag"])
    assert (304, b"") == (again.status, again.body)
    other = client.get("/static/page.js", if_none_match=first.headers["etag"])
    assert 200 == other.status


def test_the_page_waits_while_there_is_no_model_and_is_whole_afterwards() -> None:
    """Nobody has to start the service anew."""
    known: list[dict[str, Any]] = []
    client = _served(lambda: known[0] if known else None)
    waiting = _page(client)
    assert "No model yet" in waiting.text
    assert "ready" in waiting.addresses
    assert [] == waiting.all("form")
    known.append(_facts())
    assert "flight_delay version 7" in _page(client).text


def test_a_model_of_which_little_is_known_has_a_page() -> None:
    """A version without a record, an evaluation and a card can still be tried."""
    document = read(page.render(_facts(record=None, metrics=None, evaluation={}, card=None, signed_by=None)))
    assert "Origin not recorded" in document.text
    assert "Nothing is told about its quality." in document.text
    assert 6 == len(document.all("input"))


def test_the_page_is_not_kept_by_the_browser(client: Caller) -> None:
    """A model that was replaced does not come back from the cache, nor to the next user of the machine."""
    assert "no-store" == client.get("/").headers["cache-control"]


def test_pages_are_no_operations(client: Caller) -> None:
    """The description for programs does not name what is for people."""
    assert {} == json.loads(client.get("/openapi.json").body)["paths"]
