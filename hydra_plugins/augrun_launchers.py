"""Where Hydra finds augrun's launchers: it instantiates plugins from this namespace only.

Their engines are imported when one of them is used; what Hydra reads at every start is this.
"""

from augrun.sweeps.launchers import joblib, ray, submitit


class AugrunJoblib(joblib.JoblibLauncher):
    """`hydra/launcher=joblib`; see `augrun.sweeps.launchers`."""


class AugrunSubmititLocal(submitit.SubmititLocalLauncher):
    """`hydra/launcher=submitit_local`."""


class AugrunSubmititSlurm(submitit.SubmititSlurmLauncher):
    """`hydra/launcher=submitit_slurm`."""


class AugrunRay(ray.RayLauncher):
    """`hydra/launcher=ray`."""
