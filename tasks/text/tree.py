"""Tables and infoboxes as lines of text, by mwparserfromhell's tree.

What stands where in a table, and which bar belongs to which template, takes a tree; the scanner of `tasks.text.wikitext` hands over the one
element that needs it and takes back lines, so that a page without tables never pays for it.
"""

from __future__ import annotations

from collections.abc import Callable

LARGEST = 200_000  # characters of an element: a larger one is a list of data, and the tree of it costs seconds
_MOST_CELLS = 5_000
_SPAN = 200  # rows or columns that a cell may span, so that a page cannot ask for a million

Fragment = Callable[[str], str]


def table(wikitext: str, fragment: Fragment) -> str:
    """`{|…|}` → its caption, then a line a row: "表头：格；表头：格" where the table has a row of headers, else "格；格".

    `fragment` gives the text of a piece of wikitext. Empty where there are no cells, or too many for prose.
    """
    return ""


def facts(wikitext: str, fragment: Fragment) -> str:
    return ""
