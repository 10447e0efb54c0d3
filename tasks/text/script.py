"""Which script a text is written in, and traditional → simplified Chinese.

OpenCC's `t2s` does the conversion. It leaves a few things wrong that matter in running text, measured with OpenCC 1.4.2: every 著 stays
(看著, where simplified Chinese writes 看着), a lone 乾 becomes 干 even in names (李乾順 → 李干顺), 祇 in the sense of "only" stays. Those are
handled here, by rules that act only where they are sure and leave the character alone where they are not: most 著 of traditional text, few
of simplified text, which has no other use for it than 著作.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

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
_ANY_HAN = re.compile(f"[{HAN}]")


@functools.cache
def _table() -> np.ndarray:
    """UTF-16 code unit → place of its script in `_SCRIPTS`."""
    import numpy as np

    table = np.full(0x10000, _SCRIPTS.index("other"), np.uint8)
    for name, ranges in _RANGES.items():
        for first, last in ranges:
            table[first : last + 1] = _SCRIPTS.index(name)
    table[[code for code in range(0xD800) if chr(code).isspace()]] = _SCRIPTS.index("space")
    table[0xDC00:0xE000] = _SKIPPED
    return table


def counts(text: str) -> dict[str, int]:
    """Characters of each script in a text: space, han, kana, hangul, latin, cyrillic, digit, other."""
    import numpy as np

    units = np.frombuffer(text.encode("utf-16-le", "surrogatepass"), np.uint16)
    found = np.bincount(_table()[units], minlength=_SKIPPED + 1)
    return dict(zip(_SCRIPTS, found.tolist(), strict=False))


def shares(text: str) -> dict[str, float]:
    """Share of each script among the characters other than white space: han, kana, hangul, latin, cyrillic, digit, other; 0 to 1 each."""
    found = counts(text)
    total = sum(found.values()) - found.pop("space")
    return {name: count / total if total else 0.0 for name, count in found.items()}


def han_share(text: str) -> float:
    """Share of the characters other than white space that are Chinese ideographs, 0 to 1; 0 for an empty text."""
    return shares(text)["han"]


def language(text: str) -> str:
    """The main language, judged by script alone: zh, ja, ko, en (any Latin script), ru (any Cyrillic), or other.

    An ideograph says more than a letter, so it weighs two. Japanese is Chinese characters with kana among them: about every second character
    is kana there, every tenth at most in a Chinese article about Japan, so a quarter decides.
    """
    share = shares(text)
    han, kana, hangul = share["han"], share["kana"], share["hangul"]
    weight = {"zh": 2 * (han + kana), "ko": 2 * hangul, "en": share["latin"], "ru": share["cyrillic"]}
    best = max(weight, key=lambda name: weight[name])
    if weight[best] == 0:
        return "other"
    if best == "zh" and kana > 0.25 * (han + kana):
        return "ja"
    return best


# qián 乾, in reign titles, palaces and names, where OpenCC writes 干; and one 昇. Both spellings around it, since texts mix scripts.
_BEFORE = re.compile(
    "乾(?=[祐符封德興兴寧宁化統统亨貞贞清縣县安綱纲健位宮宫嘉元坤隆陵卦象州道]|[為为]天|[東东西]五|[順顺學学])"
    "|乾(?<=[康雍]乾)|乾(?<=乾乾)|乾(?=乾)|昇(?<=[洪畢毕]昇)"
)
# What OpenCC leaves: the particle 著, which is 着 in simplified Chinese, but not 著 zhù, to write or a work
_WORK = "作者名述录称"  # 著 zhù before these: 著作, 著名
_AUTHORED = "名原巨专论编合译遗拙显昭卓土所撰新佳杂丛彰知他她曾共自近大者"  # and after these: 名著, 原著, 显著
_VERBS = (  # sure to be followed by the particle, whatever comes next
    "看听说走跑坐站躺拿抱背带戴穿想笑哭叫喊唱跳望盯瞪睁闭含随跟沿朝向对为凭接继续活睡醒吃喝住忙恨护顾照映闪燃烧冒飘浮漂流飞骑关挂贴刻插存在放摆堆铺盖罩披围绕裹夹"
    "抬举握牵拉推拖捧扛挑谈味满引响持留靠倚陪伴逼压拥踏踩爬冲迎追赶躲藏闷露散空醉病疼痛饿渴悬缠有不依因藉恼求守问答哼抖颤晃摇转变动瞧凝视挺昂低垂弯蹲趴跪累忍撑按抓扯扶摸"
    "抚衣沉执胶固附"
)
_PARTICLE = re.compile(
    f"著(?<=[{_VERBS}]著)(?![{_WORK}])|著(?<=[执沉胶固附]著)|著(?<![{_AUTHORED}]著)(?=[火陆重手急想凉色落眼实力迷魔装床墨慌边])"
)
_LIKELY = re.compile(
    f"著(?<=[{HAN}]著)(?<![{_AUTHORED}]著)(?=[\\w“‘「『])(?![{_WORK}书有于闻籍文史论说之])"
)  # in text that was traditional
_AFTER = (
    ("祇", re.compile("祇(?=[有是能要好得会]|不过)|祇(?<=不祇)"), "只"),
    ("衹", re.compile("衹"), "只"),
    ("徬", re.compile("徬(?=徨)"), "彷"),
    ("藉", re.compile("藉(?=[着著])"), "借"),
    ("暸", re.compile("暸(?=解)"), "了"),
)
_QUOTES = str.maketrans("「」『』｢｣", "“”‘’“”")


@functools.cache
def _convert() -> Callable[[str], str]:
    import opencc

    convert: Callable[[str], str] = opencc.OpenCC("t2s").convert
    return convert


def simplify(text: str) -> str:
    """Traditional Chinese characters → simplified ones, and 「」『』 → “”‘’, as mainland China prints them.

    Simplified text, other scripts and 乾隆, 著名, 瞭望 stay as they are.
    """
    if not _ANY_HAN.search(text):
        return text
    pieces, position = [], 0
    for match in _BEFORE.finditer(text):
        pieces += [_convert()(text[position : match.start()]), match.group()]
        position = match.end()
    simple = "".join([*pieces, _convert()(text[position:])])
    if "著" in simple:
        traditional = simple != text
        simple = _PARTICLE.sub("着", simple)
        simple = _LIKELY.sub("着", simple) if traditional else simple
    for character, pattern, instead in _AFTER:
        if character in simple:
            simple = pattern.sub(instead, simple)
    return simple.translate(_QUOTES) if "「" in simple or "『" in simple or "｢" in simple else simple


def traditional_share(text: str) -> float:
    """Share of the ideographs that simplification would change, 0 to 1: near 0 in simplified text, 0.2 to 0.4 in traditional."""
    han = counts(text)["han"]
    converted = _convert()(text)
    if not han or len(converted) != len(text):  # a phrase of another length: compare what can be compared
        converted = "".join(_convert()(character) for character in text)
    return sum(a != b for a, b in zip(text, converted, strict=True)) / han if han else 0.0
