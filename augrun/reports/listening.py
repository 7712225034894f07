"""Primes and the samples made from them, to be heard side by side, class by class and generator by generator.

`write_page` makes a page of its own; `players`, `STYLE` and `SCRIPT` are its parts, for pages that show more.
Browsers play sounds without a script; with it, one that starts stops the others, and a line runs through its picture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from augrun.core.files import write_text
from augrun.reports import levels as scale
from augrun.reports.embedding import GRADES, Embedded, Grade, Wanted, embed, palette, picture
from augrun.reports.page import data_uri, document, escape

if TYPE_CHECKING:
    import pandas as pd

#: A page is kept below this many megabytes; MLflow shows none above 50.
MOST_MB = 36.0

#: What a sound's picture and markup take on a page, bytes: 10,500 on average for music, of which some are encoded.
_BESIDE = 12_000

#: With more players than these, browsers load none before it is asked for; telephones refuse to hold more than 40.
_LOADED = 32

STYLE = """
.classes { display: flex; flex-wrap: wrap; gap: 0.25rem 0.9rem; margin: 0.75rem 0; padding: 0; list-style: none; }
.key { display: flex; gap: 0.6rem; align-items: baseline; }
.key i { flex: none; width: 6rem; height: 0.7rem; border-radius: 0.2rem; }
.class { border-top: 1px solid var(--line); padding-top: 0.75rem; margin-top: 1.25rem; }
.class:focus { outline: none; }
.class > :first-child { margin: 0 0 0.5rem; }
.cells { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 17rem), 1fr)); gap: 0.75rem; }
.cell { background: var(--panel); border-radius: 0.5rem; padding: 0.75rem; min-width: 0; }
.pair { display: flex; flex-wrap: wrap; gap: 0.75rem 1.25rem; }
.pair + .pair { border-top: 1px solid var(--line); margin-top: 0.9rem; padding-top: 0.9rem; }
.sound { flex: 1 1 16rem; min-width: 0; margin: 0; display: flex; flex-direction: column; }
.sound figcaption { flex: 1 0 auto; font-size: 0.875rem; margin-bottom: 0.35rem; }
.sound figcaption span { color: var(--faint); }
.sound audio { display: block; width: 100%; height: 2.75rem; }
.drawn { position: relative; margin-left: 2.9rem; }
.picture {
  position: relative; height: 6rem; border-radius: 0.2rem; overflow: hidden;
  background: repeating-linear-gradient(-45deg, var(--paper) 0 6px, var(--panel) 6px 12px);
}
.picture img { display: block; height: 100%; }
.picture .end {
  position: absolute; top: 0; bottom: 0; width: 2px; margin-left: -1px;
  background: repeating-linear-gradient(#fff 0 5px, #000 5px 9px);
}
.picture .now { position: absolute; top: 0; bottom: 0; width: 2px; margin-left: -1px; background: #6cf; display: none; }
.axes { position: absolute; inset: 0; height: 6rem; font-size: 0.6875rem; line-height: 1; color: var(--faint); }
.axes i { font-style: normal; position: absolute; white-space: nowrap; }
.axes .hertz { right: calc(100% + 0.35rem); transform: translateY(50%); }
.axes .time { top: calc(100% + 0.3rem); transform: translateX(-50%); }
.axes .time:nth-of-type(1) { transform: none; }
.drawn + audio { margin-top: 1.25rem; }
"""

SCRIPT = """
document.addEventListener("play", event => {
  for (const other of document.querySelectorAll("audio")) if (other !== event.target) other.pause();
}, true);
for (const kind of ["timeupdate", "seeked"]) document.addEventListener(kind, event => {
  const player = event.target, line = player.closest("figure")?.querySelector(".now");
  if (!line) return;
  line.style.display = "block";
  line.style.left = 100 * player.currentTime / player.dataset.axis + "%";
}, true);
// In MLflow's frame, a link within the page is refused as if it led out of it.
document.addEventListener("click", event => {
  const place = document.getElementById(event.target.closest(".classes a")?.hash.slice(1));
  if (!place) return;
  event.preventDefault();
  place.scrollIntoView();
  place.tabIndex = -1;
  place.focus({preventScroll: true});
});
"""


@dataclass(frozen=True)
class Heard:
    """One sample to listen to, with the recorded window that primed it.

    Attributes:
        label: name of the class that it was made for.
        sample: WAV.
        prime: WAV; None where there is none (a generator without primes, or a recording that cannot be read).
        prime_clip: id of the recorded clip; empty where no prime was asked for.
        prime_start_s: where in that clip the prime starts, seconds.
        kept_prime_s: seconds at the sample's beginning that are its prime; 0 where all of it is new.
        taken_for: name of the class that the baseline's classifier takes the sample for; None where none was asked.
        score: that class's probability.
    """

    label: str
    sample: Path
    prime: Path | None
    prime_clip: str
    prime_start_s: float
    kept_prime_s: float = 0.0
    taken_for: str | None = None
    score: float | None = None

    @property
    def sounds(self) -> list[Path]:
        """The prime, where there is one, and the sample."""
        return [self.sample] if self.prime is None else [self.prime, self.sample]


def pick(requests: pd.DataFrame, classes: int, most: int) -> pd.DataFrame:
    """Which samples are kept to listen to: the first ones of each class, of every class as many.

    Args:
        requests: one row a sample; `label` is the index of the class that it is made for.
        classes: how many there are.
        most: samples in all; more only where one of each class is more already.

    Returns:
        Rows of `requests`, class by class.

    Raises:
        ValueError: `classes` or `most` is below 1.
    """
    if classes < 1 or most < 1:
        raise ValueError(f"{most} samples of {classes} classes cannot be picked")
    by_class = requests.groupby("label", sort=True)
    each = min(max(1, most // classes), int(by_class.size().min())) if len(requests) else 0
    return by_class.head(each).sort_values("label", kind="stable")


def write_pictures(heard: Sequence[Heard], note: str) -> list[Path]:
    """Writes the spectrogram of every prime and sample beside it, as `NAME.png` of `NAME.wav`.

    A prime and its sample share their scales of frequency, level and time.

    Args:
        heard: what there is to listen to.
        note: in each picture's corner: on which data it rests.

    Returns:
        The pictures.

    Raises:
        AugrunError: a sound cannot be read.
    """
    from augrun.reports.pictures import Spectrograms

    pictures, drawn = [], Spectrograms(note)
    for one in heard:
        matrices = [scale.levels(file) for file in one.sounds]
        peak = max(float(matrix.max()) for matrix in matrices)
        longest = max(len(matrix) for matrix in matrices) * scale.FRAME_S
        for file, matrix in zip(one.sounds, matrices, strict=True):
            sample = file is one.sample
            drawn.write(
                matrix - peak,
                file.with_suffix(".png"),
                f"{one.label}: {'sample' if sample else 'prime'}",
                longest,
                one.kept_prime_s if sample else 0.0,
            )
            pictures.append(file.with_suffix(".png"))
    return pictures


def write_page(
    path: Path,
    title: str,
    columns: Mapping[str, Sequence[Heard]],
    note: str,
    classes: Sequence[str] = (),
    most_mb: float = MOST_MB,
    workers: int = 1,
) -> None:
    """Writes one page that needs no other file: rows are classes, columns are generators.

    Args:
        path: where to; its folder exists.
        title: of the page, plain text.
        columns: for each generator what it made. With one alone its name is left out.
        note: on which data this rests and at which scale, plain text; stands out at the top.
        classes: in the order wanted, those without samples included; by default as they come.
        most_mb: sounds are made smaller, and cut at last, for the page to stay below this; it says so.
        workers: threads that encode and draw.

    Raises:
        ValueError: the note is empty.
    """
    write_text(path, document(title, players(columns, classes, most_mb, workers=workers), note, STYLE, SCRIPT))


def players(
    columns: Mapping[str, Sequence[Heard]],
    classes: Sequence[str] = (),
    most_mb: float = MOST_MB,
    heading: int = 2,
    anchor: str = "class",
    workers: int = 1,
) -> str:
    """The sounds of `write_page` as a part of a page with `STYLE` and `SCRIPT`.

    Args:
        columns: see `write_page`.
        classes: see there.
        most_mb: this part's share of the page.
        heading: the level of its headings.
        anchor: what the addresses of classes within the page begin with.
        workers: see there.
    """
    wanted = [
        Wanted(file, one.kept_prime_s if file is one.sample else 0.0)
        for heard in columns.values()
        for one in heard
        for file in one.sounds
    ]
    if not wanted:
        return "<p>No samples were kept to listen to.</p>"
    sounds, grade = embed(wanted, most_mb * 1e6 * 3 / 4 - len(wanted) * _BESIDE, workers=workers)
    coming = iter(sounds)
    played = {name: [(one, [next(coming) for _ in one.sounds]) for one in heard] for name, heard in columns.items()}
    labels = list(dict.fromkeys([*classes, *(one.label for heard in columns.values() for one in heard)]))
    show = partial(_cell, heading=heading + 1, alone=len(columns) == 1, load=len(sounds) <= _LOADED)

    def row(label: str) -> list[str]:
        return [show(label, name, [pair for pair in pairs if pair[0].label == label]) for name, pairs in played.items()]

    with ThreadPoolExecutor(workers) as pool:
        cells = list(pool.map(row, labels))
    rows = [
        f'<section class="class" id="{escape(anchor)}-{place}" aria-label="{escape(label)}">\n'
        f'<h{heading}>{escape(label)}</h{heading}>\n<div class="cells">\n'
        + "\n".join(cells[place])
        + "\n</div>\n</section>"
        for place, label in enumerate(labels)
    ]
    return "\n".join([_legend(sounds, grade, most_mb), _index(labels, anchor), *rows])


def _legend(sounds: Sequence[Embedded], grade: Grade, most_mb: float) -> str:
    """What colours mean, and what was done to the sounds."""
    colours = ", ".join(f"rgb({red} {green} {blue})" for red, green, blue in palette().tolist())
    lines = [
        f'<p class="key faint"><i style="background: linear-gradient(to right, {colours})"></i>'
        f"<span>−{-scale.LOWEST_DB:.0f} to 0 dB, from the loudest of a prime and its sample; up to "
        f"{scale.RANGE_HZ[1] / 1000:g} kHz. A dashed line shows where the prime ends within the sample.</span></p>"
    ]
    smaller = f", and at most {grade.rate / 1000:g} kHz, to keep this page small" if grade.rate < GRADES[0].rate else ""
    lines.append(
        f'<p class="faint">Sounds on this page are MP3, mono{smaller}. The WAV files kept with each run are whole and '
        "not compressed.</p>"
    )
    if any(sound.cut for sound in sounds):
        lines.append(
            f"<p><strong>Sounds are cut here</strong> to {grade.longest_s:g} s, counted from where a prime ends within "
            f"a sample, because all of them would make this page larger than {most_mb:g} MB.</p>"
        )
    return "\n".join(lines)


def _index(labels: Sequence[str], anchor: str) -> str:
    """Links to the classes, where there are many."""
    if len(labels) <= 4:
        return ""
    links = "".join(
        f'<li><a href="#{escape(anchor)}-{place}">{escape(label)}</a></li>' for place, label in enumerate(labels)
    )
    return f'<nav aria-label="Classes"><ul class="classes">{links}</ul></nav>'


def _cell(
    label: str, name: str, pairs: Sequence[tuple[Heard, Sequence[Embedded]]], heading: int, alone: bool, load: bool
) -> str:
    """What one generator made for one class."""
    parts = [] if alone else [f"<h{heading}>{escape(name)}</h{heading}>"]
    if not pairs:
        parts.append('<p class="faint">No sample of this class.</p>')
    for place, (one, sounds) in enumerate(pairs, start=1):
        said = ", ".join([label, *([] if alone else [name]), *([f"sample {place}"] if len(pairs) > 1 else [])])
        parts.append(_pair(one, sounds, said, load))
    return '<div class="cell">' + "\n".join(parts) + "</div>"


def _pair(one: Heard, sounds: Sequence[Embedded], said: str, load: bool) -> str:
    """A prime and its sample, or the sample alone, on one scale of time and level."""
    matrices = [
        None if sound.problem else scale.levels(file, sound.seconds if sound.cut else None)
        for file, sound in zip(one.sounds, sounds, strict=True)
    ]
    peak = max((float(matrix.max()) for matrix in matrices if matrix is not None), default=0.0)
    axis = max(sound.seconds for sound in sounds)
    shown = []
    for file, sound, matrix in zip(one.sounds, sounds, matrices, strict=True):
        sample = file is one.sample
        caption = _sample_caption(one, sound) if sample else _prime_caption(one, sound)
        if matrix is None:
            shown.append(f'<figure class="sound"><figcaption>{caption}</figcaption></figure>')
            continue
        what = f"{said}: {'sample' if sample else 'prime'}"
        drawn = _picture(matrix - peak, sound, axis, one.kept_prime_s if sample else 0.0, what)
        shown.append(
            f'<figure class="sound"><figcaption>{caption}</figcaption>\n{drawn}\n'
            f'<audio controls preload="{"metadata" if load else "none"}" aria-label="{escape(what)}" '
            f'data-axis="{axis:.4f}" src="{data_uri(sound.content, "audio/mpeg")}"></audio></figure>'
        )
    if one.prime is None:
        shown.insert(0, f'<figure class="sound"><figcaption>{_no_prime(one)}</figcaption></figure>')
    return f'<div class="pair" role="group" aria-label="{escape(said)}">' + "\n".join(shown) + "</div>"


def _prime_caption(one: Heard, sound: Embedded) -> str:
    if sound.problem:
        return f"<strong>Prime</strong> <span>cannot be played: {escape(sound.problem)}</span>"
    where = f"{escape(one.prime_clip)}, from {_seconds(one.prime_start_s)}"
    return f"<strong>Prime</strong> {_seconds(sound.whole_s)}{_cut(sound)} <span>{where}</span>"


def _no_prime(one: Heard) -> str:
    if not one.prime_clip:
        return "<strong>No prime</strong> <span>made without one</span>"
    where = f"{escape(one.prime_clip)}, from {_seconds(one.prime_start_s)}"
    return f"<strong>Prime</strong> <span>{where}; the recording could not be read</span>"


def _sample_caption(one: Heard, sound: Embedded) -> str:
    if sound.problem:
        return f"<strong>Sample</strong> <span>cannot be played: {escape(sound.problem)}</span>"
    facts = []
    if one.kept_prime_s > 0:
        facts.append(f"the first {_seconds(one.kept_prime_s)} are its prime")
    if one.taken_for is not None:
        score = "" if one.score is None else f" ({one.score:.2f})"
        other = "" if one.taken_for == one.label else f", not {escape(one.label)}"
        facts.append(f"classified as {escape(one.taken_for)}{score}{other}")
    return f"<strong>Sample</strong> {_seconds(sound.whole_s)}{_cut(sound)} <span>{'; '.join(facts)}</span>"


def _cut(sound: Embedded) -> str:
    return f", of which {_seconds(sound.seconds)} here" if sound.cut else ""


def _picture(levels: np.ndarray, sound: Embedded, axis: float, mark: float, what: str) -> str:
    """A spectrogram with its axes; shape of `levels` (frames, bands), dB below the loudest."""
    hertz = "".join(
        f'<i class="hertz" style="bottom: {100 * (place + 0.5) / scale.BANDS:.1f}%">{name}</i>'
        for name, place in scale.frequency_places().items()
    )
    times = "".join(f'<i class="time" style="left: {100 * at / axis:.2f}%">{at:g} s</i>' for at in _ticks(axis))
    end = f'<i class="end" style="left: {100 * mark / axis:.2f}%"></i>' if 0 < mark < sound.seconds else ""
    name = f"Spectrogram of {escape(what)}, {_seconds(sound.seconds)}"
    address, share = data_uri(picture(levels), "image/png"), 100 * sound.seconds / axis
    return (
        f'<div class="drawn"><div class="picture"><img src="{address}" alt="{name}" style="width: {share:.2f}%">'
        f'{end}<i class="now"></i></div><div class="axes" aria-hidden="true">{times}{hertz}</div></div>'
    )


def _ticks(axis: float) -> list[float]:
    """Round times from 0 on, five or so, none so close to the end that its text would be cut."""
    raw = axis / 5
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= raw * 0.999)
    return [round(step * k, 6) for k in range(math.floor(0.97 * axis / step) + 1)]


def _seconds(seconds: float) -> str:
    return f"{round(seconds, 2 if seconds < 10 else 1):g} s"
