"""Uses of a source's rows, and the draw of validation prompts."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from tasks.data.rows import UNLEARNED
from tasks.text import fold, prompts

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

Use = Literal["pretrain", "text2text", "sft", "prompts", "pairs", "extract", "evaluate"]
MAKES = {
    "pretrain": "documents",
    "text2text": "conversations",
    "sft": "conversations",
    "prompts": "conversations",
    "pairs": "preferences",
}  # use → kind written
SERVES = {
    "documents": {"pretrain", "text2text"},
    "conversations": {"pretrain", "text2text", "sft", "prompts"},
    "preferences": {"pairs"},
}  # kind read → uses
FEW = 20  # rows of a use from which at least one is held out, and below which none is


def prompt_hashes(seed: int, kind: str, rows: pa.RecordBatch) -> NDArray[np.uint64]:
    """64 bits of each row that only depend on its prompt: a document's title, a dialogue's first question with the system text above it. Blind
    to punctuation, case and width.

    A document without a title is a prompt of its own. Dialogues that begin with one question are branches of a tree, in which the question of
    one stands in others.
    """
    import numpy as np

    prompts = _titles(rows) if kind == "documents" else _questions(rows)
    start = str(seed)
    found = bytearray()
    for parts in prompts:
        keys = [fold.dedup_key(part) or part for part in parts]
        if kind != "documents" and len(keys) == 1:
            keys = [_asked(keys[0])]
        text = "\x1f".join([start, *keys])
        found += hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return np.frombuffer(bytes(found), "<u8")


def _titles(rows: pa.RecordBatch) -> list[list[str]]:
    both = zip(rows.column("title").to_pylist(), rows.column("id").to_pylist(), strict=True)
    return [[(title or "").strip() or id] for title, id in both]


def _questions(rows: pa.RecordBatch) -> list[list[str]]:
    """The texts of each dialogue up to its first question, answers left out."""
    import numpy as np

    messages = rows.column("messages")
    ends = [end - messages.offsets[0].as_py() for end in messages.offsets.to_pylist()]
    turns = messages.flatten()
    roles = turns.field("role").to_pylist()
    asked, upto = list[int](), [0]
    for start, end in pairwise(ends):
        question = next((place for place in range(start, end) if roles[place] == "user"), start - 1)
        asked += [place for place in range(start, question + 1) if roles[place] != "assistant"]
        upto.append(len(asked))
    contents = turns.field("content").take(np.array(asked, np.int64)).to_pylist()
    return [contents[start:end] for start, end in pairwise(upto)]


_TEMPLATES = sorted(
    (tuple(fold.dedup_key(part) for part in template.split("{}")) for template in prompts.TEMPLATES),
    key=lambda ends: -len("".join(ends)),
)
_BEFORE = tuple({before for before, _ in _TEMPLATES})


def _asked(key: str) -> str:
    """The subject of a prompt that a title template makes; of any other the prompt itself. All are keys of `fold.dedup_key`."""
    if not key.startswith(_BEFORE):
        return key
    for before, after in _TEMPLATES:
        if key.startswith(before) and key.endswith(after) and len(key) > len(before) + len(after):
            return key[len(before) : len(key) - len(after)]
    return key


@dataclass
class Draw:
    """Draws the validation prompts of one use: those with the smallest hashes, a `share` of them, but at most `most` rows.

    Holds the few prompts that may still be drawn, never all.
    """

    share: float
    most: int
    rows: int = 0
    _low: Counter[int] = field(default_factory=Counter)  # rows by prompt hash, of the smallest hashes

    def add(self, hashes: NDArray[np.uint64]) -> None:
        """Take in rows by the hashes of their prompts."""
        import numpy as np

        self.rows += len(hashes)
        reach = self.most + 2  # a prompt has a row or more, so no more prompts than rows can be drawn
        distinct, rows = np.unique(hashes, return_counts=True)
        self._low.update(dict(zip(distinct[:reach].tolist(), rows[:reach].tolist(), strict=True)))
        if len(self._low) > reach:
            self._low = Counter({prompt: self._low[prompt] for prompt in sorted(self._low)[:reach]})

    def held_out(self) -> set[int]:
        """Below `FEW` rows none; from there on one prompt at least, and never the only one."""
        prompts = sorted(self._low)
        if self.rows < FEW or len(prompts) < 2:
            return set()
        drawn, rows = {prompts[0]}, self._low[prompts[0]]
        for prompt in prompts[1:-1]:
            rows += self._low[prompt]
            if rows > self.most or prompt >= self.share * 2**64:
                break
            drawn.add(prompt)
        return drawn


def as_document(row: dict[str, Any]) -> dict[str, Any]:
    """A conversation as a text: question and answer on lines of their own, an empty line between rounds. System prompts stay out, and so do
    answers that no model may learn, with their questions."""
    text = ""
    unlearned = set(json.loads(row["meta"])[UNLEARNED]) if f'"{UNLEARNED}"' in row["meta"] else set()
    for number, turn in enumerate(row["messages"]):
        if turn["role"] != "system" and not unlearned & {number, number + (turn["role"] == "user")}:
            text += ("\n\n" if turn["role"] == "user" else "\n") * bool(text) + turn["content"]
    return {"id": row["id"], "source": row["source"], "title": "", "text": text, "lang": "zh", "meta": row["meta"]}


def as_answer(row: dict[str, Any], seed: int, longest: int) -> dict[str, Any]:
    """An article as the answer to a request for its title, of at most `longest` characters."""
    said = (("user", prompts.article_prompt(row["title"], seed)), ("assistant", prompts.cut_at_sentence(row["text"], longest)))
    messages = [{"role": role, "content": text} for role, text in said]
    return {"id": row["id"], "source": row["source"], "messages": messages, "meta": row["meta"]}
