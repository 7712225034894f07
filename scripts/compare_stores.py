"""Compare the predictions of two stores bit for bit, condition by condition.

    python scripts/compare_stores.py OLD NEW

Conditions are matched by their recorded configuration, as fingerprints change with the code. Prints a line for each,
and exits with 1 where an array differs or a condition of the first store is missing in the second.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import yaml

from augrun.core.config.renamed_targets import with_current_targets

#: Sections of a configuration that change no result.
ELSEWHERE = ("output", "tracking", "sweep", "profile", "table")


def conditions(store: Path) -> dict[str, Path]:
    """Return the folders of a store's conditions by their configuration."""
    found = {}
    for path in sorted(store.glob("condition/*/config.yaml")):
        config = with_current_targets(yaml.safe_load(path.read_text(encoding="utf-8")))
        key = {name: value for name, value in config.items() if name not in ELSEWHERE}
        found[json.dumps(key, sort_keys=True)] = path.parent
    return found


def differences(old: Path, new: Path) -> tuple[int, list[str]]:
    """Return the number of arrays compared, and a line for each that differs.

    Args:
        old: a condition's folder.
        new: the same condition's in the other store.
    """
    count, found = 0, []
    trials = json.loads((old / "results.json").read_text(encoding="utf-8"))["trials"]
    for trial in trials:
        with np.load(old / trial["predictions"]) as one, np.load(new / trial["predictions"]) as other:
            if set(one.files) != set(other.files):
                found.append(f"{trial['predictions']}: other arrays")
                continue
            for name in one.files:
                count += 1
                same = one[name].dtype == other[name].dtype and one[name].tobytes() == other[name].tobytes()
                if not same:
                    found.append(f"{trial['predictions']}: {name}")
    return count, found


def main() -> int:
    """Print what differs; return the exit code."""
    parser = argparse.ArgumentParser(description="Compare the predictions of two stores bit for bit.")
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    given = parser.parse_args()
    old, new = conditions(given.old), conditions(given.new)
    total, wrong = 0, 0
    for key, folder in sorted(old.items(), key=lambda item: item[1].name):
        record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        title = f"{record['title']} ({folder.name})"
        if key not in new:
            print(f"missing    {title}")
            wrong += 1
            continue
        count, found = differences(folder, new[key])
        total, wrong = total + count, wrong + len(found)
        print(
            f"{'differs' if found else 'identical':<10} {title}: {count} arrays{''.join(f', {one}' for one in found)}"
        )
    print(f"{len(old)} conditions, {total} arrays compared bit for bit, {wrong} missing or different")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
