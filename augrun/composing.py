"""The configuration of a request, composed as a run would, for verbs that start no job; and of a sweep's rows, once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from augrun.errors import RequestError

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader
    from omegaconf import DictConfig


#: So many rows are kept; a configuration takes some 160 kB.
MOST_KEPT = 256


class Rows:
    """Hydra's loader of configurations, which composes each row of a sweep once.

    To compose one takes a tenth of a second, and the sweeper's checks and the launcher ask for the same rows.

    Args:
        loader: Hydra's.
    """

    def __init__(self, loader: ConfigLoader) -> None:
        self._loader = loader
        self._kept: dict[tuple[str, ...], DictConfig] = {}

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """As Hydra's; a copy for each who asks, as launchers write into it."""
        from omegaconf import OmegaConf

        row = tuple(sweep_overrides)
        if row not in self._kept:
            if len(self._kept) == MOST_KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[row] = self._loader.load_sweep_config(master_config, sweep_overrides)
        config = deepcopy(self._kept[row])
        OmegaConf.copy_cache(from_config=master_config, to_config=config)  # `now` may have been asked for since
        return config

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def __reduce__(self) -> tuple[type[Rows], tuple[ConfigLoader]]:
        return Rows, (self._loader,)  # jobs elsewhere need no rows but their own


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


def override(config: Mapping[str, Any], words: Sequence[str], config_dir: Path | None = None) -> dict[str, Any]:
    """A resolved configuration with overrides on top: `group=choice` takes over a whole choice, `key=value` a value.

    Raises:
        RequestError: a choice or key does not exist, or a word is no override of one value.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    from augrun.advice import explain
    from augrun.cli import conf_dir
    from augrun.schema import GROUPS, nearest

    changed: dict[str, Any] = deepcopy(dict(config))
    for word in words:
        try:
            (given,) = OverridesParser.create().parse_overrides([word])
        except HydraException as error:
            raise RequestError(explain(error, [word], conf_dir())) from error
        group, _, role = given.key_or_group.partition("@")
        if given.is_sweep_override() or given.is_delete():
            raise RequestError(f"{word}: give one value for one key")
        if group in GROUPS:
            place = role or group
            scale = [f"scale={config['scale']}"] if config.get("scale") else []
            changed[place] = compose([*scale, word], config_dir)[place]
            continue
        *parents, last = given.key_or_group.split(".")
        section: Any = changed
        for depth, name in enumerate((*parents, last)):
            if not isinstance(section, dict) or (name not in section and not given.is_add()):
                legal = list(section) if isinstance(section, dict) else []
                raise RequestError(
                    f"{given.key_or_group}: no such key in the recorded configuration{nearest(name, legal)}"
                )
            if depth < len(parents):
                section = section.setdefault(name, {})
        section[last] = given.value()
    return changed
