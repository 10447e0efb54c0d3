"""TRL's trainers, with what `Exact` adds. Importing this takes TRL's four seconds."""

from __future__ import annotations

from typing import Any

import datasets
from torch import Tensor
from trl import DPOTrainer, SFTTrainer

from models.preference import Diverging
from models.trainer import Exact


class Tuner(Exact, SFTTrainer):
    """Supervised fine-tuning on rows of `input_ids` and `labels`."""


class Preferrer(Diverging, Exact, DPOTrainer):
    """Direct preference optimisation on rows of `prompt_ids`, `chosen_ids` and `rejected_ids`."""

    # Rows come tokenised by our template, and their reference is computed by `refer`.
    def _prepare_dataset(self, dataset: datasets.Dataset, *args: Any) -> datasets.Dataset:
        return dataset

    def _precompute_ref_logps(self, dataset: datasets.Dataset, *args: Any) -> datasets.Dataset:
        return dataset

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None) -> Tensor:
        """TRL's loss. The weight of its SFT part, a mean over this piece's tokens, is set so that it becomes one over all tokens."""
        assert not return_outputs
        pairs, tokens = self.size(inputs)
        share = (tokens / pairs) / (self.tokens / self.pairs)
        weights = zip(self.loss_types, self.args.loss_weights, strict=True)
        self.loss_weights = [weight * share if name == "sft" else weight for name, weight in weights]
        return DPOTrainer.compute_loss(self, model, inputs)

    def reading(self, batch: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        return inputs, batch["completion_mask"][:, 1:].bool()

    def size(self, batch: dict[str, Tensor]) -> tuple[float, float]:
        pairs = len(batch["input_ids"]) // 2
        return float(pairs), float(batch["completion_mask"][:pairs, 1:].sum())
