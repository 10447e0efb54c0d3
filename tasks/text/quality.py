"""Measures of a text, for the rules that filter: pure functions, each a number or a yes/no with one meaning.

Character counts leave white space out, so that layout does not change what a threshold means.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from functools import cache, lru_cache
from itertools import product

from tasks.text.script import han_share as han_share

_PUNCTUATION = re.compile(r"[^\w\s]|_")
_WORDS = re.compile(r"[^\W_]+")


def character_count(text: str) -> int:
    """Characters other than white space."""
    return sum(map(len, text.split()))


def punctuation_share(text: str) -> float:
    """Share of the characters other than white space that are neither letter, digit nor ideograph, 0 to 1; 0 for an empty text."""
    total = character_count(text)
    return len(_PUNCTUATION.findall(text)) / total if total else 0.0


def repeated_lines(text: str, between: str = "\n") -> float:
    """Share of the text, in characters, that stands in lines seen before in it, 0 to 1. Lines are compared without outer spaces.

    With two line ends `between` them, paragraphs.
    """
    seen: set[str] = set()
    total = repeated = 0
    for line in map(str.strip, text.split(between)):
        total += len(line)
        if line in seen:
            repeated += len(line)
        seen.add(line)
    return repeated / total if total else 0.0


_LONG = 300  # characters from which a quick look pays


@lru_cache(maxsize=1)
def _bare(text: str) -> tuple[str, int]:
    """The text without white space, and how many different characters it has."""
    bare = "".join(text.split())
    return bare, len(set(bare))


def repeated_ngrams(text: str, n: int = 10, least: float = 0.0) -> float:
    """Share of the characters that stand in an n-gram of characters seen before in the text, 0 to 1; white space left out.

    A text that says everything once gives 0, one that says it twice about 0.5, a loop nearly 1. The character form of the duplicate
    n-gram rules of Gopher (Rae et al. 2021, table A1): Chinese has no spaces to count words by, and ten characters are about six words.
    A share below `least` may be given as 0.
    """
    text, distinct = _bare(text)
    if len(text) < n or len(text) - distinct < least * len(text):  # a character's first place is in no n-gram seen before
        return 0.0
    if len(text) >= _LONG:
        return _repeated_in_long(text, n, least)
    grams = [text[start : start + n] for start in range(len(text) - n + 1)]
    if len(set(grams)) == len(grams):
        return 0.0
    seen: set[str] = set()
    covered = end = 0  # `end`: the characters up to here are counted
    for start, gram in enumerate(grams):
        if gram in seen:
            covered += start + n - max(start, end)
            end = start + n
        else:
            seen.add(gram)
    return covered / len(text)


def _repeated_in_long(text: str, n: int, least: float) -> float:
    """The same by 64-bit hashes. First a bound: an n-gram seen before covers n characters at the most. Which were seen before is told by the
    places of a table on which they fall; two may fall on one by chance, so the bound is too high by a few per cent, never too low."""
    import numpy as np

    spread = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    hashes = spread
    for place in range(1, n):
        hashes = hashes[:-1] * np.uint64(0xD6E8FEB86659FD93) + spread[place:]
    bits = len(text).bit_length() + 4
    table = np.zeros(1 << bits, bool)
    table[hashes >> np.uint64(64 - bits)] = True
    if n * (len(hashes) - int(np.count_nonzero(table))) < least * len(text):
        return 0.0
    seen = np.ones(len(hashes), bool)
    seen[np.unique(hashes, return_index=True)[1]] = False
    edges = np.zeros(len(text) + 1, np.int32)
    edges[: len(seen)] += seen
    edges[n : n + len(seen)] -= seen
    return int(np.count_nonzero(np.cumsum(edges[:-1]))) / len(text)


def commonest_ngram(text: str, n: int = 4, least: float = 0.0) -> tuple[float, str]:
    """Share of the characters that stand in the n-gram of characters that covers most of them, 0 to 1, and this n-gram; white space
    and n-grams of signs alone left out.

    The character form of the top n-gram rule of Gopher. A share below `least` may be given as 0: where the characters that are common enough
    do not make up that share, no n-gram of them does, and nothing more is counted.
    """
    text, distinct = _bare(text)
    if len(text) < n or len(text) - distinct + n < least * len(text):  # an n-gram's characters stand for the first time but once
        return 0.0, ""
    counts = Counter(text)
    if n * max(counts.values()) < least * len(text):
        return 0.0, ""
    common = {character for character, count in counts.items() if n * count >= least * len(text)}
    if sum(counts[character] for character in common) < least * len(text):
        return 0.0, ""
    places = range(len(text) - n + 1)
    grams = Counter(gram for at in places if common.issuperset(gram := text[at : at + n]) and _WORDS.search(gram))
    best = (0, "")
    for gram, count in grams.most_common():
        if count <= best[0]:  # they overlap, so the rest cover no more
            break
        best = max(best, (text.count(gram), gram))
    return best[0] * n / len(text), best[1]


def bigram_similarity(one: str, other: str, least: float = 0.0) -> float:
    """Dice's coefficient of the pairs of neighbouring characters, 0 to 1; letters, digits and ideographs only.

    Where the lengths or the characters alone keep it below `least`, it may be given as 0.
    """
    if sum(map(str.isalnum, set(one) ^ set(other))) > 2 * (1 - least) * (len(one) + len(other)):
        return 0.0  # two of such characters make one pair at least that the other text lacks
    one, other = ("".join(_WORDS.findall(text)) for text in (one, other))
    shorter, longer = sorted((len(one) - 1, len(other) - 1))
    if shorter < 1:
        return float(one == other)
    if 2 * shorter < least * (shorter + longer):
        return 0.0
    first, second = (Counter(map(str.__add__, text, text[1:])) for text in (one, other))
    return 2 * (first & second).total() / (shorter + longer)


_EDITS = re.compile("[标断句错改修纠校订润转换译加补删去排序简繁填抄复重读]")
_TASK = re.compile(
    "标点|断句|错[别误]?字|病句|[改纠]错|校对|润色|correct|fix|punctuat|proofread|rewrite|edit|capital|repeat", re.IGNORECASE
)
_VERBATIM = re.compile("重复|复述|抄写|跟读|原样|删|去掉|repeat", re.IGNORECASE)


def repeats(question: str, answer: str, least: float, earlier: str = "") -> float:
    """The likeness of an answer to its question if that is all it says, else 0: their `bigram_similarity`, which below `least` may be given as 0.

    The answer to a task about a text (加标点：…, 改错别字：…) is like its question, too. What the question has more than the answer is the task
    there, or it was set `earlier`; and such an answer says something, unless it stands in the question as it is.
    """
    share = bigram_similarity(question, answer, least)
    if share <= least:
        return share
    task = "".join((Counter(question) - Counter(answer)).elements())
    if not (_EDITS.search(task) or _TASK.search(question) or _TASK.search(earlier)):
        return share
    unchanged = "".join(answer.split()) in "".join(question.split())
    return share if unchanged and not _VERBATIM.search(question) else 0.0


def character_similarity(one: str, other: str) -> float:
    """Dice's coefficient of the characters, in whatever order, 0 to 1: how ChatLM tells that a description says what its title says."""
    first, second = set(one), set(other)
    return 2 * len(first & second) / (len(first) + len(second)) if first or second else 1.0


_ENDS = ("…", "...", "。。。")
_ITEM = re.compile(r"[-*+•·●○■□◆▪]\s*\S|\d{1,3}(?:[.、)）]|\s)|[(（]\d{1,3}[)）]|[①-⑳]")


def ellipsis_lines(text: str) -> float:
    """Share of the lines, blank ones left out, that end in an ellipsis, 0 to 1."""
    lines = [line for line in map(str.strip, text.split("\n")) if line] if any(end in text for end in _ENDS) else []
    return sum(line.endswith(_ENDS) for line in lines) / len(lines) if lines else 0.0


def list_lines(text: str) -> float:
    """Share of the lines, blank ones left out, that are items of a list, 0 to 1."""
    lines = [line for line in map(str.strip, text.split("\n")) if line]
    return sum(_ITEM.match(line) is not None for line in lines) / len(lines) if lines else 0.0


# What Latin-1 and Windows-1252 make of UTF-8 (Ã©) and of GBK (ÖÐ¹ú), what GBK makes of a broken character that was saved (锟斤拷), and fresh
# memory (烫烫烫烫)
_CONTINUED = re.escape(bytes(range(0x80, 0xC0)).decode("latin-1") + bytes(range(0x80, 0xC0)).decode("cp1252", "ignore"))
_MOJIBAKE = re.compile(  # written so that the engine can skip to its first character
    r"[\ufffd锟烫屯À-ÖØ-öø-ÿ](?:(?<=\ufffd)|(?<=锟)斤拷(?<![“\"'‘「`]锟斤拷)(?:锟斤拷)*|(?<=烫)烫{3,}|(?<=屯)屯{3,}"
    rf"|(?<=[à-ï])[{_CONTINUED}]{{2}}(?:[à-ï][{_CONTINUED}]{{2}})+|[¡-ÿ](?:[À-ÖØ-öø-ÿ][¡-ÿ])+|(?<=[ÂÃ])[\x80-¿]|(?<=[à-ï])[\x80-¿]{{2}})"
)
_NAMED = ("锟斤拷", "烫烫烫", "烫烫烫烫", "屯屯屯", "屯屯屯屯")
_ABOUT_ENCODINGS = re.compile("乱码|编码|未初始化|[Uu]nicode|UTF-?8|GBK")
# characters that UTF-8 read as GBK is full of: 的 becomes 鐨, 。 becomes 銆
_MISREAD = "".join(
    sorted({mark.encode().decode("gbk", "ignore")[0] for mark in "的一是不了在人有我他这中大来上国和你好要时会可，。、“"})
)
_MAY_BE_WRONG = re.compile(f"[\ufffd锟烫屯À-ÿ{_MISREAD}]")


def mojibake(text: str) -> float:
    """Share of the characters other than white space that show a wrong encoding, 0 to 1."""
    if not _MAY_BE_WRONG.search(text):
        return 0.0
    signs = _MOJIBAKE.findall(text)
    if _ABOUT_ENCODINGS.search(text):  # 锟斤拷是一种乱码
        signs = [sign for sign in signs if sign not in _NAMED]
    wrong = sum(map(len, signs)) + _read_as_gbk(text)
    return wrong / character_count(text) if wrong else 0.0


def _read_as_gbk(text: str) -> int:
    """The number of characters that are UTF-8 read as GBK: threes whose bytes are two common characters in UTF-8. One such character by itself
    (陆家浜路, 锛子) is a word of Chinese, and what stands beside it there makes no UTF-8 of the two."""
    count = 0
    for run in _threes().findall(text):
        meant = run.encode("gbk").decode("utf-8", "replace")
        common = sum(map(_is_common, meant))
        count += len(run) if common == len(meant) or (len(run) > 3 and common > 0.7 * len(meant)) else 0
    return count


@cache
def _threes() -> re.Pattern[str]:
    """Runs of three characters of GBK whose six bytes are two characters of UTF-8 by their form."""
    lead, rest = (*range(0xE2, 0xEA), 0xEF), range(0x80, 0xC0)

    def either(highs: Iterable[int], lows: Iterable[int]) -> str:
        return re.escape("".join(bytes(pair).decode("gbk", "ignore") for pair in product(highs, lows)))

    return re.compile(f"(?:[{either(lead, rest)}][{either(rest, lead)}][{either(rest, rest)}])+")


def _is_common(character: str) -> bool:
    """True for the 3,755 commonest Han characters, which are the first level of GB 2312, and for marks of Chinese."""
    try:
        high = character.encode("gb2312")[0]
    except UnicodeEncodeError:
        return False
    return high in (0xA1, 0xA3) or 0xB0 <= high <= 0xD7


TRANSLATION = tuple(
    "翻译 英译 汉译 中译 日译 法译 德译 俄译 韩译 译成 译为 译英 译汉 译中 译日 译法 译德 译俄 译韩 translate translation".split()
)


def is_translation_task(prompt: str, words: Iterable[str] = TRANSLATION) -> bool:
    """True for a prompt that asks for a translation, which a small Chinese model has no second language for. 编译成 is none."""
    prompt = prompt.lower().replace("编译", "") if "译" in prompt or "trans" in prompt.lower() else prompt.lower()
    return any(word.lower() in prompt for word in words)


_RULE_LINE = re.compile(r"-{5,}|={5,}|[─━┄┅]{3,}|^[ \t]*+\|?(?:[ \t]*+:?-{2,}+:?[ \t]*+\|)+", re.MULTILINE)
_CELLS = re.compile(r"^[^\n|]*\|[^\n|]*\|.*\n[^\n|]*\|[^\n|]*\|", re.MULTILINE)  # two lines in a row with two bars each
_ASKS_TABLE = re.compile(r"表格")


def is_table(text: str) -> bool:
    """True for a text that draws a table in characters (rules of dashes, bars line after line), or speaks of one (表格), as a prompt does."""
    return any(pattern.search(text) for pattern in (_ASKS_TABLE, _RULE_LINE, _CELLS))
