"""The parts that a data set says must not be learned: of a turn (`weight: 0`, `loss: false`, …), or of a whole row (`label: false`, `loss_mask`).

A turn that is not learned stays in its dialogue, where later answers read it; its row says so in `meta`, and training leaves it out of the loss.
"""

from __future__ import annotations

from typing import Any

from tasks.data.rows import Drop

REASON = "not to be learned"  # of a row
_FLAGS = (
    "weight",
    "loss",
    "loss_weight",
    "loss_scale",
    "loss_mask",
    "train",
    "training",
    "trainable",
    "train_on_turn",
    "compute_loss",
    "output_with_loss",
)
_LEFT_OUT = ("masked",)  # of a turn: those that say the opposite
_MASKS = (*_FLAGS, "weights", "loss_weights", "loss_masks")  # of a row, with a value for each turn or each answer
_VERDICTS = ("label", "kto_tag", "is_good", "desirable")  # of a person, on the answer
_MARKS = frozenset((*_MASKS, *_VERDICTS))
_NO = ("false", "no", "0", "0.0")


def says_no(value: Any) -> bool:
    """True for false, for zero and less, and for either as text."""
    if isinstance(value, str):
        return value.strip().lower() in _NO
    return value is False or (isinstance(value, int | float) and not isinstance(value, bool) and value <= 0)


def is_learned(turn: dict[str, Any]) -> bool:
    """False for a turn that says that it must not be learned. One of which a part must not be learned (`train_detail`) is not learned at all."""
    parts = turn.get("train_detail") or turn.get("training_detail")
    if isinstance(parts, list) and any(isinstance(part, dict) and says_no(part.get("train")) for part in parts):
        return False
    if any(turn.get(name) is True for name in _LEFT_OUT):
        return False
    return not any(_refuses(turn[name]) for name in _FLAGS if name in turn)


def _refuses(value: Any) -> bool:
    return all(map(says_no, value)) if isinstance(value, list) and value else says_no(value)


def objection(record: dict[str, Any]) -> Drop | None:
    """The Drop of a record that must not be learned as a whole."""
    if _MARKS.isdisjoint(record):
        return None
    for name in (*_FLAGS, *_VERDICTS):
        if name not in record:
            continue
        value = record[name]
        if _refuses(value) if name in _FLAGS else _disliked(value, name == "kto_tag" or "completion" in record):
            return Drop(REASON, f"{name}: {str(value).lower()}")
    return None


def _disliked(value: Any, verdict: bool) -> bool:
    """True for a verdict against the answer. A class may have the number 0, so it counts only where a verdict is sure to be meant."""
    return value is False or (isinstance(value, str) and value.strip().lower() == "false") or (verdict and says_no(value))


def mask(record: dict[str, Any], turns: list[dict[str, Any]]) -> Drop | None:
    """Mark the turns that a record's mask leaves out: it has a value for each turn, or for each answer. A Drop where it has neither."""
    if _MARKS.isdisjoint(record):
        return None
    values = next((record[name] for name in _MASKS if isinstance(record.get(name), list) and record[name]), None)
    if values is None:
        return None
    answers = [turn for turn in turns if turn["role"] == "assistant"]
    told = (
        turns[1:] if len(values) == len(turns) - 1 and turns[0]["role"] == "system" else turns
    )  # a system text of its own has no value
    if len(values) not in (len(told), len(answers)):
        return Drop("unknown schema", f"a mask of {len(values)} values for {len(turns)} turns")
    for turn, value in zip(told if len(values) == len(told) else answers, values, strict=True):
        turn["learned"] = turn.get("learned", True) and not says_no(value)
    return None
