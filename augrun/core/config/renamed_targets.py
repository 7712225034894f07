"""Classes that lie elsewhere since augrun 0.2, for configurations that were recorded or written before.

`RENAMED` maps the dotted path that a `_target_` had to the one that it has. A recorded condition is run again, and a
YAML of one's own is read, as if it named the new path.
"""

from __future__ import annotations

from typing import Any

#: Old dotted path → new one.
RENAMED = {
    "augrun.generators.bagan_original.BAGANOriginal": "augrun.generators.bagan.original.BAGANOriginal",
    "augrun.generators.ddsp_magenta.DDSPMagenta": "augrun.generators.ddsp.magenta.DDSPMagenta",
    "augrun.generators.sahu_cgan.SahuCGAN": "augrun.generators.sahu_gan.conditional.SahuCGAN",
    "augrun.job.Hardware": "augrun.core.job.Hardware",
}


def current_target(target: str) -> str:
    """Return the dotted path that a class has now."""
    return RENAMED.get(target, target)


def with_current_targets(value: Any) -> Any:
    """Return plain configuration data in which every `_target_` names its class by its path of now."""
    if isinstance(value, dict):
        return {
            key: current_target(item) if key == "_target_" and isinstance(item, str) else with_current_targets(item)
            for key, item in value.items()
        }
    return [with_current_targets(item) for item in value] if isinstance(value, list) else value
