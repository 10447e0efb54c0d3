"""TRL's trainers, with what `Exact` adds. Importing this takes TRL's four seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from trl import DPOTrainer, SFTTrainer

from models.data import Order, lengths
from models.trainer import Exact


class Tuner(Exact, SFTTrainer):
    """Supervised fine-tuning on rows of `input_ids` and `labels`."""


class Preferrer(Exact, DPOTrainer):
    """Direct preference optimisation on rows of `prompt_ids`, `chosen_ids` and `rejected_ids`."""

    loss_is_scaled_for_ga = False  # each piece's loss is the mean over its pairs, and all pieces have as many
    pairs = tokens = 1.0  # of the whole step or validation: what its losses are means over

    # Rows come tokenised by our template, and their reference is computed by `refer`.
    def _prepare_dataset(self, dataset: datasets.Dataset, *args: Any) -> datasets.Dataset:
        return dataset

    def _precompute_ref_logps(self, dataset: datasets.Dataset, *args: Any) -> datasets.Dataset:
        return dataset

    def refer(self, rows: datasets.Dataset, keep: Path) -> datasets.Dataset:
        """Add what the untrained model gives each answer, log-probability summed over its tokens. It is written to `keep`, because a
        resumed run must go on with the very same numbers."""
        if not keep.exists():
            order = np.argsort(lengths(rows), kind="stable")[::-1]  # the longest first: what does not fit in memory fails at once
            mine = np.array_split(order, self.accelerator.num_processes)[self.accelerator.process_index]
            found = torch.zeros(len(rows), 2, dtype=torch.float64)
            self.model.eval()
            loader = DataLoader(rows, batch_size=self.run.micro, sampler=Order(mine), collate_fn=self.data_collator)
            for number, batch in enumerate(loader):
                sides = self.compute_ref_log_probs(self.model, self._prepare_inputs(batch))
                at = mine[number * self.run.micro : (number + 1) * self.run.micro]
                found[at.copy()] = torch.stack(sides, 1).double().cpu()
            found = self.accelerator.reduce(found.to(self.accelerator.device, torch.float32)).cpu()
            if self.is_world_process_zero():
                draft = keep.with_suffix(".draft.npy")
                np.save(draft, found.numpy())
                draft.rename(keep)
            self.accelerator.wait_for_everyone()
        reference = np.load(keep)
        assert len(reference) == len(rows), f"{keep} is of other rows"
        for number, name in enumerate(("ref_chosen_logps", "ref_rejected_logps")):
            rows = rows.add_column(name, reference[:, number], new_fingerprint=f"{keep.stem}-{name}")
        return rows

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> tuple[list[Any], None]:
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        total = torch.tensor([_size(batch) for batch in batches], device=device).sum(0)
        self.pairs, self.tokens = self.accelerator.reduce(total).tolist()
        return batches, None

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None) -> Tensor:
        """TRL's loss. The weight of its SFT part, a mean over this piece's tokens, is set so that it becomes one over all tokens."""
        assert not return_outputs
        pairs, tokens = _size(inputs)
        share = (tokens / pairs) / (self.tokens / self.pairs)
        weights = zip(self.loss_types, self.args.loss_weights, strict=True)
        self.loss_weights = [weight * share if name == "sft" else weight for name, weight in weights]
        return DPOTrainer.compute_loss(self, model, inputs)

    def _measure(self, batches: list[dict[str, Tensor]]) -> dict[str, float]:
        sizes = np.array([_size(batch) for batch in batches])
        self.pairs, self.tokens = sizes.sum(0)
        losses = [self.compute_loss(self.model, batch).item() for batch in batches]
        seen = self._metrics["eval"]
        means = {"eval_loss": losses, "eval_accuracy": seen["rewards/accuracies"], "eval_margin": seen["rewards/margins"]}
        metrics = {name: float(np.average(values, weights=sizes[:, 0])) for name, values in means.items()}
        seen.clear()
        return metrics


def _size(batch: dict[str, Tensor]) -> tuple[float, float]:
    """Pairs, and tokens of the chosen answers."""
    pairs = len(batch["input_ids"]) // 2
    return float(pairs), float(batch["completion_mask"][:pairs, 1:].sum())
