"""Excerpts of rows for people to read: short, and without personal data."""

from __future__ import annotations

from tasks.text import privacy

EXCERPT = 120  # characters of an excerpt


def excerpt(text: str, window: int = 4 * EXCERPT) -> str:
    """The start of a text, masked, then cut to `EXCERPT` characters: what is cut first could leave half a number that no mask knows.

    `window` characters are masked, so that a long text costs no more than a short one.
    """
    return privacy.mask(text[:window])[0][:EXCERPT]
