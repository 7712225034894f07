"""Where Hydra finds augrun's sweepers: it instantiates plugins from this namespace only."""

from hydra.core.config_store import ConfigStore

from augrun import sweeper, tuning


class AugrunSweeper(sweeper.CheckedSweeper):
    """`hydra/sweeper=augrun`; see `augrun.sweeper`."""


class TuningSweeper(tuning.TuningSweeper):
    """`hydra/sweeper=optuna` (conf/hydra/sweeper/optuna.yaml); see `augrun.tuning`."""


ConfigStore.instance().store(
    group="hydra/sweeper",
    name="augrun",
    node={"_target_": "hydra_plugins.augrun_sweeper.AugrunSweeper", "max_batch_size": None, "params": None},
    provider="augrun",
)
