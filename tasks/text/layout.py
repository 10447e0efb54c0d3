"""The lines of a page whose markup is resolved: headings, lists, what removed elements left behind."""

from __future__ import annotations

import re

from tasks.text.templates import split_names

# Sections that list sources and links. Of these only lines that are sentences stay
_APPENDIX = frozenset(
    split_names(
        "参考文献, 參考文獻, 参考资料, 參考資料, 参考, 參考, 参考来源, 參考來源, 参考书目, 參考書目, 参考书籍, 參考書籍, 参考链接, "
        "參考連結, 參考資訊, 注释, 注釋, 註釋, 注解, 註解, 脚注, 腳註, 註腳, 注脚, 附注, 附註, 引注, 引用, 来源, 來源, 资料来源, 資料來源, "
        "参考文献与注释, 注释与参考文献, 外部链接, 外部連結, 外部連接, 外部鏈接, 外部链结, 外部链結, 参见, 參見, 参看, 參看, 参阅, 參閱, "
        "另见, 另見, 相关条目, 相關條目, 相关链接, 相關連結, 延伸阅读, 延伸閱讀, 扩展阅读, 擴展閱讀, 进一步阅读, 進一步閱讀, 书目, 書目, "
        "研究书目, 研究書目, 画廊, 畫廊, 图集, 圖集, 图库, 圖庫, 导航, 導航, 出典, 注釈, 関連項目, 外部リンク, references, external links, "
        "see also, further reading, notes, bibliography, footnotes, notes and references, sources, citations, works cited, gallery"
    )
)
_ENDS = ("。", "！", "？", "。”", "。」", "。）")
_CITATION = re.compile(  # a book, a paper, a page: not a sentence, though it may end like one
    r"出版|ISBN|ISSN|https?:|书局|書局|书店|書店|学报|學報|论文|論文|期刊|页|頁|编[。，：:]|編[。，：:]|译[。，：:]|譯[。，：:]|载于|載於|[《〈“「『][^》〉”」』]*[》〉”」』]"
    r"[^，。]{0,20}[。）]$|\(\d{4}\)|（\d{4}）|[，,. ]\d{4}[，,。.)）]|\d{4}年(?:\d{1,2}月)?[。）]"
)
_SHORTEST, _LONG = 15, 100  # characters of a sentence that is worth keeping by itself, and of a paragraph, which may cite
_RULE = re.compile(r"-{4,}+")
_RESIDUE = re.compile(r"[\s\W_]*|(?:- )?(?:https?:)?//\S+")  # a line of marks only, or one address

# What is left of （英語：{{lang|…}}，1984年） when the template leaves nothing. Each pattern begins with one literal character, which the regular
# expression engine skips to several times as fast as to one of a set, and looks at a run of separators once.
_SEPARATORS = " \t\u3000，,、；;"
_OPENED = tuple(
    (
        re.compile(
            rf"{re.escape(mark)}(?:[ \t\u3000，,、;；:：·/.。—–-]*+|[^（()）\n，,；;]{{1,6}}[：:][ \t]*+)[）)]"
        ),  # nothing, or 英语： alone
        re.compile(rf"{re.escape(mark)}(?:[^（()）\n，,；;：:]{{1,6}}[：:][ \t]*+(?=[，,；;]))?[ \t]*+[，,、；;][ \t，,、；;]*+"),
        mark,
    )
    for mark in "（("
)
_CLOSED = tuple((mark, re.compile(rf"{re.escape(mark)}(?<=[{_SEPARATORS}].)")) for mark in "）)")
_TRAILING = re.compile(rf"[{_SEPARATORS}](?<![{_SEPARATORS}]{{2}})[{_SEPARATORS}]*+([）)])")
_DOUBLE = tuple(re.compile(rf"{mark}(?=[，。；、])") for mark in "，、")
_GAP_AFTER = re.compile(r" (?<=[，。；：！？、] ) *+(?=\S)")  # where a note stood
_GAP_BEFORE = re.compile(r" (?<!  ) *+(?=[，。；！？、）])")


_HEADING = re.compile(r"\n[^\S\n]*+(=[^\n]*=)[^\S\n]*+(?=\n)")
_DONE = "\x10"  # before a line that is what it will be
_NO_PARAGRAPH = re.compile(rf"\n(?:(?![^\s|!*#:;=_-]?[^\W_]|{_DONE}|\n)|(?=http))([^\n]*)")
_ITEMS = tuple(  # lists as most are: the marks, then a letter
    (f"\n{marks}", re.compile(rf"\n{re.escape(marks)} *+(?=[^\W_])(?!http)"), f"\n{_DONE}{item}")
    for marks, item in (("*", "- "), ("**", "  - "), ("***", "    - "), ("#", "- "), (":", ""), (";", ""))
)


def lay_out(text: str) -> str:
    """Lines → paragraphs: `== 标题 ==` becomes a line of its own, `* 项` becomes `- 项`.

    Sections that hold nothing go, and of those that list sources all but sentences. Most lines are paragraphs, which are not looked at one by one.
    """
    text = _brackets(text)
    if "\t" in text:
        text = text.replace("\t", " ")
    if " " in text:
        text = _GAP_BEFORE.sub("", _GAP_AFTER.sub("", text))
    for pattern in _DOUBLE:
        text = pattern.sub("", text)
    text = f"\n{text}\n"
    for start, pattern, instead in _ITEMS:
        if start in text:
            text = pattern.sub(instead, text)
    body, *others = _HEADING.split(text)
    sections = [(0, "", _lines(body))]  # (level, heading, what stands under it)
    skip = 0  # inside an appendix: the level of its heading
    for heading, body in zip(others[::2], others[1::2], strict=True):
        level, title = _heading(heading)
        if level and (not skip or level <= skip):
            skip = level if is_appendix(title) else 0
        sections.append((level, title, _sentences(body) if skip else _lines(body)))
    return "".join(_not_empty(sections)).replace(_DONE, "").strip("\n")


def is_appendix(heading: str) -> bool:
    """True for the heading of a section that lists sources and links."""
    return heading.strip("　 ：:").lower() in _APPENDIX


def _is_prose(line: str) -> bool:
    """True for a line of a list of sources that is a sentence all the same."""
    return len(line) >= _SHORTEST and line.endswith(_ENDS) and (len(line) >= _LONG or not _CITATION.search(line))


def _heading(line: str) -> tuple[int, str]:
    """(level, title) of `== 标题 ==`; level 0 if it has no title."""
    level = min(len(line) - len(line.lstrip("=")), len(line) - len(line.rstrip("=")), 6)
    title = line[level:-level].strip()
    return (level, title) if title else (0, "")


def _lines(body: str) -> str:
    """All lines under a heading: paragraphs, which begin with a letter, a digit or a quote, as they are."""
    return _NO_PARAGRAPH.sub(lambda match: "\n" + _item(match.group(1).strip()), body)


def _sentences(body: str) -> str:
    """The lines under a heading that are sentences."""
    sentences = [""]
    for line in body.split("\n"):
        whole = line.startswith(_DONE)
        line = line[1:].rstrip() if whole else line.strip()
        if _is_prose(line):
            sentences.append(line if whole or not _NO_PARAGRAPH.match(f"\n{line}") else _item(line))
    return "\n".join(sentences)


def _item(line: str) -> str:
    """One line that is no heading: a list item, a paragraph, or the rest of a broken table or template, which goes."""
    if not line or (line[0] in "|!" and line[:2] != "!!") or line in ("}", "{"):
        return ""
    if line.startswith("----"):
        line = _RULE.sub("", line, count=1).strip()
    rest = line.lstrip("*#:;")
    if len(rest) < len(line):
        depth, last = len(line) - len(rest), line[-len(rest) - 1]
        line = rest.strip()
        if line and last in "*#":
            line = f"{'  ' * (depth - 1)}- {line}"
        if rest[:1].isalpha() and not rest.startswith("http"):
            return line
    return "" if _RESIDUE.fullmatch(line) and "\x02" not in line else line


def _brackets(text: str) -> str:
    """Close the gaps that removed templates left, twice, since one gap may lie in another."""
    for _ in range(2):
        before = text
        for empty, leading, mark in _OPENED:
            if mark in text:
                text = leading.sub(mark, empty.sub("", text))
        if any(mark in text and pattern.search(text) for mark, pattern in _CLOSED):
            text = "".join(_TRAILING.split(text))
        if text == before:
            break
    return text


def _not_empty(sections: list[tuple[int, str, str]]) -> list[str]:
    """Headings and what stands under them, without those that have nothing under them."""
    pieces: list[str] = []
    following = 1  # level of the next heading that stays; 7: text follows
    for level, heading, body in reversed(sections):
        pieces.append(body)
        if body and not body.isspace():
            following = 7
        if level and following > level:
            pieces.append(f"\n\n{heading}\n")
            following = level
    return pieces[::-1]
