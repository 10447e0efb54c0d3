"""Questions that come as a title and what the asker wrote below it."""

from __future__ import annotations

from tasks.formats.placeholders import says_nothing

_OVERLAP = 6  # characters


def titled_question(title: str, more: str) -> str:
    """A title and what the asker wrote below it, which often says nothing, or the title again, or goes on where the title was cut."""
    title, more = title.strip(), more.strip()
    if not more or more in ("如题", "如题。", "rt", "RT") or more in title or says_nothing(more, title or more):
        return title
    if title in more:
        return more
    start = (
        next((place for place in range(len(title) - _OVERLAP) if more.startswith(title[place:])), len(title))
        if len(title) < 300
        else None
    )
    return f"{title[:start].rstrip()}\n{more}"
