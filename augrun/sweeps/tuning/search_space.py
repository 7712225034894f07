"""What a tuning sweep searches: parameters of the command line in Hydra's grammar, as Optuna's distributions.

classifier.learning_rate=tag(log,interval(1e-5,1e-2))     any number between, by its logarithm
classifier.hidden=int(interval(16,256))                   whole numbers, both ends included
generator.steps=range(100,500,100)                        100 to 400: as everywhere in Hydra without the end
classifier=svm,dnn                                        one of these; choice(svm,dnn) is the same
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from augrun.core.errors import RequestError

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from optuna.distributions import BaseDistribution

#: What decides on which clips, how and how often is measured: to choose among those by their score would say nothing.
MEASURING = ("dataset", "target", "protocol", "trials", "seed", "scale", "confidence", "significance")

#: What is no part of the condition.
BESIDE = ("data", "output", "tracking", "trainer", "sweep", "experiment", "baseline", "controls")


@dataclass(frozen=True)
class Space:
    """The parameters of a command line.

    Attributes:
        fixed: overrides that all trials have.
        searched: distributions by key.
    """

    fixed: tuple[str, ...]
    searched: Mapping[str, BaseDistribution]

    def overrides(self, values: Mapping[str, Any]) -> list[str]:
        """What makes the configuration of a trial."""
        return [*self.fixed, *words(values)]

    def corners(self) -> list[dict[str, Any]]:
        """Values that show whether all of the space can be configured: each choice and each end once."""
        first = {key: _ends(distribution)[0] for key, distribution in self.searched.items()}
        others = [
            first | {key: value} for key, distribution in self.searched.items() for value in _ends(distribution)[1:]
        ]
        return [first, *others]

    def grid(self) -> list[dict[str, Any]]:
        """Every combination of the values.

        Raises:
            RequestError: a parameter has no list of values.
        """
        from itertools import product

        values = {key: _values(key, distribution) for key, distribution in self.searched.items()}
        return [dict(zip(values, row, strict=True)) for row in product(*values.values())]


def words(values: Mapping[str, Any]) -> list[str]:
    """Values as overrides."""
    return [f"{key}={value!r}" if isinstance(value, float) else f"{key}={value}" for key, value in values.items()]


def space_of(overrides: Sequence[Override]) -> Space:
    """Parts a command line into what is fixed and what is searched.

    Raises:
        RequestError: nothing is searched, or something that cannot be.
    """
    fixed: list[str] = []
    searched: dict[str, BaseDistribution] = {}
    for one in overrides:
        if not one.is_sweep_override():
            fixed.append(one.input_line or "")
            continue
        key = one.get_key_element()
        section = key.lstrip("+").split("@")[-1].split(".")[0]
        if section in MEASURING:
            raise RequestError(
                f"{one.input_line}: decides what is measured, not what is tuned; "
                f"a sweep compares such choices (without hydra/sweeper=optuna), or give {key}=ONE"
            )
        if section in BESIDE:
            raise RequestError(f"{one.input_line}: is no setting of the condition; give {key}=ONE")
        searched[key] = distribution(one)
    if not searched:
        raise RequestError(
            "hydra/sweeper=optuna: nothing is searched; give parameters such as "
            "'classifier.learning_rate=tag(log,interval(1e-5,1e-2))' or 'classifier.cost=1,10,100'"
        )
    return Space(tuple(fixed), searched)


def distribution(one: Override) -> BaseDistribution:
    """Optuna's distribution of a parameter.

    Raises:
        RequestError: it has none.
    """
    from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, RangeSweep
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value, line = one.value(), one.input_line
    if isinstance(value, ChoiceSweep):
        return CategoricalDistribution([one._get_value_element_as_str(element) for element in value.list])
    try:
        if isinstance(value, RangeSweep):
            values = list(value.range())
            if all(isinstance(number, int) for number in values):
                return IntDistribution(min(values), max(values), step=abs(int(value.step)))
            return FloatDistribution(float(min(values)), float(max(values)), step=abs(float(value.step)))
        if isinstance(value, IntervalSweep):
            low, high, log = value.start, value.end, "log" in value.tags
            if isinstance(low, int) and isinstance(high, int):
                return IntDistribution(low, high, log=log)
            return FloatDistribution(float(low or 0), float(high or 0), log=log)
    except ValueError as error:
        raise RequestError(f"{line}: {error}") from error
    raise RequestError(f"{line}: cannot be searched; give interval(LOW,HIGH), range(START,STOP,STEP) or a list")


def _ends(distribution: BaseDistribution) -> list[Any]:
    """Every choice, or both ends."""
    choices = getattr(distribution, "choices", None)
    return list(choices) if choices is not None else [distribution.low, distribution.high]  # type: ignore[attr-defined]


def _values(key: str, distribution: BaseDistribution) -> list[Any]:
    """All values."""
    from optuna.distributions import CategoricalDistribution, IntDistribution

    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    low, high, step = (getattr(distribution, name) for name in ("low", "high", "step"))
    if step is None or getattr(distribution, "log", False):
        raise RequestError(f"hydra.sweeper.sampler=grid: {key} is an interval; give range(START,STOP,STEP) or a list")
    count = round((high - low) / step) + 1
    whole = isinstance(distribution, IntDistribution)
    return [low + place * step if whole else float(low + place * step) for place in range(count)]


def short_words(values: Mapping[str, Any]) -> list[str]:
    """Values with few digits, for people."""
    return [f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in values.items()]
