"""Stage `pretrain`: a new model, trained on packed documents or, text to text, on packed pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from models import presets
from tasks.artifacts.stage import Choice, Job, Stats, stage
from tasks.processes.training import TOOLS, Training, train

METHOD = "models.methods.pretrain"


def _offer_presets(schema: dict[str, Any]) -> None:
    """Give the field of a form its choices, which depend on the packages that are installed."""
    schema["enum"] = presets.names()


class Params(Training):
    """Parameters of pretraining: the model, how documents fill its context, and how long it trains."""

    preset: str = Field(
        default="tiny",
        description="Architecture and size of the model (models/architectures, and installed packages)",
        json_schema_extra=_offer_presets,
    )
    kv_heads: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="Heads of keys and values, each shared by a group of query heads (Llama); empty: as many",
    )
    qk_norm: bool = Field(default=False, description="Normalise each head's queries and keys (Llama, which then is a Qwen3)")
    qkv_bias: bool = Field(
        default=False, description="Biases of queries, keys and values (Llama, which then is a Qwen2), as Tiny LLM has them"
    )
    balance: float | None = Field(
        default=None, ge=0, le=1, description="Weight of the loss that spreads tokens evenly over the experts (MoE); empty: 0.01"
    )
    context: int | None = Field(default=None, ge=16, le=1 << 20, description="Tokens of a sequence; empty: the preset's")
    packing: Literal["windows", "best_fit"] = Field(
        default="windows",
        description="How documents fill sequences: windows cuts the corpus every context tokens, and no place stays empty; best_fit cuts a "
        "document only where it is longer than a sequence, and puts together what fits best (Ding et al. 2024, Fewer Truncations Improve "
        "Language Modeling, https://arxiv.org/abs/2404.10830); not for T5, whose pairs stand alone",
    )
    tokens: int | None = Field(
        default=None, ge=1, le=10**14, description="Tokens to train on; empty: 20 a parameter, at most 4 passes over the corpus"
    )
    epochs: float | None = Field(default=None, gt=0, le=1000, description="Instead of tokens: passes over the corpus")
    batch_tokens: int | None = Field(
        default=None, ge=16, le=1 << 32, description="Tokens a step, over all processes; empty: from the compute budget"
    )
    keep_stable: bool = Field(
        default=True,
        description="wsd and constant: publish weights and optimizer state of the last step before the decay as stable/, from which a later "
        "pretraining goes on (its input `start`): 2 (muon) to 3 (adamw) times the model's size",
    )

    @property
    def text2text(self) -> bool:
        """True of a model that reads a prompt and writes a response, instead of going on with a text."""
        return presets.find(self.preset).text2text

    @field_validator("preset")
    @classmethod
    def _known_preset(cls, preset: str) -> str:
        presets.find(preset)
        return preset

    @model_validator(mode="after")
    def _one_horizon(self) -> Self:
        if self.tokens and self.epochs:
            raise ValueError("tokens and epochs both say how long to train; give one")
        return self

    @model_validator(mode="after")
    def _a_sequence_a_step(self) -> Self:
        # pairs are mostly far shorter than the preset's context
        context = self.context or (0 if self.text2text else presets.find(self.preset).context)
        if self.batch_tokens and self.batch_tokens < context:
            whose = "" if self.context else f", that of preset {self.preset}"
            raise ValueError(f"batch_tokens ({self.batch_tokens}) is less than one sequence of context ({context}{whose})")
        return self

    @model_validator(mode="after")
    def _packed_documents(self) -> Self:
        if self.text2text and self.packing != "windows":
            raise ValueError(
                f"packing is {self.packing}, which puts documents together, and {self.preset} reads pairs; leave it out"
            )
        return self

    @model_validator(mode="after")
    def _options(self) -> Self:
        presets.chosen(self.preset, **{name: getattr(self, name) for name in presets.OPTIONS})
        return self


@stage(
    "pretrain",
    version=3,
    title="Pretraining",
    params=Params,
    group="model",
    section="training",
    tools=TOOLS,
    reproducibility="seeded",
    choice=Choice("preset", presets.modules),
)
def run(job: Job, params: Params, *, packed: Path, tokenizer: Path, start: Path | None = None) -> Stats:
    """Train a new model. Writes `model/` (transformers' layout, with its tokenizer), `stable/` (`models/training_state.py`) and `log.jsonl`.

    `start` is an earlier artifact of this stage, whose `stable/` the run goes on from: its weights and optimizer state, with the data order of
    its own seed, through a plateau and a decay of its own. The tokenizer is that run's, or extends it.
    """
    return train("pretrain", METHOD, job, params, packed=packed, tokenizer=tokenizer, start=start, shards=True)
