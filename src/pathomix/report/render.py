"""Results tables as text: Markdown, LaTeX, and HTML pages that hold everything they need."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import jinja2
import pandas as pd

from pathomix.report.cells import DASH, ResultsTable

_LATEX = {"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}"}
_LATEX |= {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}
_LATEX |= {"±": r"$\pm$", DASH: "--", "<": r"$<$", ">": r"$>$"}


def latex(text: str) -> str:
    """Text with LaTeX's own characters escaped."""
    return "".join(_LATEX.get(character, character) for character in text)


def markdown(text: str) -> str:
    """Text with Markdown's own characters escaped."""
    return text.replace("|", r"\|").replace("*", r"\*").replace("_", r"\_").replace("<", "&lt;")


def anchor(text: str) -> str:
    """A text as an HTML id."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-").lower()


def printed(value: float | None) -> str:
    """Three decimals, nothing where missing."""
    return "" if value is None or pd.isna(value) else f"{value:.3f}"


def html(template: str, context: Mapping[str, Any]) -> str:
    """A page of the templates, its style sheet inside."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pathomix.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"anchor": anchor, "number": printed}
    css = (files("pathomix.report") / "templates" / "page.css").read_text(encoding="utf-8")
    return environment.get_template(template).render({"css": css, **context})


def render(tables: Sequence[ResultsTable], kind: str) -> str:
    """Markdown (``md``), LaTeX (``tex``) or a self-contained page (``html``) of the tables of one task."""
    if kind == "html":
        return html("table.html.j2", {"tables": tables})
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pathomix.report", "templates"),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        # LaTeX is full of braces and per cent signs; comments of the usual form would swallow `{#`.
        comment_start_string="<#",
        comment_end_string="#>",
    )
    environment.filters |= {"tex": latex, "md": markdown}
    return environment.get_template(f"table.{kind}.j2").render(tables=tables)
