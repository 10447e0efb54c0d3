"""The filter's functions of one row: those that change it, and the checks that object to it, each by the recipe's rules."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tasks.data.rows import Drop, texts
from tasks.filters.thresholds import FilterRules
from tasks.text import boilerplate, privacy, prompts, quality, script
from tasks.text.ledger import NO_LEDGER, Ledger

LOOP = 50  # characters from which a text can have a commonest run
ECHO = 10  # characters from which an answer can repeat its question; 你好 is answered by 你好


@dataclass(frozen=True)
class View:
    """A row as checks see it: its texts by role."""

    kind: str
    row: dict[str, Any]
    prompts: list[str]  # the questions
    answers: list[str]  # what a model learns to write: a document's text, the assistant's turns, the chosen answer
    text: str  # all of it, but not a rejected answer, which may be bad

    @property
    def prompt(self) -> str:
        """A dialogue's first question."""
        return self.prompts[0] if self.prompts else ""

    @cached_property
    def texts(self) -> list[str]:
        return texts(self.kind, self.row)

    @cached_property
    def size(self) -> int:
        """The length of all texts, as the ledger counts."""
        return sum(map(len, self.texts))

    @cached_property
    def characters(self) -> int:
        """The length of the row: its characters without white space, and without a document's title."""
        return sum(map(quality.character_count, [self.text] if self.kind == "documents" else self.texts))

    @cached_property
    def shares(self) -> dict[str, float]:
        return script.script_shares(self.text)

    @cached_property
    def may_hold_personal_data(self) -> bool:
        return any(privacy.may_hold_any(self.texts))

    @cached_property
    def may_advertise(self) -> bool:
        return any(boilerplate.may_have_any(self.answers))


def view_of(kind: str, row: dict[str, Any]) -> View:
    """The view of a row of one kind."""
    if kind == "documents":
        return View(kind, row, [], [row["text"]], row["text"])
    turns = row["messages"]
    questions = [turn["content"] for turn in turns if turn["role"] == "user"]
    answers = [turn["content"] for turn in turns if turn["role"] == "assistant"] if kind == "conversations" else [row["chosen"]]
    text = "\n".join([*(turn["content"] for turn in turns), *(answers if kind == "preferences" else [])])
    return View(kind, row, questions, answers, text)


def views_of(kind: str, rows: Sequence[dict[str, Any]]) -> list[View]:
    """The views of rows, which are looked at together for what most of them have nothing of."""
    views = [view_of(kind, row) for row in rows]
    joined = ["\n".join(view.texts) for view in views]
    found = zip(
        script.shares_of_all([view.text for view in views]),
        privacy.may_hold_any(joined),
        boilerplate.may_have_any(joined),
        strict=True,
    )
    for view, (shares, personal, advertises) in zip(views, found, strict=True):
        vars(view).update(shares=shares, may_hold_personal_data=personal, may_advertise=advertises)
    return views


def change_texts(kind: str, row: dict[str, Any], change: Callable[[str, str], str]) -> dict[str, Any]:
    """The row with `change(role, text)` of every text, where roles are title, text, system, user, assistant, chosen, rejected."""
    if kind == "documents":
        return row | {name: change(name, row[name]) for name in ("title", "text")}
    row = row | {"messages": [turn | {"content": change(turn["role"], turn["content"])} for turn in row["messages"]]}
    return row if kind == "conversations" else row | {name: change(name, row[name]) for name in ("chosen", "rejected")}


# -- what changes a row -------------------------------------------------------------------------------------------------


def mask_personal_data(
    view: View, rules: FilterRules, ledger: Ledger = NO_LEDGER
) -> tuple[dict[str, Any], Counter[str], Drop | None]:
    """The row without the personal data that the rules mask, the number of pieces of each kind that it had, and a drop where they want none."""
    kind, row = view.kind, view.row
    if not view.may_hold_personal_data:
        return row, Counter(), None
    counts = Counter(one.kind for text in view.texts for one in privacy.find_personal_data(text))
    if not counts:
        return row, counts, None
    modes = dict.fromkeys(privacy.KINDS, rules.privacy) | {str(name): mode for name, mode in rules.privacy_kinds.items()}
    if wrong := [f"{name} {count}" for name, count in sorted(counts.items()) if modes[name] == "drop"]:
        return row, counts, Drop("personal data", ", ".join(wrong))
    hidden = {name for name, mode in modes.items() if mode == "mask"}
    return change_texts(kind, row, lambda role, text: privacy.mask(text, hidden, ledger)[0]), counts, None


# what a question speaks of whose answer may have calls and notices in it, as its matter
_ABOUT = re.compile(
    "公众号|微信|二维码|扫码|关注|广告|文案|宣传|推广|推文|软文|海报|朋友圈|营销|直播|带货|粉丝|引流|私域|版权|声明|转载|条款|侵权"
)


def cut_boilerplate(view: View, rules: FilterRules, ledger: Ledger = NO_LEDGER) -> tuple[dict[str, Any], Drop | None]:
    """The row without the sentences of its answers that advertise, and a drop where these were too much of it.

    Where the questions are about such sentences (帮我写一段公众号的介绍), the answers are what was asked for.
    """
    kind, row = view.kind, view.row
    if rules.boilerplate == "keep" or not (view.may_advertise and any(map(boilerplate.has_boilerplate, view.answers))):
        return row, None
    if any(map(_ABOUT.search, view.prompts)):
        return row, None
    cut: list[str] = []

    def clean(role: str, text: str) -> str:
        if role not in ("text", "assistant", "chosen"):
            return text
        text, sentences = boilerplate.without_boilerplate(text, noted)
        cut.extend(sentences)
        return text

    noted = ledger if rules.boilerplate == "cut" else NO_LEDGER
    changed = change_texts(kind, row, clean)
    share = sum(map(quality.character_count, cut)) / sum(map(quality.character_count, view.answers))
    if rules.boilerplate == "drop" or share > rules.max_boilerplate:
        return row, Drop("boilerplate", f"{share:.0%} of the text, such as: {cut[0].strip()[:60]}" if cut else "")
    return changed, None


def shorten(kind: str, row: dict[str, Any], rules: FilterRules, ledger: Ledger = NO_LEDGER) -> dict[str, Any]:
    """The row with its texts cut where a sentence ends, if the rules want them cut rather than dropped."""
    longest = dict.fromkeys(("assistant", "chosen", "rejected"), rules.max_answer)
    longest |= {"text": rules.max_document, "user": rules.max_prompt}

    def cut(role: str, text: str) -> str:
        limit = longest.get(role)
        if limit is None or quality.character_count(text) <= limit:
            return text
        short = prompts.cut_at_sentence(text, limit)
        ledger.note("too long", text, short, detail=role)
        return short

    return change_texts(kind, row, cut) if rules.too_long == "cut" else row


# -- what drops it: the first of these that objects ---------------------------------------------------------------------


def broken_dialogue(view: View, rules: FilterRules) -> Drop | None:
    """A dialogue without a question, or that does not end with an answer; an empty turn; a preference whose two answers are the same."""
    if view.kind == "documents":
        return None
    turns, last = view.row["messages"], "user" if view.kind == "preferences" else "assistant"
    texts = [turn["content"] for turn in turns]
    if view.kind == "preferences":
        texts += [view.row["chosen"], view.row["rejected"]]
    if not view.prompts:
        return Drop("broken dialogue", "nobody asks")
    if turns[-1]["role"] != last:
        return Drop("broken dialogue", f"the last turn is by {turns[-1]['role']}")
    if not all(map(str.strip, texts)):
        return Drop("broken dialogue", "an empty turn")
    if view.kind == "preferences" and view.row["chosen"].strip() == view.row["rejected"].strip():
        return Drop("broken dialogue", "the answers are the same")
    return None


def wrong_length(view: View, rules: FilterRules) -> Drop | None:
    """Texts, dialogues and numbers of exchanges outside their limits."""
    total = quality.character_count(view.text) if view.kind == "preferences" else view.characters
    if view.kind == "documents":
        if total < rules.min_document:
            return Drop("document too short", f"{total} characters")
        return Drop("too long", f"{total} characters") if total > rules.max_document else None
    if (prompt := quality.character_count(view.prompt)) < rules.min_prompt:
        return Drop("prompt too short", f"{prompt} characters")
    if (answer := quality.character_count(view.answers[-1])) < rules.min_answer:
        return Drop("answer too short", f"{answer} characters")
    if total > rules.max_dialogue:
        return Drop("too long", f"{total} characters")
    answers = [*view.answers, view.row["rejected"]] if view.kind == "preferences" else view.answers
    for reason, those, most in (
        ("prompt too long", view.prompts, rules.max_prompt),
        ("answer too long", answers, rules.max_answer),
    ):
        if total > most and (longest := max(map(quality.character_count, those))) > most:
            return Drop(reason, f"{longest} characters")
    exchanges = len(view.answers if view.kind == "conversations" else view.prompts)
    if exchanges < rules.min_exchanges:
        return Drop("too few exchanges", f"{exchanges}")
    return Drop("too many exchanges", f"{exchanges}") if exchanges > rules.max_exchanges else None


def wrong_language(view: View, rules: FilterRules) -> Drop | None:
    """Text in a language that the rules do not name. A dialogue is judged by its letters alone, since an answer may be mostly figures.

    Japanese holds enough Han characters to pass, so it is told by its kana: measured, 1.4 for each Han character, and 0.3 in the 1 % of
    Chinese articles that name most things in Japanese.
    """
    share = view.shares
    of = 1.0 if view.kind == "documents" else 1.0 - share["digit"] - share["other"]
    han = share["han"] / of if share["han"] else 0.0
    wrong = ""
    if han < (rules.min_han_document if view.kind == "documents" else rules.min_han_dialogue):
        wrong = f"Chinese characters {han:.2f}"
    for name, most in (("kana", rules.max_kana), ("hangul", rules.max_hangul)):
        if share[name] > most * share["han"] and not wrong:
            wrong = f"{name} {share[name]:.2f}, Chinese characters {share['han']:.2f}"
    if not wrong and "zh" in rules.languages:
        latin = share["latin"]
        return Drop("mostly Latin letters", f"Latin letters {latin:.2f}") if latin > rules.max_latin else None
    language = script.main_language(view.text) if wrong else "zh"
    if wrong and language != "zh" and language in rules.languages:
        return None
    return Drop("not Chinese", wrong) if rules.languages == ["zh"] else Drop("other language", wrong or language)


def unwanted_task(view: View, rules: FilterRules) -> Drop | None:
    """Tasks that a recipe does not want, such as those that a small Chinese model cannot learn."""
    if view.kind != "documents":
        if rules.translations == "drop" and quality.is_translation_task(view.prompt, rules.translation_words):
            return Drop("translation task")
        if rules.tables == "drop" and (
            any(word in view.prompt for word in rules.table_words) or any(map(_draws_table, [view.prompt, *view.answers]))
        ):
            return Drop("table")
        if word := next((word for word in rules.blocked_prompts if any(word in prompt for prompt in view.prompts)), ""):
            return Drop("blocked words", word)
    word = next((word for word in rules.blocked if word in view.text), "")
    return Drop("blocked words", word) if word else None


def _draws_table(text: str) -> bool:
    """With bars: a line of dashes alone only parts what is above it from what is below. To speak of a table is not to draw one."""
    return "|" in text and quality.is_table(text.replace("表格", ""))


_VOTES = ("star", "upvotes", "votes", "score")  # where readers put them


def few_votes(view: View, rules: FilterRules) -> Drop | None:
    """An answer that readers of its source did not like enough, where the source says how much they did."""
    if rules.min_votes == 0:
        return None
    meta = json.loads(view.row["meta"] or "{}")
    number = next((meta[name] for name in _VOTES if isinstance(meta.get(name), int | float)), rules.min_votes)
    return Drop("too few votes", f"{number}") if number < rules.min_votes else None


_AS_A_MODEL = re.compile(
    r"作为(?:一[个名位款种])?(?:大型|大规模)?的?(?:AI|人工智能|自然语言处理|语言)(?:语言)?(?:生成)?(?:模型|助手|助理|机器人|程序)|作为一[个名](?:AI|人工智能)[，,]",
    re.IGNORECASE,
)


def refusal(view: View, rules: FilterRules) -> Drop | None:
    """Other models' excuses and self-portraits. A document may quote them."""
    if rules.refusals == "keep" or view.kind == "documents":
        return None
    match = next((match for text in view.answers if "作为" in text and (match := _AS_A_MODEL.search(text))), None)
    return Drop("speaks as another model", match.group()) if match else None


_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`", re.DOTALL)
_MARKUP = re.compile(
    r"</?(?:p|br|hr|div|span|a|img|table|tr|td|th|tbody|ul|ol|li|font|b|strong|em|i|u|h[1-6]|center|script|style|sup|sub|figure|iframe|video)"
    r"(?:\s[^<>]{0,300})?/?>|&(?:nbsp|lt|gt|amp|quot|[lr][ds]quo|[mn]dash|hellip|middot|#\d{2,6}|#x[0-9a-f]{2,5});",
    re.IGNORECASE,
)


def residual_markup(view: View, rules: FilterRules) -> Drop | None:
    """Tags that a reader left in. A lesson on HTML has them too, but in code, or few."""
    if "<" not in view.text and "&" not in view.text:
        return None
    text = _CODE.sub("", view.text)
    tags = _MARKUP.findall(text)
    share = sum(map(len, tags)) / len(text) if text else 0.0
    return Drop("residual HTML", f"{share:.2f} of the text, such as {tags[0][:40]}") if share > rules.max_markup else None


def wrong_encoding(view: View, rules: FilterRules) -> Drop | None:
    """Text that was read in another encoding than it was written in."""
    share = quality.mojibake(view.text)
    return Drop("wrong encoding", f"{share:.2f} of the text") if share > rules.max_mojibake else None


def repetitive(view: View, rules: FilterRules) -> Drop | None:
    """Repetition in each answer by itself: that one quotes its question is no fault, but an answer that is its question is one."""
    for text in view.answers:
        if (share := quality.repeated_lines(text)) > rules.max_repeated_lines:
            return Drop("repeats itself", f"repeated lines {share:.2f}")
        # each line of a repeated paragraph is a repeated line
        if (
            share > rules.max_repeated_paragraphs
            and (share := quality.repeated_lines(text, "\n\n")) > rules.max_repeated_paragraphs
        ):
            return Drop("repeats itself", f"repeated paragraphs {share:.2f}")
        if (share := quality.repeated_ngrams(text, least=rules.max_repeated_ngrams)) > rules.max_repeated_ngrams:
            return Drop("repeats itself", f"repeated runs of 10 characters {share:.2f}")
        if len(text) >= LOOP:
            share, gram = quality.commonest_ngram(text, least=rules.max_commonest_ngram)
            if share > rules.max_commonest_ngram:
                return Drop("repeats itself", f"{gram} is {share:.2f} of the text")
    if not view.prompts or len(view.answers[-1]) < ECHO:
        return None
    question, answer = view.prompts[-1], view.answers[-1]
    if quality.bigram_similarity(question, answer, rules.max_echo) <= rules.max_echo:
        return None
    earlier = "\n".join(turn["content"] for turn in view.row["messages"] if turn["content"] not in (question, answer))
    if (share := quality.repeats(question, answer, rules.max_echo, earlier)) > rules.max_echo:
        return Drop("answer repeats the question", f"{share:.2f} alike")
    return None


def signs(view: View, rules: FilterRules) -> Drop | None:
    """Documents of signs, digits, broken lines or lists. Not dialogues: an answer may be a formula, a list of items or of numbers."""
    if view.kind != "documents":
        return None
    for reason, share, most in (
        ("mostly signs", quality.punctuation_share(view.text), rules.max_punctuation),
        ("mostly digits", view.shares["digit"], rules.max_digits),
        ("lines break off", quality.ellipsis_lines(view.text), rules.max_ellipsis_lines),
        ("mostly lists", quality.list_lines(view.text) if rules.max_list_lines < 1 else 0.0, rules.max_list_lines),
    ):
        if share > most:
            return Drop(reason, f"{share:.2f} of the text")
    return None


CHECKS: tuple[Callable[[View, FilterRules], Drop | None], ...] = (
    broken_dialogue,
    wrong_length,
    wrong_language,
    unwanted_task,
    few_votes,
    refusal,
    residual_markup,
    wrong_encoding,
    repetitive,
    signs,
)
