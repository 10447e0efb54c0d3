"""Evaluation of models: `python -m models.score job.json`. All models in one process, and each model's scores are kept once it is done.

The scores, all of likelihood but the last:

- bits per byte of held-out text: minus log2 of the text's probability, over its bytes in UTF-8. No tokenizer enters the figure, so models
  with different ones compare. A document starts after the end-of-document token; where it is longer than the context, each further
  window moves on by half a context, so that every token but the first ones is read with at least half a context before it.
- multiple choice: the choice whose text is the likeliest continuation of the question, log-probability per character.
- preference pairs: the likelihood of the better answer beside that of the worse one, each with its end of turn.
- answers: written greedily, to prompts for what they look like, and to questions about facts for what they say.

The job file: `models` (a list of `{name, folder, style: base | chat, home}`), `documents`, `questions`, `pairs`, `prompts`, `facts` (JSON
lines), `max_new_tokens`, `batch` (prompts), `device`. A model's `home` gets `documents.json`, `questions.json`, `pairs.json`, `answers.json`,
`facts.json` (a list each, in the order of the lines) and `stats.json`, last.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from models import template
from models.continuation import continuation_ids, document_start
from models.decoding import answer
from models.events import emit, main
from models.loading import context_of, device_of, has_bf16, load
from models.sampling import Sampling

LOGITS = 1 << 26  # float32 logits in memory at a time (256 MiB)
# tokens in one forward pass: a CPU is fastest where its caches hold the batch (of 1,024 to 8,192, with 4 M parameters)
TOKENS = {"cpu": 2048, "mps": 8192, "cuda": 16_384}

Tokens = list[int]


class Scorer:
    """A decoder that is asked for log-probabilities.

    It computes in bfloat16 where that is fast, and in float32 from the last layer on: a logit in bfloat16 is off by up to 0.03 at 8, as
    much as what often decides between two choices. The last layer sees only the positions that are scored (`wanted`), since with a small
    model and a large vocabulary it is most of the work; so the logits come as (scored positions, vocabulary), row after row.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase):
        self.model, self.tokenizer = model, tokenizer
        self.context = context_of(model)
        self.fast = torch.autocast(model.device.type, torch.bfloat16, enabled=has_bf16(model.device))
        self.budget = max(1, min(TOKENS[model.device.type], LOGITS // model.config.vocab_size))
        self.wanted = torch.empty(0)
        self.head = model.get_output_embeddings()
        self.plain = self.head.forward
        self.head.forward = self._exact

    def restore(self) -> None:
        """Give the model its own last layer back."""
        self.head.forward = self.plain

    def _exact(self, hidden: torch.Tensor) -> torch.Tensor:
        with torch.autocast(hidden.device.type, enabled=False):
            return self.plain(hidden[self.wanted].float())

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Ids of raw texts at the beginning of a document: what looks like a special token is text."""
        return self.tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True)["input_ids"] if texts else []

    def encode_after(self, texts: Sequence[str]) -> list[Tokens]:
        """Ids of raw texts that come after others."""
        return continuation_ids(self.tokenizer, texts, split_special_tokens=True)

    def sums(self, rows: Sequence[tuple[Tokens, int]], unit: str) -> list[float]:
        """The log-probability (nats) of ids[start:] after ids[:start], for each (ids, start); start is at least 1. `unit` names the rows."""
        sums = [0.0] * len(rows)
        done = 0
        for batch in self._batches([(len(ids),) for ids, _ in rows]):
            # padded on the right, behind all that is scored: a causal model needs no mask, and is faster without
            ids, filled = self._padded([rows[row][0] for row in batch])
            starts = torch.tensor([rows[row][1] for row in batch], device=ids.device)
            scored = filled.bool() & (torch.arange(ids.shape[1], device=ids.device) >= starts[:, None])
            each = self._sum(scored[:, 1:], ids[:, 1:], input_ids=ids[:, :-1], use_cache=False)
            for row, value in zip(batch, each.tolist(), strict=True):
                sums[row] = value
            done += len(batch)
            emit("progress", done=done, total=len(rows), unit=unit)
        return sums

    def choose(self, rows: Sequence[tuple[Tokens, list[Tokens]]]) -> list[list[float]]:
        """The log-probability (nats) of each choice, for each (question ids, ids of each choice). A question is read once for all its choices.

        A question that leaves no room for its longest choice loses its beginning.
        """
        scores: list[list[float]] = [[] for _ in rows]
        longest = [max(map(len, choices)) for _, choices in rows]
        rows = [(ids[-max(1, self.context - width) :], choices) for (ids, choices), width in zip(rows, longest, strict=True)]
        done = 0
        # by the length of the choices first, in steps of 8: there are several to a question, so their padding costs most
        for batch in self._batches(
            [(len(choices) * -(-width // 8) * 8, len(ids)) for (ids, choices), width in zip(rows, longest, strict=True)]
        ):
            for row, sums in zip(batch, self._choose_batch([rows[row] for row in batch]), strict=True):
                scores[row] = sums
            done += len(batch)
            emit("progress", done=done, total=len(rows), unit="question")
        return scores

    def _choose_batch(self, rows: Sequence[tuple[Tokens, list[Tokens]]]) -> list[list[float]]:
        questions, mask = self._padded([ids for ids, _ in rows], left=True)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        owners = torch.tensor([row for row, (_, choices) in enumerate(rows) for _ in choices], device=self.model.device)
        ids, filled = self._padded([choice for _, choices in rows for choice in choices])
        last = torch.zeros_like(mask, dtype=torch.bool)
        last[:, -1] = True  # the end of the question is what a choice's first token is read from
        read = self._run(last, input_ids=questions, attention_mask=mask, position_ids=positions, use_cache=True)
        sums = torch.log_softmax(read.logits, -1)[owners, ids[:, 0]] * filled[:, 0]
        if ids.shape[1] > 1:
            read.past_key_values.batch_select_indices(owners)
            more = self._sum(
                filled[:, 1:].bool(),
                ids[:, 1:],
                input_ids=ids[:, :-1],
                attention_mask=torch.cat([mask[owners], filled[:, :-1]], 1),
                position_ids=positions[owners, -1:] + torch.arange(1, ids.shape[1], device=ids.device),
                past_key_values=read.past_key_values,
                use_cache=True,
            )
            sums = sums + more
        each = iter(sums.tolist())
        return [[next(each) for _ in choices] for _, choices in rows]

    def _run(self, wanted: torch.Tensor, **inputs: Any) -> Any:
        self.wanted = wanted
        with torch.inference_mode(), self.fast:
            return self.model(**inputs)

    def _sum(self, wanted: torch.Tensor, targets: torch.Tensor, **inputs: Any) -> torch.Tensor:
        """Run the model, and sum for each row the log-probability of its targets where they are wanted."""
        each = torch.zeros(wanted.shape, device=wanted.device)
        each[wanted] = -functional.cross_entropy(self._run(wanted, **inputs).logits, targets[wanted], reduction="none")
        return each.sum(1)

    def _batches(self, widths: Sequence[tuple[int, ...]]) -> list[list[int]]:
        """Row numbers in batches of rows of like widths, the widest first, each within the budget of tokens with its padding."""
        grouped: list[list[int]] = []
        widest: tuple[int, ...] = ()
        for row in sorted(range(len(widths)), key=lambda row: (tuple(-width for width in widths[row]), row)):
            grown = tuple(map(max, widest, widths[row])) if grouped else widths[row]
            if grouped and (len(grouped[-1]) + 1) * sum(grown) <= self.budget:
                grouped[-1].append(row)
                widest = grown
            else:
                grouped.append([row])
                widest = widths[row]
        return grouped

    def _padded(self, rows: Sequence[Tokens], *, left: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids of rows of one width, and 1 where they are not padding."""
        width = max(1, *map(len, rows))
        pad = self.tokenizer.pad_token_id or 0
        filled = [
            [0] * (width - len(row)) + [1] * len(row) if left else [1] * len(row) + [0] * (width - len(row)) for row in rows
        ]
        ids = [[pad] * (width - len(row)) + row if left else row + [pad] * (width - len(row)) for row in rows]
        return torch.tensor(ids, device=self.model.device), torch.tensor(filled, device=self.model.device)


class Text2TextScorer(Scorer):
    """An encoder-decoder that is asked for log-probabilities: what comes before is its prompt, what is scored its response."""

    def sums(self, rows: Sequence[tuple[Tokens, int]], unit: str) -> list[float]:
        sums = [0.0] * len(rows)
        done = 0
        for batch in self._batches([(start, len(ids) - start) for ids, start in rows]):
            prompts, read = self._padded([rows[row][0][: rows[row][1]] for row in batch])
            answers, filled = self._padded([rows[row][0][rows[row][1] :] for row in batch])
            each = self._sum(
                filled.bool(),
                answers,
                input_ids=prompts,
                attention_mask=read,
                decoder_input_ids=self.model.prepare_decoder_input_ids_from_labels(answers),
                use_cache=False,
            )
            for row, value in zip(batch, each.tolist(), strict=True):
                sums[row] = value
            done += len(batch)
            emit("progress", done=done, total=len(rows), unit=unit)
        return sums

    def choose(self, rows: Sequence[tuple[Tokens, list[Tokens]]]) -> list[list[float]]:
        sums = iter(self.sums([(ids + choice, len(ids)) for ids, choices in rows for choice in choices], "choice"))
        return [[next(sums) for _ in choices] for _, choices in rows]


def scorer_of(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Scorer:
    """The scorer of a model, by its kind."""
    return (Text2TextScorer if model.config.is_encoder_decoder else Scorer)(model, tokenizer)


def windows(ids: Tokens, start: Tokens, context: int) -> list[tuple[Tokens, int]]:
    """A document cut into (window, where scoring starts in it): together the windows score each of `ids` once.

    `start` (the end-of-document token, or a prompt) comes before the document. A window holds at most `context` tokens.
    """
    ids = start + ids
    cut, scored = [], len(start)
    while scored < len(ids):
        end = min(len(ids), max(context, scored + context // 2))
        begin = max(0, end - context)
        cut.append((ids[begin:end], scored - begin))
        scored = end
    return cut


def score_documents(scorer: Scorer, documents: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Bits, tokens and bytes of each document's text: after the end of another document, or as the answer to its prompt where it has one."""
    alone = iter(scorer.encode([document["text"] for document in documents if "prompt" not in document]))
    answers = iter(scorer.encode_after([document["text"] for document in documents if "prompt" in document]))
    encoded = [next(answers if "prompt" in document else alone) for document in documents]
    turns = [[{"role": "user", "content": document["prompt"]}] for document in documents if "prompt" in document]
    prompts = iter([ids for ids, _ in template.encode(scorer.tokenizer, turns, reply=True)])
    starts = [next(prompts) if "prompt" in document else document_start(scorer.tokenizer) for document in documents]
    cut = [
        (row, window)
        for row, (ids, before) in enumerate(zip(encoded, starts, strict=True))
        for window in windows(ids, before, scorer.context)
    ]
    bits = [0.0] * len(documents)
    for (row, _), nats in zip(cut, scorer.sums([window for _, window in cut], "window"), strict=True):
        bits[row] -= nats / math.log(2)
    return [
        {"bits": total, "tokens": len(ids), "bytes": len(document["text"].encode("utf-8"))}
        for total, ids, document in zip(bits, encoded, documents, strict=True)
    ]


def score_questions(scorer: Scorer, questions: Sequence[dict[str, Any]], style: str) -> list[dict[str, Any]]:
    """The log-probability of each choice, and the choice picked: the likeliest per character, the first among equals."""
    if style == "base":
        prompts = [
            [*document_start(scorer.tokenizer), *ids] for ids in scorer.encode([f"{row['question']}\n" for row in questions])
        ]
    else:
        turns = [[{"role": "user", "content": row["question"]}] for row in questions]
        prompts = [ids for ids, _ in template.encode(scorer.tokenizer, turns, reply=True)]
    choices = iter(scorer.encode_after([choice for row in questions for choice in row["choices"]]))
    rows = [(ids, [next(choices) for _ in row["choices"]]) for ids, row in zip(prompts, questions, strict=True)]
    scored = []
    for row, sums in zip(questions, scorer.choose(rows), strict=True):
        each = [value / len(choice) if choice else -math.inf for value, choice in zip(sums, row["choices"], strict=True)]
        scored.append({"picked": max(range(len(each)), key=lambda choice: each[choice]), "log_probabilities": sums})
    return scored


def score_pairs(scorer: Scorer, pairs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Log-probability and tokens of the chosen and the rejected answer, each with its end of turn. What exceeds the context loses its
    beginning."""
    prompts = [ids for ids, _ in template.encode(scorer.tokenizer, [pair["messages"] for pair in pairs], reply=True)]
    rows = []
    for side in ("chosen", "rejected"):
        whole = [[*pair["messages"], {"role": "assistant", "content": pair[side]}] for pair in pairs]
        for (ids, trained), prompt in zip(template.encode(scorer.tokenizer, whole), prompts, strict=True):
            end = len(trained) - trained[::-1].index(True)  # behind the answer's end of turn stands a line break
            begin = max(0, end - scorer.context)
            rows.append((ids[begin:end], max(1, len(prompt) - begin)))
    sums = scorer.sums(rows, "answer")
    answers = [{"sum": value, "tokens": len(ids) - start} for value, (ids, start) in zip(sums, rows, strict=True)]
    return [
        {"chosen": chosen, "rejected": rejected}
        for chosen, rejected in zip(answers[: len(pairs)], answers[len(pairs) :], strict=True)
    ]


def write_answers(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[dict[str, Any]], style: str, job: dict[str, Any]
) -> list[dict[str, Any]]:
    """Greedy answers. A base model, which knows no turns, continues the last question."""
    if style == "base":
        texts = [row["messages"][-1]["content"] + "\n" for row in prompts]
        rows = tokenizer(texts, add_special_tokens=False, split_special_tokens=True)["input_ids"] if texts else []
        rows = [[*document_start(tokenizer), *ids] for ids in rows]
    else:
        rows = [ids for ids, _ in template.encode(tokenizer, [row["messages"] for row in prompts], reply=True)]
    limit = min(job["max_new_tokens"], context_of(model) // 2)

    def tell(done: int) -> None:
        emit("progress", done=done, total=len(rows), unit="answer")

    return [vars(reply) for reply in answer(model, tokenizer, rows, Sampling(limit), slots=job["batch"], done=tell)]


def score_model(job: dict[str, Any], entry: dict[str, Any], data: dict[str, list[dict[str, Any]]]) -> None:
    """All scores of one model, in its home, which appears whole or not at all."""
    device = device_of(job["device"])
    model, tokenizer = load(Path(entry["folder"]), device)
    scorer = scorer_of(model, tokenizer)
    scores = {
        "documents": score_documents(scorer, data["documents"]),
        "questions": score_questions(scorer, data["questions"], entry["style"]),
    }
    scores["pairs"] = score_pairs(scorer, data["pairs"]) if entry["style"] == "chat" else []
    scorer.restore()
    if has_bf16(device):
        model = model.to(torch.bfloat16)
    for name, asked in (("answers", "prompts"), ("facts", "facts")):
        scores[name] = write_answers(model, tokenizer, data[asked], entry["style"], job)
    stats = {"parameters": sum(p.numel() for p in model.parameters()), "vocab_size": len(tokenizer), "context": context_of(model)}
    home = Path(entry["home"])
    draft = home.with_name(f"{home.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    for name, rows in scores.items():
        (draft / f"{name}.json").write_text(json.dumps(rows, ensure_ascii=False), "utf-8")
    (draft / "stats.json").write_text(json.dumps(stats), "utf-8")
    draft.replace(home)


def score_models(job: dict[str, Any]) -> dict[str, Any]:
    """The child's work: the scores of each model that has none yet."""
    data: dict[str, list[dict[str, Any]]] = {}
    for kind in ("documents", "questions", "pairs", "prompts", "facts"):
        with Path(job[kind]).open(encoding="utf-8") as lines:
            data[kind] = [json.loads(line) for line in lines]
    for entry in job["models"]:
        if not (Path(entry["home"]) / "stats.json").exists():
            emit("log", text=f"scoring {entry['name']}")
            score_model(job, entry, data)
    return {"models": len(job["models"])}


if __name__ == "__main__":
    main(score_models)
