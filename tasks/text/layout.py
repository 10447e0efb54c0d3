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
_MARK = re.compile(r"([*#:;]+)[ \t\u3000]*")
_RULE = re.compile(r"-{4,}+")
_RESIDUE = re.compile(r"[\s\W_]*|(?:- )?(?:https?:)?//\S+")  # a line of marks only, or one address

# What is left of （英語：{{lang|…}}，1984年） when the template leaves nothing. Patterns begin with the characters they look for, which the
# regular expression engine then skips to, and look at a run of separators once. Where a group is kept, `_keeping` does it.
_SEPARATOR = r"[ \t\u3000，,、；;]"
_EMPTY = re.compile(r"[（(][ \t\u3000，,、;；:：·/.。—–-]*+[）)]")
_LABEL = re.compile(r"[（(][^（()）\n，,；;]{1,6}[：:][ \t]*+[）)]")
_LEADING = re.compile(r"([（(])(?:[^（()）\n，,；;：:]{1,6}[：:][ \t]*+(?=[，,；;]))?[ \t]*+[，,、；;][ \t，,、；;]*+")
_TRAILING = re.compile(rf"{_SEPARATOR}(?<!{_SEPARATOR}{{2}}){_SEPARATOR}*+([）)])")
_DOUBLE = re.compile(r"[，、](?=[，。；、])")
_GAP_AFTER = re.compile(r"([，。；：！？、])[ \t]++(?=\S)")  # where a note stood
_GAP_BEFORE = re.compile(r"[ \t](?<![ \t]{2})[ \t]*+(?=[，。；！？、）])")


def lay_out(text: str) -> str:
    """Lines → paragraphs: `== 标题 ==` becomes a line of its own, `* 项` becomes `- 项`.

    Sections that hold nothing go, and of those that list sources all but sentences.
    """
    if "（" in text or "(" in text:
        text = _brackets(text)
    blocks: list[tuple[int, str]] = []  # (heading level or 0, line)
    skip = 0  # inside an appendix: the level of its heading
    if " " in text or "\t" in text:
        text = _GAP_BEFORE.sub("", _keeping(_GAP_AFTER, text))
    for line in map(str.strip, _DOUBLE.sub("", text).split("\n")):
        first = line[:1]
        if first.isalpha() and not line.startswith("http"):  # a paragraph, like most
            if not skip or _is_prose(line):
                blocks.append((0, line))
            continue
        level, line = _heading(line) if first == "=" else (0, line)
        if level:
            if not skip or level <= skip:
                skip = level if is_appendix(line) else 0
            blocks.append((level, line))
        elif not skip or _is_prose(line):
            blocks.append((0, line and _item(line)))
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
    mark = _MARK.match(line)
    if mark:
        line, marks = line[mark.end() :].strip(), mark.group(1)
        if line and marks[-1] in "*#":
            line = f"{'  ' * (len(marks) - 1)}- {line}"
    return "" if _RESIDUE.fullmatch(line) and "\x02" not in line else line


def _brackets(text: str) -> str:
    """Close the gaps that removed templates left, twice, since one gap may lie in another."""
    for _ in range(2):
        before = text
        text = _keeping(_TRAILING, _keeping(_LEADING, _LABEL.sub("", _EMPTY.sub("", text))))
        if text == before:
            break
    return text


def _keeping(pattern: re.Pattern[str], text: str) -> str:
    """`pattern.sub(r"\1", text)`, without a call for every match."""
    return "".join(pattern.split(text))


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
