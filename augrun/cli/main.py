"""The command line: argv → a verb, or the Hydra job."""

from __future__ import annotations

import atexit
import faulthandler
import gc
import os
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from augrun.core.config.paths import conf_dir
from augrun.core.errors import AugrunError, RequestError

if TYPE_CHECKING:
    from omegaconf import DictConfig

HELP = """\
augrun: does what a generator makes carry its class, and does training on it help?

  augrun                                               the built-in demonstration (a rendered stand-in corpus)
  augrun generator=ddsp dataset=jamendo_mood           one condition, compared with its baseline
  augrun -m generator=none,copy,ddsp dataset=jamendo_mood     a sweep, compared in one table
  augrun -m generator=none,ddsp hydra/launcher=joblib  its rows side by side (submitit_local, submitit_slurm, ray)
  augrun generator=ddsp dataset=feel dataset.root=DIR  your own corpus

Overrides are Hydra's: group=choice, key=value. Groups (choices: augrun list):
{groups}

Verbs:
{verbs}

Hydra's flags: --multirun/-m, --cfg job|hydra|all, --info, --package/-p, --config-dir/-cd, --resolve,
  --shell-completion (install: eval "$(augrun -sc install=bash)"), --hydra-help.
Real corpora: AUGRUN_DATA=DIR (one folder each) or dataset.root=DIR. Output: AUGRUN_OUTPUT (default ./outputs).
"""

VERBS = {
    "list [GROUP]": "the choices of every group, and what each is",
    "doctor [overrides]": "check what a run needs (corpora, disk, packages, weights, devices) before it costs anything",
    "table NAME [overrides]": "a published table, or a sweep's as far as it is there [--format md|csv|tex|json|html]",
    "reproduce RUN_ID|FILE": "run a recorded condition (MLflow id, results.json) again: do its figures agree?",
    "standin DATASET DIR": "render a miniature corpus in the real one's layout",
    "ui [--port N]": "the MLflow UI on this output folder",
    "store ls|gc|sync": "what is stored; remove what nothing needs; send to MLflow what is missing there",
}


def main(argv: list[str] | None = None) -> None:
    """The console script `augrun`; exits with 0 (done), 1 (a job failed) or 2 (the request was wrong)."""
    # At its end Python looks through all objects for cycles, of which torch alone brings a million: two seconds.
    atexit.register(gc.freeze)
    # A crash in a library's machine code would end a job without a word, here or in the processes it starts.
    if os.environ.setdefault("PYTHONFAULTHANDLER", "1") and not faulthandler.is_enabled():
        with suppress(AttributeError, OSError, RuntimeError, ValueError):  # where stderr is no file
            faulthandler.enable()
    arguments = list(sys.argv[1:] if argv is None else argv)
    sys.exit(run(arguments))


def run(arguments: list[str]) -> int:
    """Carries out one command line; returns the exit code."""
    # Hydra refuses a plus before a key that is there: these are meant as something to add, with or without one.
    arguments = [word[1:] if word.startswith(("+controls=", "+profile=")) else word for word in arguments]
    try:
        if any(word in ("-h", "--help") for word in arguments):
            print(help_page(), end="")
            return 0
        first = arguments[0] if arguments else ""
        if first and "=" not in first and not first.startswith(("-", "~", "+")):
            from augrun.cli import verbs

            return verbs.run(first, arguments[1:])
        return hydra_job(arguments)
    except AugrunError as error:
        print(f"augrun: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("augrun: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def help_page() -> str:
    """Our own short page: what the groups and verbs are for."""
    from augrun.core.config.schema import GROUPS

    def lines(entries: dict[str, str], width: int) -> str:
        return "\n".join(f"  {name:<{width}} {text}" for name, text in entries.items())

    return HELP.format(groups=lines(GROUPS, 15), verbs=lines(VERBS, 22))


def hydra_job(arguments: list[str]) -> int:
    """Composes the configuration and runs the job or the sweep."""
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from augrun.core.config import resolvers
    from augrun.core.config.suggestions import refuse_null
    from augrun.core.runtime import log_setup
    from augrun.sweeps import launchers, sweeper

    refuse_null(arguments)
    resolvers.register()
    show_trace = os.environ.get("HYDRA_FULL_ERROR") == "1" or "hydra.verbose=true" in arguments
    # Hydra would print its own traces and exit; with this set it raises, and the messages are ours.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    sys.argv = [sys.argv[0], *arguments]
    sweeper.outcome.clear()
    if "--info" not in arguments:  # Hydra shows that through its own logging
        log_setup.set_up_logging("hydra.verbose=true" in arguments)
    launchers.keep_names()
    app = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(job)
    try:
        app()
    except (HydraException, OmegaConfBaseException) as error:
        if show_trace:
            traceback.print_exc()
        from augrun.core.config.suggestions import explain

        raise RequestError(explain(error, arguments, conf_dir())) from error
    except OSError as error:
        # Hydra makes its own folder before the job starts.
        if error.filename and "runs" in Path(error.filename).parts:
            raise RequestError(
                f"cannot write {error.filename}: {error.strerror}; choose another AUGRUN_OUTPUT (or output.root=)"
            ) from error
        raise
    except SystemExit as stop:
        return int(stop.code or 0)
    if _mistakes:
        mistake = _mistakes.pop()
        if show_trace:
            traceback.print_exception(mistake)
        raise mistake
    return sweeper.finish()


def job(config: DictConfig) -> str | None:
    """One condition; Hydra calls this. Returns the folder of its results."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from augrun.core.runtime import gpu_slots
    from augrun.experiment import run as experiment

    try:
        with gpu_slots.job():
            return str(experiment.run_config(config))
    except AugrunError as error:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise  # the sweeper keeps account of it
        _mistakes.append(error)  # raised past Hydra, it would be told twice
        return None


#: What went wrong in a single job, for `hydra_job` to raise.
_mistakes: list[AugrunError] = []


if __name__ == "__main__":
    main()
