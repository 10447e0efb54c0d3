r"""The fold by which texts are told to be the same: what two of them may differ in and still say one thing, and what not.

Letters, digits and ideographs count, in one case and one width (NFKC). Punctuation and white space do not. Signs do: what a formula, a number or
a piece of code would mean something else without, as in -5 and 5, 1.5 and 15, 2+2 and 2×2, \d+ and \d*, C and C++. Which characters are signs
depends on what stands beside them: the hyphen that begins an item of a list is none, nor are the stars around a word in bold type. Pictures
(😂, ♂, ♭) count, and a mark that stands alone in quotes (“，”的用法), since it is what the text is about.

All of it is arithmetic on arrays of code points, of many texts at a time, so that deduplication and decontamination share it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Points = NDArray[np.uint32]
    Classes = NDArray[np.uint16]
    Mask = NDArray[np.bool_]

PART = "\x1f"  # between the parts of a row; it counts, so that parts stay apart
_RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁻"  # x² is not x2, and 10⁻³ not 10³
_SAME = {"−": "-", "⁄": "/", "∕": "/", "∶": ":", "∼": "~", "∗": "*", "⋅": "·"}  # signs that look like others
_DASHES = "‐‑‒–—~〜"  # from one number to the next
_CURRENCIES = "€£¥₩₽₹¢"  # not $, which stands around formulas
_PICTURES = range(0x2600, 0x27C0), range(0x1F000, 0x20000)
_SELECTORS = range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0)  # of a variant of the character before
_SINGLE = 0x20000  # from here on, all that is no ideograph is nothing
_REACH = 4  # characters to either side that may matter
# classes of characters; a letter is of an alphabet, a sign is one wherever it stands, and what may be one depends on what is beside it
_SPACE, _DIGIT, _LETTER, _COUNTS, _SIGN, _MAYBE, _OPENS, _CLOSES, _OPERATOR, _DASH, _PATTERN, _LINE, _PART, _QUOTE = (
    1 << bit for bit in range(14)
)
_WORD, _FORMULA = _DIGIT | _LETTER, _SIGN | _OPERATOR
_MEMBERS = {
    _OPENS: "([{",
    _CLOSES: ")]}）！",
    _OPERATOR: "-*/^\\%",
    _DASH: _DASHES,
    _PATTERN: "()[]{}.*+?^$|\\",
    _LINE: "\n" + PART,
    _PART: PART,
    _MAYBE: "-*/^_\\%‰&|@#!'′.:()[]{}?°" + _CURRENCIES + _DASHES,
    _QUOTE: "“”‘’「」『』\"'`",
}


_PAIRS = {(ord(pair[0]), ord(pair[1])) for pair in ("“”", "‘’", "「」", "『』", '""', "''", "``")}


def dedup_key(text: str) -> str:
    """The key that texts share which say the same: see above."""
    text = folded(text)
    if not _MAY_HOLD_SIGNS.search(text):
        return _NOT_WORD.sub("", text)
    import numpy as np

    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
    values, counts = significant(points, np.array([0, len(points)]))
    return values[counts].astype("<u4").tobytes().decode("utf-32-le", "surrogatepass").replace(PART, "")


_NOT_WORD = re.compile(r"[\W_]+")
# a sign, or what is one beside letters: most texts of prose have none of it
_MAY_HOLD_SIGNS = re.compile(
    r"(?![\u3400-\u9fff])(?:[^\w\s，。！？、；：“”‘’（）《》【】…·「」『』!?,;:\"()\[\]]|[0-9](?:[\W_]+[0-9]|\s?\])|![=a-z0-9(]"
    r"|[a-z)\]](?:\[|\?[a-z(\[])|_|\[[0-9\]]|[“”‘’「」『』\"][^\w\s][“”‘’「」『』\"])"
)


def folded(text: str) -> str:
    """One case, one width, one way to write a sign. Raised figures stay what they are."""
    if _IS_RAISED.search(text):
        parts = [part if part in _RAISED else folded(part) for part in _IS_RAISED.split(text) if part]
        return "".join(parts)
    return unicodedata.normalize("NFKC", text).casefold().translate(_SAME_TABLE)


_IS_RAISED = re.compile(f"([{_RAISED}])")
_SAME_TABLE = str.maketrans(_SAME)


def significant(points: Points, bounds: NDArray[np.int64]) -> tuple[Points, Mask]:
    """Folded code points of texts, of which text i is `points[bounds[i]:bounds[i + 1]]`: the same with signs in one spelling, and which count."""
    import numpy as np

    table = _classes()
    classes = table[np.minimum(points, len(table) - 1)]
    counts = (classes & (_COUNTS | _PART)) > 0
    candidates = np.flatnonzero(classes & (_SIGN | _MAYBE))
    digits = np.flatnonzero(classes & _DIGIT)
    if not len(candidates) and len(digits) < 2:
        counts[_quoted(points, classes, counts, bounds)] = True
        return points, counts
    signs = candidates[_are_signs(_Places(candidates, points, classes, bounds))]
    values = points.copy()
    values[signs[(classes[signs] & _DASH) > 0]] = ord("-")
    counts[signs] = True
    counts[_quoted(points, classes, counts, bounds)] = True
    gaps = _gaps(digits, counts, _Places(digits, points, classes, bounds), bounds)
    values[gaps], counts[gaps] = ord(" "), True
    return values, counts


def _quoted(points: Points, classes: Classes, counts: Mask, bounds: NDArray[np.int64]) -> NDArray[np.int64]:
    """The places of marks that stand alone in a pair of quotes."""
    import numpy as np

    quotes = np.flatnonzero(classes & _QUOTE)
    inside = quotes[:-1][np.diff(quotes) == 2] + 1
    if not len(inside):
        return inside
    pairs = zip(points[inside - 1].tolist(), points[inside + 1].tolist(), strict=True)
    inside = inside[np.array([pair in _PAIRS for pair in pairs])]
    inside = inside[((classes[inside] & (_SPACE | _LINE)) == 0) & ~counts[inside]]
    here = np.searchsorted(bounds, inside, "right")
    return inside[(bounds[here - 1] < inside) & (inside + 1 < bounds[here])]


class _Places:
    """Places of texts, and what stands beside each: its class, or that of a line end beyond the text or the part of it that the place is in."""

    def __init__(self, places: NDArray[np.int64], points: Points, classes: Classes, bounds: NDArray[np.int64]):
        import numpy as np

        self.places, self.points, self.classes = places, points, classes
        self.text = np.searchsorted(bounds, places, "right") - 1
        self.start, self.end = bounds[self.text], bounds[self.text + 1]

    def classes_at(self, offset: int) -> Classes:
        """The classes of the characters that far from the places."""
        import numpy as np

        there = self.places + offset
        inside = (there >= self.start) & (there < self.end)
        found: Classes = np.where(inside, self.classes[np.minimum(np.maximum(there, 0), len(self.classes) - 1)], np.uint16(_LINE))
        return found

    def same_at(self, offset: int) -> Mask:
        """True where the character that far from a place is the one at it."""
        import numpy as np

        there = self.places + offset
        inside = (there >= self.start) & (there < self.end)
        same: Mask = inside & (self.points[np.minimum(np.maximum(there, 0), len(self.points) - 1)] == self.points[self.places])
        return same


def _are_signs(around: _Places) -> Mask:
    """True for the places that hold a sign, of those that may."""
    import numpy as np

    sign, kind = around.points[around.places], around.classes[around.places]
    left, right, left2, right2 = map(around.classes_at, (-1, 1, -2, 2))
    near_left, near_right = np.where(left & _SPACE, left2, left), np.where(right & _SPACE, right2, right)
    words = _has(left, _WORD), _has(right, _WORD)
    before, after, before2, after2 = map(around.same_at, (-1, 1, -2, 2))
    longer = before & (after | before2) | after & after2  # a rule, as of dashes
    item = (_has(left, _LINE) | _has(left, _SPACE) & _has(left2, _LINE)) & _has(right, _SPACE)  # of a list, or a quoted line
    beside = _Beside(left, right, left2, right2, near_left, near_right, *words, before, after)
    found = _has(kind, _SIGN) | _has(kind, _DASH) & _has(near_left, _DIGIT) & _has(near_right, _DIGIT)
    present = set(sign.tolist())
    for characters, rule in _RULES.items():
        if some := [ord(character) for character in characters if ord(character) in present]:
            here = sign == some[0]
            for point in some[1:]:
                here |= sign == point
            found |= here & rule(beside)
    spelled: Mask = found & ~longer & ~item
    return spelled


class _Beside(NamedTuple):
    """The neighbours of places: classes next to them, two characters away, and next to them behind a space; and whether a sign is doubled."""

    left: Classes
    right: Classes
    left2: Classes
    right2: Classes
    near_left: Classes
    near_right: Classes
    word_left: Mask
    word_right: Mask
    before: Mask  # the same sign
    after: Mask

    @property
    def inside(self) -> Mask:
        """Between two operands."""
        return (self.word_left | _has(self.left, _CLOSES)) & (self.word_right | _has(self.right, _OPENS | _OPERATOR))

    @property
    def apart(self) -> Mask:
        """Between two operands, with spaces or not."""
        return _has(self.near_left, _WORD) & _has(self.near_right, _WORD)


def _has(classes: Classes, members: int) -> Mask:
    mask: Mask = (classes & members) > 0
    return mask


def _minus(at: _Beside) -> Mask:
    hyphen = _has(at.left, _LETTER) & _has(at.right, _LETTER) & _has(at.left2, _LETTER) & _has(at.right2, _LETTER)  # well-known
    doubled = (at.before | at.after) & (at.word_left | at.word_right)  # i--
    return (_has(at.near_right, _WORD | _SIGN) | _has(at.near_right, _OPENS | _OPERATOR) & ~at.after | doubled) & ~hyphen


def _star(at: _Beside) -> Mask:
    power = at.word_left & at.after & _has(at.right2, _WORD) | at.word_right & at.before & _has(at.left2, _WORD)
    single = (
        at.inside | at.apart | at.word_left | _has(at.left, _CLOSES | _PATTERN)
    )  # and \\d*, but no star before a word: that is emphasis
    return power | single & ~at.before & ~at.after


def _stop(at: _Beside) -> Mask:
    decimal = _has(at.right, _DIGIT) & ~_has(at.left, _COUNTS | _CLOSES | _PATTERN) | _has(at.left, _DIGIT) & _has(
        at.right, _DIGIT
    )
    return decimal | _has(at.right, _PATTERN) & _has(at.right, _SIGN | _OPERATOR)  # .* and .+


def _exclamation(at: _Beside) -> Mask:
    negation = at.word_right & ~_has(at.left, _COUNTS | _CLOSES)
    return _has(at.right, _SIGN) | negation | at.word_left & _has(at.near_right, _FORMULA) & ~_has(at.right, _COUNTS)


_RULES: dict[str, Callable[[_Beside], Mask]] = {  # characters → where they are signs
    "-": _minus,
    "*": _star,
    "/": lambda at: (at.inside | at.apart | _has(at.left, _SIGN) & _has(at.right, _LETTER)) & ~at.before & ~at.after,
    "^_": lambda at: (at.word_left | _has(at.left, _CLOSES)) & (at.word_right | _has(at.right, _OPENS | _OPERATOR)),
    "^": lambda at: _has(at.right, _LETTER | _PATTERN) & ~at.before & ~at.after,
    "?": lambda at: _has(at.left, _LETTER | _CLOSES) & _has(at.right, _LETTER | _OPENS),
    "°": lambda at: _has(at.near_left, _DIGIT),
    _CURRENCIES: lambda at: _has(at.near_left | at.near_right, _DIGIT),
    "\\": lambda at: at.word_right | _has(at.right, _PATTERN),
    "%‰": lambda at: _has(at.near_left, _DIGIT) | at.word_left | at.word_right,
    "&": lambda at: at.word_left & at.word_right | at.before | at.after | _has(at.right, _LETTER),
    "|": lambda at: at.word_left & at.word_right | at.before | at.after | (at.word_left ^ at.word_right) & ~at.apart,
    "@": lambda at: at.word_left & at.word_right | _has(at.right, _LETTER),
    "#": lambda at: at.word_left & ~at.word_right | _has(at.right, _LETTER) & ~at.before,
    "!": _exclamation,
    "'′": lambda at: _has(at.left, _LETTER) & (_has(at.right, _OPENS | _SIGN) | _has(at.near_right, _FORMULA)),
    ".": _stop,
    ":": lambda at: _has(at.near_left, _DIGIT) & _has(at.near_right, _DIGIT),
    "(": lambda at: _has(at.near_left, _FORMULA),
    "[": lambda at: _has(at.near_left, _FORMULA) | _has(at.left, _LETTER) & at.word_right,
    ")]": lambda at: _has(at.near_right, _FORMULA),
    "[{": lambda at: _has(at.right, _DIGIT | _OPERATOR | _CLOSES),
    "]}": lambda at: _has(at.near_left, _DIGIT),
}


def _gaps(digits: NDArray[np.int64], counts: Mask, around: _Places, bounds: NDArray[np.int64]) -> NDArray[np.int64]:
    """A place in each gap between two numbers in which nothing stands that counts: 3，5 is not 35. But 1,000 is 1000."""
    import numpy as np

    if len(digits) < 2:
        return digits[:0]
    gap = np.append(digits[1:] - digits[:-1], 0)
    gap[np.append(around.text[1:] != around.text[:-1], True)] = 0
    empty = (gap > 1) & (gap <= _REACH)
    for offset in range(1, _REACH):
        empty &= (offset >= gap) | ~counts[np.minimum(digits + offset, len(counts) - 1)]
    first = digits[empty]
    here = _Places(first, around.points, around.classes, bounds)
    comma = around.points[first + 1] == ord(",")
    three = [_has(here.classes_at(offset), _DIGIT) for offset in (2, 3, 4)]
    grouped = comma & three[0] & three[1] & three[2] & ~_has(here.classes_at(5), _DIGIT)
    grouped &= ~(_has(here.classes_at(-1), _DIGIT) & _has(here.classes_at(-2), _DIGIT) & _has(here.classes_at(-3), _DIGIT))
    return first[~grouped] + 1


@cache
def _classes() -> Classes:
    """Code point → its classes, of characters as `folded` leaves them. From U+40000 on there are none."""
    import numpy as np

    points = range(0x40000)
    table = np.zeros(len(points) + 1, np.uint16)
    counting = np.fromiter(map(str.isalnum, map(chr, points)), bool, len(points))
    table[:-1][counting] = _COUNTS
    table[[point for point in range(0x530) if chr(point).isalpha()]] |= _LETTER
    table[[ord(digit) for digit in "0123456789"]] |= _DIGIT
    for point in np.flatnonzero(~counting[:_SINGLE]).tolist():
        character = chr(point)
        if character.isspace() and character != PART:
            table[point] = _SPACE
        elif character not in _MEMBERS[_MAYBE]:
            category = unicodedata.category(character)
            combines = category in ("Mn", "Mc") and not any(point in each for each in _SELECTORS)
            picture = category == "So" and any(point in each for each in _PICTURES)
            table[point] = _SIGN if category == "Sm" else _COUNTS if combines or picture else 0
    for members, characters in _MEMBERS.items():
        for character in characters:
            table[ord(character)] |= members
    return table
