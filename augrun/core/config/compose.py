"""The configuration of a request, composed as a run would, for verbs that start no job; and of a sweep's rows, once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from augrun.core.config.renamed_targets import with_current_targets
from augrun.core.errors import RequestError

if TYPE_CHECKING:
    from omegaconf import DictConfig


def compose(overrides: Sequence[str], config_dir: Path | None = None) -> dict[str, Any]:
    """The resolved configuration as plain data; not checked yet (`augrun.experiment.checks.check_config`).

    Args:
        overrides: as on the command line, e.g. `dataset=feel`.
        config_dir: a folder with further choices, as `--config-dir` names it.

    Raises:
        RequestError: a choice or key does not exist; names the nearest ones.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from augrun.core.config import resolvers
    from augrun.core.config.paths import conf_dir
    from augrun.core.config.suggestions import refuse_null

    resolvers.register()
    GlobalHydra.instance().clear()
    words = list(overrides)
    refuse_null(words)
    further = [f"hydra.searchpath=[file://{config_dir.resolve()}]"] if config_dir else []
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            return resolve(compose("config", overrides=words + further))
    except (HydraException, OmegaConfBaseException) as error:
        from augrun.core.config.suggestions import explain

        raise RequestError(explain(error, words, conf_dir())) from error


def override(config: Mapping[str, Any], words: Sequence[str], config_dir: Path | None = None) -> dict[str, Any]:
    """A resolved configuration with overrides on top: `group=choice` takes over a whole choice, `key=value` a value.

    Raises:
        RequestError: a choice or key does not exist, or a word is no override of one value.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    from augrun.core.config.paths import conf_dir
    from augrun.core.config.schema import GROUPS, nearest
    from augrun.core.config.suggestions import explain

    changed: dict[str, Any] = with_current_targets(deepcopy(dict(config)))
    for word in words:
        try:
            (given,) = OverridesParser.create().parse_overrides([word])
        except HydraException as error:
            raise RequestError(explain(error, [word], conf_dir())) from error
        group, _, role = given.key_or_group.partition("@")
        if given.is_sweep_override() or given.is_delete():
            raise RequestError(f"{word}: give one value for one key")
        if group in GROUPS:
            place = role or group
            scale = [f"scale={config['scale']}"] if config.get("scale") else []
            changed[place] = compose([*scale, word], config_dir)[place]
            continue
        *parents, last = given.key_or_group.split(".")
        section: Any = changed
        for depth, name in enumerate((*parents, last)):
            if not isinstance(section, dict) or (name not in section and not given.is_add()):
                legal = list(section) if isinstance(section, dict) else []
                raise RequestError(
                    f"{given.key_or_group}: no such key in the recorded configuration{nearest(name, legal)}"
                )
            if depth < len(parents):
                section = section.setdefault(name, {})
        section[last] = given.value()
    return changed


def resolve(config: DictConfig) -> dict[str, Any]:
    """The composed configuration as plain data, Hydra's own part and empty choices left out."""
    from omegaconf import OmegaConf, open_dict

    config = config.copy()
    with open_dict(config):
        for key in ("hydra", "experiment"):
            config.pop(key, None)
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return with_current_targets({str(key): value for key, value in plain.items()})
