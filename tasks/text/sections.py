"""Sections that list sources and links: told by their heading and by what is in them.

Of such a section go links, citations and addresses; what is prose stays. Under a heading that is an ordinary word as well (来源 of a surname, 导航
of cars) an item that could be either stays unless most of the others are sources.
"""

from __future__ import annotations

import functools
import re

from tasks.text.templates import alternatives, split_names

LINKED = "\x1a"  # before a line that holds nothing but links

_ORDINARY = frozenset(
    split_names(
        "来源, 來源, 引用, 参考, 參考, 画廊, 畫廊, 图集, 圖集, 图库, 圖庫, 导航, 導航, 书目, 書目, 注解, 註解, 附注, 附註, gallery"
    )
)
_SOURCES = frozenset(
    split_names(
        "参考文献, 參考文獻, 参考资料, 參考資料, 参考来源, 參考來源, 参考书目, 參考書目, 参考书籍, 參考書籍, 参考链接, "
        "參考連結, 參考資訊, 注释, 注釋, 註釋, 脚注, 腳註, 註腳, 注脚, 引注, 资料来源, 資料來源, "
        "参考文献与注释, 注释与参考文献, 外部链接, 外部連結, 外部連接, 外部鏈接, 外部链结, 外部链結, 参见, 參見, 参看, 參看, 参阅, 參閱, "
        "另见, 另見, 相关条目, 相關條目, 相关链接, 相關連結, 延伸阅读, 延伸閱讀, 扩展阅读, 擴展閱讀, 进一步阅读, 進一步閱讀, "
        "研究书目, 研究書目, 出典, 注釈, 関連項目, 外部リンク, references, external links, "
        "see also, further reading, notes, bibliography, footnotes, notes and references, sources, citations, works cited"
    )
)
_ENDS = ("。", "！", "？", "。”", "。」", "。）")
_SOURCE = re.compile(  # what only a source has: a publisher, a number, pages, an address; each begins with a letter that the engine can skip to
    "|".join(
        [r"出版(?:社|公司)|书[局店]|書[局店]|印书馆|印書館|学报|學報|期刊|第\s*\d+(?:[-–—~]\d+)?\s*[页頁卷期]"]
        + [rf"{page}(?:[。）)，,]?$|[\d-])" for page in "页頁"]
        + [f"{letter}(?i:s[bs]n)" for letter in "iIİı"]
        + [f"{letter}(?i:ttps?:)" for letter in "hH"]
        + [rf"{letter}(?<=\b{letter})(?i:p?\.|ress\b)" for letter in "pP"]
        + [rf"{letter}(?<=\b{letter})(?i:ol\.)" for letter in "vV"]
        + [rf"{letter}(?<=\b{letter})(?i:oi\b)" for letter in "dD"]
    )
)
_CITATION = re.compile(  # a book, a paper, a page: not a sentence, though it may end like one
    r"出版|论文|論文|页|頁|编[。，：:]|編[。，：:]|译[。，：:]|譯[。，：:]|载于|載於|[《〈“「『][^》〉”」』]*[》〉”」』]"
    r"[^，。]{0,20}[。）]$|\(\d{4}年?\)|（\d{4}年?）|[，,. ]\d{4}[，,。.)）]|\d{4}年(?:\d{1,2}月)?[。）]"
)
_DATED = re.compile(r"[（(][^（）()]*(?:1[5-9]|20)\d\d[^（）()]*[）)]$|[，,.] ?(?:1[5-9]|20)\d\d年?(?:\d{1,2}月)?[,.]?$")
_SHORTEST, _LONG = 15, 100  # characters of a sentence that is worth keeping by itself, and of a paragraph, which may cite
_CLAUSE = re.compile("[\u4e00-\u9fff][，：；、][\u4e00-\u9fff]")

_ANY = alternatives(sorted(_SOURCES | _ORDINARY))
_AND = re.compile(r"[与與及和暨、&/]|\band\b", re.IGNORECASE)
_APPENDIX = re.compile(
    rf"\n(={{2,6}})(?!=)[ \t\u3000]*+(?:{_ANY})[ \t\u3000]*+(?:(?:{_AND.pattern})[ \t\u3000]*+(?:{_ANY})[ \t\u3000]*+)?[ \t\u3000：:]*+="
)
_NEXT = tuple(
    re.compile(rf"\n={{1,{level}}}(?!=)[^\n]*=") for level in range(1, 7)
)  # by the level of the section that ends there
_LINKS = re.compile(r"\[\[[^\[\]\n]*\]\]|\{\{[^{}\n]*\}\}|\[(?:https?:)?//[^\[\]\n]*\]|https?://\S+")
_ADDRESS = re.compile(r"https?://|\[//")
_LETTER = re.compile(r"[^\W_]")
_FEW = 4  # letters beside the links of a line


@functools.lru_cache(maxsize=1024)
def is_appendix(heading: str) -> bool:
    """True for the heading of a section that may list sources and links."""
    spelled = _spelled(heading)
    if spelled in _SOURCES or spelled in _ORDINARY:
        return True
    both = _AND.split(spelled)
    return len(both) == 2 and all(part.strip() in _SOURCES or part.strip() in _ORDINARY for part in both)


def is_ordinary(heading: str) -> bool:
    """True for one of these headings that is an ordinary word, too."""
    return _spelled(heading) in _ORDINARY


def _spelled(heading: str) -> str:
    return heading.strip("　 ：:").lower()


def mark_links(source: str) -> str:
    """Wikitext with a mark before each line of links alone, in the sections that may list some; what a link is cannot be told once it is text."""
    pieces, position = [], 0
    source = f"\n{source}"
    while heading := _APPENDIX.search(source, position):
        following = _NEXT[len(heading.group(1)) - 1].search(source, heading.end())
        end = following.start() if following else len(source)
        lines = source[heading.end() : end].split("\n")
        lines[1:] = [_marked(line) if "[[" in line or "{{" in line or "//" in line else line for line in lines[1:]]
        pieces += [source[position : heading.end()], "\n".join(lines)]
        position = end
    return "".join([*pieces, source[position:]])[1:] if pieces else source[1:]


def _marked(line: str) -> str:
    text = line.lstrip("*#:; \t")
    address = "//" in text and _ADDRESS.search(text)
    if not address and not text.startswith(("[[", "{{")):
        return line
    beside = _LINKS.sub("", text)
    alone = not beside.rstrip().endswith(_ENDS) if address else len(_LETTER.findall(beside)) <= _FEW
    return line[: len(line) - len(text)] + LINKED + text if alone else line


def of_sources(lines: list[str], heading: str) -> list[bool]:
    """For each line under a heading of an appendix, its item's mark taken off, True where it is a source that goes."""
    kinds = [_kind(line) for line in lines]
    sources = kinds.count("source") + kinds.count("dated")
    if is_ordinary(heading):
        mostly = sources > len(kinds) - sources - kinds.count("")
        return [kind == "source" or (mostly and kind in ("either", "dated")) for kind in kinds]
    return [
        kind in ("source", "dated", "cites") or (kind == "either" and (sources > 0 or not _clear(line)))
        for kind, line in zip(kinds, lines, strict=True)
    ]


def _kind(line: str) -> str:
    """The kind of a line: a source, prose, either of them, a sentence that cites, no sentence but a year as sources have it, or nothing."""
    if not line:
        return ""
    if LINKED in line:
        return "source"
    sentence = line.endswith(_ENDS)
    if (len(line) < _LONG or not sentence) and _SOURCE.search(line):
        return "source"
    if len(line) >= _SHORTEST and sentence:
        return "prose" if len(line) >= _LONG or not _CITATION.search(line) else "cites"
    dated = len(line) < _LONG and (line[-1] in "）)年月,." or line[-1].isdigit()) and _DATED.search(line)
    return "dated" if dated else "either"


def _clear(line: str) -> bool:
    """True for a line that is prose though it is no whole sentence."""
    return len(line) >= _SHORTEST and _CLAUSE.search(line) is not None and (len(line) >= _LONG or not _CITATION.search(line))
