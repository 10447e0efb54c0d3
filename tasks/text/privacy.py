"""Personal data in text: phone and identity numbers, e-mail and IP addresses, bank cards, licence plates, accounts.

Each kind is found by its form and, where the form has one, by its check digit, so that a year, a price, an ISBN or a product number is left
alone. What has the form of any number or word (an identity number of 15 digits, a QQ or WeChat account) counts only where the text says what
it is. Full-width digits are digits too. What needs more context to be recognised (names, postal addresses) is not looked for.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from tasks.text import batch
from tasks.text.ledger import NO_LEDGER, Ledger


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
# what is counted or calculated: 123456×123456=15241383936, 13812345678元
_FIGURE_BEFORE = re.compile(
    r"(?:[0-9)）] ?[=＝≈+×*÷^] ?|(?:等于|答案|结果|得数|乘积|之积|总和|之和|平方|立方|次方|阶乘|总额|共|约)[是为等于：: ]{0,3}"
    r"|(?:PMID|订单号|订单编号|流水号|序列号|条形码|货号)[是为：: ]{0,3})$"
)
_FIGURE_BEHIND = re.compile(
    r"\.[0-9]| ?(?:元|万|亿|块钱|美元|欧元|日元|人民币|字节|比特|[KMGT]B|次|吨|米|公里|千克)| ?[=＝+×*÷^] ?[0-9(（]"
)
# what a label says is a number, or a list of them (电话：029-…、…): there a local number needs no area code
_CALLED = re.compile(
    r"(?:电话|手机|座机|热线|传真|固话|联系方式|总机|致电|拨打|[Tt](?:el|EL)\.?|[Ff](?:ax|AX)\.?)(?:号码|号)?(?:[(（][^()（）\n]{1,10}[)）])?[ \t]*"
    r"(?:[:：][^\w\n(（]{0,2}(?:[^\W\d]{1,6}[^\w\n(（]{0,2})?(?=[0-9+(（])|[是为][ \t]*)?"
)
_CALLED_NUMBER = re.compile(
    r"(?:[(（]0[1-9][0-9]{1,2}[)）][- ]?|0[1-9][0-9]{1,2}-?)?[2-9][0-9]{2,3}-?[0-9]{4}(?![0-9])"
    r"(?!\.[0-9]|-[0-9]{5}| ?[年月日万亿元块个件人次户部台条])"
    rf"|(?:(?:\+|00)?86[- ]?)?1[3-9][0-9](?:[- ]?[0-9]{{4}}){{2}}{_END}|[48]00(?:[- ]?[0-9]{{3,4}}){{2}}{_END}"
)
_AND = re.compile(
    r"(?:[-转][0-9]{1,5}(?![0-9]))?[ \t]*(?:[(（][^()（）\n]{1,10}[)）])?[ \t]*(?:[、，,/;；|及和或][ \t]*)?"
    r"(?:[^\W\d]{1,3}(?:老师|先生|女士|经理|主任)[ \t]*)?"
)
# UnionPay (62), Visa (4), Mastercard (51 to 55): 16 to 19 digits, in fours or not, with the check digit of ISO/IEC 7812
_CARD = re.compile(
    rf"{_FREE}(?:62[0-9]{{14,17}}|4[0-9]{{15}}|5[1-5][0-9]{{14}}"
    rf"|(?:62|4[0-9]|5[1-5])[0-9][0-9](?:([ -])[0-9]{{4}})(?:\1[0-9]{{4}}){{2}}(?:\1[0-9]{{3}})?){_END}"
)
_EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.){1,6}[A-Za-z]{2,24}(?![A-Za-z0-9-]|\()"
)
_IP = re.compile(r"(?<![\w.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?!\w|\.[0-9])", re.ASCII)
_IS_IP = re.compile(
    r"(?:[Ii][Pp]|DNS|dns|服务器|地址|主机|网关|掩码|来自|访问|ping|host|server|//)[^\w\n]{0,3}[是为到如]?[^\w\n]{0,2}$", re.ASCII
)
_NO_IP = re.compile(
    r"(?:Chrome|Chromium|Firefox|Edge|Opera|Windows|Android|Oracle|OpenSSL|第|版本|固件|内核|驱动|升级[到至]?|更新[到至]?|[Vv](?:er)?(?:sion)?|build|Build)[^\w\n]{0,2}号?[^\w\n]{0,2}$",
    re.ASCII,
)
_PORT = re.compile(":[0-9]{2,5}(?![0-9])")
_PARTS = re.compile("[ ]?[条章节款项版]")
# province, office, five or six letters and digits with two letters at the most (GA 36-2018); 粤B2-20080118 is a company's licence
_PROVINCES = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼"
_PLATE = re.compile(
    rf"[{_PROVINCES}][A-HJ-NP-Z][·• ]?(?=(?:[A-HJ-NP-Z]*[0-9]){{3}})(?!(?:[0-9]*[A-Z]){{3}})"
    r"(?:[A-HJ-NP-Z0-9]{5,6}|[A-HJ-NP-Z0-9]{4}[学警港澳挂领])(?![A-Za-z0-9-])"
)
_QQ = re.compile(r"(?:[Qq]{2}|扣扣)(?:群|号码|号)* ?(?:[:：是为] ?)?(?=[1-9])")
_QQ_NUMBER = re.compile("[1-9][0-9]{5,10}(?![A-Za-z0-9年月万亿个人元])")
_WECHAT = re.compile(
    r"(?:微信|[Ww]e[Cc]hat|[Ww]ei[Xx]in|(?<![A-Za-z0-9_.<-])[VvWw][Xx](?!:[ ]*+(?![A-Za-z_-]{0,19}[0-9])))(?:公众号)? ?"
    r"(?:(?:号码|号|ID|id) ?[:：是为]?|[:：是为]) ?(?!(?:Android|Windows|WeChat|Weixin|MicroMessenger|HarmonyOS|iPhone)(?![A-Za-z0-9_-]))"
    r"(?P<it>[A-Za-z][A-Za-z0-9_-]{5,19})(?![A-Za-z0-9_-]|=[\"'{])"
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


# -- where each kind stands ---------------------------------------------------------------------------------------------

Spans = Iterable[tuple[int, int]]


def _spans(pattern: re.Pattern[str], text: str) -> Iterator[tuple[int, int]]:
    """The places of a pattern's matches: all of a match, or its named part, after the words that say what it is."""
    for match in pattern.finditer(text):
        yield match.span("it" if "it" in pattern.groupindex and match["it"] else 0)


def _listed(label: re.Pattern[str], number: re.Pattern[str], text: str) -> Iterator[tuple[int, int]]:
    """The numbers that follow a label, one or a list of them."""
    for match in label.finditer(text):
        at: int | None = match.end()
        while at is not None and (found := number.match(text, at)):
            yield found.span()
            between = _AND.match(text, found.end())
            at = between.end() if between and between.end() > found.end() else None


def _emails(text: str) -> Iterator[tuple[int, int]]:
    """E-mail addresses, and no places of programs: git@host, user@host:path, ssh user@host, scheme://user:password@host, name@2x.png."""
    for start, end in _spans(_EMAIL, text):
        before, address = text[max(0, start - 100) : start], text[start:end]
        if not (
            _PATH.match(text, end)
            or _REMOTE.search(before)
            or address.startswith(("git@", "hg@", "svn@"))
            or _RETINA.search(address)
        ):
            yield start, end


_PATH = re.compile(r":(?:[~/.]|[A-Za-z0-9_-]+(?:/|\.git))|:~?[$#]| ?[~/][^\s\]]*\][$#]")
_REMOTE = re.compile(
    r"(?:\b(?:ssh|scp|sftp|rsync|mosh|ssh-copy-id|git clone)"
    r"(?:[ \t]+-{1,2}[A-Za-z][\w-]*(?:[ =][\w./~-]+)?|[ \t]+[\w.~-]*[/.][\w./~-]*)*[ \t]+|//[^\s/@]{0,60})$",
    re.ASCII,
)
_RETINA = re.compile("@[1-9]x[.]")


def _phones(text: str) -> Spans:
    bare = (span for span in _spans(_PHONE, text) if not _is_figure(text, *span))
    numbers = {*_listed(_CALLED, _CALLED_NUMBER, text), *bare}
    return (span for span in _apart(numbers) if not text.startswith(("400", "800"), span[0]))  # which are nobody's


def _is_figure(text: str, start: int, end: int) -> bool:
    """True for a number that is counted or calculated."""
    return bool(_FIGURE_BEHIND.match(text, end) or _FIGURE_BEFORE.search(text[max(0, start - 12) : start]))


def _addresses(text: str) -> Iterator[tuple[int, int]]:
    """IP addresses: four numbers that the words before call one, or that are large enough to be nothing else. 1.2.3.1 is a section, 2.30.8.4 a
    version, and 5.64.52.9 three figures that lost their spaces."""
    for start, end in _spans(_IP, text):
        before, parts = text[max(0, start - 12) : start], text[start:end].split(".")
        if not _is_public_address(text[start:end]) or _NO_IP.search(before) or _PARTS.match(text, end):
            continue
        large = sum(len(part) == 3 for part in parts) >= 2 and sum(len(part) > 1 for part in parts) >= 3
        if large or _IS_IP.search(before) or _PORT.match(text, end):
            yield start, end


def _accounts(text: str) -> Spans:
    return _apart({*_listed(_QQ, _QQ_NUMBER, text), *_spans(_WECHAT, text)})


def _apart(spans: set[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Spans in order; of those that overlap, the one that begins first, and among these the longest."""
    position = 0
    for start, end in sorted(spans, key=lambda span: (span[0], -span[1])):
        if start >= position:
            yield start, end
            position = end


def _checked(pattern: re.Pattern[str], valid: Callable[[str], bool]) -> Callable[[str], Spans]:
    return lambda text: (span for span in _spans(pattern, text) if valid(text[slice(*span)]))


# in this order: an identity number may hold a phone number's digits, and a card the digits of either
_KINDS: tuple[tuple[str, Callable[[str], Spans], str], ...] = (
    ("email", _emails, "[邮箱]"),
    ("id_number", _checked(_ID, _is_identity), "[身份证号]"),
    ("bank_card", _checked(_CARD, is_card_number), "[银行卡号]"),
    ("phone", _phones, "[电话]"),
    ("ip", _addresses, "[IP地址]"),
    ("plate", _checked(_PLATE, lambda text: True), "[车牌号]"),
    ("account", _accounts, "[账号]"),
)
_MASK = {kind: mask for kind, _, mask in _KINDS}
KINDS = tuple(_MASK)

_DIGITS = re.compile("[0-9]{7}|[0-9]{3}[- ][0-9]{4}")
_DOTTED = re.compile(r"\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]")
_PLATED = re.compile(f"[{_PROVINCES}][A-HJ-NP-Z]")
_SERVICES = ("微信", "QQ", "Qq", "qq", "qQ", "扣扣", "hat", "eixin", "eiXin", "wx", "wX", "Wx", "WX", "vx", "vX", "Vx", "VX")
_DIGIT = "[0-9０-９]"
_ANY = re.compile(  # all of these, wide or narrow, written so that the engine can skip to the first character
    rf"[@＠0-9０-９.．{_PROVINCES}微扣QqheWwVv](?:(?<=[@＠])|(?<={_DIGIT})(?:{_DIGIT}{{6}}|{_DIGIT}{{2}}[- －]{_DIGIT}{{4}})"
    rf"|(?<=[.．]){_DIGIT}{{1,3}}[.．]{_DIGIT}{{1,3}}[.．]{_DIGIT}|(?<=[{_PROVINCES}])[A-HJ-NP-ZＸ]|(?<=微)信|(?<=扣)扣|(?<=[Qq])[Qq]"
    r"|(?<=h)at|(?<=e)i[xｘX]in|(?<=[WwVv])[XxＸｘ])"
)


def _hinted(text: str) -> set[str]:
    """Kinds that a quick look cannot rule out: most texts hold none of any."""
    hints = {"email"} if "@" in text else set()
    if _DIGITS.search(text):
        hints |= {"id_number", "bank_card", "phone"}
    if _DOTTED.search(text):
        hints.add("ip")
    if _PLATED.search(text):
        hints.add("plate")
    if any(service in text for service in _SERVICES):
        hints.add("account")
    return hints


def may_hold_any(texts: Sequence[str]) -> list[bool]:
    """For each text, False where a quick look tells that there is no personal data in it."""
    return batch.with_match(_ANY, texts)


def find_personal_data(text: str) -> list[PersonalData]:
    """Personal data in order of position, without overlaps; the kinds are `KINDS`."""
    pieces: list[PersonalData] = []
    if not _ANY.search(text):
        return pieces
    text = text.translate(_WIDE) if _HAS_WIDE.search(text) else text
    if not (hints := _hinted(text)):
        return pieces
    for kind, find, _ in _KINDS:
        if kind in hints and (hits := list(find(text))):
            pieces += [PersonalData(kind, start, end) for start, end in hits]
            text = _blanked(text, hits)
    return sorted(pieces, key=lambda one: one.start)


def _blanked(text: str, spans: list[tuple[int, int]]) -> str:
    """The text with these spans overwritten, so that the next pattern does not see them."""
    pieces, position = [], 0
    for start, end in spans:
        pieces += [text[position:start], "\0" * (end - start)]
        position = end
    return "".join([*pieces, text[position:]])


def mask(text: str, kinds: Collection[str] = KINDS, ledger: Ledger = NO_LEDGER) -> tuple[str, dict[str, int]]:
    """The text with each piece of these kinds replaced by its kind in brackets ([电话], [身份证号], …), and how many of every kind there were."""
    counts: dict[str, int] = {}
    pieces, position = [], 0
    for kind, start, end in find_personal_data(text):
        counts[kind] = counts.get(kind, 0) + 1
        if kind in kinds:
            pieces += [text[position:start], _MASK[kind]]
            position = end
            ledger.change("personal data", text[start:end], _MASK[kind], detail=kind)
    return "".join([*pieces, text[position:]]) if pieces else text, counts
