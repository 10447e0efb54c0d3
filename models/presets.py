"""The registry of presets: the sizes of model that a recipe can name, each an instance of its architecture (`models/architectures`)."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import TYPE_CHECKING, Any

from models.architectures import Architecture, ArchitectureOptions

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

BUILT_IN = (
    "models.architectures.llama",
    "models.architectures.moe",
    "models.architectures.t5",
    "models.architectures.retnet",
)
GROUP = "hanlin.presets"  # entry points of other packages
OPTIONS = tuple(field.name for field in fields(ArchitectureOptions))
SHAPE = ("preset", "kv_heads", "qk_norm", "qkv_bias")  # the parameters of pretraining that say which weights fit


@dataclass(frozen=True)
class Registry:
    """The presets of this machine, by name, and what is wrong with entry points of the group `hanlin.presets`."""

    presets: dict[str, Architecture]
    modules: dict[str, str]  # of other packages' presets: the module that their entry point names
    claimed: dict[str, tuple[str, ...]]  # names that several offer → who
    broken: tuple[str, ...]  # a sentence for each package whose presets cannot be used


@cache
def registry() -> Registry:
    """Hanlin's own presets, then those of other packages; read once in a process."""
    offers: dict[str, list[tuple[str, Architecture]]] = {}
    modules, broken = {}, []
    for module in BUILT_IN:
        for name, preset in importlib.import_module(module).PRESETS.items():
            offers.setdefault(name, []).append(("Hanlin", preset))
    for entry in entry_points(group=GROUP):
        package = f"the package {entry.dist.name} {entry.dist.version}" if entry.dist else "a package"
        try:
            presets = _offered(entry)
        except (Exception, SystemExit) as failure:
            reason = " ".join(str(failure).split())
            broken.append(
                f"{package} offers presets ({GROUP}: {entry.name} = {entry.value}) that cannot be read: {type(failure).__name__}: {reason}; "
                "update or uninstall it"
            )
            continue
        for name, preset in presets.items():
            offers.setdefault(name, []).append((package, preset))
            modules[name] = entry.module
    claimed = {name: tuple(who for who, _ in offer) for name, offer in offers.items() if len(offer) > 1}
    return Registry({name: offer[0][1] for name, offer in offers.items()}, modules, claimed, tuple(broken))


def _offered(entry: EntryPoint) -> Mapping[str, Architecture]:
    """The presets of an entry point: the mapping that it names, or PRESETS of its module. `TypeError` where it is none."""
    offer = entry.load()
    presets = offer.PRESETS if isinstance(offer, ModuleType) else offer
    if not isinstance(presets, Mapping) or not all(isinstance(preset, Architecture) for preset in presets.values()):
        raise TypeError("it is no dict of names and instances of models.architectures.Architecture")
    for name, preset in presets.items():
        if lacking := [field for field in ("name", "model_types", "context") if not getattr(preset, field, None)]:
            raise TypeError(f"{type(preset).__name__} of preset {name!r} says nothing of {' and '.join(lacking)}")
    return presets


def names() -> list[str]:
    """The names of all presets, Hanlin's first."""
    return list(registry().presets)


def modules() -> dict[str, str]:
    """Preset → module, for the presets of other packages: code that builds what Hanlin's own code does not reach."""
    return registry().modules


def architectures() -> list[type[Architecture]]:
    """The architectures that have presets."""
    return list(dict.fromkeys(type(preset) for preset in registry().presets.values()))


def find(preset: str) -> Architecture:
    """A preset by its name. `ValueError` for an unknown name, with the nearest, and for one that two packages offer."""
    known = registry()
    if preset in known.claimed:
        raise ValueError(
            f"the preset {preset!r} is offered by {' and by '.join(known.claimed[preset])}, so it is not clear which is meant; uninstall a "
            "package, or rename its preset"
        )
    if preset not in known.presets:
        near = difflib.get_close_matches(preset, known.presets, 1)
        hint = f"did you mean {near[0]!r}? There" if near else "there"
        raise ValueError("; ".join([f"no model preset {preset!r}; {hint} are {', '.join(known.presets)}", *known.broken]))
    return known.presets[preset]


def build(preset: str, vocab_size: int, context: int | None = None, **options: Any) -> PreTrainedConfig:
    """The configuration of a model to train, whose classes transformers then knows. `ValueError` for an unknown name, and for options
    that the architecture does not take."""
    size = find(preset)
    size.register()
    return size.config(vocab_size, context or size.context, chosen(preset, **options))


def chosen(preset: str, **options: Any) -> ArchitectureOptions:
    """The options that are set. `ValueError` for one that the architecture does not take, and for those that do not go together."""
    size = find(preset)
    options = {name: value for name, value in options.items() if value is not None and value is not False}
    if unknown := [name for name in options if name not in size.options]:
        raise ValueError(
            f"preset {preset!r} ({size.name}) has no {' or '.join(unknown)}; "
            + (f"it has {', '.join(size.options)}" if size.options else "leave it out")
        )
    settings = ArchitectureOptions(**options)
    if problems := size.problems(settings):
        raise ValueError("; ".join(problems))
    return settings


def architecture_of(model_type: str) -> type[Architecture] | None:
    """The architecture of a saved model, by the `model_type` in its config.json; None for one that only transformers knows."""
    return next((kind for kind in architectures() if model_type in kind.model_types), None)
