"""`augrun reproduce WHAT`: a recorded condition again, from its own configuration, and whether its figures agree.

It runs in a store of its own under the output root, so that nothing is found done. A run that was killed goes on with
the same command; one that ended is told about and its store removed, so that the next one begins anew:

    reproduced/FINGERPRINT/store/             while it runs
    reproduced/FINGERPRINT/condition/         what the new run left
    reproduced/FINGERPRINT/reproduction.json  the account of both
"""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augrun.core.config.compose import compose, override
from augrun.core.errors import RequestError
from augrun.core.files import file_name, read_json, write_text
from augrun.experiment.checks import check_config
from augrun.experiment.reproduction_report import compare_runs, environment_differences, report_text
from augrun.experiment.run import run as run_condition

FOLDER, ACCOUNT = "reproduced", "reproduction.json"


@dataclass(frozen=True)
class ReproductionRequest:
    """What is to be reproduced.

    Attributes:
        source: a condition's `results.json`, its folder, or the id of its MLflow run.
        overrides: of the recorded configuration, e.g. `dataset.root=DIR`.
        tracking: the MLflow server that has the run; None is the output root's own database.
        tolerance: the largest difference that counts as agreement.
        root: the output root.
        config_dir: a folder with further choices.
    """

    source: str
    overrides: Sequence[str]
    tracking: str | None
    tolerance: float
    root: Path
    config_dir: Path | None = None


def reproduce(request: ReproductionRequest) -> bool:
    """Run the condition again and print what agrees; return whether all of it does.

    Raises:
        RequestError: nothing of the kind is recorded, or it cannot run here.
    """
    folder = recorded_folder(request)
    results = read_json(folder / "results.json")
    place = (request.root / FOLDER / file_name(str(results["fingerprint"]))).resolve()
    config = recorded_config(request, folder, place)
    with redirect_stdout(io.StringIO()):  # the comparison with the baseline, which is not what was asked
        new = run_condition(config)
    agreement = compare_runs(folder, new, request.tolerance)
    differences = environment_differences(folder, new, request.overrides)
    copy = place / ("again" if folder == place / "condition" else "condition")  # what was recorded stays
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(new, copy)
    account = {"recorded": str(folder), "reproduced": str(copy), **agreement.as_json(), "differs": differences}
    write_text(place / ACCOUNT, json.dumps(account, indent=1, ensure_ascii=False))
    print(f"{read_json(folder / 'record.json').get('title') or results['fingerprint']}, recorded in {folder}")
    print(report_text(agreement, differences))
    print(f"written to {place}: {copy.name}/, {ACCOUNT}")
    shutil.rmtree(place / "store")
    return agreement.agrees


def recorded_folder(request: ReproductionRequest) -> Path:
    """Return the folder of the recorded results; of an MLflow run its artifacts.

    Raises:
        RequestError: there is none, or no configuration in it.
    """
    path = Path(request.source).expanduser()
    if not path.exists() and re.fullmatch(r"[0-9a-f]{32}", request.source):
        from augrun.tracking.download import Source

        folder = Source(request.tracking, request.root).run(request.source)
    elif not path.exists():
        raise RequestError(f"{request.source}: no such file, and no id of an MLflow run (32 hexadecimal digits)")
    else:
        folder = path if path.is_dir() else path.parent
        if path.is_file() and path.name != "results.json":
            raise RequestError(f"{request.source}: give a condition's results.json, or its folder")
    for name in ("results.json", "config.yaml"):
        if not (folder / name).is_file():
            raise RequestError(f"no {name} in {folder}; both results.json and config.yaml of a condition are needed")
    try:
        whole = {"fingerprint", "trials", "summary"} <= read_json(folder / "results.json").keys()
    except (ValueError, AttributeError):
        whole = False
    if not whole:
        raise RequestError(f"{folder / 'results.json'}: is no condition's results")
    return folder.resolve()


def recorded_config(request: ReproductionRequest, folder: Path, place: Path) -> dict[str, Any]:
    """Return the recorded configuration with the overrides, in a store of its own and out of MLflow's sight.

    Raises:
        RequestError: it is none, an override is wrong, or it cannot run here.
    """
    import yaml

    try:
        config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise RequestError(f"{folder / 'config.yaml'}: {str(error).splitlines()[0]}") from error
    if not isinstance(config, Mapping) or not {"dataset", "generator", "classifier"} <= config.keys():
        raise RequestError(f"{folder / 'config.yaml'}: is no condition's configuration")
    for word in request.overrides:
        if word.startswith(("output.", "tracking", "sweep.")):
            raise RequestError(f"{word}: a reproduction is not tracked and has a store of its own under AUGRUN_OUTPUT")
    config = override(config, request.overrides, request.config_dir)
    config["output"] = {"root": str(request.root), "store": str(place / "store")}
    config["tracking"] = compose([])["tracking"]  # one that can be checked, whatever was recorded
    check_config(config)
    return {**config, "tracking": None}
