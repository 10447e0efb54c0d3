"""Wiki templates as the text that they leave in a sentence.

Most leave nothing: infoboxes, navigation, citations, notices. Those that wrap words of a sentence (a foreign name, a date, a unit) are listed
here, because without them the sentence has a hole: 亚里士多德（，前384年）. One that is not listed and stands in a sentence is taken for the
words that are its only argument, unless its name says that it shows none.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable

from tasks.text import measures
from tasks.text.measures import END, SUB, SUP, Arguments
from tasks.text.names import COUNTRIES, LABELS, LANGUAGES, MONEY, TEAMS

_NAMED = re.compile(r"\s*([A-Za-z0-9_ \-\u3400-\u9fff]{1,40}?)\s*=(?!=)")


def split_names(text: str) -> list[str]:
    """Names separated by commas."""
    return [name.strip() for name in text.split(",")]


# which argument is the text
_FIRST = split_names(
    "nowrap, nobr, nobreak, j, small, smaller, big, large, larger, center, right, left, nobold, noitalic, keep, strong, em, b, i, u, s, sic, "
    "abbr, tooltip, hint, math, mvar, tmath, ipa, unicode, script, serif, sans-serif, mono, monospace, var, samp, kbd, key, keypress, "
    "ruby, rubyh, ruby-ja, ruby-zh, ruby-py, 注音, 拼音, pinyin, zhuyin, bopomofo, jyutping, zh-hans, zh-hant, zh-cn, zh-tw, zh-hk, "
    "underline, uline, ul, overline, strike, del, ins, code, red, green, blue, 僻字, 缺字, kai, 楷体, 楷體, 楷, "
    "quote, cquote, quotation, blockquote, bquote, bq, block quote, pull quote, pullquote, poemquote, 引用, 引言, poem, text, block, "
    "heimu, 黑幕, censored, spoiler, h0, sm, wp, vanchor, visible anchor, nts, number table sorting, ilq, inline-block, plainlist, "
    "columns-list, no col break, colbox, multicol, flatlist, 仮リンク, link-wikidata, wikidata link, 不转换, 不轉換, font, tq, talkquote, angbr, "
    "quote box, quotebox, quotation box, "
    # doubts about a passage, which they wrap
    "citation needed, citation needed span, fact, cn, refspan, 来源请求, 來源請求, 需要引用, which, who, whom, when, where, clarify, vague, "
    "dubious, verify, 谁, 誰, 何时, 何時, 哪里, 哪裡, 可疑, 模糊, "
    # words as they stand
    "abbrlink, abbr link, equationref, equationnote, eqnref, "
    "lj, 專名, 专名, 書名, 书名, not a typo, notatypo, as written, sc, smallcaps, small caps, vr, ピン音, 下げ核, 高線, scp"
)
_SECOND = split_names(
    "lang, native name, native phrase, transl, translit, size, resize, align, rquote, "
    "hover title, audio, sort, lnl, numblk, interlang, col-list, wikt-lang, wikt lang, "
    "fontsize, font size"
)
_COLOURS = split_names("color, colour, fontcolor, font color, 顏色, 颜色, colored text, coloured text")
_LINKS = split_names("le")
_VIDEOS = split_names("youtube, twitter, bili, bilibili, nico, niconico, nicovideo, nm, im, url")  # addresses with words to show
_FLAGS = split_names("flag, flagcountry, flagu, fb, fbw, fb-rt, fbu, nft, nfa, wnft, 国家, 國家, 国旗, 國旗")
_SHIPS = split_names("uss, hms, hmas, hmcs, ss, rms, ms, sms, mv, ins, jds")


def alternatives(names: Iterable[str]) -> str:
    """A pattern for any of the names in any case, those with the same first letter in a group, so that most are passed over at once."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name[0], []).append(re.escape(name[1:]))
    return "|".join(f"[{first}{first.upper()}](?i:{'|'.join(rest)})" for first, rest in groups.items())


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
        args.get(str(display))
        or args.get("d")
        or args.get("lt")
        or args.get(str(local))
        or args.get("zh")
        or args.get(str(instead), "")
    )


def _helped(args: Arguments) -> str:
    """{{ilh|en|Foo|富}}, and {{ilh|lang-code=en|富|Foo}} → 富"""
    return _display(1, 3, 2)(args) if "lang-code" in args else _display(3, 4, 2)(args)


def _born_died(args: Arguments) -> str:
    """{{bd|1879年|3月14日|1955年|4月18日|…}} → 1879年3月14日－1955年4月18日"""
    born, died = args.get("1", "") + args.get("2", ""), args.get("3", "") + args.get("4", "")
    return f"{born}－{died}" if died else born


_CHARGE = re.compile(r"(?:\(\d*[-+−]\)|\^\d*[-+−]|(?<![^\W\d])\d*[-+−]|[-+−])$")
_COUNT = re.compile(r"(?<=[A-Za-z)\]])\d+")


def _formula(args: Arguments) -> str:
    """{{chem|SO|4|2-}} → SO₄²⁻, {{chem2|Ca(OH)2}} → Ca(OH)₂"""
    parts = [args[str(place)] for place in range(1, 20) if str(place) in args]
    return "".join(f"{SUB}{part}{END}" if part.isdigit() else chemical(part) for part in parts)


def chemical(formula: str) -> str:
    """A chemical formula with the numbers of its atoms lowered and its charge raised."""
    rest = _CHARGE.sub("", formula)
    charge = formula[len(rest) :].strip("()^")
    lowered = _COUNT.sub(lambda match: f"{SUB}{match.group()}{END}", rest)
    return f"{lowered}{SUP}{charge}{END}" if charge else lowered


_MOLECULES = split_names("H2O, H2O2, CO2, O2, O3, N2, H2, CH4, NH3, SO2, NO2, N2O, H2SO4, HNO3, CaCO3, SiO2")
_AND_AGE = tuple(f"{word}{age}" for word in "及和与與" for age in ("年龄", "年齡"))
_READINGS = {  # of a word in several scripts, by the language that a template is named after
    "jpn": {"j": "日语", "k": "日语", "hg": "假名", "kk": "假名", "kana": "假名", "rm": "罗马字"},
    "kor": {"hg": "谚文", "hj": "汉字", "rr": "罗马字"},
    "vie": {"v": "越南语", "hn": "汉喃"},
    "cjkv": {"c": "中文", "s": "简体", "t": "繁体", "p": "拼音", "j": "日语", "k": "韩语", "v": "越南语"},
}


def _readings(name: str) -> Callable[[Arguments], str]:
    """{{jpn|j=東京|hg=とうきょう}} → 日语：東京；假名：とうきょう; without a name, a country's code."""
    labels = _READINGS[name]
    return lambda args: (
        "；".join(f"{label}：{args[key]}" for key, label in labels.items() if args.get(key)) or COUNTRIES.get(name, "")
    )


def _listed(between: str) -> Callable[[Arguments], str]:
    return lambda args: between.join(args[str(place)] for place in range(1, 60) if args.get(str(place)))


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


def _as_of(args: Arguments) -> str:
    """{{截至|2010年|5月}} → 截至2010年5月; {{as of|2010|since=y}} → 自2010年起"""
    when = measures.date(args)
    return args.get("alt") or (f"自{when}起" if args.get("since") else f"截至{when}")


def _joined(args: Arguments) -> str:
    """{{linktext|打|字|機}} → 打字機; words in Latin letters keep a space between them."""
    said = ""
    for part in (args[str(place)] for place in range(1, 60) if str(place) in args):
        said += f" {part}" if said[-1:].isascii() and said[-1:].isalpha() and part[:1].isascii() and part[:1].isalpha() else part
    return said


def _reading(args: Arguments) -> str:
    """{{読み仮名|地理学|ちりがく}} → 地理学（ちりがく）"""
    name, *others = [args[str(place)] for place in range(1, 9) if args.get(str(place))] or [""]
    return f"{name}（{'、'.join(others)}）" if others else name


def _spoken(args: Arguments) -> str:
    """{{IPAc-en|ˈ|k|æ|t}} → /ˈkæt/"""
    sounds = "".join(part for name, part in args.items() if name.isdecimal() and part.lower() not in _ABOUT_SOUND)
    return f"/{sounds.replace('_', ' ')}/" if sounds else ""


_ABOUT_SOUND = frozenset(split_names("lang, pron, pronunciation, local, also, audio, small, ipa, us, uk, us-uk, alsous, alsouk"))


def _label(args: Arguments) -> str:
    """The words that an address of a film or a message is shown by; a number is none."""
    labels = [args.get(name, "") for name in ("title", "name", "2", "3")]
    return next((label for label in labels if label and not label.isdecimal()), "")


_COLOUR = re.compile(r"(?:#?[A-Za-z0-9]+)?")


def _coloured(args: Arguments) -> str:
    """{{color|red|字}}, and {{color|red|white|字}} or {{color|red||字}} with a colour of the ground"""
    return args["3"] if args.get("3") and _COLOUR.fullmatch(args.get("2", "")) else args.get("2", "")


def _country(args: Arguments) -> str:
    """{{fb|BRA}} → 巴西; a code that the table lacks as it is written."""
    code = args.get("1", "")
    return args.get("name") or TEAMS.get(code.lower(), code)


def _station(args: Arguments) -> str:
    """{{stl|台北捷运|西门}} → 西门站"""
    name = args.get("2") or args.get("1", "")
    return name and name.removesuffix("站") + "站"


_RENDER: dict[str, Callable[[Arguments], str]] = {
    **{code: (lambda args, country=country: country) for code, country in COUNTRIES.items()},  # type: ignore[misc]
    **{name: _at(1) for name in _FIRST},
    **{name: _at(2) for name in _SECOND},
    **{name: _readings(name) for name in _READINGS},
    **{name.lower(): (lambda args, name=name: chemical(name)) for name in _MOLECULES},  # type: ignore[misc]
    **dict.fromkeys(("tsl", "translink"), _display(3, 4, 2)),
    "ilh": _helped,
    **dict.fromkeys(_LINKS, _display(1, 3, 2)),
    **dict.fromkeys(("ill", "illm", "interlanguage link", "interlanguage link multi"), _display(1, 4)),
    "langwithname": lambda args: "：".join(filter(None, (args.get("2"), args.get("3")))),
    "nuclide": lambda args: f"{SUP}{args.get('2', '')}{END}{args.get('1', '')}",
    "ill2": lambda args: args.get("label") or args.get("1", ""),
    **dict.fromkeys(_FLAGS, _country),
    **dict.fromkeys(_VIDEOS, _label),
    **dict.fromkeys(_COLOURS, _coloured),
    **dict.fromkeys(("読み仮名", "読み仮名 ruby不使用"), _reading),
    "linktext": _joined,
    "gaps": measures.gaps,
    "height": measures.height,
    "respell": lambda args: "-".join(part for name, part in args.items() if name.isdecimal() and part.strip("'")),
    "music": lambda args: {"flat": "♭", "sharp": "♯", "natural": "♮"}.get(args.get("1", ""), args.get("1", "")),
    **dict.fromkeys(("bd", "生卒", "birthdeath"), _born_died),
    **dict.fromkeys(("convert", "cvt"), measures.convert),
    "val": measures.value,
    **dict.fromkeys(("frac", "sfrac", "fraction"), measures.fraction),
    **dict.fromkeys(("chem", "chem2"), _formula),
    **dict.fromkeys(("ubl", "unbulleted list", "bulleted list", "ublist", "blist"), _listed("\n")),
    **dict.fromkeys(("hlist", "flat list"), _listed("、")),
    **dict.fromkeys(
        ("date", "start date", "end date", "birth date", "death date", "birth date and age", "death date and age", "start date and age",
         "film date", "dts", "birth-date", "death-date", "bda", "dda", "日期", "年月日",
         *(f"{what}日期{rest}" for what in ("出生", "死亡", "逝世") for rest in ("", *_AND_AGE))), measures.date),
    **dict.fromkeys(("nihongo", "nihongo2", "日本語", "日语名"), _japanese),
    **dict.fromkeys(("zh", "lang-zh"), _chinese),
    **dict.fromkeys(("stl", "rws", "rail", "stn", "stnlnk", "站"), _station),
    **dict.fromkeys(("circa", "c.", "ca", "約", "约"), lambda args: f"约{args.get('1', '')}"),
    **dict.fromkeys(("as of", "asof", "截至"), _as_of),
    **{name: (lambda args, name=name: f"{name.upper()} {args.get('1', '')}".rstrip()) for name in _SHIPS},  # type: ignore[misc]
    **{name: (lambda args, unit=unit: f"{args.get('1', '')}{unit}") for name, unit in MONEY.items()},  # type: ignore[misc]
    **dict.fromkeys(("sqrt", "radic", "根号"), lambda args: f"√{args.get('1', '')}"),
    "abs": lambda args: f"|{args.get('1', '')}|",
    "simplenuclide": lambda args: "-".join(filter(None, (args.get("1", ""), args.get("2", "")))),
    "sortname": lambda args: "·".join(filter(None, (args.get("1", ""), args.get("2", "")))),
    "e": lambda args: f"×10{SUP}{args.get('1', '')}{END}",
    "sup": lambda args: f"{SUP}{args.get('1', '')}{END}",
    "sub": lambda args: f"{SUB}{args.get('1', '')}{END}",
    **dict.fromkeys(("·", ".", "•", "bullet", "dot", "middot"), lambda args: "·"),
    **dict.fromkeys(("nbsp", "space", "spaces", "gap", "pad", "spc", "thinsp", "hairsp", "ensp", "emsp"), lambda args: " "),
    **dict.fromkeys(("ndash", "en dash", "–"), lambda args: "–"),
    **dict.fromkeys(("snd", "snds", "spnd", "spaced ndash", "spaced en dash"), lambda args: " – "),
    "'s": lambda args: "'s",
    "0": lambda args: "",
    **dict.fromkeys(("mdash", "em dash", "—", "mdashb"), lambda args: "——"),
    **{mark: (lambda args, mark=mark: mark) for mark in ("=", "'", "@", "*", "~", "†", "‡", "°", "#", "|", ":", ";")},  # type: ignore[misc]
    **dict.fromkeys(("!", "pipe"), lambda args: "|"),
    "pi": lambda args: "π",
    "degree": lambda args: "°",
    **dict.fromkeys(('"', "“"), lambda args: f"“{args.get('1', '')}”"),
}  # fmt: skip
_PREFIX = re.compile(r"^(?:template|模板|样板|樣板|t|subst|safesubst)\s*:\s*", re.IGNORECASE)
NOTE_TA = ("noteta", "noteta-lite", "noteta/lite", "noteta/sandbox", "noteta-local")  # a page's conversion rules, at its head
_LINK_TO = ("link-", "internal link helper")
_BEGINNINGS = ("lang-", "langx", "ipa-", "ipac-", "ipa2", "ipaslink", "ruby", *_LINK_TO)
_ENDINGS = ("フォント", "範囲")  # a passage in a font, a passage that is doubted
_NOTES = re.compile(
    r"(?:sfn|harv|rp$|r$|ref|efn|note|cite|citation|dead ?link|wayback|webarchive|isbn|issn|oclc|doi$|pmid|arxiv|jstor|naid|ndl|要出典|リンク切れ"
    r"|来源|來源|注$|脚注|註)"
)
_NO_WORDS = re.compile(  # in the name of a template that stands for no words: links, marks, pictures, notes
    rf"{_NOTES.pattern}|\b(?:icon|flagicon|sign|logo|coord|isbn\d?|imdb|facebook|instagram|github|weibo|main|see\w*|details|further|about|for|"
    r"other\w*|redirect\w*|distinguish|hatnote|anchors?|clear|portal|common\w*|wiki\w*|sister|legend\d?|colou?r|sample|box|rint|bsicon|stub|"
    r"expand|unreferenced|link|needed|inline|whom|update|category|toc|sort\w*|use|inflation\S*|age|curlie|official|full|module|rank|pcomment|"
    r"documentation|bibleref|midsize|lifetime|break|col\w*)\b|图标|圖標|图示|標誌|标志|旗|記号|主条目|参见|參見|另见|锚|錨|坐标|座標|引用|出典|リンク|人口|面積|"
    r"当選者|曖昧|換算|精華|いつ|誰|检查|檢查|消歧|系列|导航|導航",
    re.IGNORECASE,
)
_LONGEST_WORDS = 60
_WORDS = re.compile(  # two letters or an ideograph at least, and no address, colour, file or markup
    r"(?=.*[^\W\d_].*[^\W\d_]|[\u3400-\u9fff]$)(?![#:]|.*://|.*\.(?:jpe?g|png|gif|svg|ogg|com|org|net)\b)[^\n{}\[\]<>|=]+",
    re.IGNORECASE,
)
_INFOBOX = re.compile(r".*(?:infobox|taxobox|speciesbox|信息框|資訊框|资讯框|訊息框|讯息框|基礎情報)|information$", re.IGNORECASE)

_LONGEST_NAME = 40
_LOOKS = re.compile(
    r"(?:.*[ _-])?(?:image|img|logo|map|photo|picture|icon|flag|seal|coat|signature|width|size|px|colou?r|style|class|caption|alt|coord\w*|lat\w*|"
    r"lon\w*|pushpin\w*|website|url|网站|網站|官网|footnotes?|ref|notes?|图|圖|图片|圖片|图像|圖像|图像说明|圖像說明|照片|标志|標誌|徽|颜色|顏色|宽度|寬度|"
    r"大小|header|label|module|child|embed|subheader|above|below|title)\d*",
    re.IGNORECASE,
)


@functools.lru_cache(maxsize=4096)
def template_name(part: str) -> str:
    """A template's name as this table spells it: lower case, spaces for underscores, no namespace."""
    return " ".join(_PREFIX.sub("", part.strip()).replace("_", " ").lower().split())


def leaves_text(name: str) -> bool:
    """True for a template of this name of which `render_template` may leave text, or of which the page needs to know."""
    return name in _RENDER or name in NOTE_TA or name in LANGUAGES or name.startswith(_BEGINNINGS) or name.endswith(_ENDINGS)


def render_template(name: str, parts: list[str]) -> str | None:
    """The text that `{{name|part|part…}}` leaves; None for a template that this table does not know."""
    args = template_arguments(parts)
    if name in _RENDER and not (name in LANGUAGES and name in COUNTRIES and "1" in args):
        return _RENDER[name](args)
    if name.startswith(("lang-", "langx")):
        code, place = (args.get("1", ""), "2") if name == "langx" else (name[5:], "1")
        words, language = args.get(place) or args.get("text", ""), LABELS.get(code.removesuffix("-short").lower())
        labelled = language and words and not name.endswith("-short") and args.get("label", "") not in ("none", "no", "-")
        return f"{args.get('label') or language}：{words}" if labelled else words
    if name.startswith("ipac-"):
        return _spoken(args)
    if name.startswith("ipa-"):
        return f"[{args['1']}]" if args.get("1") else ""
    if name in LANGUAGES or name.startswith(("ipa", "ruby")) or name.endswith(_ENDINGS):
        return args.get("1", "")
    return _display(1, 3, 2)(args) if name.startswith(_LINK_TO) else None


def words_within(name: str, parts: list[str]) -> str:
    """The words that a template nobody listed may stand for in a sentence: its one argument without a name, if that is a short text."""
    args = template_arguments(parts)
    words = args.get("1", "")
    if (
        name.startswith("#")
        or "2" in args
        or len(words) > _LONGEST_WORDS
        or not _WORDS.fullmatch(words)
        or _NO_WORDS.search(name)
    ):
        return ""
    return words


@functools.lru_cache(maxsize=4096)
def is_note(name: str) -> bool:
    """True for a template, by its name in the table's spelling, that shows a note's mark or a source."""
    return _NOTES.match(name) is not None


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
