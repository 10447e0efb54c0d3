"""著 in simplified Chinese: 着, the particle and the verb zháo, or still 著, to write and a work.

Traditional text prints one character for both. Which it is, the words around it say: jieba's dictionary counts how often a word was met in print,
and knows names (李白著的詩集) from verbs (看著的書). It is read when the first such character comes, as a sorted list: two hundredths of a
second, and a look-up takes a microsecond.
"""

from __future__ import annotations

import functools
import math
import re
from bisect import bisect_left
from importlib.util import find_spec
from pathlib import Path

_TOTAL = math.log(60_101_964)  # words in the text that the dictionary was counted on
_BEFORE, _AFTER = 3, 4  # characters that may make words with those around
_LONGEST = 4  # characters of a word that is looked for
_SEEN = 10  # a word with 著 in it is one from here; the dictionary has some by mistake (充满著)
_NAMES = 60  # three-character names in the dictionary from which their first character is a surname

# begin a word with 著 before them (著名, 著作) or one of their own (名片, 作业)
_WORDS = "名作述录称者书文译"
_REACHED = "火陆重手急想凉色落眼实力迷魔装床墨慌边"  # 着 zháo or zhuó before these
_WORKS = "名原巨专论编合译遗拙显昭卓土所撰新佳杂丛彰知他她曾共自近大者"  # 著 after these: 名著, 显著, 所著
_PRONOUNS = "我你他她谁"
_VERBS = (  # sure to be followed by the particle
    "看听说走跑坐站躺拿抱背带戴穿想笑哭叫喊唱跳望盯瞪睁闭含随跟沿朝向对为凭接继续活睡醒吃喝住忙恨护顾照映闪燃烧冒飘浮漂流飞骑关挂贴刻插存在放摆堆铺盖罩披围绕裹夹"
    "抬举握牵拉推拖捧扛挑谈味满引响持留靠倚陪伴逼压拥踏踩爬冲迎追赶躲藏闷露散空醉病疼痛饿渴悬缠有不依因藉恼求守问答哼抖颤晃摇转变动瞧凝视挺昂低垂弯蹲趴跪累忍撑按抓扯扶摸"
    "抚衣沉执胶固附借延练跃信告纵待受过乘征等爱害绊治造展示闹吵养育享珍期盼玩写读"
)
_ANY = re.compile("著")
_SURE = re.compile(f"著(?<=[{_VERBS}]著)(?=[\u3400-\u9fff])(?![{_WORDS}{_REACHED}的有])")
_MENTIONED = "由是为被据读买和与及"  # words before an author's name
_MARKS = "，。！？；：、…～~）)」』”’》"
_WRITINGS = (
    *"书诗词文史传论曲赋集戏《〈“",
    *"小说 散文 剧本 教材 专著 童话 日记 游记 作品 经典 名著 巨著 一书 这本 那本 一本 这部 一部 那部".split(),
)


def with_particles(text: str, traditional: bool) -> str:
    """The text with 着 for those 著 that it stands for; see `is_particle`."""
    text = _SURE.sub("着", text)
    if "著" not in text:
        return text
    return _ANY.sub(lambda match: "着" if is_particle(text, match.start(), traditional) else "著", text)


def is_particle(text: str, place: int, traditional: bool = True) -> bool:
    """True where the 著 at this place of a text, simplified but for it, is 着. In doubt, it is in text known to be traditional."""
    start, end = _run(text, place)
    before, after = text[start:place], text[place + 1 : end]
    following = text[place + 1 : place + 3]
    if not before:
        return after[:1] in tuple(_REACHED) and _likelier(before, after)
    last = before[-1]
    if last == "所" and after[:1] not in tuple(_REACHED):
        return False
    if after[:1] == "了" and after[1:2] in tuple(_REACHED):
        return True
    if (after and after[0] in _WORDS + _REACHED) or (last in _WORKS and _tag(before[-2:]).startswith(("v", "n")) and before[1:]):
        return _likelier(before, after)
    if last == "大":
        return after[:1] not in ("", "的", "是", "为", "有")
    if last in _WORKS or last in _PRONOUNS or _is_author(before, text[place + 1 : place + 6]):
        return False
    if last in _VERBS or before.endswith("打正"):
        return True
    if any(_tag(word).startswith(("v", "a")) for word in _ends(before)):
        return True
    if not traditional:
        return False
    if not after and (not following or following[0] in _MARKS):
        return len(before) > _LONGEST or _tag(last).startswith(("v", "a"))
    return following[:1] not in tuple("有于闻籍史论说之《〈") and bool(following[:1].strip())


def _run(text: str, place: int) -> tuple[int, int]:
    """The start and end of the ideographs around a place, a few at most."""
    start = end = place
    while start > max(0, place - 12) and "\u3400" <= text[start - 1] <= "\u9fff":
        start -= 1
    while end < min(len(text), place + 6) and "\u3400" <= text[end] <= "\u9fff":
        end += 1
    return start, end


def _likelier(before: str, after: str) -> bool:
    """True where the words are likelier with 着 than with 著."""
    before, after = before[-_BEFORE:], after[:_AFTER]
    return _likelihood(f"{before}着{after}") > _likelihood(f"{before}著{after}")


@functools.lru_cache(maxsize=4096)
def _likelihood(text: str) -> float:
    """The logarithm of how likely the likeliest words are that make up a text."""
    best = [0.0]
    for end in range(1, len(text) + 1):
        ways = []
        for start in range(max(0, end - _LONGEST), end):
            word = text[start:end]
            count = _entry(word)[0]
            if len(word) > 1 and _is_mistake(word, count):
                count = 0
            if count or len(word) == 1:
                ways.append(best[start] + math.log(max(count, 1)) - _TOTAL)
        best.append(max(ways))
    return best[-1]


def _is_mistake(word: str, count: int) -> bool:
    """True for a word with 著 or 着 that the dictionary has with the other of the two: 充满著, 着作, 经典着作, 巨着."""
    before, particle, after = word.partition("着")
    if not particle:
        return "著" in word and count < _SEEN
    if not before:
        return after[0] in _WORDS
    return count < _SEEN and (before[-1] in _WORKS or (after[:1] in tuple(_WORDS) and before[-1] not in _VERBS))


def _is_author(before: str, after: str) -> bool:
    """True where the words before 著 end in a name, and what comes next is said of a work."""
    if after[:1] not in ("的", "有", "", *_MARKS, "《", "〈", "（", "("):
        return any(_tag(word).startswith("nr") and _is_surname(word[0]) for word in _ends(before))
    names = {before, *(before.rpartition(word)[2] for word in _MENTIONED)}
    if any(_tag(word).startswith("nr") for word in _ends(before)):
        return True
    if after[:1] == "的" and not after[1:].startswith(_WRITINGS):
        return False
    for name in names:
        if not 2 <= len(name) <= _LONGEST or (name[-1] in _VERBS and not _is_surname(name[0])):
            continue
        verb = any(_tag(word)[:1] in ("v", "a", "d") for word in (name, name[-2:]))
        if _is_surname(name[0]) and len(name) <= 3 and not verb:
            return True
        if after[:1] == "的" and (_tag(name).startswith("n") or not (verb or _tag(name[-1])[:1] == "v")):
            return True
    return False


def _ends(text: str) -> list[str]:
    """The words that a text may end in: four, three and two characters."""
    return [text[-length:] for length in range(min(_LONGEST, len(text)), 1, -1)]


def is_word(text: str) -> bool:
    """True for a word that the dictionary has."""
    return _entry(text)[0] > 0


def _tag(word: str) -> str:
    """The part of speech of a word of two characters and more, or of one; empty if the dictionary does not have it."""
    return _entry(word)[1]


@functools.lru_cache(maxsize=16384)
def _entry(word: str) -> tuple[int, str]:
    """The number of times that a word was met, and its part of speech; (0, "") if the dictionary does not have it."""
    key = f"{word} ".encode()
    lines = _lines()
    place = bisect_left(lines, key)
    if place == len(lines) or not lines[place].startswith(key):
        return 0, ""
    _, count, tag = lines[place].decode().split(" ")
    return int(count), tag


@functools.cache
def _lines() -> list[bytes]:
    """The lines of jieba's dictionary, `word count part-of-speech`, in order."""
    package = find_spec("jieba")
    assert package is not None and package.origin is not None
    return sorted(filter(None, Path(package.origin).with_name("dict.txt").read_bytes().split(b"\n")))


@functools.cache
def _is_surname(character: str) -> bool:
    """True for a character that many three-character names begin with."""
    key, lines = character.encode(), _lines()
    first, last = bisect_left(lines, key), bisect_left(lines, key[:-1] + bytes([key[-1] + 1]))
    width = 3 * len("李".encode())
    return sum(line.endswith(b" nr") and line[width : width + 1] == b" " for line in lines[first:last]) >= _NAMES
