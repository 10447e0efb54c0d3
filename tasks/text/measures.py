"""Measures in wiki templates: values, ranges and units as words. A number never loses its rest, and no word between numbers is taken for a unit."""

from __future__ import annotations

import re

SUP, SUB, END = "\x04", "\x06", "\x05"  # marks of raised and lowered text, resolved once a page is whole
Arguments = dict[str, str]  # by name; those without a name are "1", "2", …


def pairs(text: str) -> dict[str, str]:
    """`"km 公里, m 米"` → {"km": "公里", "m": "米"}"""
    return dict(pair.strip().rsplit(" ", 1) for pair in text.split(","))


_LENGTHS = pairs("km 公里, m 米, dm 分米, cm 厘米, mm 毫米, mi 英里, ft 英尺, in 英寸, yd 码")
_PREFIXES = pairs("k 千, M 兆, G 吉, T 太, m 毫, μ 微, µ 微, u 微, n 纳")
_DERIVED = pairs(
    "W 瓦, Wh 瓦时, J 焦耳, Pa 帕, N 牛, Hz 赫, V 伏, A 安, eV 电子伏, cal 卡, g 克, L 升, l 升, s 秒, pc 秒差距, m 米"
)
_UNITS = (
    {f"{prefix}{unit}": many + word for unit, word in _DERIVED.items() for prefix, many in _PREFIXES.items()}
    | _DERIVED
    | {f"{unit}2": f"平方{word}" for unit, word in _LENGTHS.items()}
    | {f"{unit}3": f"立方{word}" for unit, word in _LENGTHS.items()}
    | {f"sq{unit}": f"平方{word}" for unit, word in _LENGTHS.items()}
    | {f"cu{unit}": f"立方{word}" for unit, word in _LENGTHS.items()}
    | _LENGTHS
    | pairs(
        "kilometre 公里, kilometer 公里, metre 米, meter 米, centimetre 厘米, centimeter 厘米, mile 英里, foot 英尺, feet 英尺, inch 英寸, "
        "inches 英寸, yard 码, nmi 海里, fathom 英寻, chain 链, furlong 弗隆, hand 掌, nm 纳米, um 微米, μm 微米, AU 天文单位, ly 光年, "
        "kg 公斤, kilogram 公斤, gram 克, t 吨, tonne 吨, MT 公吨, lb 磅, lbs 磅, pound 磅, oz 盎司, ounce 盎司, st 英石, stone 英石, cwt 英担, "
        "LT 长吨, long ton 长吨, ST 短吨, short ton 短吨, ton 吨, ozt 金衡盎司, ha 公顷, hectare 公顷, acre 英亩, acres 英亩, dunam 杜纳姆, "
        "litre 升, liter 升, cc 立方厘米, gal 加仑, USgal 美制加仑, impgal 英制加仑, qt 夸脱, pt 品脱, floz 液盎司, bbl 桶, dl 分升, cl 厘升, "
        "hp 马力, PS 公制马力, bhp 制动马力, psi 磅/平方英寸, bar 巴, atm 标准大气压, mbar 毫巴, kgf 千克力, lbf 磅力, "
        "C °C, °C °C, F °F, °F °F, K K, mph 英里/小时, kmh 公里/小时, kph 公里/小时, kn 节, knot 节, knots 节, mpg 英里/加仑, "
        "h 小时, hr 小时, min 分钟, kcal 千卡, deg 度, ° °, % %"
    )
)
_PLAIN = {unit.lower(): word for unit, word in reversed(_UNITS.items()) if len(unit) > 1} | {"l": "升", "c": "°C", "f": "°F"}
_WITHIN = pairs(  # units that a value goes on in
    "英里 码英尺链弗隆, "
    "码 英尺英寸, 英尺 英寸, 英石 磅, 磅 盎司, 长吨 英担磅, 英担 磅, 公斤 克, 公里 米, 米 厘米, 小时 分钟秒, "
    "分钟 秒, 加仑 夸脱品脱, 度 分"
)
# what may stand between two values, and what it says; without a word of their own are marks
_BETWEEN = pairs(
    "to 至, to- 至, to(-) 至, to about 至约, til 至, till 至, until 至, and 和, and- 和, and(-) 和, & 和, or 或, by ×, x ×, xx ×, * ×, × ×, "
    "x(x) ×, by(x) ×, + +, ± ±, +/- ±, +/− ±, +or- ±, and/or 和/或, versus 对, vs 对, / /, - -, – –, — —, ~ ~, ～ ～"
) | {",": "，", ", and": "和", ", or": "或", "、": "、"}
_BETWEEN |= {word: word for word in ("至", "到", "或", "和", "与", "與", "及", "乘")}
_NUMBER = re.compile(
    r"[-−+±~≈约約<>≤≥]?\s*[\d.,]*\d[\d.,]*(?:\s*e[-+−]?\d+)?(?:\s*[-+ ]?\s*\d+(?:/{1,2}|⁄)\d+|(?:/{1,2}|⁄)\d+)?", re.IGNORECASE
)
_SPLIT = re.compile(r"\s*[+ ]\s*(?=\d+(?:/|⁄))|(?<=\d)-(?=\d+(?:/|⁄))")
_POWER = re.compile(r"(?<=\d)e([-+−]?\d+)$", re.IGNORECASE)


def _value(text: str) -> str:
    """A value as it is read: 5+1/2 → 5 1/2, 1//2 → 1/2, 1.5e6 → 1.5×10⁶."""
    text = _POWER.sub(lambda match: f"×10{SUP}{match.group(1).lstrip('+')}{END}", text) if _NUMBER.fullmatch(text) else text
    return _SPLIT.sub(" ", text).replace("//", "/").replace("⁄", "/") if "/" in text or "⁄" in text else text


def unit_name(unit: str) -> str:
    """公里 for km, 公里/小时 for km/h; a unit that is not in the table as it is written, behind a space."""
    return _word(unit) or (f" {unit}" if unit else "")


def _word(unit: str) -> str:
    known = _UNITS.get(unit) or _PLAIN.get(unit.lower()) or _PLAIN.get(unit.lower().removesuffix("s"))
    if known:
        return known
    over, slash, under = unit.partition("/")
    if not slash or "/" in under or not (below := _word(under)):
        return ""
    if above := _word(over):
        return f"{above}/{below}"
    return f"每{below}" if not over else f"{over}/{below}" if re.search("[\u4e00-\u9fff]", over) else ""


def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None


def _within(unit: str, smaller: str) -> bool:
    """True for a unit that a value in a larger one goes on in: 5 ft 6 in."""
    word = _word(smaller)
    return bool(smaller) and (not word or word in _WITHIN.get(_word(unit), ""))


def convert(args: Arguments) -> str:
    """{{convert|5|km|mi}} → 5公里, {{convert|5|-|10|km}} → 5-10公里, {{convert|5|ft|6|in|m}} → 5英尺6英寸: the measure as it was taken."""
    parts = [args[str(place)] for place in range(1, 40) if str(place) in args]
    if not parts:
        return ""
    said, place, unit = [_value(parts[0])], 1, ""
    while place < len(parts):
        part, following = parts[place], parts[place + 1] if place + 1 < len(parts) else ""
        key = " ".join(part.replace("&nbsp;", " ").replace("&ndash;", "–").split()).lower()
        if key in _BETWEEN and following and not (key in ("x", "by") and not unit and not _is_number(following)):
            said += [_BETWEEN[key], _value(following)]
            place, unit = place + 2, ""
        elif not unit and place + 2 < len(parts) and not _word(part) and _is_number(following):  # a word that the table lacks
            said += [part if part[:1] > "\u2e7f" else f" {part} ", _value(following)]
            place += 2
        elif not unit and part:
            unit = part
            said.append(unit_name(unit))
            place += 1
        elif _is_number(part) and _within(unit, following):
            said += [_value(part), unit_name(following)]
            place, unit = place + 2, following
        else:
            break  # the units to convert to, and how exactly
    return "".join(said).strip()


def value(args: Arguments) -> str:
    """{{val|1.5|0.2|e=6|u=km}} → (1.5±0.2)×10⁶ km"""
    number, error, under = (args.get(place, "") for place in ("1", "2", "3"))
    error = f"+{error.lstrip('+')}/−{under.lstrip('-−')}" if error and under else _error(number, error) if error else ""
    power, unit = args.get("e", ""), args.get("u") or args.get("ul", "")
    per = args.get("up") or args.get("upl", "")
    said = f"({number}{error})" if power and "±" in error else number + error
    said += f"×10{SUP}{power}{END}" if power else ""
    unit = f"{unit}/{per}" if per else unit
    return f"{args.get('p', '')}{said}{f' {unit}' if unit else ''}{args.get('s', '')}"


def _error(number: str, error: str) -> str:
    """Digits alone are the last ones of a decimal: 1.234(5)."""
    return f"({error})" if error.isdecimal() and "." in number else error if error.startswith("(") else f"±{error}"


def gaps(args: Arguments) -> str:
    """{{gaps|6.022|141|79|e=23|u=mol}} → 6.02214179×10²³ mol"""
    said = "".join(args[str(place)] for place in range(1, 40) if str(place) in args)
    power, base, unit = args.get("e", ""), args.get("base", ""), args.get("u", "")
    said += f"×10{SUP}{power}{END}" if power else ""
    return said + (f"{SUB}{base}{END}" if base else "") + (f" {unit}" if unit else "")


def height(args: Arguments) -> str:
    """{{height|m=1.85}} → 1.85米, {{height|ft=6|in=1}} → 6英尺1英寸"""
    names = pairs(
        "m 米, meter 米, metre 米, meters 米, cm 厘米, ft 英尺, feet 英尺, foot 英尺, in 英寸, inch 英寸, inches 英寸, hands 掌"
    )
    said = "".join(f"{_value(args[name])}{word}" for name, word in names.items() if args.get(name))
    return said or " ".join(args[place] for place in ("1", "2") if args.get(place))


def fraction(args: Arguments) -> str:
    """{{frac|2}} → 1/2; {{frac|2|3}} → 2/3; {{frac|1|2|3}} → 1 2/3"""
    *whole, top, bottom = ["", "1", *(args[place] for place in ("1", "2", "3") if args.get(place))]
    return f"{whole[-1]} {top}/{bottom}".strip() if len(whole) == 3 else f"{top}/{bottom}" if whole else ""


_MONTHS = "january february march april may june july august september october november december".split()


def month_number(text: str) -> int:
    """The number of an English month's name or its first three letters; 0 for other words."""
    word = text.lower().rstrip(".")
    return next((number for number, name in enumerate(_MONTHS, 1) if word in (name, name[:3])), 0)


def date(args: Arguments) -> str:
    """{{start date|2010|1|2}} → 2010年1月2日; {{date|2010-01-02}} → 2010年1月2日; what is no date stays as it is written."""
    parts = [args[place] for place in ("1", "2", "3") if args.get(place)]
    if len(parts) == 1 and re.fullmatch(r"\d{1,4}(?:-\d{1,2}){1,2}", parts[0]):
        parts = parts[0].split("-")
    said = []
    for part, unit in zip(parts, "年月日", strict=False):
        number = part.strip().removesuffix("號" if unit == "日" else unit).removesuffix(unit).strip()
        number = str(month_number(number) or number) if unit == "月" else number
        if not number.isdecimal() or len(number) > 9:
            return "".join(parts) if any("\u4e00" <= letter <= "\u9fff" for letter in "".join(parts)) else " ".join(parts)
        said.append(f"{int(number)}{unit}")
    return "".join(said)
