"""Measures of a text, for the rules that filter: pure functions, each a number or a yes/no with one meaning.

Character counts leave white space out, so that layout does not change what a threshold means.
"""

from __future__ import annotations

import re

from tasks.text.script import han_share as han_share

_PUNCTUATION = re.compile(r"[^\w\s]|_")


def characters(text: str) -> int:
    """Characters other than white space."""
    return sum(map(len, text.split()))


def punctuation_share(text: str) -> float:
    """Share of the characters other than white space that are neither letter, digit nor ideograph, 0 to 1; 0 for an empty text."""
    total = characters(text)
    return len(_PUNCTUATION.findall(text)) / total if total else 0.0


def repeated_lines(text: str) -> float:
    """Share of the text, in characters, that stands in lines seen before in it, 0 to 1. Lines are compared without outer spaces."""
    seen: set[str] = set()
    total = repeated = 0
    for line in map(str.strip, text.split("\n")):
        total += len(line)
        if line in seen:
            repeated += len(line)
        seen.add(line)
    return repeated / total if total else 0.0


def repeated_ngrams(text: str, n: int = 10) -> float:
    """Share of the characters that stand in an n-gram of characters seen before in the text, 0 to 1; white space left out.

    A text that says everything once gives 0, one that says it twice about 0.5, a loop nearly 1. The character form of the duplicate
    n-gram rules of Gopher (Rae et al. 2021, table A1): Chinese has no spaces to count words by, and ten characters are about six words.
    """
    text = "".join(text.split())
    grams = [text[start : start + n] for start in range(len(text) - n + 1)]
    seen: set[str] = set()
    covered = end = 0  # `end`: the characters up to here are counted
    for start, gram in enumerate(grams):
        if gram in seen:
            covered += start + n - max(start, end)
            end = start + n
        seen.add(gram)
    return covered / len(text) if text else 0.0


_CALLS = re.compile(
    r"扫一扫|扫码|长按(?:识别|二维码|图片)|(?:扫描|识别|扫)(?:下方|上方|下面|文末|以下|图中)?的?二维码"
    r"|(?:关注|订阅|搜索|加入|添加|回复|我的|我们的|本)[^。！？\n]{0,8}(?:公众号|公号|微信号|知识星球)|公众号\s*[:：“「【]|(?:加|添加)(?:我|客服|老师|小编)?的?(?:微信|QQ|qq)"
    r"|微信(?:号)?\s*[:：]|点击(?:上方|下方|文末|标题下)?(?:的)?(?:蓝字|蓝色字|链接|阅读原文|关注)|阅读原文|点击关注|关注我们|求(?:点赞|关注)"
    r"|转载请注明|(?:未经|禁止)[^。！？\n]{0,8}转载|著作权归作者所有|商业转载请联系作者|版权所有|免责声明|编辑于\s*\d{4}|发布于\s*\d{4}"
)


def has_boilerplate(text: str) -> bool:
    """Whether the text asks to be scanned, followed or bought, or carries a site's notice: 扫码, 关注公众号, 转载请注明, 编辑于 2019 …

    It looks for calls and notices, not for topics: a text about 微信公众号 is not advertising.
    """
    return _CALLS.search(text) is not None


_TRANSLATION = re.compile(r"翻译|(?:英|汉|中|日|法|德|俄|韩)译|译(?:成|为|英|汉|中|日|法|德|俄|韩)|\btranslat", re.IGNORECASE)


def is_translation_task(prompt: str) -> bool:
    """Whether a prompt asks for a translation, which a small Chinese model has no second language for."""
    return _TRANSLATION.search(prompt) is not None


_RULE_LINE = re.compile(r"-{5,}|={5,}|[─━┄┅]{3,}|^[ \t]*+\|?(?:[ \t]*+:?-{2,}+:?[ \t]*+\|)+", re.MULTILINE)
_CELLS = re.compile(r"^[^\n|]*\|[^\n|]*\|.*\n[^\n|]*\|[^\n|]*\|", re.MULTILINE)  # two lines in a row with two bars each
_ASKS_TABLE = re.compile(r"表格")


def is_table(text: str) -> bool:
    """Whether a text draws a table in characters (rules of dashes, bars line after line), or speaks of one (表格), as a prompt does."""
    return any(pattern.search(text) for pattern in (_ASKS_TABLE, _RULE_LINE, _CELLS))
