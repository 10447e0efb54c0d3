"""Wikitext → plain text.

One pass over the page with a stack, the way MediaWiki's own preprocessor reads it: templates, links, tables and variant markup nest in each
other, and what is inside decides what is left. Depth is bounded (as MediaWiki bounds it) and every pattern scans forward only, so the time
is linear in the length of the page, whatever somebody wrote into it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from tasks.text import templates, variants
from tasks.text.layout import lay_out
from tasks.text.templates import END, SUB, SUP, names

DEPTH = 40  # levels of nesting that are followed; MediaWiki's limit for templates in templates

# Marks for the time a page is in work; they cannot be in XML, and are taken out of the input all the same.
_PIPE = "\x01"  # a bar that a nested element left: not a separator of the element around it
_KEPT = re.compile("\x02([0-9]+)\x03")  # code and formulas, put back at the very end
_AS_IS, _AS_IS_END = "\x0e", "\x0f"  # -{ }-: not to be converted between scripts
_MARKS = re.compile("[\x00-\x08\x0b-\x1f]")

_DROPPED = names(
    "ref, gallery, timeline, imagemap, score, graph, mapframe, maplink, hiero, templatedata, templatestyles, categorytree, inputbox, "
    "includeonly, references, indicator, script, style, table, rt, rp, rtc, noscript, head, nav, button, form, title"
)
_FORMULAS = ("math", "chem", "ce")
_CODE = ("pre", "syntaxhighlight", "source", "code")
_BREAKS = names("br, p, div, li, ul, ol, dl, dt, dd, tr, hr, blockquote, center, poem, h1, h2, h3, h4, h5, h6, caption, section")
_INLINE = names(
    "b, i, u, s, del, ins, strike, em, strong, big, small, sub, sup, span, font, q, cite, dfn, abbr, acronym, var, kbd, samp, tt, td, th, "
    "thead, tbody, tfoot, col, colgroup, ruby, rb, bdi, bdo, mark, time, data, wbr, a, img, noinclude, onlyinclude, nobr, link, meta, "
    "html, body, header, footer, main, input, label, select, option, textarea, iframe, video, audio, figure, figcaption, h, article, "
    "aside, translate, languages"
)
_TAG = rf"</?(?i:{'|'.join([*_DROPPED, *_FORMULAS, *_CODE, 'nowiki', *_BREAKS, *_INLINE])})(?=[\s/>])[^<>]*>"
_TOKEN = re.compile(rf"<!--|{_TAG}|\{{\{{+|\}}\}}+|\[\[|\]\]|-\{{(?!\{{)|\}}-|\{{\||\|\}}(?!\}})")
_RAW_TAG = re.compile(r"<[A-Za-z/!]")
_ESCAPED_TAG = re.compile(r"&lt;(?:!--|/?(?i:br|ref|nowiki|s|span|div|small|sup|sub|gallery|references|ruby|del|b|i|u|center)\b)")
_TAG_NAME = re.compile(r"<(/?)([A-Za-z0-9]+)")
_PROGRAM = re.compile(r"lang\s*=\s*[\"']?([\w+#-]+)", re.IGNORECASE)

_HIDDEN = frozenset(
    names(
        "file, image, media, 檔案, 档案, 文件, 圖像, 图像, 圖片, 图片, 画像, ファイル, 파일, fichier, datei, archivo, изображение, файл, "
        "category, 分類, 分类, カテゴリ, 분류, catégorie, kategorie, categoría, категория"
    )
)
_LANGUAGE = re.compile(r"[a-z]{2,3}|zh-[a-z-]+|be-x-old|bat-smg|cbk-zam|fiu-vro|map-bms|nds-nl|roa-(?:rup|tara)|simple")
_PROJECTS = frozenset(
    names(
        "wikt, wiktionary, s, q, b, n, m, c, d, v, w, voy, species, commons, wikipedia, project, help, template, user, special, talk"
    )
)

_EXTERNAL = re.compile(r"\[(?:https?:|ftps?:|mailto:|news:|//)[^\s\[\]<>\"]*+[ \t\u3000]*+([^\[\]\n]*+)\]")
_QUOTES = re.compile("'{2,}+")
_SWITCH = re.compile(r"__(?:[A-Z]{3,20}|[\u4e00-\u9fff]{2,8})__")
_STRAY = re.compile(r"\{\{+|\}\}+|\[\[+|\]\]+|\{\||\|\}|-\{|\}-|</?(?i:ref)\b[^<>]*+>?")
_NOTE = re.compile(r"</?ref\b[^<>]*+>?", re.IGNORECASE)
_TIGHT = re.compile(r"(?<=\{)(?=[{|])|(?<=\})(?=[}-])|(?<=\[)(?=\[)|(?<=\])(?=\])|(?<=-)(?=\{)|(?<=\|)(?=\})")
_RAISED = re.compile(f"(.?){SUP}([^{SUP}{SUB}{END}]*){END}")
_LOWERED = re.compile(f"(.?){SUB}([^{SUP}{SUB}{END}]*){END}")
_SUPERSCRIPT = str.maketrans("0123456789+-−=()n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁼⁽⁾ⁿ")
_SUBSCRIPT = str.maketrans("0123456789+-−=()", "₀₁₂₃₄₅₆₇₈₉₊₋₋₌₍₎")
_UNCONVERTED = re.compile(f"{_AS_IS}([^{_AS_IS}{_AS_IS_END}]*){_AS_IS_END}")


@dataclass(slots=True)
class _Frame:
    """An element that is open: its kind is its opening mark, "" for the page itself."""

    kind: str
    braces: int = 0  # opening braces not yet matched, for "{{"
    pieces: list[str] = field(default_factory=list)


def plain(wikitext: str, simplify: Callable[[str], str] | None = None) -> str:
    """The text that a reader of the page sees, without tables, pictures, notes and lists of sources.

    `simplify` converts traditional to simplified characters; it is applied here because the page may forbid it for some words (`-{乾}-`) and
    rule it for others (NoteTA). No `{{`, `[[`, `-{`, `{|` or `<ref` is left outside of code. Formulas become $LaTeX$, code stays in back quotes.
    """
    return _Page(wikitext, simplify).text()


def _escaped_twice(wikitext: str) -> bool:
    """Whether markup was escaped once too often on its way into the file: escaped tags, and not one that is not."""
    return _ESCAPED_TAG.search(wikitext) is not None and _RAW_TAG.search(wikitext) is None


class _Page:
    def __init__(self, wikitext: str, simplify: Callable[[str], str] | None):
        self.source = _MARKS.sub("", html.unescape(wikitext) if _escaped_twice(wikitext) else wikitext)
        self.simplify = simplify
        self.frames = [_Frame("")]
        self.kept: list[str] = []
        self.rules: list[variants.Rule] = []
        self.unclosed: set[str] = set()  # tags of which no closing tag follows any more

    def text(self) -> str:
        text = _SWITCH.sub("", self.scan())
        text = _QUOTES.sub("", _EXTERNAL.sub(r"\1", text)).replace(_PIPE, "|")
        text = html.unescape(text)
        text = self.convert(lay_out(_scripts(text)))
        text = _STRAY.sub(" ", text)  # a space, since what stood around it may be half a mark each
        return _KEPT.sub(lambda match: self.kept[int(match.group(1))], text).strip()

    def convert(self, text: str) -> str:
        if self.simplify is None:
            return text.replace(_AS_IS, "").replace(_AS_IS_END, "")
        by_rule, simplify = variants.replacer(self.rules), self.simplify
        pieces = _UNCONVERTED.split(text)
        pieces[::2] = [simplify(by_rule(piece)) for piece in pieces[::2]]
        return "".join(pieces).replace(_AS_IS, "").replace(_AS_IS_END, "")

    # the scan

    def scan(self) -> str:
        source, position = self.source, 0
        while token := _TOKEN.search(source, position):
            start = token.start()
            if start > position:
                self.frames[-1].pieces.append(source[position:start])
            position = self.handle(token.group(), start, token.end())
        self.frames[-1].pieces.append(source[position:])
        self.spill(0)
        return "".join(self.frames[0].pieces)

    def handle(self, token: str, start: int, end: int) -> int:
        """Act on a token; returns where to read on."""
        if token == "<!--":
            close = self.source.find("-->", end)
            return len(self.source) if close < 0 else close + 3
        if token[0] == "<":
            return self.tag(token, end)
        if token.startswith("{{"):
            self.open("{{", len(token))
        elif token.startswith("}}"):
            return start + self.close_braces(len(token))
        elif token in ("[[", "-{", "{|"):
            self.open(token)
        elif token == "]]":
            if self.frames[-1].kind == "[[":
                self.leave(self.link("".join(self.frames.pop().pieces)))
        elif token == "}-":
            if self.spill_to("-{"):
                self.leave(self.variant("".join(self.frames.pop().pieces)))
            else:
                self.frames[-1].pieces.append("-")
        elif self.spill_to("{|"):
            self.frames.pop()
        return end

    def open(self, kind: str, braces: int = 0) -> None:
        if len(self.frames) <= DEPTH:
            self.frames.append(_Frame(kind, braces))

    def leave(self, shown: str) -> None:
        """What a closed element shows goes to the one around it."""
        self.frames[-1].pieces.append(shown.replace("|", _PIPE) if len(self.frames) > 1 else shown)

    def spill(self, depth: int) -> None:
        """Elements above this depth were never closed: their content is text."""
        while len(self.frames) > depth + 1:
            pieces = self.frames.pop().pieces
            self.frames[-1].pieces += pieces

    def spill_to(self, kind: str) -> bool:
        """Make the innermost open element of this kind the topmost; False if none is open."""
        for depth in range(len(self.frames) - 1, 0, -1):
            if self.frames[depth].kind == kind:
                self.spill(depth)
                return True
        return False

    def close_braces(self, count: int) -> int:
        """Match a run of closing braces with open ones, three (a parameter) or two (a template) at a time. Returns how many were used."""
        left = count
        while left >= 2:
            if not self.spill_to("{{"):
                return count
            frame = self.frames.pop()
            content = "".join(frame.pieces)
            size = 3 if min(frame.braces, left) >= 3 else 2
            shown = content.partition("|")[2] if size == 3 else self.template(content)
            left -= size
            if frame.braces - size >= 2:
                self.frames.append(_Frame("{{", frame.braces - size))
            self.leave(shown)
        return count - left

    # what an element shows

    def template(self, content: str) -> str:
        name, *parts = content.split("|")
        name = templates.name_of(name)
        if name in templates.NOTE_TA:
            self.rules += [rule for value in templates.arguments(parts).values() if (rule := variants.parse(value))]
            return ""
        return templates.render(name, parts)

    def link(self, content: str) -> str:
        """[[target|label]] → label; pictures, categories and the same article in other languages show nothing in the text."""
        target, bar, label = content.partition("|")
        target = target.strip()
        shown = target.lstrip(":")
        prefix, colon, rest = shown.partition(":")
        space = prefix.strip().lower()
        if colon and target[:1] != ":" and (space in _HIDDEN or _LANGUAGE.fullmatch(prefix.strip())):
            return ""
        if bar and label.strip():
            return label
        if colon and (space in _PROJECTS or _LANGUAGE.fullmatch(prefix) or bar):
            shown = rest
        page, _, anchor = shown.partition("#")
        return (page or anchor).replace("_", " ").strip()

    def variant(self, content: str) -> str:
        shown, rule = variants.render(content.replace(_PIPE, "|"))
        if rule:
            self.rules.append(rule)
        shown = shown.replace(_AS_IS, "").replace(_AS_IS_END, "")
        return f"{_AS_IS}{shown}{_AS_IS_END}" if shown.strip() else ""

    def tag(self, tag: str, end: int) -> int:
        match = _TAG_NAME.match(tag)
        assert match
        closing, name = match.group(1), match.group(2).lower()
        if name in ("sup", "sub"):
            self.frames[-1].pieces.append(END if closing else SUP if name == "sup" else SUB)
        elif name in _BREAKS:
            self.frames[-1].pieces.append("\n")
        elif name in ("td", "th"):
            self.frames[-1].pieces.append(" ")
        elif (
            not closing
            and not tag.endswith("/>")
            and (name in _DROPPED or name in _FORMULAS or name in _CODE or name == "nowiki")
        ):
            return self.raw(name, tag, end)
        return end

    def raw(self, name: str, tag: str, end: int) -> int:
        """An element whose inside is not wikitext. Without a closing tag it is not one: only the tag goes."""
        close = None if name in self.unclosed else re.compile(rf"</{name}\s*>", re.IGNORECASE).search(self.source, end)
        if close is None:
            self.unclosed.add(name)
            return end
        if name == "nowiki":
            self.frames[-1].pieces.append(self.source[end : close.start()].replace("|", _PIPE))
        elif name not in _DROPPED:
            inside = html.unescape(self.source[end : close.start()])
            if name in _FORMULAS:
                formula = " ".join(
                    _TIGHT.sub(" ", _NOTE.sub("", inside)).split()
                )  # no {{ of LaTeX is taken for a template later on
                inside = f"${formula}$" if name == "math" else rf"$\ce{{{formula}}}$"
            else:
                inside = _code(re.sub(r"</?nowiki\s*/?>", "", inside), name, tag)
            self.kept.append(inside)
            self.frames[-1].pieces.append(f"\x02{len(self.kept) - 1}\x03")
        return close.end()


def _code(inside: str, name: str, tag: str) -> str:
    if name == "code" or "inline" in tag.lower() or (name == "source" and "\n" not in inside):
        line = " ".join(inside.split())
        return f"`{line}`" if line and "`" not in line else line
    program = _PROGRAM.search(tag)
    return f"\n```{program.group(1) if program else ''}\n{inside.strip(chr(10))}\n```\n"


def _scripts(text: str) -> str:
    """Raised and lowered text: 10<sup>6</sup> → 10⁶, H<sub>2</sub>O → H₂O, x<sup>k</sup> → x^k, 1<sup>st</sup> → 1st."""
    if SUP not in text and SUB not in text and END not in text:
        return text

    def show(match: re.Match[str], table: dict[int, int], mark: str) -> str:
        before, inside = match.group(1), match.group(2).strip()
        if inside[:1] in ("[", "［") or not inside:  # a note
            return before
        if all(ord(character) in table for character in inside):
            return before + inside.translate(table)
        if not inside.isascii() or (before.isdigit() and inside.isalpha()) or not (before.isascii() and before.isalnum()):
            return before + inside
        return (
            f"{before}{mark}{inside}"
            if len(inside) == 1
            else f"{before}{mark}({inside})"
            if mark == "^"
            else f"{before}{mark}{inside}"
        )

    text = _RAISED.sub(lambda match: show(match, _SUPERSCRIPT, "^"), text)
    text = _LOWERED.sub(lambda match: show(match, _SUBSCRIPT, "_"), text)
    return re.sub(f"[{SUP}{SUB}{END}]", "", text)
