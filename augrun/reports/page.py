"""Pages of HTML that stand alone: one file that shows the same in a browser, in an e-mail and in MLflow's frame.

A page asks no network for anything: what it shows and plays is within it, and its own policy forbids the rest.
It follows the reader's choice of light or dark, and fits a telephone.
"""

from __future__ import annotations

import base64
import html

from markupsafe import Markup

from augrun.reports.html_templates import render


def escape(text: object) -> str:
    """Text as HTML shows it, within elements and within quoted attributes."""
    return html.escape(str(text), quote=True)


def data_uri(content: bytes, kind: str) -> str:
    """A file's content as an address.

    Args:
        content: of the file.
        kind: its media type, e.g. `image/png`.
    """
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def document(title: str, body: str, note: str, style: str = "", script: str = "") -> str:
    """A whole page.

    Args:
        title: plain text, the heading as well.
        body: HTML.
        note: plain text that stands out below the heading: on which data this rests, and at which scale.
        style: CSS on top of `templates/page.css`.
        script: JavaScript that the page could do without.

    Raises:
        ValueError: there is no note; a stand-in would pass for the real corpus.
    """
    if not note.strip():
        raise ValueError(f"the page {title!r} does not say on which data it rests")
    # Style, script and body are the project's own; their texts were escaped where they were put in.
    trusted = {"style": Markup(style), "script": Markup(script), "body": Markup(body)}
    return render("page.html.j2", title=title, note=note, **trusted)
