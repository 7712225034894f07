"""The HTML templates of reports: every value that they show is escaped."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment

#: Templates (`*.html.j2`), and the style sheets that they include.
FOLDER = Path(__file__).parent / "templates"


@cache
def environment() -> Environment:
    """Return the environment of all templates, in which an undefined value is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(FOLDER, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def render(template: str, **values: object) -> str:
    """Return a template of `FOLDER` filled with values.

    Args:
        template: file name.
        values: plain text is escaped; `markupsafe.Markup` is not, and is for what another template returned.

    Raises:
        jinja2.UndefinedError: a value that the template shows is missing.
    """
    return environment().get_template(template).render(**values)
