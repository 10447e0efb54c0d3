"""The model in production as re-training uses it: its record, its pretraining and its tokenizer."""

from __future__ import annotations

from dataclasses import dataclass

from models.presets import SHAPE
from tasks.artifacts.store import Moves, Record, Store
from tasks.pretrain import Params as PretrainParams
from tasks.pretrain import run as pretraining


@dataclass(frozen=True)
class Production:
    """The artifacts behind a tag: the model, its pretraining and its tokenizer. `tokens` is the horizon of the pretraining that began
    from random weights. Re-training goes on for `share` of them, from the checkpoint before the learning rate fell; with 0 it begins anew."""

    model: Record
    pretrain: Record
    tokenizer: Record
    tokens: int
    share: float

    @property
    def warm(self) -> bool:
        """True where training continues from the weights of the stable phase."""
        return self.share > 0

    def horizon(self, params: PretrainParams) -> PretrainParams:
        """The recipe's pretraining, shortened to `share` of its own tokens, or where it sets none of those that production began with."""
        if not self.warm:
            return params
        tokens = max(1, round(self.share * (params.tokens or self.tokens)))
        return params.model_copy(update={"tokens": tokens, "epochs": None})


def find_production(store: Store, moves: Moves, params: PretrainParams, share: float) -> Production | None:
    """The model to which the last of a tag's `moves` points; None where there are none. Raises `ValueError` where training cannot continue
    from it with `params`."""
    if not moves:
        return None
    model = _whole(store, moves[-1]["key"], "the model")
    pretrain = model
    while pretrain.identity["stage"] != pretraining.name:
        if "model" not in pretrain.lineage:
            raise ValueError(
                f"{model.stage} {model.key[:12]} is in production, but comes from no pretraining in this store; "
                "tag a model that `hanlin run` or `hanlin retrain` made"
            )
        pretrain = _record(store, pretrain.lineage["model"])
    first = pretrain
    while "start" in first.lineage:
        first = _record(store, first.lineage["start"])
    if share:
        pretrain = _whole(store, pretrain.key, "its pretraining")
        _check_fit(pretrain, params, store)
    tokenizer = _whole(store, pretrain.lineage["tokenizer"], "its tokenizer")
    return Production(model, pretrain, tokenizer, int(first.stats["tokens"]), share)


def _check_fit(pretrain: Record, params: PretrainParams, store: Store) -> None:
    """Raises `ValueError` where a pretraining with `params` cannot continue from that one."""
    now = params.model_dump(mode="json")
    differences = [
        f"{name} ({pretrain.identity['params'].get(name)} → {now[name]})"
        for name in SHAPE
        if pretrain.identity["params"].get(name) != now[name]
    ]
    if differences:
        raise ValueError(
            f"pretrain.{', pretrain.'.join(differences)} differs from the model in production, whose weights then do not fit; keep it, or "
            "train from nothing with share=0"
        )
    if not (store.object(pretrain.key) / "stable").is_dir():
        raise ValueError(
            f"the pretraining {pretrain.key[:12]} of the model in production kept no stable phase (only pretrain.schedule=wsd has one); "
            "train from nothing with share=0"
        )


def _record(store: Store, key: str) -> Record:
    record = store.record(key)
    if record is None:
        raise ValueError(f"the record {key[:12]}, which the model in production was made from, is not in {store.root}")
    return record


def _whole(store: Store, key: str, what: str) -> Record:
    """The record of an artifact whose files are whole. Raises `ValueError` where they are not."""
    problems: list[str] = []
    record = store.find(key, damaged=problems.append)
    if record is None:
        why = problems[0] if problems else "its files are not there"
        raise ValueError(f"{what} in production, {key[:12]}, cannot be used: {why}; `hanlin rollback` returns to the one before")
    return record
