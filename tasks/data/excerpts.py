"""Excerpts of rows for people to read: short, and without personal data."""

from __future__ import annotations

from tasks.text import privacy
from tasks.text.ledger import Excerpt
from tasks.text.normalise import storable

EXCERPT = 120  # characters of an excerpt


def excerpt(text: str, window: int = 4 * EXCERPT) -> str:
    """The start of a text, masked, then cut to `EXCERPT` characters: what is cut first could leave half a number that no mask knows.

    `window` characters are masked, so that a long text costs no more than a short one.
    """
    return privacy.mask(text[:window])[0][:EXCERPT]


def shown_cut(source: str, cut: Excerpt) -> dict[str, str]:
    """A cut as a row of `ledger/`, masked over its borders: a number of which the half was cut is a number all the same."""
    pieces = [storable(piece) for piece in (cut.before, cut.cut, cut.after)]
    before, taken, after = masked_pieces(pieces)
    return {
        "source": source,
        "rule": cut.rule,
        "detail": privacy.mask(storable(cut.detail))[0],
        "before": before,
        "cut": taken,
        "instead": privacy.mask(storable(cut.instead))[0],
        "after": after,
    }


def masked_pieces(pieces: list[str]) -> list[str]:
    """The pieces of one text without personal data; what stands in several of them is masked in the first."""
    whole = "".join(pieces)
    found = privacy.find_personal_data(whole)
    if not found:
        return pieces
    masked, start = [], 0
    for piece in pieces:
        end, position, parts = start + len(piece), start, list[str]()
        for one in found:
            if one.start < end and one.end > start:
                parts.append(whole[position : max(start, one.start)])
                parts.append(privacy.mask(whole[one.start : one.end])[0] if one.start >= start else "")
                position = min(end, one.end)
        masked.append("".join([*parts, whole[position:end]]))
        start = end
    return masked
