"""The view that MLflow's runs table offers under *Views*: conditions, and what each gains over its baseline.

Where nobody chose columns, the table has neither parameters nor metrics. MLflow keeps what its own button saves as a
tag of the experiment; servers that know no saved views take it for a tag like any other.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from typing import Any

NAME = "Gains over the baseline"
TAG = "mlflow.sharedViewState.augrun-gains"

#: The parameters that are columns.
CHOICES = ("dataset", "generator", "policy", "data")


def saved(found: Mapping[str, Mapping[str, float]], when: int) -> str:
    """The view as MLflow keeps it.

    Args:
        found: gains by metric, as `augrun.tracking.descriptions.gains` has them; the first is shown, more do not fit a
        screen.
        when: milliseconds since 1970.
    """
    first = next(iter(found))
    metrics = [f"gain/{first}", *(f"gain/{first}/{end}" for end in ("ci_low", "ci_high", "p")), f"test/{first}/mean"]
    state: dict[str, Any] = {
        "searchFilter": "",
        "orderByKey": "attributes.start_time",  # in any other order MLflow does not fold children under their parents
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [f"params.`{name}`" for name in CHOICES] + [f"metrics.`{name}`" for name in metrics],
        "columnOrder": [],
        "columnWidths": {},
        "runsHiddenMode": "FIRST_20_RUNS",
        "viewMaximized": False,
        "runListHidden": False,
        "isAccordionReordered": False,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupBy": None,
        "groupsExpanded": {},
    }
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    return json.dumps({"name": NAME, "createdAt": when, "updatedAt": when, "state": f"deflate;{packed}"})
