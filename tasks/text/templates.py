"""What a wiki template leaves in running text.

Most leave nothing: infoboxes, navigation, citations, notices. Those that wrap words of a sentence (a foreign name, a date, a unit) are listed
here, because without them the sentence has a hole: 亚里士多德（，前384年）.
"""

from __future__ import annotations

import re
from collections.abc import Callable

SUP, SUB, END = "\x04", "\x06", "\x05"  # marks of raised and lowered text, resolved once a page is whole
Arguments = dict[str, str]  # by name; those without a name are "1", "2", …

_NAMED = re.compile(r"\s*([A-Za-z0-9_ \-\u3400-\u9fff]{1,40}?)\s*=(?!=)")


def names(text: str) -> list[str]:
    """Names separated by commas."""
    return [name.strip() for name in text.split(",")]


_LANGUAGES = dict(
    pair.split()
    for pair in names(
        "en 英语, ja 日语, jp 日语, ko 韩语, de 德语, fr 法语, ru 俄语, es 西班牙语, it 意大利语, la 拉丁语, pt 葡萄牙语, el 希腊语, "
        "grc 古希腊语, ar 阿拉伯语, nl 荷兰语, vi 越南语, th 泰语, sv 瑞典语, pl 波兰语, cs 捷克语, hu 匈牙利语, fi 芬兰语, da 丹麦语, "
        "no 挪威语, tr 土耳其语, uk 乌克兰语, he 希伯来语, hi 印地语, fa 波斯语, mn 蒙古语, bo 藏语, sa 梵语, ms 马来语, id 印尼语, "
        "ro 罗马尼亚语, bg 保加利亚语, my 缅甸语"
    )
)
_UNITS = dict(
    pair.split()
    for pair in names(
        "km 公里, m 米, cm 厘米, mm 毫米, mi 英里, ft 英尺, in 英寸, kg 公斤, g 克, t 吨, lb 磅, km2 平方公里, sqkm 平方公里, m2 平方米, "
        "sqmi 平方英里, ha 公顷, acre 英亩, km/h 公里/小时, l 升"
    )
)
# which argument is the text
_FIRST = names(
    "nowrap, nobr, nobreak, j, small, smaller, big, large, larger, center, nobold, noitalic, keep, strong, em, b, i, u, s, sic, abbr, "
    "tooltip, math, mvar, ipa, unicode, script, nihongo, jpn, flag, flagcountry, ruby, rubyh, zh-hans, zh-hant, zh, underline, code, red, "
    "green, blue, quote, cquote, quotation, blockquote, bquote, poem, text, block, heimu, 黑幕, censored, spoiler, h0, sm, "
    # doubts about a passage, which they wrap
    "citation needed, citation needed span, fact, cn, refspan, 来源请求, 來源請求, which, who, whom, when, where, clarify, vague, dubious, verify"
)
_SECOND = names("lang, color, colour, fontcolor, font color, 顏色, 颜色, transl, translit, size, resize")
_LINKS = names(
    "le, link-en, link-ja, link-de, link-fr, link-ru, link-ko, link-es, link-it, link-la, link-vi, link-uk, link-pl, link-pt"
)


def arguments(parts: list[str]) -> Arguments:
    """`["甲", "lang=en", "乙"]` → {"1": "甲", "lang": "en", "2": "乙"}"""
    found: Arguments = {}
    place = 0
    for part in parts:
        named = _NAMED.match(part)
        if named:
            found[named.group(1).lower()] = part[named.end() :].strip()
        else:
            place += 1
            found[str(place)] = part.strip()
    return found


def _at(place: int) -> Callable[[Arguments], str]:
    return lambda given: given.get(str(place)) or given.get("text") or given.get("quote", "")


def _display(local: int, display: int) -> Callable[[Arguments], str]:
    """Links to another wiki's article: the text to show if there is one, else the local title."""
    return lambda given: given.get(str(display)) or given.get("d") or given.get(str(local), "")


def _born_died(given: Arguments) -> str:
    """{{bd|1879年|3月14日|1955年|4月18日|…}} → 1879年3月14日－1955年4月18日"""
    born, died = given.get("1", "") + given.get("2", ""), given.get("3", "") + given.get("4", "")
    return f"{born}－{died}" if died else born


def _convert(given: Arguments) -> str:
    """{{convert|5|km|mi}} → 5公里; {{convert|5|-|10|km}} → 5-10公里"""
    if given.get("2") in ("-", "–", "to", "and", "x", "by", "至"):
        value, unit = given.get("1", "") + given["2"] + given.get("3", ""), given.get("4", "")
    else:
        value, unit = given.get("1", ""), given.get("2", "")
    return value + (_UNITS.get(unit.lower()) or f" {unit}").rstrip()


def _value(given: Arguments) -> str:
    power = given.get("e", "")
    return given.get("1", "") + (f"×10{SUP}{power}{END}" if power else "") + (f" {given['u']}" if given.get("u") else "")


def _fraction(given: Arguments) -> str:
    """{{frac|2}} → 1/2; {{frac|2|3}} → 2/3; {{frac|1|2|3}} → 1 2/3"""
    *whole, top, bottom = ["", "1", *(given[place] for place in ("1", "2", "3") if given.get(place))]
    return f"{whole[-1]} {top}/{bottom}".strip() if len(whole) == 3 else f"{top}/{bottom}" if whole else ""


def _formula(given: Arguments) -> str:
    """{{chem|H|2|O}} → H₂O"""
    parts = [given[str(place)] for place in range(1, 20) if str(place) in given]
    return "".join(f"{SUB}{part}{END}" if part.isdigit() else part for part in parts)


_RENDER: dict[str, Callable[[Arguments], str]] = {
    **{name: _at(1) for name in _FIRST},
    **{name: _at(2) for name in _SECOND},
    **dict.fromkeys(("tsl", "translink", "internal link helper"), _display(3, 4)),
    **dict.fromkeys(_LINKS, _display(1, 3)),
    **dict.fromkeys(("ilh", "ill", "illm", "interlanguage link", "interlanguage link multi"), _display(1, 4)),
    **dict.fromkeys(("bd", "生卒", "birthdeath"), _born_died),
    **dict.fromkeys(("convert", "cvt"), _convert),
    "val": _value,
    **dict.fromkeys(("frac", "sfrac", "fraction"), _fraction),
    **dict.fromkeys(("chem", "chem2"), _formula),
    "e": lambda given: f"×10{SUP}{given.get('1', '')}{END}",
    "sup": lambda given: f"{SUP}{given.get('1', '')}{END}",
    "sub": lambda given: f"{SUB}{given.get('1', '')}{END}",
    **dict.fromkeys(("·", ".", "•", "bullet", "dot", "middot"), lambda given: "·"),
    **dict.fromkeys(("nbsp", "space", "spaces"), lambda given: " "),
    **dict.fromkeys(("ndash", "en dash", "snd"), lambda given: "–"),
    **dict.fromkeys(("mdash", "em dash"), lambda given: "——"),
    "!": lambda given: "|",
    "=": lambda given: "=",
}  # fmt: skip
_PREFIX = re.compile(r"^(?:template|模板|样板|樣板|t|subst|safesubst)\s*:\s*", re.IGNORECASE)
NOTE_TA = ("noteta", "noteta-lite", "noteta/lite", "noteta/sandbox")  # a page's conversion rules, at its head


def name_of(part: str) -> str:
    """A template's name as this table spells it: lower case, spaces for underscores, no namespace."""
    return " ".join(_PREFIX.sub("", part.strip()).replace("_", " ").lower().split())


def render(name: str, parts: list[str]) -> str:
    """What `{{name|part|part…}}` leaves in the text: empty for every template that this table does not know."""
    if name in _RENDER:
        return _RENDER[name](arguments(parts))
    if name.startswith("lang-"):
        given = arguments(parts)
        words, language = given.get("1", ""), _LANGUAGES.get(name[5:])
        return f"{language}：{words}" if language and words else words
    if name.startswith("formatnum:"):
        return name.removeprefix("formatnum:")
    if name.startswith("internal link helper/"):
        return _display(1, 3)(arguments(parts))
    return ""
