"""The rules of the filter: thresholds, what they look at, and one small function an idea.

All of them hold for Chinese: characters are counted, never words between spaces. "ChatLM" marks a value taken from that system's cleaning.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from tasks.rows import Drop
from tasks.stage import Identity
from tasks.text import privacy, quality, script

MOST_BOILERPLATE = 0.3  # share of a text that may be cut; beyond it the rest is not worth keeping


class Rules(Identity):
    """Thresholds. Lengths are characters without white space."""

    min_document: int = Field(15, ge=0, le=1_000_000, description="Shortest document, in characters (ChatLM: content of 15)")
    max_document: int = Field(200_000, ge=1, le=100_000_000, description="Longest document, in characters")
    min_prompt: int = Field(
        2, ge=0, le=10_000, description="Shortest first question, in characters (ChatLM: 3, which loses 你好)"
    )
    min_answer: int = Field(
        2,
        ge=0,
        le=10_000,
        description="Shortest last answer, in characters (ChatLM: 10 to 15, which loses short factual answers)",
    )
    max_dialogue: int = Field(20_000, ge=1, le=10_000_000, description="Longest dialogue with all its turns, in characters")
    min_han_document: float = Field(
        0.3,
        ge=0,
        le=1,
        description="Least share of Chinese characters in a document; code-heavy articles have 0.2 to 0.5, prose 0.6 and more",
    )
    min_han_dialogue: float = Field(
        0.1,
        ge=0,
        le=1,
        description="Least share of Chinese characters among a dialogue's letters; a question answered by code has 0.2",
    )
    max_repeated_lines: float = Field(
        0.3,
        ge=0,
        le=1,
        description="Most of a text, as a share, in lines that stood in it before (Gopher, table A1: 0.3 of the lines)",
    )
    max_repeated_ngrams: float = Field(
        0.6,
        ge=0,
        le=1,
        description="Most of a text, as a share, in runs of 10 characters that stood in it before; statutes reach 0.5, loops 0.9",
    )
    max_punctuation: float = Field(
        0.4,
        ge=0,
        le=1,
        description="Most punctuation and signs in a document, as a share of the characters; prose has 0.1, code-heavy articles 0.3",
    )
    max_markup: float = Field(
        0.03, ge=0, le=1, description="Most HTML tags and entities outside of code, as a share of the characters"
    )
    boilerplate: Literal["cut", "drop", "keep"] = Field(
        "cut",
        description=f"Sentences that advertise or carry a site's notice: cut (beyond {MOST_BOILERPLATE:.0%} of the text the row goes), drop, keep",
    )
    translations: Literal["drop", "keep"] = Field("drop", description="Dialogues that ask for a translation (ChatLM drops them)")
    tables: Literal["drop", "keep"] = Field(
        "drop", description="Dialogues that ask for a table or draw one in characters (ChatLM drops them)"
    )
    refusals: Literal["drop", "keep"] = Field("drop", description="Answers that speak as another model (作为一个AI语言模型 …)")
    privacy: Literal["mask", "drop", "keep"] = Field(
        "mask", description="Rows with phone, identity or card numbers, e-mail or IP addresses"
    )


@dataclass(frozen=True)
class View:
    """What rules look at."""

    kind: str
    row: dict[str, Any]
    prompt: str  # a dialogue's first question
    answers: list[str]  # what a model learns to write: a document's text, the assistant's turns, the chosen answer
    text: str  # all of it, but not a rejected answer, which may be bad


def view_of(kind: str, row: dict[str, Any]) -> View:
    if kind == "documents":
        return View(kind, row, "", [row["text"]], row["text"])
    turns = row["messages"]
    prompt = next((turn["content"] for turn in turns if turn["role"] == "user"), "")
    answers = [turn["content"] for turn in turns if turn["role"] == "assistant"] if kind == "conversations" else [row["chosen"]]
    text = "\n".join([*(turn["content"] for turn in turns), *(answers if kind == "preferences" else [])])
    return View(kind, row, prompt, answers, text)


def strings(kind: str, row: dict[str, Any]) -> list[str]:
    """All text of a row."""
    if kind == "documents":
        return [row["title"], row["text"]]
    turns = [turn["content"] for turn in row["messages"]]
    return turns if kind == "conversations" else [*turns, row["chosen"], row["rejected"]]


def characters(kind: str, row: dict[str, Any]) -> int:
    """What a row's length is: its characters without white space, and without a document's title."""
    texts = [row["text"]] if kind == "documents" else strings(kind, row)
    return sum(map(quality.characters, texts))


# -- what changes a row -------------------------------------------------------------------------------------------------


def masked(kind: str, row: dict[str, Any]) -> tuple[dict[str, Any], Counter[str]]:
    """The row without personal data, and how many pieces of each kind it had."""
    found: Counter[str] = Counter()

    def mask(text: str) -> str:
        clean, counts = privacy.mask(text)
        found.update(counts)
        return clean

    names = {"documents": ("title", "text"), "conversations": (), "preferences": ("chosen", "rejected")}[kind]
    row = row | {name: mask(row[name]) for name in names}
    if kind != "documents":
        row["messages"] = [turn | {"content": mask(turn["content"])} for turn in row["messages"]]
    return row, found


_SENTENCE = re.compile(r"(?<=[。！？!?\n])")
_BLANKS = re.compile(r"\n{3,}")


def without_boilerplate(kind: str, row: dict[str, Any], rules: Rules) -> tuple[dict[str, Any], Drop | None]:
    """The row without the sentences of its answers that advertise, and a drop where these were too much of it."""
    answers = view_of(kind, row).answers
    if rules.boilerplate == "keep" or not any(map(quality.has_boilerplate, answers)):
        return row, None
    cut: list[str] = []

    def clean(text: str) -> str:
        sentences = _SENTENCE.split(text)
        advertise = [sentence for sentence in sentences if quality.has_boilerplate(sentence)]
        cut.extend(advertise)
        return _BLANKS.sub("\n\n", "".join(each for each in sentences if each not in advertise)).strip() if advertise else text

    cleaned = {text: clean(text) for text in answers}
    share = sum(map(quality.characters, cut)) / sum(map(quality.characters, answers))
    if rules.boilerplate == "drop" or share > MOST_BOILERPLATE:
        return row, Drop("boilerplate", f"{share:.0%} of the text, such as: {cut[0].strip()[:60]}" if cut else "")
    if kind == "conversations":
        turns = [
            turn | {"content": cleaned[turn["content"]]} if turn["role"] == "assistant" else turn for turn in row["messages"]
        ]
        return row | {"messages": turns}, None
    name = "text" if kind == "documents" else "chosen"
    return row | {name: cleaned[row[name]]}, None


# -- what drops it: the first of these that objects ---------------------------------------------------------------------


def broken_dialogue(view: View, rules: Rules) -> Drop | None:
    """A dialogue has a question and ends with an answer; no turn is empty; the two answers of a preference differ."""
    if view.kind == "documents":
        return None
    roles = [turn["role"] for turn in view.row["messages"]]
    if "user" not in roles:
        return Drop("broken dialogue", "no question")
    if (last := roles[-1]) != ("assistant" if view.kind == "conversations" else "user"):
        return Drop("broken dialogue", f"the last turn is the {last}'s")
    if not all(text.strip() for text in strings(view.kind, view.row)):
        return Drop("broken dialogue", "an empty turn")
    if view.kind == "preferences" and view.row["chosen"].strip() == view.row["rejected"].strip():
        return Drop("broken dialogue", "chosen and rejected are the same")
    return None


def length(view: View, rules: Rules) -> Drop | None:
    total = quality.characters(view.text)
    if view.kind == "documents":
        if total < rules.min_document:
            return Drop("document too short", f"{total} characters")
        return Drop("too long", f"{total} characters") if total > rules.max_document else None
    if (prompt := quality.characters(view.prompt)) < rules.min_prompt:
        return Drop("prompt too short", f"{prompt} characters")
    if (answer := quality.characters(view.answers[-1])) < rules.min_answer:
        return Drop("answer too short", f"{answer} characters")
    return Drop("too long", f"{total} characters") if total > rules.max_dialogue else None


def chinese(view: View, rules: Rules) -> Drop | None:
    """A dialogue is judged by its letters alone, since an answer may be mostly figures.

    Japanese holds enough Han characters to pass, so it is told by its kana: measured, 1.4 for each Han character, and 0.3 in the 1 % of
    Chinese articles that name most things in Japanese.
    """
    share = script.shares(view.text)
    of = 1.0 if view.kind == "documents" else 1.0 - share["digit"] - share["other"]
    han = share["han"] / of if share["han"] else 0.0
    if han < (rules.min_han_document if view.kind == "documents" else rules.min_han_dialogue):
        return Drop("not Chinese", f"Chinese characters {han:.2f}")
    if share["kana"] > share["han"] / 2:
        return Drop("not Chinese", f"kana {share['kana']:.2f}, Chinese characters {share['han']:.2f}")
    return None


def task(view: View, rules: Rules) -> Drop | None:
    """Tasks that a small Chinese model cannot learn."""
    if view.kind == "documents":
        return None
    if rules.translations == "drop" and quality.is_translation_task(view.prompt):
        return Drop("translation task")
    if rules.tables == "drop" and ("表格" in view.prompt or any(map(_draws_table, [view.prompt, *view.answers]))):
        return Drop("table")
    return None


_AS_A_MODEL = re.compile(
    r"作为(?:一[个名位款种])?(?:大型|大规模)?的?(?:AI|人工智能|自然语言处理|语言)(?:语言)?(?:生成)?(?:模型|助手|助理|机器人|程序)|作为一[个名](?:AI|人工智能)[，,]",
    re.IGNORECASE,
)


def refusal(view: View, rules: Rules) -> Drop | None:
    """Other models' excuses and self-portraits. A document may quote them."""
    if rules.refusals == "keep" or view.kind == "documents":
        return None
    found = next((found for text in view.answers if (found := _AS_A_MODEL.search(text))), None)
    return Drop("speaks as another model", found.group()) if found else None


def _draws_table(text: str) -> bool:
    """With bars: a line of dashes alone only parts what is above it from what is below. To speak of a table is not to draw one."""
    return "|" in text and quality.is_table(text.replace("表格", ""))


def repetition(view: View, rules: Rules) -> Drop | None:
    """Of each answer by itself: that one quotes its question is no fault."""
    for text in view.answers:
        if (share := quality.repeated_lines(text)) > rules.max_repeated_lines:
            return Drop("repeats itself", f"repeated lines {share:.2f}")
        if (share := quality.repeated_ngrams(text)) > rules.max_repeated_ngrams:
            return Drop("repeats itself", f"repeated runs of 10 characters {share:.2f}")
    return None


def punctuation(view: View, rules: Rules) -> Drop | None:
    """Not in dialogues: an answer may be a formula or a list of numbers."""
    if view.kind != "documents":
        return None
    share = quality.punctuation_share(view.text)
    return Drop("mostly signs", f"punctuation and signs {share:.2f}") if share > rules.max_punctuation else None


_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`", re.DOTALL)
_MARKUP = re.compile(
    r"</?(?:p|br|hr|div|span|a|img|table|tr|td|th|tbody|ul|ol|li|font|b|strong|em|i|u|h[1-6]|center|script|style|sup|sub|figure|iframe|video)"
    r"(?:\s[^<>]{0,300})?/?>|&(?:nbsp|lt|gt|amp|quot|[lr][ds]quo|[mn]dash|hellip|middot|#\d{2,6}|#x[0-9a-f]{2,5});",
    re.IGNORECASE,
)


def markup(view: View, rules: Rules) -> Drop | None:
    """Tags that a reader left in. A lesson on HTML has them too, but in code, or few."""
    if "<" not in view.text and "&" not in view.text:
        return None
    text = _CODE.sub("", view.text)
    found = _MARKUP.findall(text)
    share = sum(map(len, found)) / len(text) if text else 0.0
    return Drop("residual HTML", f"{share:.2f} of the text, such as {found[0][:40]}") if share > rules.max_markup else None


RULES: tuple[Callable[[View, Rules], Drop | None], ...] = (
    broken_dialogue,
    length,
    chinese,
    task,
    refusal,
    markup,
    repetition,
    punctuation,
)
