"""The lines of a page whose markup is resolved: headings, lists, what removed elements left behind."""

from __future__ import annotations

import re

from tasks.text.templates import names

# Sections that list sources and links. Of these only lines that are sentences stay
_APPENDIX = frozenset(
    names(
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


_DONE = "\x10"  # before a line that is what it will be
_ITEMS = tuple(  # lists as most are: the marks, then a letter
    (f"\n{marks}", re.compile(rf"\n{re.escape(marks)} *+(?=[^\W_])(?!http)"), f"\n{_DONE}{item}")
    for marks, item in (("*", "- "), ("**", "  - "), ("***", "    - "), ("#", "- "), (":", ""), (";", ""))
)


def lay_out(text: str) -> str:
    """Lines → paragraphs: `== 标题 ==` becomes a line of its own, `* 项` becomes `- 项`.

    Sections that hold nothing go, and of those that list sources all but sentences.
    """
    text = _brackets(text)
    if "\t" in text:
        text = text.replace("\t", " ")
    if " " in text:
        text = _GAP_BEFORE.sub("", _GAP_AFTER.sub("", text))
    for pattern in _DOUBLE:
        text = pattern.sub("", text)
    blocks: list[tuple[int, str]] = []  # (heading level or 0, line)
    skip = 0  # inside an appendix: the level of its heading
    text = "\n" + text
    for start, pattern, instead in _ITEMS:
        if start in text:
            text = pattern.sub(instead, text)
    for line in text[1:].split("\n"):
        first = line[:1]
        if first == _DONE or (first.isalpha() and not line.startswith("http")):  # an item, or a paragraph, like most
            line = line.rstrip() if first != _DONE else line[1:].rstrip()
            if not skip or _is_prose(line):
                blocks.append((0, line))
            continue
        line = line.strip()
        level, line = _heading(line) if line[:1] == "=" else (0, line)
        if level:
            if not skip or level <= skip:
                skip = level if is_appendix(line) else 0
            blocks.append((level, line))
        elif line and (not skip or _is_prose(line)):
            blocks.append((0, _item(line)))
        elif not skip:
            blocks.append((0, ""))
    return "\n".join(_not_empty(blocks))


def is_appendix(heading: str) -> bool:
    """Whether a section with this heading lists sources and links."""
    return heading.strip("　 ：:").lower() in _APPENDIX


def _is_prose(line: str) -> bool:
    """Whether a line of a list of sources is a sentence all the same."""
    return len(line) >= _SHORTEST and line.endswith(_ENDS) and (len(line) >= _LONG or not _CITATION.search(line))


def _heading(line: str) -> tuple[int, str]:
    if len(line) < 3 or line[0] != "=" or line[-1] != "=":
        return 0, line
    level = min(len(line) - len(line.lstrip("=")), len(line) - len(line.rstrip("=")), 6)
    title = line[level:-level].strip()
    return (level, title) if title else (0, "")


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


def _not_empty(blocks: list[tuple[int, str]]) -> list[str]:
    """Lines without the headings that have nothing under them."""
    kept: list[str] = []
    following = 1  # level of the next heading that stays; 7: text follows
    for level, line in reversed(blocks):
        if level == 0:
            kept.append(line)
            following = 7 if line else following
        elif following > level:
            kept += ["", line, ""]
            following = level
    return kept[::-1]
