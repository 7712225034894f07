"""Lets Lightning start sooner: what torchmetrics brings for texts is not loaded with it.

`import pytorch_lightning` imports all of torchmetrics, and that imports `transformers` for its metrics of texts where
it is installed (our extra `jukebox`): a quarter of the seconds that it takes, in every process that trains. Nothing
here measures texts. Whoever imports `transformers` itself gets it as ever.
"""

from __future__ import annotations

import sys
from typing import Any


class _BeforeTorchmetrics:
    """Is asked for every module that is about to be imported, until that is torchmetrics; finds none itself."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name == "torchmetrics":
            sys.meta_path.remove(self)
            _hide_transformers()


def _hide_transformers() -> None:
    """Lets torchmetrics find no `transformers`; where its way of asking has changed, it finds it, and is slower."""
    try:
        from lightning_utilities.core.imports import RequirementCache

        real = RequirementCache._check_requirement
    except (ImportError, AttributeError):
        return

    def check(self: Any) -> None:
        if str(self.requirement).startswith("transformers"):
            self.available, self.message = False, "augrun leaves transformers out of torchmetrics"
        else:
            real(self)

    RequirementCache._check_requirement = check  # type: ignore[method-assign]


def start() -> None:
    """To be called before anything imports Lightning."""
    if "torchmetrics" not in sys.modules:
        sys.meta_path.insert(0, _BeforeTorchmetrics())
