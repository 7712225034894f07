"""The configurations of a sweep's rows, each composed once."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

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
