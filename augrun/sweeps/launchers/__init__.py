"""Many jobs: a sweep's rows side by side, on this machine or a cluster (`hydra/launcher=NAME`).

Each launcher is a thin one on an engine that others keep: loky's executor (joblib), submitit, Ray. Hydra has plugins
on the same engines, but the one for Ray asks for cloudpickle below 3 and for boto3, none gives each job a GPU of its
own, and in each the whole sweep is lost when the process of one job dies. Here that row fails, and the others and the
comparison go on.

`augrun.sweeps.launchers.base` has what they share, `work` what happens in a job's process, `console` what is shown
meanwhile.
None of the engines is imported before it is chosen.
"""

from __future__ import annotations

#: The launchers, and the class of each one's settings; `basic` is Hydra's own, one job after another in this process.
SETTINGS = {
    "joblib": "augrun.sweeps.launchers.settings.Joblib",
    "submitit_local": "augrun.sweeps.launchers.settings.SubmititLocal",
    "submitit_slurm": "augrun.sweeps.launchers.settings.SubmititSlurm",
    "ray": "augrun.sweeps.launchers.settings.Ray",
}


def keep_names() -> None:
    """Lets `hydra/launcher=joblib` be ours where a Hydra plugin of the same name is installed.

    Hydra would check our YAML against that plugin's settings, and refuse it.
    """
    from hydra.core.config_store import ConfigStore
    from hydra.core.plugins import Plugins

    Plugins.instance()  # where the plugins that are there put their settings into the store
    there = ConfigStore.instance().repo.get("hydra", {}).get("launcher", {})
    for name in SETTINGS:
        there.pop(f"{name}.yaml", None)
