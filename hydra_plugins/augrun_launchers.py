"""Where Hydra finds augrun's launchers: it instantiates plugins from this namespace only.

Their engines are imported when one of them is used; what Hydra reads at every start is this.
"""

from augrun.launching import batch, cluster, pool


class AugrunJoblib(pool.JoblibLauncher):
    """`hydra/launcher=joblib`; see `augrun.launching`."""


class AugrunSubmititLocal(batch.SubmititLocalLauncher):
    """`hydra/launcher=submitit_local`."""


class AugrunSubmititSlurm(batch.SubmititSlurmLauncher):
    """`hydra/launcher=submitit_slurm`."""


class AugrunRay(cluster.RayLauncher):
    """`hydra/launcher=ray`."""
