"""Wiki templates as the text that they leave in a sentence.

Most leave nothing: infoboxes, navigation, citations, notices. Those that wrap words of a sentence (a foreign name, a date, a unit) are listed
here, because without them the sentence has a hole: 亚里士多德（，前384年）.
"""

from __future__ import annotations

import re
from collections.abc import Callable

SUP, SUB, END = "\x04", "\x06", "\x05"  # marks of raised and lowered text, resolved once a page is whole
Arguments = dict[str, str]  # by name; those without a name are "1", "2", …

_NAMED = re.compile(r"\s*([A-Za-z0-9_ \-\u3400-\u9fff]{1,40}?)\s*=(?!=)")


def split_names(text: str) -> list[str]:
    """Names separated by commas."""
    return [name.strip() for name in text.split(",")]


_LANGUAGES = dict(
    pair.split()
    for pair in split_names(
        "en 英语, ja 日语, jp 日语, ko 韩语, de 德语, fr 法语, ru 俄语, es 西班牙语, it 意大利语, la 拉丁语, pt 葡萄牙语, el 希腊语, "
        "grc 古希腊语, ar 阿拉伯语, nl 荷兰语, vi 越南语, th 泰语, sv 瑞典语, pl 波兰语, cs 捷克语, hu 匈牙利语, fi 芬兰语, da 丹麦语, "
        "no 挪威语, zh 中文, hr 克罗地亚语, sr 塞尔维亚语, sk 斯洛伐克语, sl 斯洛文尼亚语, ca 加泰罗尼亚语, eo 世界语, hy 亚美尼亚语, "
        "ka 格鲁吉亚语, "
        "et 爱沙尼亚语, lv 拉脱维亚语, lt 立陶宛语, is 冰岛语, ga 爱尔兰语, ur 乌尔都语, bn 孟加拉语, ta 泰米尔语, kk 哈萨克语, ug 维吾尔语, "
        "tl 他加禄语, km 高棉语, "
        "lo 老挝语, sq 阿尔巴尼亚语, be 白俄罗斯语, cy 威尔士语, mnc 满语, tr 土耳其语, uk 乌克兰语, he 希伯来语, hi 印地语, fa 波斯语, "
        "mn 蒙古语, bo 藏语, sa 梵语, ms 马来语, id 印尼语, "
        "ro 罗马尼亚语, bg 保加利亚语, my 缅甸语"
    )
)
_UNITS = dict(
    pair.split()
    for pair in split_names(
        "km 公里, m 米, cm 厘米, mm 毫米, mi 英里, ft 英尺, in 英寸, kg 公斤, g 克, t 吨, lb 磅, km2 平方公里, sqkm 平方公里, m2 平方米, "
        "sqmi 平方英里, ha 公顷, acre 英亩, km/h 公里/小时, l 升"
    )
)
_MONEY = dict(
    pair.split()
    for pair in split_names(
        "usd 美元, us$ 美元, hkd 港元, hk$ 港元, cny 元人民币, rmb 元人民币, ntd 新台币, nt$ 新台币, twd 新台币, jpy 日元, jp¥ 日元, "
        "eur 欧元, € 欧元, "
        "gbp 英镑, £ 英镑, krw 韩元, aud 澳元, cad 加元, sgd 新加坡元, inr 卢比"
    )
)
# which argument is the text
_FIRST = split_names(
    "nowrap, nobr, nobreak, j, small, smaller, big, large, larger, center, right, left, nobold, noitalic, keep, strong, em, b, i, u, s, sic, "
    "abbr, tooltip, hint, math, mvar, tmath, ipa, unicode, script, serif, sans-serif, mono, monospace, var, samp, kbd, key, keypress, "
    "ruby, rubyh, ruby-ja, ruby-zh, ruby-py, 注音, 拼音, pinyin, zhuyin, bopomofo, jyutping, zh-hans, zh-hant, zh-cn, zh-tw, zh-hk, "
    "underline, uline, ul, overline, strike, del, ins, code, red, green, blue, flag, flagcountry, flagu, 僻字, 缺字, kai, 楷体, 楷體, 楷, "
    "quote, cquote, quotation, blockquote, bquote, bq, block quote, pull quote, pullquote, poemquote, 引用, 引言, poem, text, block, "
    "heimu, 黑幕, censored, spoiler, h0, sm, wp, vanchor, visible anchor, nts, number table sorting, ilq, inline-block, plainlist, "
    "columns-list, colbox, multicol, flatlist, 仮リンク, link-wikidata, wikidata link, 不转换, 不轉換, font, tq, talkquote, angbr, "
    "quote box, quotebox, quotation box, "
    # doubts about a passage, which they wrap
    "citation needed, citation needed span, fact, cn, refspan, 来源请求, 來源請求, 需要引用, which, who, whom, when, where, clarify, vague, "
    "dubious, verify, 谁, 誰, 何时, 何時, 哪里, 哪裡, 可疑, 模糊, 要出典範囲"
)
_SECOND = split_names(
    "lang, color, colour, fontcolor, font color, 顏色, 颜色, transl, translit, size, resize, align, rquote, hover title, audio, sort, lnl, "
    "fontsize, font size"
)
_LINKS = split_names("le, illm")
_SHIPS = split_names("uss, hms, hmas, hmcs, ss, rms, ms, sms, mv, ins, jds")


def template_arguments(parts: list[str]) -> Arguments:
    """`["甲", "lang=en", "乙"]` → {"1": "甲", "lang": "en", "2": "乙"}"""
    args: Arguments = {}
    place = 0
    for part in parts:
        named = _NAMED.match(part)
        if named:
            args[named.group(1).lower()] = part[named.end() :].strip()
        else:
            place += 1
            args[str(place)] = part.strip()
    return args


def _at(place: int) -> Callable[[Arguments], str]:
    return lambda args: args.get(str(place)) or args.get("text") or args.get("quote", "")


def _display(local: int, display: int, instead: int = 0) -> Callable[[Arguments], str]:
    """Links to another wiki's article: the text to show if there is one, else the local title, else the other wiki's."""
    return lambda args: (
        args.get(str(display)) or args.get("d") or args.get("lt") or args.get(str(local)) or args.get(str(instead), "")
    )


def _born_died(args: Arguments) -> str:
    """{{bd|1879年|3月14日|1955年|4月18日|…}} → 1879年3月14日－1955年4月18日"""
    born, died = args.get("1", "") + args.get("2", ""), args.get("3", "") + args.get("4", "")
    return f"{born}－{died}" if died else born


def _convert(args: Arguments) -> str:
    """{{convert|5|km|mi}} → 5公里; {{convert|5|-|10|km}} → 5-10公里"""
    if args.get("2") in ("-", "–", "to", "and", "x", "by", "至"):
        value, unit = args.get("1", "") + args["2"] + args.get("3", ""), args.get("4", "")
    else:
        value, unit = args.get("1", ""), args.get("2", "")
    return value + (_UNITS.get(unit.lower()) or f" {unit}").rstrip()


def _value(args: Arguments) -> str:
    power = args.get("e", "")
    return args.get("1", "") + (f"×10{SUP}{power}{END}" if power else "") + (f" {args['u']}" if args.get("u") else "")


def _fraction(args: Arguments) -> str:
    """{{frac|2}} → 1/2; {{frac|2|3}} → 2/3; {{frac|1|2|3}} → 1 2/3"""
    *whole, top, bottom = ["", "1", *(args[place] for place in ("1", "2", "3") if args.get(place))]
    return f"{whole[-1]} {top}/{bottom}".strip() if len(whole) == 3 else f"{top}/{bottom}" if whole else ""


def _formula(args: Arguments) -> str:
    """{{chem|H|2|O}} → H₂O"""
    parts = [args[str(place)] for place in range(1, 20) if str(place) in args]
    return "".join(f"{SUB}{part}{END}" if part.isdigit() else part for part in parts)


def _listed(between: str) -> Callable[[Arguments], str]:
    return lambda args: between.join(args[str(place)] for place in range(1, 60) if args.get(str(place)))


def _date(args: Arguments) -> str:
    """{{start date|2010|1|2}} → 2010年1月2日; {{date|2010-01-02}} → 2010年1月2日"""
    parts = [args[place] for place in ("1", "2", "3") if args.get(place)]
    if len(parts) == 1:
        parts = parts[0].split("-")
    if not all(part.strip().isdecimal() for part in parts):
        return parts[0] if len(parts) == 1 else ""
    return "".join(f"{int(part)}{unit}" for part, unit in zip(parts, "年月日", strict=False))


def _japanese(args: Arguments) -> str:
    """{{nihongo|东京|東京|Tōkyō}} → 东京（日语：東京，Tōkyō）"""
    name, *others = [args.get(place, "") for place in ("1", "2", "3")]
    native = "，".join(filter(None, others))
    return f"{name}（日语：{native}）" if name and native else name or native


def _chinese(args: Arguments) -> str:
    """{{zh|s=汉字|t=漢字|p=hànzì}} → 简体：汉字；繁体：漢字；拼音：hànzì"""
    labels = {
        "c": "中文",
        "s": "简体",
        "t": "繁体",
        "p": "拼音",
        "hp": "拼音",
        "w": "威妥玛拼音",
        "j": "粤拼",
        "l": "直译",
        "first": "",
    }
    parts = [f"{label}：{args[name]}" for name, label in labels.items() if args.get(name)]
    return "；".join(parts) or args.get("1", "")


def _station(args: Arguments) -> str:
    """{{stl|台北捷运|西门}} → 西门站"""
    name = args.get("2") or args.get("1", "")
    return name and name.removesuffix("站") + "站"


_COUNTRIES = dict(
    pair.split()
    for pair in split_names(
        "chn 中国, prc 中国, cn 中国, roc 中华民国, twn 台湾, hkg 香港, mac 澳门, usa 美国, us 美国, gbr 英国, uk 英国, fra 法国, deu 德国, "
        "ger 德国, "
        "ita 意大利, esp 西班牙, por 葡萄牙, ned 荷兰, nld 荷兰, bel 比利时, sui 瑞士, che 瑞士, aut 奥地利, rus 俄罗斯, urs 苏联, "
        "ussr 苏联, ukr 乌克兰, "
        "pol 波兰, cze 捷克, hun 匈牙利, rou 罗马尼亚, bul 保加利亚, gre 希腊, grc 希腊, tur 土耳其, swe 瑞典, nor 挪威, den 丹麦, fin 芬兰, "
        "irl 爱尔兰, "
        "jpn 日本, kor 韩国, prk 朝鲜, vnm 越南, vie 越南, tha 泰国, mys 马来西亚, mas 马来西亚, sgp 新加坡, idn 印度尼西亚, ina 印度尼西亚, "
        "phl 菲律宾, phi 菲律宾, "
        "ind 印度, pak 巴基斯坦, irn 伊朗, iri 伊朗, irq 伊拉克, isr 以色列, sau 沙特阿拉伯, egy 埃及, rsa 南非, zaf 南非, aus 澳大利亚, "
        "nzl 新西兰, "
        "can 加拿大, mex 墨西哥, bra 巴西, arg 阿根廷, chl 智利, chi 智利, col 哥伦比亚, per 秘鲁, cub 古巴"
    )
)


_RENDER: dict[str, Callable[[Arguments], str]] = {
    **{code: (lambda args, country=country: country) for code, country in _COUNTRIES.items()},  # type: ignore[misc]
    **{name: _at(1) for name in _FIRST},
    **{name: _at(2) for name in _SECOND},
    **dict.fromkeys(("tsl", "translink", "ilh"), _display(3, 4, 2)),
    **dict.fromkeys(_LINKS, _display(1, 3, 2)),
    **dict.fromkeys(("ill", "interlanguage link", "interlanguage link multi"), _display(1, 4)),
    **dict.fromkeys(("bd", "生卒", "birthdeath"), _born_died),
    **dict.fromkeys(("convert", "cvt"), _convert),
    "val": _value,
    **dict.fromkeys(("frac", "sfrac", "fraction"), _fraction),
    **dict.fromkeys(("chem", "chem2"), _formula),
    **dict.fromkeys(("ubl", "unbulleted list", "bulleted list", "ublist", "blist"), _listed("\n")),
    **dict.fromkeys(("hlist", "flat list"), _listed("、")),
    **dict.fromkeys(
        ("date", "start date", "end date", "birth date", "death date", "birth date and age", "death date and age", "start date and age",
         "film date", "dts", "birth-date", "death-date", "日期", "年月日"), _date),
    **dict.fromkeys(("nihongo", "nihongo2", "日本語", "日语名"), _japanese),
    **dict.fromkeys(("zh", "lang-zh"), _chinese),
    **dict.fromkeys(("stl", "rws", "rail", "stn", "stnlnk", "站"), _station),
    **dict.fromkeys(("circa", "c.", "ca", "約", "约"), lambda args: f"约{args.get('1', '')}"),
    **dict.fromkeys(("as of", "截至"), lambda args: f"截至{_date(args)}"),
    **{name: (lambda args, name=name: f"{name.upper()} {args.get('1', '')}".rstrip()) for name in _SHIPS},  # type: ignore[misc]
    **{name: (lambda args, unit=unit: f"{args.get('1', '')}{unit}") for name, unit in _MONEY.items()},  # type: ignore[misc]
    **dict.fromkeys(("sqrt", "radic", "根号"), lambda args: f"√{args.get('1', '')}"),
    "abs": lambda args: f"|{args.get('1', '')}|",
    "simplenuclide": lambda args: "-".join(filter(None, (args.get("1", ""), args.get("2", "")))),
    "sortname": lambda args: "·".join(filter(None, (args.get("1", ""), args.get("2", "")))),
    "e": lambda args: f"×10{SUP}{args.get('1', '')}{END}",
    "sup": lambda args: f"{SUP}{args.get('1', '')}{END}",
    "sub": lambda args: f"{SUB}{args.get('1', '')}{END}",
    **dict.fromkeys(("·", ".", "•", "bullet", "dot", "middot"), lambda args: "·"),
    **dict.fromkeys(("nbsp", "space", "spaces", "gap", "pad", "spc"), lambda args: " "),
    **dict.fromkeys(("ndash", "en dash", "snd", "–"), lambda args: "–"),
    **dict.fromkeys(("mdash", "em dash", "—"), lambda args: "——"),
    **{mark: (lambda args, mark=mark: mark) for mark in ("=", "'", "@", "*", "~", "†", "‡", "°", "#", "|", ":", ";")},  # type: ignore[misc]
    **dict.fromkeys(("!", "pipe"), lambda args: "|"),
    "pi": lambda args: "π",
    "degree": lambda args: "°",
    **dict.fromkeys(('"', "“"), lambda args: f"“{args.get('1', '')}”"),
}  # fmt: skip
_PREFIX = re.compile(r"^(?:template|模板|样板|樣板|t|subst|safesubst)\s*:\s*", re.IGNORECASE)
NOTE_TA = ("noteta", "noteta-lite", "noteta/lite", "noteta/sandbox", "noteta-local")  # a page's conversion rules, at its head
_LINK_TO = ("link-", "internal link helper")
_INFOBOX = re.compile(r".*(?:infobox|taxobox|speciesbox|信息框|資訊框|资讯框|訊息框|讯息框|基礎情報)|information$", re.IGNORECASE)

_LONGEST_NAME = 40
_LOOKS = re.compile(
    r"(?:.*[ _-])?(?:image|img|logo|map|photo|picture|icon|flag|seal|coat|signature|width|size|px|colou?r|style|class|caption|alt|coord\w*|lat\w*|"
    r"lon\w*|pushpin\w*|website|url|网站|網站|官网|footnotes?|ref|notes?|图|圖|图片|圖片|图像|圖像|图像说明|圖像說明|照片|标志|標誌|徽|颜色|顏色|宽度|寬度|"
    r"大小|header|label|module|child|embed|subheader|above|below|title)\d*",
    re.IGNORECASE,
)


def template_name(part: str) -> str:
    """A template's name as this table spells it: lower case, spaces for underscores, no namespace."""
    return " ".join(_PREFIX.sub("", part.strip()).replace("_", " ").lower().split())


def leaves_text(name: str) -> bool:
    """True for a template of this name of which `render_template` may leave text, or of which the page needs to know."""
    return name in _RENDER or name in NOTE_TA or name.startswith(("lang-", "formatnum:", *_LINK_TO))


def render_template(name: str, parts: list[str]) -> str:
    """The text that `{{name|part|part…}}` leaves: empty for every template that this table does not know."""
    if name in _RENDER:
        return _RENDER[name](template_arguments(parts))
    if name.startswith("lang-"):
        args = template_arguments(parts)
        words, language = args.get("1", ""), _LANGUAGES.get(name[5:].removesuffix("-short"))
        return f"{language}：{words}" if language and words and not name.endswith("-short") else words
    if name.startswith("formatnum:"):
        return name.removeprefix("formatnum:")
    if name.startswith(_LINK_TO):
        return _display(1, 3, 2)(template_arguments(parts))
    return ""


def is_infobox(name: str) -> bool:
    """True for a template, by its name as it stands on the page, that is a box of facts about the page's subject."""
    return _INFOBOX.match(template_name(name)) is not None


def infobox_facts(parts: list[str]) -> str:
    """The parameters of an infobox, a line a fact: `名称：值`. Those that say how the box looks are left out, and those without a value."""
    lines: list[str] = []
    for part in parts:
        name, equals, value = part.partition("=")
        name = " ".join(name.replace("_", " ").split())
        value = "、".join(filter(None, (line.lstrip("*#:; ").strip() for line in value.split("\n"))))
        if equals and name and value and len(name) <= _LONGEST_NAME and not _LOOKS.fullmatch(name):
            lines.append(f"{name}：{value}")
    return "\n" + "\n".join(lines) + "\n" if lines else ""
