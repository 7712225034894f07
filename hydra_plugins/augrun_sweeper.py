"""Where Hydra finds augrun's sweepers: it instantiates plugins from this namespace only."""

from hydra.core.config_store import ConfigStore

from augrun.sweeps import sweeper
from augrun.sweeps.tuning import sweeper as tuning


class AugrunSweeper(sweeper.CheckedSweeper):
    """`hydra/sweeper=augrun`; see `augrun.sweeps.sweeper`."""


class TuningSweeper(tuning.TuningSweeper):
    """`hydra/sweeper=optuna` (conf/hydra/sweeper/optuna.yaml); see `augrun.sweeps.tuning.sweeper`."""


ConfigStore.instance().store(
    group="hydra/sweeper",
    name="augrun",
    node={"_target_": "hydra_plugins.augrun_sweeper.AugrunSweeper", "max_batch_size": None, "params": None},
    provider="augrun",
)
