"""Losses of preference pairs, and the trainer that minimises them for a text-to-text model, which TRL no longer takes.

Every loss is a function of four numbers a pair: the log-probabilities of the chosen and of the rejected answer under the model and under its
reference. A decoder's
DPO goes through TRL (`models/trl_trainers.py`); a test holds these to TRL's, one by one.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid
from torch.utils.data import DataLoader
from transformers import Trainer

from models.dataset import OrderSampler, lengths
from models.loading import load
from models.losses import IGNORE
from models.trainer import REWARDS, ResumableMixin

if TYPE_CHECKING:
    import datasets

NUMBERS = 1 << 26  # logits in memory at a time where whole vocabularies are compared (256 MB)


class Scores(NamedTuple):
    """Log-probabilities of the answers of pairs, (pairs,) each: sums over an answer's tokens, and the numbers of tokens."""

    chosen: Tensor
    rejected: Tensor
    reference_chosen: Tensor
    reference_rejected: Tensor
    chosen_tokens: Tensor
    rejected_tokens: Tensor


def pair_loss(kind: str, scores: Scores, beta: float, smoothing: float = 0.0) -> Tensor:
    """The loss of each pair, (pairs,), by TRL's names: sigmoid is DPO's own (https://arxiv.org/abs/2305.18290, equation 7), ipo
    https://arxiv.org/abs/2310.12036, hinge https://arxiv.org/abs/2305.10425, robust https://arxiv.org/abs/2403.00409, exo_pair
    https://arxiv.org/abs/2402.00856, nca_pair https://arxiv.org/abs/2402.05369, bco_pair https://arxiv.org/abs/2404.04656, sppo_hard
    https://arxiv.org/abs/2405.00675, aot and aot_unpaired https://arxiv.org/abs/2406.05882, apo_zero and apo_down
    https://arxiv.org/abs/2408.06266, discopop https://arxiv.org/abs/2406.08414; sigmoid_norm compares means over tokens.

    `smoothing` is the share of pairs taken to be the wrong way round; robust, exo_pair and the aots know it.
    """
    up, down = scores.chosen - scores.reference_chosen, scores.rejected - scores.reference_rejected
    z = beta * (up - down)
    if kind == "sigmoid":
        return -logsigmoid(z)
    if kind == "hinge":
        return torch.relu(1 - z)
    if kind == "robust":
        return (-(1 - smoothing) * logsigmoid(z) + smoothing * logsigmoid(-z)) / (1 - 2 * smoothing)
    if kind == "exo_pair":
        log_e, log_1e = torch.tensor(smoothing).log(), torch.tensor(-smoothing).log1p()
        return z.sigmoid() * (logsigmoid(z) - log_1e) + (-z).sigmoid() * (logsigmoid(-z) - log_e)
    if kind == "nca_pair":
        return -logsigmoid(beta * up) - 0.5 * logsigmoid(-beta * up) - 0.5 * logsigmoid(-beta * down)
    if kind == "bco_pair":
        return -logsigmoid(beta * up) - logsigmoid(-beta * down)
    if kind == "sppo_hard":
        return (up - 0.5 / beta) ** 2 + (down + 0.5 / beta) ** 2
    if kind in ("aot", "aot_unpaired"):
        if kind == "aot":
            one, other = scores.chosen - scores.rejected, scores.reference_chosen - scores.reference_rejected
        else:
            one, other = up, down
        sorted_z = beta * (one.sort(dim=0).values - other.sort(dim=0).values)
        return -logsigmoid(sorted_z) * (1 - smoothing) - logsigmoid(-sorted_z) * smoothing
    if kind == "apo_zero":
        return 1 - (beta * up).sigmoid() + (beta * down).sigmoid()
    if kind == "apo_down":
        return (beta * up).sigmoid() + 1 - z.sigmoid()
    if kind == "discopop":
        share = (z / 0.05).sigmoid()  # the paper's temperature, and TRL's default
        return -logsigmoid(z) * (1 - share) + torch.exp(-z) * share
    mean = up / scores.chosen_tokens.clamp(min=1) - down / scores.rejected_tokens.clamp(min=1)
    if kind == "ipo":
        return (mean - 1 / (2 * beta)) ** 2
    assert kind == "sigmoid_norm", f"no such loss of a pair: {kind}"
    return -logsigmoid(beta * mean)


def answer_log_probs(model: Any, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities and numbers of tokens of the answers, (2 · pairs,) each: prompts are (pairs, prompt), `labels` (2 · pairs, answer), the
    chosen ones first, −100 where padded. The encoder reads each prompt once for both its answers."""
    read = model.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
    logits = model(
        encoder_outputs=(read.repeat(2, 1, 1),),
        attention_mask=attention_mask.repeat(2, 1),
        decoder_input_ids=model.prepare_decoder_input_ids_from_labels(labels),
        use_cache=False,
    ).logits.float()
    counted = labels != IGNORE
    each = torch.gather(logits.log_softmax(-1), 2, labels.clamp(min=0)[..., None])[..., 0]
    return (each * counted).sum(1), counted.sum(1)


def collate(samples: list[dict[str, Any]], pad_id: int) -> dict[str, Tensor]:
    """Rows of `prompt_ids`, `chosen_ids`, `rejected_ids`, and the reference's log-probabilities where they are known, as a batch for
    `answer_log_probs`."""
    pad = torch.nn.utils.rnn.pad_sequence
    prompts = [torch.tensor(sample["prompt_ids"]) for sample in samples]
    labels = [torch.tensor(sample[side]) for side in ("chosen_ids", "rejected_ids") for sample in samples]
    batch = {
        "input_ids": pad(prompts, batch_first=True, padding_value=pad_id),
        "attention_mask": pad([torch.ones_like(prompt) for prompt in prompts], batch_first=True),
        "labels": pad(labels, batch_first=True, padding_value=IGNORE),
    }
    for name in ("ref_chosen_logps", "ref_rejected_logps"):
        if name in samples[0]:
            batch[name] = torch.tensor([sample[name] for sample in samples])
    return batch


def with_reference(rows: datasets.Dataset, path: Path) -> datasets.Dataset:
    """Rows with the reference's log-probabilities, as `PairMixin.reference_log_probs` computed them."""
    log_probs = np.load(path)
    assert len(log_probs) == len(rows), f"{path} is of other rows"
    for number, name in enumerate(("ref_chosen_logps", "ref_rejected_logps")):
        rows = rows.add_column(name, log_probs[:, number], new_fingerprint=f"{path.stem}-{name}")
    return rows


class PairMixin:
    """A mixin for trainers on pairs, named before `ResumableMixin`: the reference's log-probabilities, and means over the pairs of a step."""

    loss_is_scaled_for_ga = False  # each micro-batch's loss is the mean over its pairs, and all micro-batches have as many
    pairs = tokens = 1.0  # of the whole step or validation: what its losses are means over

    def size(self, batch: dict[str, Tensor]) -> tuple[float, float]:
        """The numbers of pairs and of tokens in the chosen answers."""
        raise NotImplementedError

    def reference_log_probs(self: Any, rows: datasets.Dataset) -> np.ndarray:
        """Log-probabilities of each pair's answers under the model as it is, summed over their tokens, (pairs, 2): chosen, rejected."""
        order = np.argsort(lengths(rows), kind="stable")[::-1]  # the longest first: what does not fit in memory fails at once
        mine = np.array_split(order, self.accelerator.num_processes)[self.accelerator.process_index]
        sums = torch.zeros(len(rows), 2)
        self.model.to(self.args.device).eval()
        loader = DataLoader(rows, batch_size=self.run.micro, sampler=OrderSampler(mine), collate_fn=self.data_collator)
        for number, batch in enumerate(loader):
            sides = self.compute_ref_log_probs(self.model, self._prepare_inputs(batch))
            at = mine[number * self.run.micro : (number + 1) * self.run.micro]
            sums[at.copy()] = torch.stack(sides, 1).float().cpu()
            self.run.emit("progress", done=len(at) + number * self.run.micro, total=len(mine), unit="pair")
        return self.accelerator.reduce(sums.to(self.accelerator.device)).cpu().numpy()

    def get_batch_samples(self: Any, epoch_iterator: Any, num_batches: int, device: Any) -> tuple[list[Any], None]:
        """The micro-batches of a step; their pairs and tokens, on all processes, are noted."""
        batches, _ = Trainer.get_batch_samples(self, epoch_iterator, num_batches, device)
        total = torch.tensor([self.size(batch) for batch in batches], device=device).sum(0)
        self.pairs, self.tokens = self.accelerator.reduce(total).tolist()
        return batches, None

    def _measure(self: Any, batches: list[dict[str, Tensor]]) -> dict[str, float]:
        sizes = np.array([self.size(batch) for batch in batches])
        self.pairs, self.tokens = sizes.sum(0)
        losses = [self.compute_loss(self.model, batch).item() for batch in batches]
        rewards = self._metrics["eval"]
        columns = {"eval_loss": losses} | {f"eval_{ours}": rewards[f"rewards/{theirs}"] for theirs, ours in REWARDS.items()}
        metrics = {name: float(np.average(values, weights=sizes[:, 0])) for name, values in columns.items()}
        rewards.clear()
        return metrics


class ReferenceMixin(PairMixin):
    """A mixin for trainers that hold a model to the reference that it began with. Validations look at that one as a whole, not at its
    log-probabilities alone."""

    base_folder: Path | None = None  # the folder of the model that training began with; None: this one without its adapters

    def model_inputs(self, batch: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """Arguments of the model, (rows, …) each, and a mask of the logits that predict a token of an answer, (rows, positions)."""
        raise NotImplementedError

    def _measure(self: Any, batches: list[dict[str, Tensor]]) -> dict[str, float]:
        return super()._measure(batches) | {"eval_kl": self.divergence(batches)}

    def divergence(self: Any, batches: list[dict[str, Tensor]]) -> float:
        """KL divergence of the model from its reference, nats a token: computed over the whole vocabulary at each token of the answers, chosen
        and rejected, after the answer's own beginning; the mean over these tokens. It compares what both would say next in held-out texts,
        not in texts of their own."""
        total = tokens = 0.0
        with self._reference() as reference, torch.autocast(self.args.device.type, torch.bfloat16, enabled=self.args.bf16):
            for batch in batches:
                inputs, mask = self.model_inputs(batch)
                rows = max(1, NUMBERS // (mask.size(1) * self.model.config.vocab_size))
                for start in range(0, len(mask), rows):
                    piece = {name: part[start : start + rows] for name, part in inputs.items()}
                    at = mask[start : start + rows]
                    now, then = (
                        model(**piece, use_cache=False).logits[:, : at.size(1)][at].float().log_softmax(-1)
                        for model in (self.model, reference)
                    )
                    total += (now.exp() * (now - then)).sum().item()
                    tokens += at.sum().item()
        return total / tokens

    @contextlib.contextmanager
    def _reference(self: Any) -> Iterator[Callable[..., Any]]:
        """The reference model: that of the base folder, else this one without its adapters."""
        if self.base_folder is not None:
            yield load(self.base_folder, self.args.device)[0]  # held for as long as it is looked at
            return

        def without_adapters(**inputs: Any) -> Any:
            """The model's output as if it had no adapters."""
            self.model.disable_adapters()
            try:
                return self.model(**inputs)
            finally:
                self.model.enable_adapters()

        yield without_adapters


class PairTrainer(PairMixin, ResumableMixin, Trainer):
    """The trainer of a model that gives each answer of a pair a reward; accuracy and margins are logged as TRL does."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._metrics: dict[str, Any] = {"train": defaultdict(list), "eval": defaultdict(list)}

    def log_rewards(self, chosen: Tensor, rejected: Tensor) -> None:
        """Note the rewards of a micro-batch's pairs, (pairs,) each."""
        metrics = self._metrics["train" if self.model.training else "eval"]
        metrics["rewards/accuracies"].append((chosen > rejected).float().mean().item())
        metrics["rewards/margins"].append((chosen - rejected).mean().item())
        metrics["rewards/chosen"].append(chosen.mean().item())
        metrics["rewards/rejected"].append(rejected.mean().item())

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, with the means of the rewards since the last time, as TRL does."""
        if self.model.training:
            logs |= {name: float(np.mean(values)) for name, values in self._metrics["train"].items()}
            self._metrics["train"].clear()
        super().log(logs, start_time)


class Seq2SeqDPOTrainer(ReferenceMixin, PairTrainer):
    """The trainer of direct preference optimisation for an encoder-decoder."""

    def __init__(self, *args: Any, beta: float, loss_type: str, smoothing: float, sft_weight: float, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.beta, self.loss_type, self.smoothing, self.sft_weight = beta, loss_type, smoothing, sft_weight

    def compute_ref_log_probs(self, model: Any, batch: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """Log-probabilities of the chosen and of the rejected answers, (pairs,) each, under TRL's name."""
        with torch.no_grad(), self.compute_loss_context_manager():
            sums, _ = answer_log_probs(model, batch["input_ids"], batch["attention_mask"], batch["labels"])
        return sums.chunk(2)

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None) -> Tensor:
        """The mean over this micro-batch's pairs; the SFT part is over all chosen tokens of the step."""
        assert not return_outputs
        sums, tokens = answer_log_probs(model, inputs["input_ids"], inputs["attention_mask"], inputs["labels"])
        chosen, rejected = sums.chunk(2)
        scores = Scores(chosen, rejected, inputs["ref_chosen_logps"], inputs["ref_rejected_logps"], *tokens.chunk(2))
        preference_loss = pair_loss(self.loss_type, scores, self.beta, self.smoothing).mean()
        self.log_rewards(
            *(self.beta * (side - reference).detach() for side, reference in zip(scores[:2], scores[2:4], strict=True))
        )
        pairs = len(chosen)
        return preference_loss - self.sft_weight * chosen.sum() / pairs / (self.tokens / self.pairs)

    def model_inputs(self: Any, batch: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """Each prompt for both its answers, and the mask of the answers' tokens."""
        prompts = {name: batch[name].repeat(2, 1) for name in ("input_ids", "attention_mask")}
        begun = self.model.prepare_decoder_input_ids_from_labels(batch["labels"])
        return prompts | {"decoder_input_ids": begun}, batch["labels"] != IGNORE

    def size(self, batch: dict[str, Tensor]) -> tuple[float, float]:
        """The numbers of pairs and of tokens in the chosen answers."""
        pairs = len(batch["input_ids"])
        return float(pairs), float((batch["labels"][:pairs] != IGNORE).sum())
