"""Personal data in text: phone and identity numbers, e-mail and IP addresses, bank cards, licence plates, accounts.

Each kind is found by its form and, where the form has one, by its check digit, so that a year, a price, an ISBN or a product number is left
alone. What has the form of any number or word (an identity number of 15 digits, a QQ or WeChat account) counts only where the text says what
it is. Full-width digits are digits too. What needs more context to be recognised (names, postal addresses) is not looked for.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
from collections.abc import Callable, Collection
from typing import NamedTuple


class PersonalData(NamedTuple):
    """One piece of personal data: text[start:end] is of this kind."""

    kind: str
    start: int
    end: int


_WIDE = str.maketrans("０１２３４５６７８９Ｘｘ＠．＋－", "0123456789Xx@.+-")  # one for one, so that places stay
_HAS_WIDE = re.compile("[０-９Ｘｘ＠．＋－]")
_FREE = r"(?<![A-Za-z0-9_])(?<![0-9]\.)(?<![0-9]-)"  # not inside a longer number, a decimal, a code or a word
_END = r"(?![A-Za-z0-9_])"

# 18 digits: region, date of birth, order, check digit (GB 11643-1999); 15 in the numbers given out before
_ID = re.compile(rf"{_FREE}[1-9][0-9]{{16}}[0-9Xx]{_END}|身份证[^0-9\n]{{0,10}}(?P<it>[1-9][0-9]{{14}}){_END}")
# mainland mobile, +86 or not, in groups or not; land line with area code
_PHONE = re.compile(
    rf"{_FREE}(?:(?:\+|00)?86[- ]?)?1[3-9][0-9](?:[0-9]{{8}}|([- ])[0-9]{{4}}\1[0-9]{{4}}){_END}"
    rf"|{_FREE}0(?:10|2[0-9]|[3-9][0-9][0-9])-[0-9]{{7,8}}{_END}"
    rf"|[(（]0(?:10|2[0-9]|[3-9][0-9][0-9])[)）] ?[0-9]{{7,8}}{_END}"
)
# UnionPay (62), Visa (4), Mastercard (51 to 55): 16 to 19 digits, in fours or not, with the check digit of ISO/IEC 7812
_CARD = re.compile(
    rf"{_FREE}(?:62[0-9]{{14,17}}|4[0-9]{{15}}|5[1-5][0-9]{{14}}"
    rf"|(?:62|4[0-9]|5[1-5])[0-9][0-9](?:([ -])[0-9]{{4}})(?:\1[0-9]{{4}}){{2}}(?:\1[0-9]{{3}})?){_END}"
)
_EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.){1,6}[A-Za-z]{2,24}(?![A-Za-z0-9-])"
)
# two of the four numbers have two digits at least, or words before say what it is: 1.2.3.1 is a section, 2.30.8.4 a version
_IP = re.compile(
    r"(?<![\w.])(?<!版本)(?<!版本[ ：:])(?<![vV][ .])(?=(?:[0-9]\.)*[0-9]{2,3}\.(?:[0-9]\.)*[0-9]{2})(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?!\w|\.[0-9])"
    r"|(?:[Ii][Pp]|DNS|服务器|地址|主机|ping|//)[^\w\n]{0,3}(?P<it>(?:[0-9]{1,3}\.){3}[0-9]{1,3})(?!\w|\.[0-9])",
    re.ASCII,
)
# province, office, five or six letters and digits with two letters at the most (GA 36-2018); 粤B2-20080118 is a company's licence
_PROVINCES = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼"
_PLATE = re.compile(
    rf"[{_PROVINCES}][A-HJ-NP-Z][·• ]?(?=(?:[A-HJ-NP-Z]*[0-9]){{3}})(?!(?:[0-9]*[A-Z]){{3}})"
    r"(?:[A-HJ-NP-Z0-9]{5,6}|[A-HJ-NP-Z0-9]{4}[学警港澳挂领])(?![A-Za-z0-9-])"
)
_ACCOUNT = re.compile(
    r"(?:[Qq]{2}|扣扣)(?:群|号码|号)* ?(?:[:：是为] ?)?(?P<it>[1-9][0-9]{5,10})(?![A-Za-z0-9年月万亿个人元])"
    r"|(?:微信|[Ww]e[Cc]hat|[Ww]ei[Xx]in|[VvWw][Xx])(?:公众号)? ?(?:(?:号码|号|ID|id) ?[:：是为]?|[:：是为]) ?(?P<wechat>[A-Za-z][A-Za-z0-9_-]{5,19})"
    r"(?![A-Za-z0-9_-])"
)


def _digits(text: str) -> list[int]:
    return [int(character) for character in text if character.isdecimal()]


def is_id_number(text: str) -> bool:
    """True for 18 characters that are a resident identity number: a real date and the check digit of GB 11643-1999 (ISO 7064, MOD 11-2)."""
    body = _digits(text[:17])
    if len(text) != 18 or len(body) != 17:
        return False
    check = "10X98765432"[sum(digit * pow(2, 17 - place, 11) for place, digit in enumerate(body)) % 11]
    last = str(int(text[17])) if text[17].isdecimal() else "X"
    return _is_date("".join(map(str, body[6:14]))) and last == check


def _is_date(digits: str) -> bool:
    """True for YYYYMMDD of the years 1900 to 2100 that is a day."""
    try:
        return 1900 <= datetime.date(int(digits[:4]), int(digits[4:6]), int(digits[6:])).year <= 2100
    except ValueError:
        return False


def is_card_number(text: str) -> bool:
    """True for digits that pass the Luhn check (ISO/IEC 7812-1, annex B); spaces and hyphens do not count."""
    total = 0
    for place, digit in enumerate(reversed(_digits(text))):
        doubled = digit * (1 + place % 2)
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0


def _is_public_address(text: str) -> bool:
    try:
        return ipaddress.IPv4Address(text).is_global  # 127.0.0.1 and 192.168.0.1 point to nobody
    except ValueError:
        return False


def _is_identity(text: str) -> bool:
    """18 digits with a check digit, or 15 with a date of the 20th century."""
    return is_id_number(text) if len(text) == 18 else _is_date(f"19{text[6:12]}")


# in this order: an identity number may hold a phone number's digits, and a card the digits of either
_KINDS: tuple[tuple[str, re.Pattern[str], Callable[[str], bool], str], ...] = (
    ("email", _EMAIL, lambda text: True, "[邮箱]"),
    ("id_number", _ID, _is_identity, "[身份证号]"),
    ("bank_card", _CARD, is_card_number, "[银行卡号]"),
    ("phone", _PHONE, lambda text: True, "[电话]"),
    ("ip", _IP, _is_public_address, "[IP地址]"),
    ("plate", _PLATE, lambda text: True, "[车牌号]"),
    ("account", _ACCOUNT, lambda text: True, "[账号]"),
)
_MASK = {kind: mask for kind, _, _, mask in _KINDS}
KINDS = tuple(_MASK)

_NUMBER = re.compile("[0-9]{7}|[0-9]{3}[- ][0-9]{4}")
_DOTTED = re.compile(r"\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]")
_PLATED = re.compile(f"[{_PROVINCES}][A-HJ-NP-Z]")
_SERVICES = ("微信", "QQ", "Qq", "qq", "qQ", "扣扣", "hat", "eixin", "eiXin", "wx", "wX", "Wx", "WX", "vx", "vX", "Vx", "VX")


def _hinted(text: str) -> set[str]:
    """Kinds that a quick look cannot rule out: most texts hold none of any."""
    hints = {"email"} if "@" in text else set()
    if _NUMBER.search(text):
        hints |= {"id_number", "bank_card", "phone"}
    if _DOTTED.search(text):
        hints.add("ip")
    if _PLATED.search(text):
        hints.add("plate")
    if any(service in text for service in _SERVICES):
        hints.add("account")
    return hints


def find_personal_data(text: str) -> list[PersonalData]:
    """Personal data in order of position, without overlaps; the kinds are `KINDS`."""
    pieces: list[PersonalData] = []
    text = text.translate(_WIDE) if _HAS_WIDE.search(text) else text
    if not (hints := _hinted(text)):
        return pieces
    for kind, pattern, valid, _ in _KINDS:
        hits = [span for match in pattern.finditer(text) if valid(text[slice(*(span := _span(match)))])] if kind in hints else []
        if hits:
            pieces += [PersonalData(kind, start, end) for start, end in hits]
            text = _blanked(text, hits)
    return sorted(pieces, key=lambda one: one.start)


def _span(match: re.Match[str]) -> tuple[int, int]:
    """(start, end) of the data in a match: all of it, or its named part, after the words that say what it is."""
    named = next((name for name, value in match.groupdict().items() if value), None)
    return match.span(named) if named else match.span()


def _blanked(text: str, spans: list[tuple[int, int]]) -> str:
    """The text with these spans overwritten, so that the next pattern does not see them."""
    pieces, position = [], 0
    for start, end in spans:
        pieces += [text[position:start], "\0" * (end - start)]
        position = end
    return "".join([*pieces, text[position:]])


def mask(text: str, kinds: Collection[str] = KINDS) -> tuple[str, dict[str, int]]:
    """The text with each piece of these kinds replaced by its kind in brackets ([电话], [身份证号], …), and how many of every kind there were."""
    counts: dict[str, int] = {}
    pieces, position = [], 0
    for kind, start, end in find_personal_data(text):
        counts[kind] = counts.get(kind, 0) + 1
        if kind in kinds:
            pieces += [text[position:start], _MASK[kind]]
            position = end
    return "".join([*pieces, text[position:]]) if pieces else text, counts
