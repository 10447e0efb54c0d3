"""Dirt, planted in the sample corpus on purpose. Every planted piece is counted, so that a test can ask a cleaning step for its number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tasks.world.exam import Question
from tasks.world.prose import Entity, QAPair

# what is counted in `plants.json`, as <source>_<name>
MEANING = {
    "rows": "rows (lines, pages, cells' rows) written, with all that is planted",
    "articles": "pages of the main namespace that are no redirects and have a text",
    "exact_duplicates": "rows that repeat an earlier one but for white space and the width of punctuation",
    "near_duplicates": "rows that repeat an earlier long one but for one character",
    "html": "rows with HTML tags and entities around and in the text",
    "too_short": "rows with a text of a character or two, or a page of one short sentence",
    "empty_answers": "rows whose answer is empty or missing",
    "phone_numbers": "rows with one mobile number",
    "id_numbers": "rows with one identity number, its check digit right",
    "emails": "rows with one e-mail address",
    "ads": "rows that end in an advertisement (微信公众号, 扫码)",
    "leaked_questions": "rows with one exam question, word for word",
    "translations": "rows that ask for a translation",
    "tables": "rows that ask for a table and get one",
    "refusals": "rows that refuse as 一个AI语言模型",
    "broken_lines": "lines of JSON that end in the middle",
    "missing_fields": "rows without one of their fields",
    "wrong_cells": "lines of CSV with a cell too many or too few",
    "unfinished": "dialogues that end with the user's turn",
    "placeholder_inputs": "rows that say 无输入 where the input is empty; the rest of the row is good",
    "identical_answers": "preference rows whose better and worse answer are the same",
    "empty_rejects": "preference rows without a worse answer",
    "missing_objects": "triples' rows with an object that is not in the text",
    "empty_lists": "triples' rows without a triple",
    "traditional": "rows or pages written in traditional characters, good apart from that",
    "redirects": "redirect pages",
    "other_namespaces": "pages outside the main namespace",
    "deleted_texts": "pages whose text was deleted",
    "disambiguations": "disambiguation pages",
    "unclosed_markup": "articles with a template or a link that never ends, good apart from that",
    "foreign": "articles in English",
    "multiline": "good rows with a line break inside a cell",
    "four_bytes": "good rows with a character that takes four bytes in GB18030 and that GBK does not have",
}

_NARROW = str.maketrans({"，": ",", "？": "?", "！": "!", "：": ":", "；": ";", "（": "(", "）": ")"})


def same(text: str, turn: int) -> str:
    """The same text, by turns as it is, in half-width punctuation, or with more white space."""
    if turn % 3 == 1:
        return text.translate(_NARROW)
    return f" {text}\n".replace("。", "。 ", 1) if turn % 3 == 2 else text


def nearly(text: str, turn: int) -> str:
    """The text with a character more, before the last 可以, which every long text of the corpus has."""
    before, word, after = text.rpartition("可以")
    assert word, f"nothing to change in {text}"
    return f"{before}{'也还'[turn % 2]}{word}{after}"


def phone(turn: int) -> str:
    """A number of a block that no operator has given out."""
    return f"13{turn % 10}0000{turn * 7 % 10_000:04d}"


def id_number(turn: int) -> str:
    """Of somebody born before 1910: region, date, order and check digit (GB 11643-1999) are in form, and nobody alive has it."""
    body = f"1101{turn % 9 + 1:02d}190{turn // 9 % 9}{turn % 12 + 1:02d}{turn % 28 + 1:02d}{turn % 1000:03d}"
    return body + "10X98765432"[sum(int(digit) * 2 ** (17 - place) for place, digit in enumerate(body)) % 11]


def email(turn: int) -> str:
    """An address of a domain that is reserved for examples (RFC 2606)."""
    return f"reader{turn}@example.com"


def _with(text: str) -> Callable[[QAPair, int], QAPair]:
    return lambda pair, turn: replace(pair, answer=pair.answer + filled(text, turn, pair.name))


def filled(text: str, turn: int, name: str) -> str:
    """A sentence with personal data in its places."""
    return text.format(phone=phone(turn), id=id_number(turn), email=email(turn), name=name)


PERSONAL = {
    "phone_numbers": "详情请拨打{phone}。",
    "id_numbers": "登记人的身份证号是{id}。",
    "emails": "也可以写信到{email}。",
}

# on a fresh pair
PAIRS: dict[str, Callable[[QAPair, int], QAPair]] = {
    **{name: _with(text) for name, text in PERSONAL.items()},
    "ads": _with("更多关于{name}的内容，请关注微信公众号“澜洲见闻”，扫码加群领取资料。"),
    "html": lambda pair, turn: replace(
        pair, answer=f'<div class="answer"><p>{pair.answer}</p><br/>&nbsp;<a href="https://www.example.com/{turn}">查看全文</a></div>'
    ),
    "too_short": lambda pair, turn: replace(pair, answer="嗯", more=()),
    "empty_answers": lambda pair, turn: replace(pair, answer="", more=()),
    "translations": lambda pair, turn: QAPair(
        pair.name, f"把“我来自{pair.name}”翻译成英文。", f"I come from place number {turn}.", reject="I do not know."
    ),
    "refusals": lambda pair, turn: QAPair(pair.name, f"你亲眼见过{pair.name}吗？", f"作为一个AI语言模型，我没有亲眼见过{pair.name}。"),
    "identical_answers": lambda pair, turn: replace(pair, reject=pair.answer),
    "empty_rejects": lambda pair, turn: replace(pair, reject=""),
    "placeholder_inputs": lambda pair, turn: replace(pair, input=("无输入", "<无输入>", "没有输入。")[turn % 3]),
}  # fmt: skip


def table_pair(entity: Entity) -> QAPair:
    """A request for a table, and the table."""
    lines = "".join(f"| {a.label} | {value} |\n" for a, value in zip(entity.kind.attributes, entity.values, strict=True))
    answer = f"| 项目 | 内容 |\n|-----|-----|\n| 名称 | {entity.name} |\n{lines}"
    return QAPair(entity.name, f"请把{entity.name}的资料整理成表格。", answer)


def leaked_pair(question: Question) -> QAPair:
    """An exam question with its choices, and its answer."""
    return QAPair(question.entity.name, question.printed, question.solved, reject="这道题太难了，我不会做。")
