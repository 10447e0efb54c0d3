"""Extension of a tokenizer from outside by new tokens: the old ones keep their ids and their merges, and the new ones come after them.

Words with counts are cut by the outside tokenizer first, and merging goes on from there. The new merges rank below all of its own, so they
apply only where it had finished: text is cut as before, and then further.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models import bpe
from models.vocabulary import BYTES, characters, is_byte_level, uses_marks

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def extend(
    path: Path, counts: Iterable[tuple[str, int]], *, vocab_size: int, min_frequency: int, special_tokens: Sequence[str]
) -> Tokenizer:
    """The tokenizer of a `tokenizer.json`, extended to `vocab_size` tokens, special tokens included where it lacks them.

    Byte-level BPE (Qwen, Llama 3) and BPE over characters with byte fallback (Llama 2) can be extended; `ValueError` for others.
    """
    from tokenizers import Tokenizer

    described = _described(path)
    model = described["model"]
    # what was added to the base beside its model joins the vocabulary, or its ids would move when the vocabulary grows
    vocab: dict[str, int] = model["vocab"]
    vocab.update({token["content"]: token["id"] for token in described["added_tokens"]})
    tokens = sorted(vocab, key=lambda token: vocab[token])
    if [vocab[token] for token in tokens] != list(range(len(tokens))):
        raise ValueError(
            f"{path} gives {len(tokens)} tokens ids up to {max(vocab.values())}, with holes; extend a tokenizer without any"
        )
    old = len(tokens)
    known = {token["content"] for token in described["added_tokens"]}
    for token in special_tokens:
        if token not in vocab:
            tokens.append(token)
        if token not in known:
            described["added_tokens"].append(_special(token, tokens.index(token)))
    if vocab_size <= len(tokens):
        raise ValueError(
            f"{path} has {old} tokens, {len(tokens)} with the special tokens that it lacks, so {vocab_size} leaves no room for new ones; "
            "raise tokenizer.vocab_size"
        )
    counted = list(counts)
    if not is_byte_level(described):
        alone = characters(counted)
        missing = [
            token for token, count in alone.items() if count >= min_frequency and token not in vocab and not token.isspace()
        ]
        tokens += sorted(missing, key=lambda token: (-alone[token], token))[: vocab_size - len(tokens)]
    model["vocab"] = {token: number for number, token in enumerate(tokens)}
    words, weights = _cut(Tokenizer.from_str(json.dumps(described)), described, counted)
    merges = bpe.learn_merges(words, weights, tokens, vocab_size=vocab_size, min_frequency=min_frequency)
    model["vocab"] = {token: number for number, token in enumerate(tokens)}
    model["merges"] += [list(merge) for merge in merges]
    described["added_tokens"].sort(key=lambda token: token["id"])
    return Tokenizer.from_str(json.dumps(described))


def _described(path: Path) -> dict[str, Any]:
    """The base's `tokenizer.json`, its merges as pairs. `ValueError` where it is no BPE that can be extended."""
    try:
        described = json.loads(path.read_text("utf-8"))
        model = described["model"]
        kind = model.get("type") or ("BPE" if "merges" in model else "unknown")
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is no tokenizer.json ({type(error).__name__}: {error}); name a folder that holds one. Where it holds only a "
            "tokenizer.model, AutoTokenizer.from_pretrained(folder).save_pretrained(folder) writes one"
        ) from None
    if kind != "BPE" or not (is_byte_level(described) or model.get("byte_fallback")):
        raise ValueError(f"{path} is {kind}; only BPE over bytes, or with byte fallback, is extended")
    model["merges"] = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
    return described


def _special(token: str, number: int) -> dict[str, Any]:
    kind = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": number, "content": token, **kind}


def _cut(tokenizer: Tokenizer, described: dict[str, Any], counts: Iterable[tuple[str, int]]) -> tuple[list[list[int]], list[int]]:
    """Each word as the runs of ids that merging may go on in, with the word's count: bytes and special tokens end a run."""
    vocab = described["model"]["vocab"]
    in_bytes, marks = is_byte_level(described), uses_marks(described)
    ends = {token["id"] for token in described["added_tokens"]}
    if not in_bytes:
        ends |= {vocab[token] for token in (*BYTES, described["model"].get("unk_token")) if token in vocab}
    runs: Counter[tuple[int, ...]] = Counter()
    for word, count in counts:
        cut = tokenizer.pre_tokenizer.pre_tokenize_str(word) if in_bytes else [(word.replace(" ", "▁") if marks else word, ...)]
        for piece, _ in cut:
            run: list[int] = []
            for token in [*tokenizer.model.tokenize(piece), None]:
                if token is not None and token.id not in ends:
                    run.append(token.id)
                    continue
                if len(run) > 1:
                    runs[tuple(run)] += count
                run = []
    return [list(run) for run in runs], list(runs.values())
