"""Low-rank adapters of several kinds in one batch: each row has one of them, or the base alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

BASE = "__base__"  # peft's name for no adapter


class AdapterRows:
    """The adapters that stand beside a model's matrices, and the one that each row of a batch goes through.

    `adapters`: name → a folder as peft saves them. `ValueError` where one holds none, or those of another model.
    """

    def __init__(self, model: PreTrainedModel, adapters: Mapping[str, Path]):
        self._inner = {name: f"adapter{number}" for number, name in enumerate(adapters)}  # a module's name has no dots
        self._rows: list[str] = []
        for name, folder in adapters.items():
            _add(model, self._inner[name], folder)
        if adapters:
            from peft.tuners.lora import LoraLayer

            model.requires_grad_(False).eval()
            for part in model.modules():
                if isinstance(part, LoraLayer):
                    part.register_forward_pre_hook(self._choose, with_kwargs=True)

    def __contains__(self, name: str) -> bool:
        return name in self._inner

    @contextlib.contextmanager
    def of(self, names: Sequence[str]) -> Iterator[None]:
        """A context in which the rows of a batch go through these adapters; an empty name is the base alone."""
        self._rows = [self._inner.get(name, BASE) for name in names]
        try:
            yield
        finally:
            self._rows = []

    def _choose(self, module: Any, inputs: tuple[Any, ...], options: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return inputs, options | {"adapter_names": self._rows}


def _add(model: PreTrainedModel, name: str, folder: Path) -> None:
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        if not (folder / file).is_file():
            raise ValueError(f"{folder} holds no adapter (no {file}); name the `adapter` folder of an sft or dpo artifact")
    from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors.torch import load_file

    config = LoraConfig.from_pretrained(str(folder))
    if config.use_dora or config.modules_to_save or config.bias != "none":
        raise ValueError(
            f"{folder} holds more than low-rank products (DoRA, whole modules or biases), which a batch cannot choose by row"
        )
    model.add_adapter(config, adapter_name=name)
    weights = {key.removeprefix("base_model.model."): p for key, p in load_file(folder / "adapter_model.safetensors").items()}
    state = get_peft_model_state_dict(model, adapter_name=name)
    expected = {key: p for key, p in state.items() if "lora_" in key}  # of an embedding or a head, peft lists the base too
    other = sorted(expected.keys() ^ weights.keys()) or sorted(
        key for key, p in expected.items() if p.shape != weights[key].shape
    )
    if other:
        raise ValueError(
            f"{folder} holds the adapter of another model ({other[0]}); serve it beside the base that it was trained on"
        )
    set_peft_model_state_dict(model, weights, name)
