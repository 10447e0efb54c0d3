"""MediaWiki's variables and parser functions, as far as a page by itself says what they come to."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import NamedTuple

UNKNOWN = "\x07"  # where an element left nothing: in a condition, what it was cannot be told


class PageFacts(NamedTuple):
    """The facts about a page besides its wikitext: its title, and the time of its revision (2020-01-31T12:00:00Z)."""

    title: str = ""
    timestamp: str = ""


_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)")
_CLOCK: dict[str, Callable[[list[str]], str]] = {
    "YEAR": lambda time: time[0],
    "MONTH": lambda time: time[1],
    "MONTH1": lambda time: str(int(time[1])),
    "MONTH2": lambda time: time[1],
    "MONTHNAME": lambda time: f"{int(time[1])}月",
    "MONTHNAMEGEN": lambda time: f"{int(time[1])}月",
    "MONTHABBREV": lambda time: f"{int(time[1])}月",
    "DAY": lambda time: str(int(time[2])),
    "DAY1": lambda time: str(int(time[2])),
    "DAY2": lambda time: time[2],
    "TIME": lambda time: f"{time[3]}:{time[4]}",
    "HOUR": lambda time: time[3],
    "TIMESTAMP": "".join,
}
_NAMES: dict[str, Callable[[str], str]] = {
    "PAGENAME": str,
    "FULLPAGENAME": str,
    "SUBJECTPAGENAME": str,
    "ARTICLEPAGENAME": str,
    "BASEPAGENAME": lambda title: title.rpartition("/")[0] or title,
    "ROOTPAGENAME": lambda title: title.partition("/")[0],
    "SUBPAGENAME": lambda title: title.rpartition("/")[2],
    "TALKPAGENAME": lambda title: f"Talk:{title}",
}
_SILENT = frozenset(
    ("DEFAULTSORT", "DISPLAYTITLE", "DEFAULTSORTKEY", "DEFAULTCATEGORYSORT", "デフォルトソート", "默认排序", "預設排序")
)
_VARIABLE = re.compile(r"(?:CURRENT|LOCAL|REVISION)([A-Z]+[12]?)")
_FUNCTION = re.compile(r"\s*(#?[a-z]+)\s*[:：]", re.IGNORECASE)
_INLINE = ("span", "div", "p", "b", "i", "u", "s", "big", "small", "nowiki", "poem", "center", "blockquote", "code")


def variable(name: str, page: PageFacts) -> str | None:
    """`{{PAGENAME}}`, `{{CURRENTYEAR}}` and so on, None for what is no variable or is not known."""
    name = name.strip()
    if name in _NAMES or name.removesuffix("E") in _NAMES:
        title = _NAMES.get(name) or _NAMES[name.removesuffix("E")]
        return title(page.title) or None
    if name == "NAMESPACE":
        return ""
    if name == "NAMESPACENUMBER":
        return "0"
    clock, time = _VARIABLE.fullmatch(name), _TIME.match(page.timestamp)
    return _CLOCK[clock.group(1)](list(time.groups())) if clock and time and clock.group(1) in _CLOCK else None


def is_variable(name: str) -> bool:
    """True for the name of a variable, whether or not its value is known."""
    name = name.strip()
    if not name.isupper():
        return False
    clock = _VARIABLE.fullmatch(name)
    named = name in _NAMES or name.removesuffix("E") in _NAMES or name.startswith("NAMESPACE")
    return named or (clock is not None and clock.group(1) in _CLOCK)


def is_function(name: str) -> bool:
    """True for what begins like a parser function that `function` may know."""
    called = _FUNCTION.match(name)
    return called is not None and called.group(1).lower() in _FUNCTIONS


def is_silent(name: str) -> bool:
    """True for what says how a page is sorted or titled, which is not in its text."""
    return name.partition(":")[0].strip() in _SILENT


def function(content: str) -> str | None:
    """The text of `{{#if:…|…}}` by its inside; None where it cannot be known."""
    called = _FUNCTION.match(content)
    if not called or called.group(1).lower() not in _FUNCTIONS:
        return None
    first, *rest = content[called.end() :].split("|")
    return _FUNCTIONS[called.group(1).lower()](first.strip(), rest)


def _at(parts: list[str], place: int) -> str:
    return parts[place].strip() if place < len(parts) else ""


def _if(test: str, parts: list[str]) -> str | None:
    if UNKNOWN in test and not test.replace(UNKNOWN, "").strip():
        return None
    return _at(parts, 0 if test else 1)


def _ifeq(test: str, parts: list[str]) -> str | None:
    other = _at(parts, 0)
    if UNKNOWN in test + other:
        return None
    return _at(parts, 1 if test == other or (_number(test) is not None and _number(test) == _number(other)) else 2)


def _ifexpr(test: str, parts: list[str]) -> str | None:
    result = _expr(test, [])
    return None if result is None else _at(parts, 0 if result not in ("", "0") else 1)


def _iferror(test: str, parts: list[str]) -> str | None:
    return None if UNKNOWN in test else test


def _switch(value: str, parts: list[str]) -> str | None:
    """Cases may share a result (`a|b=甲`); the last one without a name, or #default, is what else there is."""
    if UNKNOWN in value:
        return None
    otherwise, met = "", False
    for place, part in enumerate(parts):
        name, equals, result = part.partition("=")
        name = name.strip()
        met = met or name == value
        if equals and met:
            return result.strip()
        if equals and name == "#default":
            otherwise = result.strip()
        elif not equals and place == len(parts) - 1:
            otherwise = name
    return otherwise


def _number(text: str) -> float | None:
    try:
        return float(text) if len(text) < 30 else None
    except ValueError:
        return None


def _written(number: float) -> str:
    return str(int(number)) if number == int(number) and abs(number) < 1e15 else f"{number:.12g}"


_EXPR = re.compile(
    r"\s*(\d+\.?\d*(?:e[+-]?\d+)?|\.\d+|round|mod|fmod|div|and|or|not|floor|ceil|trunc|abs|sqrt|exp|ln|sin|cos|tan|pi|"
    r"<=|>=|<>|!=|[-+*/^()<>=−×÷]|$)",
    re.IGNORECASE,
)
_LEVELS: tuple[dict[str, Callable[[float, float], float]], ...] = (
    {"or": lambda a, b: float(bool(a) or bool(b))},
    {"and": lambda a, b: float(bool(a) and bool(b))},
    {
        "=": lambda a, b: float(a == b),
        "<>": lambda a, b: float(a != b),
        "!=": lambda a, b: float(a != b),
        "<": lambda a, b: float(a < b),
        ">": lambda a, b: float(a > b),
        "<=": lambda a, b: float(a <= b),
        ">=": lambda a, b: float(a >= b),
    },
    {"round": lambda a, b: _rounded(a, int(b))},
    {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "−": lambda a, b: a - b},
    {
        "*": lambda a, b: a * b,
        "×": lambda a, b: a * b,
        "/": lambda a, b: a / b,
        "÷": lambda a, b: a / b,
        "div": lambda a, b: a / b,
        "mod": lambda a, b: math.fmod(int(a), int(b)),  # as PHP does: the sign of the first
        "fmod": math.fmod,
    },
    {"^": lambda a, b: a**b},
)
_UNARY: dict[str, Callable[[float], float]] = {
    "floor": lambda a: float(math.floor(a)),
    "ceil": lambda a: float(math.ceil(a)),
    "trunc": lambda a: float(math.trunc(a)),
    "abs": abs,
    "sqrt": math.sqrt,
    "exp": math.exp,
    "ln": math.log,
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
}
_CONSTANTS = {"pi": math.pi}
_LONGEST, _DEEPEST = 300, 20


def _rounded(number: float, digits: int) -> float:
    """Halves are rounded away from zero, as PHP does."""
    scale = 10.0**digits
    return (int(abs(number) * scale + 0.5 + 1e-9) / scale) * (1 if number >= 0 else -1)


def _expr(text: str, _: list[str]) -> str | None:
    """The value of an expression; None for what is none."""
    if UNKNOWN in text or len(text) > _LONGEST:
        return None
    tokens, place = [], 0
    while place < len(text):
        match = _EXPR.match(text, place)
        if not match or not match.group(1):
            if text[place:].strip():
                return None
            break
        tokens.append(match.group(1).lower())
        place = match.end()
    if not tokens:
        return ""
    try:
        value, end = _level(tokens, 0, 0, 0)
        return _written(value) if end == len(tokens) else None
    except (ValueError, ArithmeticError, IndexError, TypeError):
        return None


def _level(tokens: list[str], place: int, level: int, depth: int) -> tuple[float, int]:
    """(the value of what begins here and binds at least as tightly as the level, where it ends)."""
    if level == len(_LEVELS):
        return _operand(tokens, place, depth)
    value, place = _level(tokens, place, level + 1, depth)
    while place < len(tokens) and tokens[place] in _LEVELS[level]:
        operation = _LEVELS[level][tokens[place]]
        other, place = _level(tokens, place + 1, level + 1, depth)
        value = operation(value, other)
    return value, place


def _operand(tokens: list[str], place: int, depth: int) -> tuple[float, int]:
    token = tokens[place]
    if depth > _DEEPEST:
        raise ValueError("too deep")
    if token == "(":
        value, place = _level(tokens, place + 1, 0, depth + 1)
        if tokens[place] != ")":
            raise ValueError("a bracket is not closed")
        return value, place + 1
    if token in _UNARY:
        value, place = _operand(tokens, place + 1, depth + 1)
        return _UNARY[token](value), place
    if token in _CONSTANTS:
        return _CONSTANTS[token], place + 1
    if token in ("-", "−", "+", "not"):
        value, place = _operand(tokens, place + 1, depth + 1)
        return (float(not value) if token == "not" else value if token == "+" else -value), place
    return float(token), place + 1


def _formatnum(text: str, parts: list[str]) -> str:
    """Thousands are grouped; with R they are taken apart again."""
    if _at(parts, 0).upper() == "R":
        return text.replace(",", "")
    number = re.fullmatch(r"([-−]?)(\d+)(\.\d*)?", text)
    return f"{number.group(1)}{int(number.group(2)):,}{number.group(3) or ''}" if number and len(text) < 40 else text


_DATE = re.compile(r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})")
_PARTS: dict[str, Callable[[int, int, int], str]] = {
    "Y": lambda year, month, day: f"{year:04}",
    "y": lambda year, month, day: f"{year % 100:02}",
    "n": lambda year, month, day: str(month),
    "m": lambda year, month, day: f"{month:02}",
    "F": lambda year, month, day: f"{month}月",
    "M": lambda year, month, day: f"{month}月",
    "j": lambda year, month, day: str(day),
    "d": lambda year, month, day: f"{day:02}",
}


def _time(form: str, parts: list[str]) -> str | None:
    """{{#time:Y年n月j日|2010-01-02}} → 2010年1月2日; the time now is not known."""
    day = _DATE.fullmatch(_at(parts, 0))
    if not day or any(letter.isascii() and letter.isalpha() and letter not in _PARTS for letter in form):
        return None
    year, month, number = map(int, day.groups())
    return "".join(_PARTS[letter](year, month, number) if letter in _PARTS else letter for letter in form)


def _tag(name: str, parts: list[str]) -> str | None:
    inside = _at(parts, 0)
    return "\n" if name == "br" else inside if name.lower() in _INLINE else "" if name.lower() in ("ref", "references") else None


def _padded(text: str, parts: list[str], left: bool) -> str:
    width, fill = _number(_at(parts, 0)), _at(parts, 1) or "0"
    missing = max(0, min(500, int(width or 0)) - len(text))
    padding = (fill * missing)[:missing]
    return padding + text if left else text + padding


def _plural(number: str, parts: list[str]) -> str | None:
    return None if UNKNOWN in number or not parts else _at(parts, 0 if number == "1" else len(parts) - 1)


_FUNCTIONS: dict[str, Callable[[str, list[str]], str | None]] = {
    "#if": _if,
    "#ifeq": _ifeq,
    "#ifexpr": _ifexpr,
    "#iferror": _iferror,
    "#switch": _switch,
    "#expr": _expr,
    "#tag": _tag,
    "#time": _time,
    "#timel": _time,
    "lc": lambda text, parts: text.lower(),
    "uc": lambda text, parts: text.upper(),
    "lcfirst": lambda text, parts: text[:1].lower() + text[1:],
    "ucfirst": lambda text, parts: text[:1].upper() + text[1:],
    "formatnum": _formatnum,
    "padleft": lambda text, parts: _padded(text, parts, True),
    "padright": lambda text, parts: _padded(text, parts, False),
    "plural": _plural,
    "#len": lambda text, parts: str(len(text)),
}
