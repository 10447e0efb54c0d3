"""The script a text is written in, and traditional → simplified Chinese.

OpenCC's `t2s` does the conversion. It leaves a few things wrong that matter in running text, measured with OpenCC 1.4.2: every 著 stays
(看著, where simplified Chinese writes 看着), a lone 乾 becomes 干 even in names (李乾順 → 李干顺), 祇 in the sense of "only" stays. Those are
handled here, by rules that act only where they are sure and leave the character alone where they are not. Simplified text goes to no converter.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tasks.text import mixed, t2s
from tasks.text.ledger import NO_LEDGER, Ledger
from tasks.text.particle import is_word, with_particles

if TYPE_CHECKING:
    import numpy as np

# CJK ideographs: the unified blocks, all extensions to date, compatibility forms and the zero 〇
HAN = "\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
_SCRIPTS = ("space", "han", "kana", "hangul", "latin", "cyrillic", "digit", "other")
_RANGES = {  # within the basic plane, as (first, last)
    "han": (
        (0x3007, 0x3007),
        (0x3400, 0x4DBF),
        (0x4E00, 0x9FFF),
        (0xF900, 0xFAFF),
        (0xD840, 0xD8BF),
    ),  # the last: planes 2 and 3 in UTF-16
    "kana": (
        (0x3041, 0x3096),
        (0x30A1, 0x30FA),
        (0x31F0, 0x31FF),
        (0xFF66, 0xFF9D),
    ),  # without ー and ・, which Chinese text borrows
    "hangul": ((0x1100, 0x11FF), (0x3130, 0x318F), (0xAC00, 0xD7A3)),
    "latin": ((0x41, 0x5A), (0x61, 0x7A), (0xC0, 0x24F), (0x1E00, 0x1EFF), (0xFF21, 0xFF3A), (0xFF41, 0xFF5A)),
    "cyrillic": ((0x400, 0x52F),),
    "digit": ((0x30, 0x39), (0xFF10, 0xFF19)),
}
_SKIPPED = len(_SCRIPTS)  # the second half of a character outside the basic plane
_KINDS = _SKIPPED + 1  # of UTF-16 code units
_ANY_HAN = re.compile(f"[{HAN}]")


@functools.cache
def _table() -> np.ndarray:
    """UTF-16 code unit → place of its script in `_SCRIPTS`."""
    import numpy as np

    table = np.full(0x10000, _SCRIPTS.index("other"), np.intp)
    for name, ranges in _RANGES.items():
        for first, last in ranges:
            table[first : last + 1] = _SCRIPTS.index(name)
    table[[code for code in range(0xD800) if chr(code).isspace()]] = _SCRIPTS.index("space")
    table[0xDC00:0xE000] = _SKIPPED
    return table


def script_counts(text: str) -> dict[str, int]:
    """Characters of each script in a text: space, han, kana, hangul, latin, cyrillic, digit, other."""
    import numpy as np

    units = np.frombuffer(text.encode("utf-16-le", "surrogatepass"), np.uint16)
    counts = np.bincount(_table().take(units), minlength=_SKIPPED + 1)
    return dict(zip(_SCRIPTS, counts.tolist(), strict=False))


def script_shares(text: str) -> dict[str, float]:
    """Share of each script among the characters other than white space: han, kana, hangul, latin, cyrillic, digit, other; 0 to 1 each."""
    counts = script_counts(text)
    total = sum(counts.values()) - counts.pop("space")
    return {name: count / total if total else 0.0 for name, count in counts.items()}


def shares_of_all(texts: Sequence[str]) -> list[dict[str, float]]:
    """`script_shares` of each of many texts."""
    import numpy as np

    joined = "".join(texts)
    units = np.frombuffer(joined.encode("utf-16-le", "surrogatepass"), np.uint16)
    scripts = _table().take(units)
    sizes = [len(text) if len(units) == len(joined) else len(text.encode("utf-16-le", "surrogatepass")) // 2 for text in texts]
    if len(texts) > 1:
        scripts = scripts + np.repeat(np.arange(0, _KINDS * len(texts), _KINDS), sizes)
    counts = np.bincount(scripts, minlength=_KINDS * len(texts)).reshape(-1, _KINDS)[:, 1:_SKIPPED]
    totals = np.maximum(1, counts.sum(axis=1, keepdims=True))
    return [dict(zip(_SCRIPTS[1:], shares, strict=True)) for shares in (counts / totals).tolist()]


def han_share(text: str) -> float:
    """Share of the characters other than white space that are Chinese ideographs, 0 to 1; 0 for an empty text."""
    return script_shares(text)["han"]


_KANA = re.compile("[ぁ-ゖァ-ヺｦ-ﾝ]")


def is_japanese(text: str) -> bool:
    """True for a text whose main language is ja; quick where there is no kana."""
    return _KANA.search(text) is not None and main_language(text) == "ja"


_GRAMMAR = re.compile("[的了是这這们們我他她也就為为对對於被吗嗎呢吧把讓让從从]")


def main_language(text: str) -> str:
    """The main language, judged by script: zh, ja, ko, en (any Latin script), ru (any Cyrillic), or other.

    An ideograph says more than a letter, so it weighs two. Japanese is Chinese characters with kana among them, a quarter at least. So are some
    Chinese articles about Japan, which 的 and its like tell: on real articles, they are less than 3 % of the characters of Japanese and more
    than 5 % of Chinese. With both, 2 of 634 Chinese and none of 189 Japanese articles is taken for the other; by kana alone it is 6.
    """
    if _plainly_chinese(text):
        return "zh"
    share = script_shares(text)
    han, kana, hangul = share["han"], share["kana"], share["hangul"]
    weight = {"zh": 2 * (han + kana), "ko": 2 * hangul, "en": share["latin"], "ru": share["cyrillic"]}
    best = max(weight, key=lambda name: weight[name])
    if weight[best] == 0:
        return "other"
    if best == "zh" and kana > 0.25 * (han + kana):
        counts = script_counts(text)
        return "ja" if 8 * len(_GRAMMAR.findall(text)) < counts["kana"] else "zh"
    return best


_IDEOGRAPHS = bytes([*range(0x34, 0x4D), *range(0x4E, 0xA0)])  # upper bytes of UTF-16 that only ideographs have
_KANA_AND_MARKS = b"\x30\x31\xff"  # those of all kana, and of marks


def _plainly_chinese(text: str) -> bool:
    """True for a text that is Chinese whatever its other characters are: a quick look, which may miss some."""
    upper = text.encode("utf-16-le", "surrogatepass")[1::2]
    others = upper.translate(None, _IDEOGRAPHS)
    han, kana = len(upper) - len(others), len(others) - len(others.translate(None, _KANA_AND_MARKS))
    return han > len(others) and han > 3 * kana


# -- traditional → simplified -------------------------------------------------------------------------------------------

# What OpenCC would get wrong is set aside. Both spellings around it, since texts mix scripts.
# qián 乾 in reign titles, palaces and names, where it writes 干; 昇 in two names; zhǐ 徵, a note of the scale, where it writes 征; the surname 於
_DRY = "燥净淨杯枯涸脆旱洗粮糧草柴咳呕嘔瘪癟癣癬冰材果货貨股爹妈媽娘亲親笑等巴瞪嚎号號焦裂湿濕结結电電衣菜酪"
_QIAN = (
    "乾(?=[祐符封德興兴寧宁化統统亨貞贞清縣县安綱纲健位宮宫嘉元坤隆陵卦象州道]|[為为]天|[東东西]五|[順顺學学])"
    "|乾(?<=[康雍]乾)|乾(?<=乾乾)(?<![餅饼燥]乾乾)|乾(?=乾)(?<![餅饼燥]乾)"
    f"|乾(?<=[孫孙顧顾蕭萧趙赵劉刘陳陈張张楊杨]乾)(?![{_DRY}的著着了掉透得])"
)
_ASIDE = tuple(  # what each begins with, and of what it finds the last character
    (sign, re.compile(pattern))
    for sign, pattern in (
        ("乾", _QIAN),
        ("昇", "昇(?<=[洪畢毕]昇)"),
        ("徵", "徵(?<=[變变]徵)(?![收求兵集召税稅用信])|徵(?<=角徵)|徵(?=羽)"),
        ("姓", "姓於"),
        ("坏", "坏"),
        ("噁", "噁(?=[唑嗪英])"),
        ("沈", f"(?<![{HAN}])沈(?=[{HAN}]{{2}})"),  # a surname, where nothing tells the script
    )
)
_IS_QIAN = re.compile(
    f"乾(?![{_DRY}])(?<![饼餅曬晒風风烘擦吹晾腐肉果萄燥涸枯喝烤瀝沥榨抹吸擰拧豇筍笋魚鱼蝦虾口嘴舌陰阴]乾)"
)  # in simplified text

_SLIPS = (  # in simplified text, which has no such words
    ("乾", re.compile("乾(?=[燥净杯枯涸脆旱洗粮])|乾(?<=[饼晾晒烘擦腐]乾)"), "干"),
    ("袷", re.compile(f"(?<![{HAN}])袷(?=[衣裙](?![{HAN}]))"), "夹"),
)
_SINK = "消轰击下低阴昏深冷静西"  # 沉 after these; alone, 沈 is a name
_MARKS = re.compile("[「」『』｢｣]")
_MEASURES = {"吋": "寸", "呎": "尺", "哩": "里"}
_MEASURE = re.compile("英?[吋呎]|(?<=[0-9一二三四五六七八九十百千万两几数半])(?: (?=哩))?哩")
_END = re.compile(r"[。！？；\n]")
_TRICKY = re.compile("[祇藉於沈锺徵镕甚]")
_AFTER = tuple(
    (character, re.compile(pattern), instead)
    for character, pattern, instead in (
        ("祇", "祇(?=[有是能要好得会]|不过)|祇(?<=不祇)", "只"),
        ("藉", "藉(?<![慰狼蕴枕藉典书]藉)(?![藉田])|藉(?<![慰蕴]藉)(?:(?<!藉藉)|(?<=[慰狼蕴枕]藉藉))(?=[着著])", "借"),
        ("於", "於(?=单)(?<!太子於)|於(?<=[对由关用限生属至等终位处]於)", "于"),
        ("沈", f"沈(?<=[{_SINK}]沈)(?=[著着了的，。]|$)|沈(?=[著着](?![《〈]))", "沉"),
        ("锺", "锺(?!书)(?<![千万]锺)", "钟"),
        ("徵", "徵(?=[收求兵集召税用信])", "征"),
        ("甚", "甚(?=么)", "什"),
        ("镕", "镕(?=[化解岩炉铸融合接点炼断渣])|镕(?<=[消销]镕)", "熔"),
    )
)
_YOUNGEST = re.compile("么(?:(?<![什甚怎这那多要]么)(?=[儿女妹弟叔爸孙])|(?<=老么))")
_SUNK = re.compile("沈")
_MOST = 20  # times as many characters that tell a text is traditional as those that it is not, from which it is
_TRADITIONAL = 0.02  # share of its ideographs that conversion changes, from which a text counts as traditional


def simplify(text: str, ledger: Ledger = NO_LEDGER) -> str:
    """Traditional Chinese characters → simplified ones, and 「」『』 → “”‘’, as mainland China prints them.

    Simplified text, other scripts and 乾隆, 著名, 瞭望 stay as they are, in a text of both scripts too, and characters that are mentioned.
    """
    if text.isascii():
        return text
    touched, old, new, hints = t2s.found(text)
    if not touched:
        return text
    simple = _simplified(text, old, new, hinted=bool(hints))
    ledger.change("conversion", text, simple)
    return simple


def _simplified(text: str, old: int, new: int, hinted: bool) -> str:
    """The text converted where it is traditional, and where nothing tells what it is."""
    if new and not old:
        for sign, pattern, instead in _SLIPS:
            text = pattern.sub(instead, text) if sign in text else text
        return text
    simple = _converted(text, bool(old))
    if simple == text:
        return text
    if not old:  # quotes are no evidence
        return "".join(map(_unquoted, text, simple)) if _MARKS.search(text) else simple
    if old < _MOST * new:
        return mixed.of_mixed(text, simple)
    simple = mixed.of_traditional(text, simple, hinted)
    return _MEASURE.sub(_measure, simple) if any(map(simple.__contains__, _MEASURES)) else simple


def _unquoted(before: str, after: str) -> str:
    return before if _MARKS.match(before) else after


def _converted(text: str, traditional: bool) -> str:
    """The text converted throughout, character by character."""
    aside = [place for sign, pattern in _ASIDE if sign in text for place in _places(sign, pattern, text, traditional)]
    simple = _around(text, sorted(aside)) if aside else t2s.convert(text)
    if len(simple) != len(text):
        simple = "".join(map(t2s.convert, text))
    if "觔" in text:
        simple = "".join("筋" if text.startswith("觔斗", place) else character for place, character in enumerate(simple))
    if _TRICKY.search(simple):
        for character, pattern, instead in _AFTER:
            if character in simple:
                simple = pattern.sub(instead, simple)
    if "么" in text:
        simple = _YOUNGEST.sub("幺", simple)
    if traditional and "沈" in simple:
        simple = _SUNK.sub(_sunk, simple)
    return with_particles(simple, traditional) if "著" in simple else simple


def _sunk(match: re.Match[str]) -> str:
    """沉 for a 沈 of traditional text that makes a word with those around it as 沉 alone, and begins none as 沈."""
    text, place = match.string, match.start()
    if any(is_word(text[place : place + length]) for length in (2, 3)):
        return "沈"
    around = [(start, start + length) for length in (2, 3, 4) for start in range(max(0, place - length + 1), place + 1)]
    return "沉" if any(is_word(text[start:place] + "沉" + text[place + 1 : end]) for start, end in around) else "沈"


def _places(sign: str, pattern: re.Pattern[str], text: str, traditional: bool) -> list[int]:
    """The places of characters that OpenCC would get wrong. Simplified text has no 乾 gān of its own, so what it has is qián."""
    if sign == "乾" and t2s.changed(text.replace("乾", "")) <= _TRADITIONAL:
        pattern = _IS_QIAN
    found = pattern.finditer(text)
    if sign == "沈":
        return [] if traditional else [match.start() for match in found]
    if sign == "坏":  # of 壞, unless its clause is traditional and goes on otherwise than 打坏了
        return [match.start() for match in found if _is_broken(text, match.start())]
    return [match.end() - 1 for match in found]


def _is_broken(text: str, place: int) -> bool:
    """True for a 坏 that is simplified 壞, and no clay (坯): unless the sentence is traditional."""
    if text[place + 1 : place + 2] in ("了", "掉"):
        return True
    end = _END.search(text, place)
    start = next((at for at in range(place, 0, -1) if _END.match(text[at - 1])), 0)
    around = t2s.kinds(text[start : end.start() if end else len(text)])
    old, new = (int((around & kind > 0).sum()) for kind in (t2s.TRADITIONAL | t2s.VARIANT, t2s.SIMPLIFIED))
    return old <= new


def _around(text: str, places: list[int]) -> str:
    """Convert all but the characters at these places."""
    pieces, position = [], 0
    for place in places:
        pieces += [t2s.convert(text[position:place]), text[place]]
        position = place + 1
    return "".join([*pieces, t2s.convert(text[position:])])


def _measure(match: re.Match[str]) -> str:
    return "英" + _MEASURES[match.group()[-1]]


def traditional_share(text: str) -> float:
    """Share of the ideographs that simplification would change, 0 to 1: near 0 in simplified text, 0.2 to 0.4 in traditional."""
    han = script_counts(text)["han"]
    converted = t2s.convert(text)
    if not han or len(converted) != len(text):  # a phrase of another length: compare what can be compared
        converted = "".join(t2s.convert(character) for character in text)
    return sum(a != b for a, b in zip(text, converted, strict=True)) / han if han else 0.0
