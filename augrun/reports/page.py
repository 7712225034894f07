"""Pages of HTML that stand alone: one file that shows the same in a browser, in an e-mail and in MLflow's frame.

A page asks no network for anything: what it shows and plays is within it, and its own policy forbids the rest.
It follows the reader's choice of light or dark, and fits a telephone.
"""

from __future__ import annotations

import base64
import html

#: Shared by all pages. Colours are variables, so that parts of a page need no second set for the dark.
STYLE = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #22272e; --faint: #5b6570; --line: #d5dae0; --panel: #f4f6f8; --link: #0059a8;
  --warn-paper: #fff4d6; --warn-line: #c98a00;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171b; --ink: #e4e8ec; --faint: #a0a9b3; --line: #363d45; --panel: #1d2227; --link: #7cb8ff;
    --warn-paper: #372b0a; --warn-line: #e0a526;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-padding-top: 0.5rem; }
body {
  margin: 0 auto; padding: 1.25rem clamp(0.75rem, 3vw, 2rem) 3rem; max-width: 96rem;
  background: var(--paper); color: var(--ink);
  font: 1rem/1.45 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; overflow-wrap: anywhere;
}
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 0.75rem; }
h2 { font-size: 1.2rem; margin: 2rem 0 0.5rem; }
h3 { font-size: 1rem; margin: 0 0 0.5rem; }
p { margin: 0.5rem 0; max-width: 90ch; }
a { color: var(--link); }
:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
.note {
  margin: 0 0 1rem; padding: 0.6rem 0.9rem; font-weight: 600; max-width: none;
  background: var(--warn-paper); border: 1px solid var(--warn-line); border-left-width: 0.4rem; border-radius: 0.3rem;
}
.faint { color: var(--faint); font-size: 0.875rem; }
"""

# No connection, no frame, no form, no plug-in: only what is written in the page itself.
_POLICY = (
    "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'"
)


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
        style: CSS on top of `STYLE`.
        script: JavaScript that the page could do without.

    Raises:
        ValueError: there is no note; a stand-in would pass for the real corpus.
    """
    if not note.strip():
        raise ValueError(f"the page {title!r} does not say on which data it rests")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}{style}</style>\n</head>\n<body>\n"
        f'<h1>{escape(title).replace("/", "/<wbr>")}</h1>\n<p class="note" role="note">{escape(note)}</p>\n{body}\n'
        + (f"<script>{script}</script>\n" if script else "")
        + "</body>\n</html>\n"
    )
