"""A reward model: a decoder with one number in place of its vocabulary, taught which of two answers is the better one.

The number is read at the last token of a whole conversation. The loss is that of Bradley and Terry, −log σ(r_chosen − r_rejected)
(Ouyang et al., https://arxiv.org/abs/2203.02155, equation 1): only differences mean anything.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from models.preference import PairTrainer


def collate(samples: list[dict[str, Any]], pad_id: int) -> dict[str, Tensor]:
    """Rows of `prompt_ids`, `chosen_ids`, `rejected_ids` as whole conversations, (2 · pairs, longest), the chosen ones first, padded right."""
    whole = [torch.tensor(row["prompt_ids"] + row[side]) for side in ("chosen_ids", "rejected_ids") for row in samples]
    pad = torch.nn.utils.rnn.pad_sequence
    return {
        "input_ids": pad(whole, batch_first=True, padding_value=pad_id),
        "attention_mask": pad([torch.ones_like(ids) for ids in whole], batch_first=True),
    }


class RewardTrainer(PairTrainer):
    """The trainer of a reward model: one of transformers for sequence classification with one label."""

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None) -> Tensor:
        """The mean over this micro-batch's pairs."""
        assert not return_outputs
        chosen, rejected = model(**inputs, use_cache=False).logits[:, 0].float().chunk(2)
        self.log_rewards(chosen.detach(), rejected.detach())
        return -logsigmoid(chosen - rejected).mean()

    def size(self, batch: dict[str, Tensor]) -> tuple[float, float]:
        """Pairs, and tokens of all their sequences."""
        return len(batch["input_ids"]) / 2, float(batch["attention_mask"].sum())
