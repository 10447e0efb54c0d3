"""TRL's trainers of decoders, made resumable. Importing this takes TRL's four seconds."""

from __future__ import annotations

from typing import Any

import datasets
from torch import Tensor
from trl import DPOTrainer, SFTTrainer

from models.preference import ReferenceMixin
from models.trainer import ResumableMixin


class DecoderSFTTrainer(ResumableMixin, SFTTrainer):
    """The trainer of supervised fine-tuning, on rows of `input_ids` and `labels`."""


class DecoderDPOTrainer(ReferenceMixin, ResumableMixin, DPOTrainer):
    """The trainer of direct preference optimisation, on rows of `prompt_ids`, `chosen_ids` and `rejected_ids`."""

    # Rows come tokenised by our template, and their reference is computed by `reference_log_probs`.
    def _prepare_dataset(self, dataset: datasets.Dataset, *args: Any) -> datasets.Dataset:
        return dataset

    def _precompute_ref_logps(self, dataset: datasets.Dataset, *args: Any) -> datasets.Dataset:
        return dataset

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None) -> Tensor:
        """TRL's loss. The weight of its SFT part, a mean over this micro-batch's tokens, is set so that it becomes one over all tokens."""
        assert not return_outputs
        pairs, tokens = self.size(inputs)
        share = (tokens / pairs) / (self.tokens / self.pairs)
        weights = zip(self.loss_types, self.args.loss_weights, strict=True)
        self.loss_weights = [weight * share if name == "sft" else weight for name, weight in weights]
        return DPOTrainer.compute_loss(self, model, inputs)

    def model_inputs(self, batch: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """Whole conversations, and the mask of the answers' tokens."""
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        return inputs, batch["completion_mask"][:, 1:].bool()

    def size(self, batch: dict[str, Tensor]) -> tuple[float, float]:
        """The numbers of pairs and of tokens in the chosen answers."""
        pairs = len(batch["input_ids"]) // 2
        return float(pairs), float(batch["completion_mask"][:pairs, 1:].sum())
