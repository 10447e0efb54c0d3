"""Tables as lines of text, by mwparserfromhell's tree.

Which cell stands where takes a tree: rows and columns that are spanned, tables in cells, attributes before a cell's text. The scanner of
`tasks.text.wikitext` hands over a table whose templates and links it has resolved, so that a page without tables never pays for a tree, and
nothing but table markup gets into it: on nested and broken braces its time is not linear.
"""

from __future__ import annotations

import re
from typing import Any

LARGEST = 100_000  # characters: a larger table is a list of data
_NESTED = 20  # tables in one
_MOST_CELLS = 5_000  # spanned ones counted as often as they are spanned
_SPAN = 100  # rows or columns that a cell may span
_LONGEST_LABEL = 40

# what would be markup beside the table's own, hidden from the tree
_HIDDEN = {ord(mark): code for code, mark in enumerate("<[]&'*#", start=0x10)}
_SHOWN = {code: chr(mark) for mark, code in _HIDDEN.items()} | {0x17: "{", 0x18: "}"}
_OPEN, _CLOSED = re.compile(r"\{(?!\|)"), re.compile(r"(?<!\|)\}")
_MARK = re.compile(r"^[*#:;= ]+", re.MULTILINE)


def table_text(markup: str) -> str:
    """`{|…|}`, with nothing in it but text and tables, → its caption, then a line a row: `表头：格；表头：格` under a row of headers, else `格；格`.

    A cell that spans rows or columns counts in each of them and is told once a row; tables in cells are told in the cell. Empty where there
    are no cells, or more than prose can hold.
    """
    if len(markup) > LARGEST or markup.count("{|") > _NESTED:
        return ""
    import mwparserfromhell

    hidden = _CLOSED.sub("\x18", _OPEN.sub("\x17", _MARK.sub("", markup).translate(_HIDDEN)))
    tables = mwparserfromhell.parse(hidden, skip_style_tags=True).filter_tags(recursive=False, matches=_is_table)
    lines = _table(tables[0], 0) if tables else []
    return "\n" + "\n".join(lines).translate(_SHOWN) + "\n" if lines else ""


def _is_table(node: Any) -> bool:
    return str(node.tag) == "table"


def _table(node: Any, depth: int) -> list[str]:
    lines, rows = [], [[]]  # type: list[str], list[list[Any]]
    for tag in node.contents.filter_tags(recursive=False):
        name = str(tag.tag)
        if name == "tr":
            rows.append([cell for cell in tag.contents.filter_tags(recursive=False) if str(cell.tag) in ("td", "th")])
        elif name in ("td", "th"):  # of the first row, which needs no mark
            rows[0].append(tag)
    if rows[0] and (caption := str(rows[0][0].contents)).startswith("+"):
        del rows[0][0]
        lines.append(_line(caption[1:]))
    spanned = sum(_span(cell, "colspan") * _span(cell, "rowspan") for row in rows for cell in row)
    if spanned > _MOST_CELLS:
        return []
    headers: list[str] = []
    for cells in _grid([row for row in rows if row], depth):
        if cells and all(is_header for _, is_header in cells):
            titles = [text for text, _ in cells]
            if headers and len(set(titles)) == 1:  # one over all columns: it heads the rows that follow, not the columns
                lines.append(titles[0])
            else:
                headers = titles
            continue
        items: list[str] = []
        for place, (text, is_header) in enumerate(cells):
            header = headers[place] if place < len(headers) else ""
            item = f"{header}：{text}" if header and header != text and len(header) <= _LONGEST_LABEL and not is_header else text
            if text and (not items or items[-1] != item):
                items.append(item)
        lines.append("；".join(items))
    return [line for line in lines if line]


def _grid(rows: list[list[Any]], depth: int) -> list[list[tuple[str, bool]]]:
    """The cells of each row as (text, is a header), with those that reach into it from above or from its left."""
    grid: list[list[tuple[str, bool]]] = []
    reaching: dict[int, tuple[int, tuple[str, bool]]] = {}  # column → (rows left, the cell)
    for row in rows:
        line: list[tuple[str, bool]] = []

        def fill(line: list[tuple[str, bool]] = line) -> None:
            while len(line) in reaching:
                rows_left, cell = reaching.pop(len(line))
                if rows_left > 1:
                    reaching[len(line)] = rows_left - 1, cell
                line.append(cell)

        for cell in row:
            fill()
            value = _cell(cell, depth), str(cell.tag) == "th"
            for _ in range(_span(cell, "colspan")):
                if (down := _span(cell, "rowspan")) > 1:
                    reaching[len(line)] = down - 1, value
                line.append(value)
        fill()
        grid.append(line)
    return grid


def _span(cell: Any, name: str) -> int:
    value = str(cell.get(name).value).strip() if cell.has(name) else "1"
    return max(1, min(int(value), _SPAN)) if value.isdecimal() and len(value) < 6 else 1


def _cell(cell: Any, depth: int) -> str:
    inner = cell.contents.filter_tags(recursive=False, matches=_is_table)
    inner_lines = [line for tag in inner if depth < 3 for line in _table(tag, depth + 1)]
    for tag in inner:
        cell.contents.remove(tag)
    return "；".join(filter(None, [_line(str(cell.contents)), *inner_lines]))


def _line(text: str) -> str:
    """The lines of a cell as one, separated as a list is."""
    return "、".join(filter(None, map(str.strip, text.split("\n"))))
