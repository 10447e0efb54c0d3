"""Personal data in text: phone and identity numbers, e-mail and IP addresses, bank cards.

Each kind is found by its form and, where the form has one, by its check digit, so that a year, a price or a product number is left alone.
Full-width digits are digits too. What needs context to be recognised (names, postal addresses) is not looked for.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple


class Found(NamedTuple):
    """One piece of personal data: text[start:end] is of this kind."""

    kind: str
    start: int
    end: int


_WIDE = str.maketrans("０１２３４５６７８９Ｘｘ＠．＋－", "0123456789Xx@.+-")  # one for one, so that places stay
_FREE = r"(?<![A-Za-z0-9_])(?<![0-9]\.)(?<![0-9]-)"  # not inside a longer number, a decimal, a code or a word
_END = r"(?![A-Za-z0-9_])"

# 18 digits: region, date of birth, order, check digit (GB 11643-1999)
_ID = re.compile(rf"{_FREE}[1-9]\d{{16}}[\dXx]{_END}")
# mainland mobile, +86 or not, in groups or not; land line with area code
_PHONE = re.compile(
    rf"{_FREE}(?:(?:\+|00)?86[- ]?)?1[3-9]\d(?:\d{{8}}|([- ])\d{{4}}\1\d{{4}}){_END}"
    rf"|{_FREE}(?:0(?:10|2\d|[3-9]\d\d)-\d{{7,8}}|\(0(?:10|2\d|[3-9]\d\d)\) ?\d{{7,8}}|（0(?:10|2\d|[3-9]\d\d)）\d{{7,8}}){_END}"
)
# UnionPay (62), Visa (4), Mastercard (51 to 55): 16 to 19 digits, in fours or not, with the check digit of ISO/IEC 7812
_CARD = re.compile(
    rf"{_FREE}(?:62\d{{14,17}}|4\d{{15}}|5[1-5]\d{{14}}|(?:62|4\d|5[1-5])\d\d(?:([ -])\d{{4}})(?:\1\d{{4}}){{2}}(?:\1\d{{3}})?){_END}"
)
_EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.){1,6}[A-Za-z]{2,24}(?![A-Za-z0-9-])"
)
_IP = re.compile(r"(?<![\w.])(?<!版本)(?<!版本[ ：:])(?<![vV][ .])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)", re.ASCII)


def _digits(text: str) -> list[int]:
    return [int(character) for character in text if character.isdecimal()]


def is_id_number(text: str) -> bool:
    """Whether 18 characters are a resident identity number: a real date and the check digit of GB 11643-1999 (ISO 7064, MOD 11-2)."""
    body = _digits(text[:17])
    if len(text) != 18 or len(body) != 17:
        return False
    year, month, day = (int("".join(map(str, body[start:end]))) for start, end in ((6, 10), (10, 12), (12, 14)))
    try:
        datetime.date(year, month, day)
    except ValueError:
        return False
    check = "10X98765432"[sum(digit * pow(2, 17 - place, 11) for place, digit in enumerate(body)) % 11]
    last = str(int(text[17])) if text[17].isdecimal() else "X"
    return 1900 <= year <= 2100 and last == check


def is_card_number(text: str) -> bool:
    """Whether the digits pass the Luhn check (ISO/IEC 7812-1, annex B); spaces and hyphens do not count."""
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


# in this order: an identity number may hold a phone number's digits, and a card the digits of either
_KINDS: tuple[tuple[str, re.Pattern[str], Callable[[str], bool], str], ...] = (
    ("email", _EMAIL, lambda text: True, "[邮箱]"),
    ("id_number", _ID, is_id_number, "[身份证号]"),
    ("bank_card", _CARD, is_card_number, "[银行卡号]"),
    ("phone", _PHONE, lambda text: True, "[电话]"),
    ("ip", _IP, _is_public_address, "[IP地址]"),
)
_MASK = {kind: mask for kind, _, _, mask in _KINDS}


def find(text: str) -> list[Found]:
    """Personal data in order of position, without overlaps; kinds are email, id_number, bank_card, phone and ip."""
    found: list[Found] = []
    if not any(character.isdecimal() or character == "@" for character in text):
        return found
    text = text.translate(_WIDE)
    for kind, pattern, valid, _ in _KINDS:
        hits = [match.span() for match in pattern.finditer(text) if valid(match.group())]
        found += [Found(kind, start, end) for start, end in hits]
        text = _blanked(text, hits)
    return sorted(found, key=lambda one: one.start)


def _blanked(text: str, spans: list[tuple[int, int]]) -> str:
    """The text with these spans overwritten, so that the next pattern does not see them."""
    pieces, position = [], 0
    for start, end in spans:
        pieces += [text[position:start], "\0" * (end - start)]
        position = end
    return "".join([*pieces, text[position:]])


def mask(text: str) -> tuple[str, dict[str, int]]:
    """The text with each piece replaced by its kind in brackets ([电话], [身份证号], …), and how many of each kind there were."""
    counts: dict[str, int] = {}
    return "".join(_masked(text, counts)), counts


def _masked(text: str, counts: dict[str, int]) -> Iterator[str]:
    position = 0
    for kind, start, end in find(text):
        counts[kind] = counts.get(kind, 0) + 1
        yield text[position:start]
        yield _MASK[kind]
        position = end
    yield text[position:]
