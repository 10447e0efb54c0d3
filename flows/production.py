"""The model in production as a re-training finds it: what it was trained from, and what of that is used again."""

from __future__ import annotations

from dataclasses import dataclass

from models.presets import SHAPE
from tasks.artifacts.store import Moves, Record, Store
from tasks.pretrain import Params as PretrainParams
from tasks.pretrain import run as pretraining


@dataclass(frozen=True)
class Production:
    """The artifacts behind a tag: the model, its pretraining and its tokenizer. `tokens` is the horizon of the pretraining that began
    from nothing. `share` of it is trained again from the stable phase; with share 0 nothing of the weights is used."""

    model: Record
    pretrain: Record
    tokenizer: Record
    tokens: int
    share: float

    @property
    def warm(self) -> bool:
        return self.share > 0

    def horizon(self, asked: PretrainParams) -> PretrainParams:
        """The recipe's pretraining, over the share of its own horizon, else of the one that production began with."""
        if not self.warm:
            return asked
        tokens = max(1, round(self.share * (asked.tokens or self.tokens)))
        return asked.model_copy(update={"tokens": tokens, "epochs": None})


def production(store: Store, moves: Moves, asked: PretrainParams, share: float) -> Production | None:
    """What the last of a tag's `moves` points at; None where there are none. Raises `ValueError` where it cannot be gone on from."""
    if not moves:
        return None
    model = _whole(store, moves[-1]["key"], "the model")
    made = model
    while made.identity["stage"] != pretraining.name:
        if "model" not in made.lineage:
            raise ValueError(
                f"{model.stage} {model.key[:12]} is in production, but comes from no pretraining in this store; "
                "tag a model that `hanlin run` or `hanlin retrain` made"
            )
        made = _record(store, made.lineage["model"])
    first = made
    while "start" in first.lineage:
        first = _record(store, first.lineage["start"])
    if share:
        made = _whole(store, made.key, "its pretraining")
        _fits(made, asked, store)
    tokenizer = _whole(store, made.lineage["tokenizer"], "its tokenizer")
    return Production(model, made, tokenizer, int(first.stats["tokens"]), share)


def _fits(made: Record, asked: PretrainParams, store: Store) -> None:
    now = asked.model_dump(mode="json")
    differs = [
        f"{name} ({made.identity['params'].get(name)} → {now[name]})"
        for name in SHAPE
        if made.identity["params"].get(name) != now[name]
    ]
    if differs:
        raise ValueError(
            f"pretrain.{', pretrain.'.join(differs)} differs from the model in production, whose weights then do not fit; keep it, or "
            "train from nothing with share=0"
        )
    if not (store.object(made.key) / "stable").is_dir():
        raise ValueError(
            f"the pretraining {made.key[:12]} of the model in production kept no stable phase (only pretrain.schedule=wsd has one); "
            "train from nothing with share=0"
        )


def _record(store: Store, key: str) -> Record:
    record = store.record(key)
    if record is None:
        raise ValueError(f"the record {key[:12]}, which the model in production was made from, is not in {store.root}")
    return record


def _whole(store: Store, key: str, what: str) -> Record:
    problems: list[str] = []
    record = store.find(key, damaged=problems.append)
    if record is None:
        why = problems[0] if problems else "its files are not there"
        raise ValueError(f"{what} in production, {key[:12]}, cannot be used: {why}; `hanlin rollback` returns to the one before")
    return record
