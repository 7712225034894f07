"""The page of a sweep: one file with all that its comparison shows, to look at, to hear and to hand on.

The table, each difference from the reference with its interval, gains by class, how samples sound to the baseline's
classifier, confusions, learning curves, sounds, what each condition cost, and how to run it again. It needs no network
and no other file (`augrun.reports.page`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from augrun.core.files import write_text
from augrun.evaluation.results import CONFUSION
from augrun.reports import charts, html_table, kept_sounds, listening
from augrun.reports.page import data_uri, document, escape
from augrun.reports.report_parts import Shown, confusion, curves, gains, gigabytes, reference, seconds
from augrun.reports.tables import NOTHING, Table

FILE = "report.html"

#: Megabytes of the page that sounds may take; MLflow shows none above 50.
SOUNDS_MB = 32.0

#: Curves shown; more would hide each other.
MOST_CURVES = 4

STYLE = """
.heat td, .heat th { padding: 0.2rem 0.45rem; border: 0; }
.heat thead th { font-weight: 400; font-size: 0.8125rem; }
.heat td { text-align: center; border-radius: 0.2rem; }
.heat tbody th { font-weight: 400; min-width: 5rem; }
.side { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), max-content)); gap: 1rem 2rem; }
.side > * { min-width: 0; }
.toc ul { display: flex; flex-wrap: wrap; gap: 0.25rem 1.1rem; list-style: none; padding: 0; margin: 0.5rem 0 0; }
pre { background: var(--panel); padding: 0.6rem 0.8rem; border-radius: 0.4rem; overflow-x: auto; font-size: 0.875rem; }
code { font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
figure.drawing { margin: 0.75rem 0; }
figure.drawing img { max-width: 100%; height: auto; background: #fff; border-radius: 0.3rem; }
details summary { cursor: pointer; color: var(--link); margin: 0.5rem 0; }
"""


@dataclass(frozen=True)
class Page:
    """What goes into a report.

    Attributes:
        title: of the page.
        table: the comparison.
        differences: what can be said for each difference from the reference, as a table; None where there is none.
        further: tables of samples, in order.
        conditions: of all rows.
        drawings: pictures that the comparison has drawn and that the page shows as they are.
        confidence: the level of intervals.
        workers: threads for the sounds.
    """

    title: str
    table: Table
    differences: Table | None
    further: Sequence[Table]
    conditions: Sequence[Shown]
    drawings: Sequence[Path] = ()
    confidence: float = 0.95
    workers: int = 1

    @cached_property
    def groups(self) -> dict[tuple[str, tuple[str, ...]], list[Shown]]:
        found: dict[tuple[str, tuple[str, ...]], list[Shown]] = {}
        for one in self.conditions:
            found.setdefault(one.group, []).append(one)
        return found

    @cached_property
    def colours(self) -> dict[str, int]:
        """Each condition's colour: 0 is the baseline's, the others follow within a dataset."""
        found: dict[str, int] = {}
        for shown in self.groups.values():
            place = 0
            for one in shown:
                plain = one.results["condition"].get("generator") == "none"
                place += 0 if plain else 1
                found[one.name] = 0 if plain else 1 + (place - 1) % (charts.COLOURS - 1)
        return found

    def write(self, path: Path) -> None:
        """Writes the page."""
        sections = [
            ("Results", html_table.fragment(self.table, caption=False)),
            ("Differences", self.effects()),
            ("Classes", self.by_class()),
            ("Samples", "".join(html_table.fragment(one) for one in self.further) + self._drawings()),
            ("Confusions", self.confusions()),
            ("Learning curves", self.curves()),
            ("Sounds", self.sounds()),
            ("Cost", self.cost()),
            ("Run again", self.again()),
        ]
        there = [(name, body) for name, body in sections if body]
        links = "".join(f'<li><a href="#{_anchor(name)}">{name}</a></li>' for name, _ in there)
        body = f'<nav class="toc classes" aria-label="Parts of this page"><ul>{links}</ul></nav>\n'
        body += "\n".join(
            f'<section id="{_anchor(name)}" aria-label="{name}"><h2>{name}</h2>\n{part}</section>'
            for name, part in there
        )
        note = " ".join(self.table.footnotes[:2])
        style = html_table.STYLE + charts.STYLE + listening.STYLE + STYLE
        write_text(path, document(self.title, body, note, style, listening.SCRIPT))

    def effects(self) -> str:
        """Each metric's differences from the reference, with intervals."""
        level = 1 - self.confidence
        parts = []
        for column in self.table.columns:
            rows = []
            for row in self.table.rows:
                values = row.measured[column].get("difference")
                gain = self.table.difference(row, column)
                if gain is None:
                    continue
                known = values or {}
                p = row.measured[column].get("p")
                low, high = known.get("ci_low"), known.get("ci_high")
                rows.append(charts.Effect(row.name, gain, low, high, p is not None and p < level))
            if rows:
                parts.append(charts.effects(rows, column))
        if not parts:
            return ""
        told = (
            f"<p>Differences from the reference with their {100 * self.confidence:g} % intervals, the noise of "
            f"training and the choice of test clips in both, each row alone. Filled: p below {level:.2g} after the "
            "correction over rows; where there is no p, nothing is filled.</p>"
        )
        full = "" if self.differences is None else html_table.fragment(self.differences, caption=False, notes=False)
        notes = "" if self.differences is None else html_table.listed(self.differences.footnotes[-2:])
        return told + '<div class="charts">' + "".join(parts) + "</div>" + full + notes

    def by_class(self) -> str:
        """What each class gains over the condition's own reference, condition by condition."""
        parts = []
        for (dataset, classes), shown in self.groups.items():
            compared: dict[str, list[Shown]] = {}
            for one in shown:
                other = reference(one, shown)
                if other is not None and all(each.read("per_class.json") for each in (one, other)):
                    compared.setdefault(other.name, []).append(one)
            by_name = {one.name: one for one in shown}
            parts += [gains(dataset, classes, by_name[name], others) for name, others in compared.items()]
        return "".join(parts)

    def confusions(self) -> str:
        """What clips of each class are taken for, condition by condition."""
        parts = []
        for (dataset, classes), shown in self.groups.items():
            grids = []
            for one in shown:
                counts = one.read(CONFUSION)
                if counts is not None:
                    grids.append(confusion(one.name, np.array(counts, float), classes))
            if grids:
                parts.append(f'<h3>{escape(dataset)}</h3><div class="side">{"".join(grids)}</div>')
        if not parts:
            return ""
        return "<p>Shares of a true class (row) taken for each class (column), all folds and trials.</p>" + "".join(
            parts
        )

    def curves(self) -> str:
        """What was logged epoch by epoch, the mean over folds and trials."""
        parts = []
        for (dataset, _), shown in self.groups.items():
            series: dict[str, dict[str, tuple[list[float], list[float]]]] = {}
            for one in shown:
                for name, curve in curves(one.folder / "curves").items():
                    series.setdefault(name, {})[one.name] = curve
            # What was held out tells more than what was trained on.
            names = sorted(series, key=lambda name: (not name.startswith("validation"), "loss" not in name, name))
            if names:
                drawn = "".join(charts.lines(series[name], name, self.colours) for name in names[:MOST_CURVES])
                here = {one.name: self.colours[one.name] for one in shown}
                parts.append(f'<h3>{escape(dataset)}</h3>{charts.key(here)}<div class="charts">{drawn}</div>')
        if not parts:
            return ""
        return "<p>Of the classifiers: means over folds and trials that have the epoch.</p>" + "".join(parts)

    def sounds(self) -> str:
        """Primes and samples, class by class and generator by generator."""
        heard = {
            key: {one.name: sounds for one in shown if (sounds := kept_sounds.load(one.folder))}
            for key, shown in self.groups.items()
        }
        there = {key: columns for key, columns in heard.items() if columns}
        parts = []
        for place, ((dataset, classes), columns) in enumerate(there.items()):
            room, anchor = SOUNDS_MB / len(there), f"sounds-{place}"
            played = listening.players(columns, classes, room, heading=4, anchor=anchor, workers=self.workers)
            parts.append(f"<h3>{escape(dataset)}</h3>\n{played}")
        return "\n".join(parts)

    def cost(self) -> str:
        """Seconds, GPU hours and memory of each condition's own stages."""
        rows, kinds = (
            [],
            dict.fromkeys(k for one in self.conditions for k in (one.read("cost.json") or {}).get("kinds", {})),
        )
        for one in self.conditions:
            cost = one.read("cost.json")
            if not cost:
                continue
            cells = [
                seconds(cost["seconds"]),
                *(seconds(cost["kinds"].get(kind, {}).get("seconds")) for kind in kinds),
            ]
            cells += [f"{cost['gpu_hours']:.2f}" if cost["gpu"] else NOTHING]
            cells += [gigabytes(cost["peak_bytes"]), gigabytes(cost["gpu_peak_bytes"])]
            rows.append(
                f'<tr><th scope="row">{escape(one.name)}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
            )
        if not rows:
            return ""
        heads = ["in all", *kinds, "GPU hours", "peak memory", "peak GPU memory"]
        head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
        gpus = {cost["gpu"] for one in self.conditions if (cost := one.read("cost.json")) and cost["gpu"]}
        note = f" GPU: {', '.join(sorted(gpus))}." if gpus else ""
        return (
            "<p>Time of each condition's own stages when they were done, whoever asked for them first; what all share "
            "(features and embeddings of recordings) is left out, and so is what a killed attempt took. Memory is that "
            f"of the process.{escape(note)}</p>"
            '<div class="wide" tabindex="0" role="region" aria-label="Cost"><table><thead><tr><th></th>'
            f"{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
        )

    def again(self) -> str:
        """How each condition can be run again."""
        rows = []
        for one in self.conditions:
            about = one.read("record.json") or {}
            commands = [about["command"]] if about.get("command") else []
            within = one.folder.parts[-3:]  # of the output folder, where the store is at its usual place
            place = Path(*within) if within[:1] == ("store",) else one.folder
            commands.append(f"augrun reproduce {place / 'results.json'}")
            told = [f"fingerprint {one.results['fingerprint']}", f"commit {about.get('commit', 'unknown')}"]
            seeds = sorted({entry["seed"] for entry in one.results["trials"]})
            config = one.folder / "config.yaml"
            whole = (
                f"<details><summary>configuration</summary><pre><code>{escape(config.read_text(encoding='utf-8'))}</code>"
                "</pre></details>"
                if config.is_file()
                else ""
            )
            rows.append(
                f"<h3>{escape(one.name)}</h3><pre><code>{escape(chr(10).join(commands))}</code></pre>"
                f'<p class="faint">{escape("; ".join(told))}; {len(seeds)} seeds</p>{whole}'
            )
        return (
            "<p><code>augrun reproduce</code> runs a stored result again and says whether each metric agrees (from the "
            "output folder; an MLflow run's id does as well). Above it, where it is known, the command that made the "
            "results.</p>" + "".join(rows)
        )

    def _drawings(self) -> str:
        return "".join(
            f'<figure class="drawing"><img alt="{escape(path.stem.replace("_", " "))}" loading="lazy" '
            f'src="{data_uri(path.read_bytes(), "image/png")}"></figure>'
            for path in self.drawings
        )


def _anchor(name: str) -> str:
    return "part-" + name.lower().replace(" ", "-")
