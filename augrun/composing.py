"""The configuration of a request, composed as a run would, for verbs that start no job."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from augrun.errors import RequestError


def compose(overrides: Sequence[str], config_dir: Path | None = None) -> dict[str, Any]:
    """The resolved configuration as plain data; not checked yet (`augrun.experiment.check`).

    Args:
        overrides: as on the command line, e.g. `dataset=feel`.
        config_dir: a folder with further choices, as `--config-dir` names it.

    Raises:
        RequestError: a choice or key does not exist; names the nearest ones.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from augrun import experiment, resolvers
    from augrun.advice import refuse_null
    from augrun.cli import conf_dir

    resolvers.register()
    GlobalHydra.instance().clear()
    words = list(overrides)
    refuse_null(words)
    further = [f"hydra.searchpath=[file://{config_dir.resolve()}]"] if config_dir else []
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            return experiment.resolve(compose("config", overrides=words + further))
    except (HydraException, OmegaConfBaseException) as error:
        from augrun.advice import explain

        raise RequestError(explain(error, words, conf_dir())) from error
