"""What every generator promises.

A generator is a frozen dataclass: its fields are its settings (checked against the YAML without importing
it), its class-level constants say what it needs. Adding one touches three files: its module, its YAML, its test.
"""

from __future__ import annotations

import inspect
from typing import ClassVar

from augrun.core.errors import AugrunError, RequestError
from augrun.core.job import Job
from augrun.corpora.corpus import Corpus
from augrun.generators.requests import GenerationInputs

#: Former names of class attributes, and today's. Nothing reads the former ones: a class that sets one is refused.
RENAMED_ATTRIBUTES = {"told_classes": "wants_classes", "turns": "transforms_role"}


class Generator:
    """Base of all generators.

    Class attributes:
        domain: what it makes: `waveform`, `logmel` or `functionals`.
        trained: whether `fit` does anything (else the fold's parts are never read).
        primed: whether each sample starts from a window of a recorded train clip.
        reconstructs: whether a sample is its prime made anew, and so exactly as long.
        transforms_role: `source` where its primes are the clips of that corpus, each of them for every class.
        uses: roles (`source`, `noise`, `music`) whose corpora it gets: `generate` in the fields of these names
            (`GenerationInputs`), `fit` as keyword arguments of these names.
        may_use: roles that it gets in the same way where the condition has them.
        draws_from: `train`, or `reserve` where its primes are of the fold's reserve (`Fold.reserve`).
        wants_classes: whether `generate` gets `GenerationInputs.classes`, the classes of each clip that may prime.
        version: bumped by hand when the meaning of stored results changes without a code change.

    Fields that the policy reads: `sample_s` (seconds of one finished sample) and, where `primed` is true,
    `prime_s` (seconds of prime). A clip shorter than `prime_s` primes with all it has.
    """

    domain: ClassVar[str] = "waveform"
    trained: ClassVar[bool] = False
    primed: ClassVar[bool] = True
    reconstructs: ClassVar[bool] = False
    transforms_role: ClassVar[str | None] = None
    uses: ClassVar[tuple[str, ...]] = ()
    may_use: ClassVar[tuple[str, ...]] = ()
    draws_from: ClassVar[str] = "train"
    wants_classes: ClassVar[bool] = False
    version: ClassVar[int] = 1

    def notes(self) -> list[str]:
        """What a reader of its results must know, a line each, such as that its weights are not the published ones."""
        return []

    def fit(self, train: Corpus, validation: Corpus, job: Job) -> None:
        """Trains on `train`, selects on `validation`, and leaves in `job.folder` what `generate` needs.

        Called again after a kill with the same folder, it continues from the last checkpoint there.
        """
        raise NotImplementedError(f"{type(self).__name__} has nothing to fit")

    def generate(self, inputs: GenerationInputs) -> None:
        """Make one sample for each row of `inputs.requests` as `inputs.job.folder/<sample_id>.wav`.

        Files that are there already are from an earlier, killed attempt and are complete: they are kept.

        Args:
            inputs: the requests, the class names, the folder that `fit` filled, the job, and what else the class
                attributes ask for.
        """
        raise NotImplementedError


def check_interface(generator: Generator) -> None:
    """Refuse a generator class that was written for an earlier interface.

    Raises:
        RequestError: `generate` does not take one argument, or a class attribute has its earlier name.
    """
    problems = []
    signature = inspect.signature(generator.generate)
    if not _takes_inputs(signature):
        problems.append(
            f"{_defining_class(generator, 'generate')}.generate({', '.join(signature.parameters)}): generate now "
            "takes one argument, inputs (augrun.generators.requests.GenerationInputs), whose fields are the former "
            "arguments; write\n    def generate(self, inputs: GenerationInputs) -> None:"
        )
    problems += [
        f"{_defining_class(generator, old)}: the class attribute {old} is now called {new}; rename it"
        for old, new in RENAMED_ATTRIBUTES.items()
        if hasattr(generator, old)
    ]
    if problems:
        raise RequestError("\n".join(problems))


def _takes_inputs(signature: inspect.Signature) -> bool:
    """Tell whether a bound `generate` can be called with the inputs alone, and does not expect a request table."""
    try:
        signature.bind(None)
    except TypeError:
        return False
    return next(iter(signature.parameters)) != "requests"


def _defining_class(generator: Generator, attribute: str) -> str:
    """Return the dotted name of the class that defines the attribute: the one to edit."""
    owner = next(one for one in type(generator).__mro__ if attribute in vars(one))
    return f"{owner.__module__}.{owner.__qualname__}"


def require_sound(corpus: Corpus, generator: str) -> Corpus:
    """The corpus, unless some of its clips are spectrograms.

    Raises:
        AugrunError: they are.
    """
    spectra = [path for path in corpus.clips["path"] if str(path).endswith(".npy")]
    if spectra:
        raise AugrunError(
            f"generator={generator} learns from sound, but {len(spectra)} of {len(corpus)} clips are spectrograms, "
            f"the first is {spectra[0]}.\nPoint dataset.root at the corpus's audio."
        )
    return corpus
