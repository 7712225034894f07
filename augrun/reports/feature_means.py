"""How near generated vectors are to recorded ones: Table 1 and Fig. 2 of Bao et al. 2019.

Their table has "the mean of absolute differences between all feature values from different datasets", of features under
min–max normalisation, and does not say what is taken from what. Here it is, for each emotion and functional, the
absolute difference of the two means; of that the mean over functionals and emotions. Target and samples are on the
scale of the fold's train part, the source on its own, as the CycleGAN sees them; `ONE_SCALE` has the source on the
target's as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from augrun.features.span import Span

if TYPE_CHECKING:
    from augrun.reports.tables import Table

SOURCE, SYNTHETIC, ONE_SCALE = "|target − source|", "|target − synthetic|", "|target − source|, one scale"

#: What can stand in the columns of a table of this kind.
COLUMNS = (SOURCE, SYNTHETIC, ONE_SCALE)

#: Functionals in the figure, at most.
SHOWN = 12


@dataclass(frozen=True, eq=False)
class Means:
    """Mean and deviation of each class's vectors.

    Attributes:
        mean: shape (classes, bands); of vectors without classes one row.
        deviation: alike.
    """

    mean: np.ndarray
    deviation: np.ndarray

    @staticmethod
    def of(rows: np.ndarray, labels: np.ndarray, classes: int) -> Means:
        """Of each class; nan for one that has no vectors.

        Args:
            rows: the vectors, shape (vectors, bands).
            labels: the class of each.
            classes: how many there are.
        """
        nothing = np.full(rows.shape[1], np.nan)
        parts = [rows[labels == label].astype(np.float64) for label in range(classes)]
        return Means(
            np.stack([part.mean(axis=0) if len(part) else nothing for part in parts]),
            np.stack([part.std(axis=0) if len(part) else nothing for part in parts]),
        )


@dataclass(frozen=True, eq=False)
class Near:
    """Recorded, generated and source vectors of one fold and trial, under min–max normalisation.

    Attributes:
        target: of the train part.
        synthetic: of the samples.
        source: of the source corpus, on its own scale; None where there is none.
        one_scale: of the same on the target's scale.
    """

    target: Means
    synthetic: Means
    source: Means | None = None
    one_scale: Means | None = None

    @staticmethod
    def of(
        target: tuple[np.ndarray, np.ndarray],
        synthetic: tuple[np.ndarray, np.ndarray],
        classes: int,
        source: np.ndarray | None = None,
    ) -> Near:
        """From vectors in the functionals' own units.

        Args:
            target: those of the train part, shape (vectors, bands), and their classes.
            synthetic: those of the samples, alike.
            classes: how many there are.
            source: those of the source corpus.
        """
        span = _span(target[0])
        both = [Means.of(span.apply(rows), labels, classes) for rows, labels in (target, synthetic)]
        if source is None:
            return Near(*both)
        none = np.zeros(len(source), np.int64)
        own = [Means.of(scale.apply(source), none, 1) for scale in (_span(source), span)]
        return Near(*both, *own)

    @property
    def differences(self) -> dict[str, float]:
        """By column, what there is of it."""
        others = {SOURCE: self.source, SYNTHETIC: self.synthetic, ONE_SCALE: self.one_scale}
        return {name: difference(self.target, other) for name, other in others.items() if other is not None}


def difference(target: Means, other: Means) -> float:
    """The mean over classes and functionals of the absolute difference of means.

    Classes that one of the two has no vectors of are left out; vectors without classes are set against every class.
    """
    each = np.abs(target.mean - other.mean).mean(axis=1)
    return float(np.nanmean(each)) if np.isfinite(each).any() else float("nan")


def chosen(names: Sequence[str]) -> list[int]:
    """The places of some functionals for the figure: the mean of a descriptor each, as unlike as the set has them."""
    means = [place for place, name in enumerate(names) if name.endswith("_amean") and "_sma_de" not in name]
    places = means or list(range(len(names)))
    return [places[at] for at in np.unique(np.linspace(0, len(places) - 1, SHOWN).round().astype(int))]


def draw(groups: Mapping[str, Means], names: Sequence[str], path: Path, note: str = "") -> None:
    """Mean and deviation of some functionals, averaged over the classes, a colour a group (Fig. 2).

    Args:
        groups: such as `target`, `source`, `synthetic`.
        names: of all functionals.
        path: where the PNG goes.
        note: in the corner.
    """
    from augrun.reports.figures import COLOURS, canvas

    places = chosen(names)
    with canvas(path, (9.0, 4.4), note) as figure:
        axes = figure.subplots()
        for number, (group, means) in enumerate(groups.items()):
            at = np.arange(len(places)) + (number - (len(groups) - 1) / 2) * 0.17
            centre, spread = (np.nanmean(values[:, places], axis=0) for values in (means.mean, means.deviation))
            colour = COLOURS[number % len(COLOURS)]
            axes.errorbar(
                at, centre, spread, fmt="o", markersize=4, color=colour, elinewidth=1.2, capsize=2, label=group
            )
        words = [names[place].removesuffix("_amean").replace("_sma", "") for place in places]
        axes.set_xticks(range(len(places)), words, rotation=35, ha="right", parse_math=False)
        axes.set(ylabel="min–max normalised", title="Means and deviations, averaged over the classes")
        axes.grid(axis="y", color="#e3e6ea", linewidth=0.8)
        axes.set_axisbelow(True)
        figure.legend(loc="outside upper right", ncols=len(groups))


def table(
    name: str,
    rows: Sequence[tuple[str, Mapping[str, str], Sequence[Near], Mapping[str, Any]]],
    columns: Sequence[str],
    footnotes: Sequence[str],
) -> Table:
    """The differences, means over the folds of one trial.

    Args:
        name: of the table.
        rows: each row's name, its condition, what was found in each fold, and the published values by column.
        columns: of `COLUMNS`.
        footnotes: how the data differ from those published.
    """
    from augrun.reports.tables import DATA, Row, Table

    nothing = dict.fromkeys(("std", "n", "ci_low", "ci_high", "p"))
    made = []
    for row, condition, near, published in rows:
        of = [found.differences for found in near]
        means = {c: float(np.mean([one[c] for one in of])) if c in of[0] else None for c in columns}
        measured = {column: {"mean": value, **nothing} for column, value in means.items()}
        made.append(Row(row, dict(condition), measured, {column: published.get(column) for column in columns}))
    folds = {len(near) for _, _, near, _ in rows}
    notes = [f"Means over {' or '.join(map(str, sorted(folds)))} folds, one generator each.", *footnotes]
    whole = Table(name, tuple(made), tuple(columns), None, "none", tuple(notes))
    return replace(whole, footnotes=(DATA[whole.data], f"Scale: {whole.scale}.", *notes))


def _span(rows: np.ndarray) -> Span:
    return Span(rows.min(axis=0).astype(np.float64), rows.max(axis=0).astype(np.float64))
