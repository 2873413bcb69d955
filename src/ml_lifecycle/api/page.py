"""The service's pages for people: the model with a form to try it, and Swagger UI. Everything comes from this machine.

The facts are put into the page here; ``static/page.js`` asks for predictions and for what changes. There is no script
and no style in the pages themselves, so that the Content-Security-Policy can forbid both.
"""

import hashlib
import json
import math
import mimetypes
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, Literal

import jinja2
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, Response
from markupsafe import Markup

Facts = Mapping[str, Any]

_TEMPLATES = "ml_lifecycle.api"
_SWAGGER = ("swagger-ui-bundle.js", "swagger-ui.css")
#: A browser keeps them, and asks each time whether they are still right.
_REVALIDATE = {"Cache-Control": "no-cache"}
_DIGITS = 3

#: Names of the metrics of `metrics.py`, and how to read them.
_METRICS = {
    "roc_auc": ("ROC AUC", "0.5 guesses, 1 is perfect"),
    "average_precision": ("Average precision", "1 is perfect"),
    "log_loss": ("Log loss", "smaller is better"),
    "brier": ("Brier score", "smaller is better"),
    "calibration_gap": ("Calibration gap", "0 is best; above 0 promises too much"),
    "precision": ("Precision", ""),
    "recall": ("Recall", ""),
    "f1": ("F1", ""),
}
#: Markdown that could lead away from the page, fetch something or hide what is written.
_NOT_IN_A_CARD = (
    *("html", "link", "image_link", "reference", "image_reference", "short_reference", "short_image_ref"),
    *("autolink", "automail"),
)
_HEADING = re.compile(r"(</?h)([1-6])\b")


@dataclass(frozen=True)
class Field:
    """An input of the form: a column of the request, with its value in the example.

    ``zone`` is UTC for an instant, whose text in JSON ends with ``Z``, and empty for a wall clock.
    """

    name: str
    kind: Literal["number", "whole", "text", "moment"]
    nullable: bool
    minimum: float | None
    about: str
    value: str
    zone: str

    @classmethod
    def of(cls, column: Facts, example: Facts) -> "Field":
        """Make the input of a column."""
        value, zone = _written(column["kind"], example.get(column["name"]))
        return cls(
            column["name"],
            column["kind"],
            column["nullable"],
            column["minimum"],
            column["about"] or "",
            value,
            zone,
        )

    @property
    def hint(self) -> str:
        """Unit and bounds, in words."""
        least = [] if self.minimum is None else [f"at least {self.minimum:g}"]
        return ", ".join(part for part in dict.fromkeys((self.about, self.zone, *least)) if part)


def _written(kind: str, value: Any) -> tuple[str, str]:
    """A value as an input of HTML holds it, and the zone it is in."""
    if value is None:
        return "", ""
    moment = _moment(value) if kind == "moment" else None
    if moment is None:
        return str(value).removesuffix(".0"), ""
    if moment.tzinfo is None:
        return moment.isoformat(), ""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(), "UTC"


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _number(value: float | None, digits: int = _DIGITS) -> str:
    return "undefined" if value is None else f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _bounds(figure: Mapping[str, float | None]) -> str:
    """The interval of a figure, such as ``[0.720, 0.755]``; empty if it has none."""
    low, high = figure["low"], figure["high"]
    return "" if low is None or high is None else f"[{_number(low)}, {_number(high)}]"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def _time(text: str | None) -> str:
    """A time as people write it, in UTC."""
    moment = _moment(text or "")
    if moment is None:
        return text or "unknown"
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if moment.tzinfo else f"{moment:%Y-%m-%d %H:%M}"


def _breakable(name: str) -> Markup:
    """Let a long name break after its underscores."""
    return Markup("_<wbr>").join(name.split("_"))


@lru_cache(maxsize=4)
def _card(text: str) -> Markup:
    """A model card as HTML: of Markdown only what shows text. HTML in it is shown as the text it is."""
    import markdown  # when the first person looks, not when the service starts

    table = "markdown.extensions.tables:TableExtension"
    maker = markdown.Markdown(
        extensions=[table, "fenced_code"],
        extension_configs={table: {"use_align_attribute": True}},  # the other way is a style in the page
    )
    maker.preprocessors.deregister("html_block")
    for pattern in _NOT_IN_A_CARD:
        maker.inlinePatterns.deregister(pattern)
    below_the_title = _HEADING.sub(lambda found: f"{found[1]}{min(int(found[2]) + 2, 6)}", maker.convert(text))
    return Markup(below_the_title)  # noqa: S704 - written by the lines above: no HTML gets through


@lru_cache(maxsize=1)
def _templates() -> jinja2.Environment:
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader(_TEMPLATES, "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "bounds": _bounds,
        "breakable": _breakable,
        "card": _card,
        "meaning": lambda name: _METRICS.get(name, (name, ""))[1],
        "number": _number,
        "percent": _percent,
        "shown": lambda value: value if isinstance(value, str) else json.dumps(value),
        "thousands": lambda number: f"{number:,}",
        "time": _time,
        "title_of": lambda name: _METRICS.get(name, (name, ""))[0],
    }
    return templates


def _columns_digest(columns: list[Facts]) -> str:
    """What tells one form from another: what a person typed stays if the next model asks for the same."""
    return hashlib.sha256(json.dumps(columns, sort_keys=True).encode()).hexdigest()[:16]


def render(facts: Facts | None) -> str:
    """Write the page of a model, or the one that waits for a model."""
    if facts is None:
        return _templates().get_template("waiting.html.j2").render()
    columns = facts["request"]["columns"]
    example = {name: _present(value) for name, value in facts["request"]["example"].items()}
    return (
        _templates()
        .get_template("model.html.j2")
        .render(
            facts=facts,
            fields=[Field.of(column, example) for column in columns],
            example=example,
            columns_digest=_columns_digest(columns),
        )
    )


def _present(value: Any) -> Any:
    """NaN is no value in JSON, nor in a form."""
    return None if isinstance(value, float) and math.isnan(value) else value


@dataclass(frozen=True)
class _StaticFile:
    content: bytes
    media_type: str
    tag: str


def _static_files() -> dict[str, Traversable]:
    """The files that are given out, by their names: nothing else can be asked for."""
    own, swagger = resources.files(_TEMPLATES) / "static", resources.files("fastapi_swagger.resources")
    return {file.name: file for file in own.iterdir() if file.is_file()} | {
        f"swagger/{name}": swagger / name for name in _SWAGGER
    }


def _read(name: str, file: Traversable) -> _StaticFile:
    content = file.read_bytes()
    media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return _StaticFile(content, media_type, f'"{hashlib.sha256(content).hexdigest()[:32]}"')


def add_routes(app: FastAPI, facts: Callable[[], Facts | None]) -> None:
    """Add ``/``, ``/docs`` and ``/static/…`` to an application.

    Args:
        app: with its description at ``/openapi.json``, and with ``/predict``, ``/ready`` and ``/latency``.
        facts: returns what ``/model`` answers, or None while there is no model.
    """
    files = _static_files()
    read = lru_cache(maxsize=len(files))(lambda name: _read(name, files[name]))

    # Not `async`: writing the page takes milliseconds, in which the loop answers others.
    @app.get("/", include_in_schema=False, response_class=HTMLResponse)
    def page() -> HTMLResponse:
        return HTMLResponse(render(facts()), headers={"Cache-Control": "no-store"})

    @app.get("/docs", include_in_schema=False, response_class=HTMLResponse)
    def docs() -> HTMLResponse:
        return HTMLResponse(_templates().get_template("docs.html.j2").render(), headers=_REVALIDATE)

    @app.get("/static/{name:path}", include_in_schema=False)
    def static(name: str, request: Request) -> Response:
        if name not in files:
            return Response("There is no such file.", 404, media_type="text/plain")
        file = read(name)
        headers = {**_REVALIDATE, "ETag": file.tag}
        if file.tag in request.headers.get("If-None-Match", ""):
            return Response(status_code=304, headers=headers)
        return Response(file.content, media_type=file.media_type, headers=headers)
