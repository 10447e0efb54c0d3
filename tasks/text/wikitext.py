"""Wikitext → plain text.

What is simple is resolved by passes that run in C over the whole page (comments and notes, tags, links without anything in them); what
nests in each other, templates, links, tables and variant markup, by one scan with a stack, the way MediaWiki's own preprocessor reads it. An
element that shows nothing is stepped over without looking inside. Depth is bounded (as MediaWiki bounds it) and every pattern scans forward
only, so the time is linear in the length of the page, whatever somebody wrote into it.
"""

from __future__ import annotations

import functools
import html
import re
from collections.abc import Callable
from typing import Literal, NamedTuple

from tasks.text import script, templates, tree, variants
from tasks.text.layout import lay_out
from tasks.text.templates import END, SUB, SUP, names

DEPTH = 40  # levels of nesting that are followed; MediaWiki's limit for templates in templates
_RETRIES = 20  # elements without an end that are looked for to the end of the page; the rest is taken for text

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
    "b, i, u, s, del, ins, strike, em, strong, big, small, span, font, q, cite, dfn, abbr, acronym, var, kbd, samp, tt, "
    "thead, tbody, tfoot, col, colgroup, ruby, rb, bdi, bdo, mark, time, data, wbr, a, img, noinclude, onlyinclude, nobr, link, meta, "
    "html, body, header, footer, main, input, label, select, option, textarea, iframe, video, audio, figure, figcaption, h, article, "
    "aside, translate, languages, nowiki"
)


def _tags(all_of: list[str] | tuple[str, ...], slash: str = "/?") -> re.Pattern[str]:
    return re.compile(rf"<{slash}({'|'.join(all_of)})(?=[\s/>])[^<>]*+>", re.IGNORECASE)


_RAW = re.compile(rf"<!--|{_tags([*_DROPPED, *_FORMULAS, *_CODE, 'nowiki'], '').pattern}", re.IGNORECASE)
_PASSES = (  # in this order: (tags, what they leave)
    (_tags([*_DROPPED, *_FORMULAS, *_CODE, *_INLINE]), ""),
    (_tags(_BREAKS), "\n"),
    (_tags(["td", "th"]), " "),
    (_tags(["sup"], ""), SUP),
    (_tags(["sub"], ""), SUB),
    (_tags(["sup", "sub"], "/"), END),
)
_RAW_TAG = re.compile(r"<[A-Za-z/!]")
_ESCAPED_TAG = re.compile(r"&lt;(?:!--|/?(?i:br|ref|nowiki|s|span|div|small|sup|sub|gallery|references|ruby|del|b|i|u|center)\b)")
_PROGRAM = re.compile(r"lang\s*=\s*[\"']?([\w+#-]+)", re.IGNORECASE)
_LONG_NUMBER = re.compile(r"&#(?=x?[0-9a-fA-F]{9})")

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
# [[target]], [[target|label]] with nothing in them that has to be looked at; the group is what they show
_LINK = re.compile(
    r"\[\[(?:[^\[\]{}<>|:\n]*+\|(?=\s*+[^\s\]])|(?=[^\[\]{}<>|:#_\n\s](?:[^\[\]{}<>|:#_\n]*+(?<=\S))?\]\]))([^\[\]{}<>|\n]++)\]\]"
)
_UNSEEN = re.compile(
    rf"\[\[[ _]*+(?:{'|'.join(sorted(_HIDDEN))})[ _]*+:[^\[\]{{}}]*+\]\]", re.IGNORECASE
)  # pictures and categories

_TOKEN = re.compile(r"\{\{+|\}\}+|\[\[|\]\]|-\{(?!\{)|\}-|\{\|")
_BRACES = re.compile(r"\{\{+|\}\}+")
_TABLE = re.compile(r"\{\||\|\}(?!\})")
_NAME = re.compile(r"\s*+([^{}\[\]|<>\n\x02]*+)")
_INDENTING, _INDENT = " \t\u3000:*#;=|\x01", 32  # what may stand before a table on its line, and how much of it

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


class Options(NamedTuple):
    tables: Literal["drop", "text"] = "drop"
    infoboxes: Literal["drop", "facts"] = "drop"


def plain(wikitext: str, simplify: Callable[[str], str] | None = None, options: Options = Options()) -> str:
    """The text that a reader of the page sees, without pictures, notes and lists of sources, and without tables unless `options` want them.

    `simplify` converts traditional to simplified characters; it is applied here because the page may forbid it for some words (`-{乾}-`) and
    rule it for others (NoteTA). No `{{`, `[[`, `-{`, `{|` or `<ref` is left outside of code. Formulas become $LaTeX$, code stays in back quotes.
    """
    return Page(wikitext, options).converted(simplify)


def escaped_twice(wikitext: str) -> bool:
    """Whether markup was escaped once too often on its way into the file: escaped tags, and not one that is not."""
    return _ESCAPED_TAG.search(wikitext) is not None and _RAW_TAG.search(wikitext) is None


def _unescape(text: str) -> str:
    """HTML's entities as characters. A number of more digits than any character has is left alone, since Python refuses to read it."""
    return html.unescape(_LONG_NUMBER.sub("&amp;#", text)) if "&" in text else text


class _Frame:
    """An element that is open: its kind is its opening mark, "" for the page itself."""

    __slots__ = ("braces", "kind", "pieces")

    def __init__(self, kind: str, braces: int = 0):
        self.kind, self.braces = kind, braces  # braces: opening ones not yet matched, for "{{"
        self.pieces: list[str] = []


class Page:
    """A page whose markup is resolved: `text` has its lines, still in the script it was written in, `rules` how the page wants it converted."""

    def __init__(self, wikitext: str, options: Options = Options()):
        self.options = options
        self.kept: list[str] = []
        self.rules: list[variants.Rule] = []
        self.frames = [_Frame("")]
        self.retries = _RETRIES
        self.whole_tables = False  # within a part of the page that is wanted with its tables in it
        source = _MARKS.sub("", wikitext)
        if "&lt;" in source and escaped_twice(source):
            source = _unescape(source)
        self.text = self.read(source)

    def read(self, source: str) -> str:
        source = self.without_tags(source)
        if "[[" in source:
            source = _UNSEEN.sub("", "".join(_LINK.split(source)))
        self.source = source
        text = self.scan().replace(_PIPE, "|")
        if "__" in text:
            text = _SWITCH.sub("", text)
        if "[" in text:
            text = "".join(_EXTERNAL.split(text))
        if "''" in text:
            text = _QUOTES.sub("", text)
        return lay_out(_scripts(_unescape(text)))

    def converted(self, simplify: Callable[[str], str] | None) -> str:
        """The finished text, in simplified characters if `simplify` is given."""
        text = self.text
        if simplify:
            pieces = _UNCONVERTED.split(text)
            pieces[::2] = [simplify(piece) for piece in variants.apply(self.rules, pieces[::2])]
            text = "".join(pieces)
        if _AS_IS in text or _AS_IS_END in text:
            text = text.replace(_AS_IS, "").replace(_AS_IS_END, "")
        text = _STRAY.sub(" ", text)  # a space, since what stood around it may be half a mark each
        return _KEPT.sub(lambda match: self.kept[int(match.group(1))], text).strip()

    # tags

    def without_tags(self, source: str) -> str:
        if "<" not in source:
            return source
        pieces, position, unclosed = [], 0, set[str]()
        while match := _RAW.search(source, position):
            pieces.append(source[position : match.start()])
            position = self.raw(match, source, pieces, unclosed)
        pieces.append(source[position:])
        text = "".join(pieces)
        if "<" in text:
            for tags, instead in _PASSES:
                text = tags.sub(instead, text)
        return text

    def raw(self, match: re.Match[str], source: str, pieces: list[str], unclosed: set[str]) -> int:
        """A comment, or an element whose inside is not wikitext. Without an end an element is none: only its tag goes. Returns where to read on."""
        tag, end = match.group(), match.end()
        if tag == "<!--":
            close = source.find("-->", end)
            return len(source) if close < 0 else close + 3
        name = match.group(1).lower()
        found = None if tag.endswith("/>") or name in unclosed else _closing(name).search(source, end)
        if found is None:
            unclosed |= set() if tag.endswith("/>") else {name}  # the tag itself goes with the rest of the tags
            return end
        if name == "ref" and (again := _REF.search(source, end, found.start())) and not again.group().endswith("/>"):
            return end  # a note that was not closed before the next one: its text is the page's
        if name == "table":
            return _whole_table(source, end, found)
        inside = source[end : found.start()]
        if name == "nowiki":
            pieces.append(inside.replace("|", _PIPE))
        elif name not in _DROPPED:
            inside = _unescape(inside)
            if name == "pre" and len(_CJK.findall(inside)) > len(
                _ASCII.findall(inside)
            ):  # prose with its line breaks, no program
                pieces.append(f"\n{inside.replace('|', _PIPE)}\n")
                return found.end()
            if name in _FORMULAS:  # no {{ of LaTeX is taken for a template later on
                formula = " ".join(_TIGHT.sub(" ", _NOTE.sub("", inside)).split())
                inside = f"${formula}$" if name == "math" else rf"$\ce{{{formula}}}$"
            else:
                inside = _code(re.sub(r"</?nowiki\s*/?>", "", inside), name, tag)
            pieces.append(self.keep(inside))
        return found.end()

    def keep(self, text: str) -> str:
        self.kept.append(text)
        return f"\x02{len(self.kept) - 1}\x03"

    # the scan

    def scan(self) -> str:
        source, position, search = self.source, 0, _TOKEN.search
        while token := search(source, position):
            start, end = token.span()
            if start > position:
                self.frames[-1].pieces.append(source[position:start])
            position = self.handle(token.group(), start, end)
        if not position:
            return source
        self.frames[-1].pieces.append(source[position:])
        self.spill(0)
        return "".join(self.frames[0].pieces)

    def handle(self, token: str, start: int, end: int) -> int:
        """Act on a token; returns where to read on."""
        if token == "[[":
            if self.hidden(end) and (close := self.skip(_LINKS, start)):
                return close
            self.open(token)
        elif token == "]]":
            if self.frames[-1].kind == "[[":
                self.leave(self.link("".join(self.frames.pop().pieces)))
        elif token.startswith("{{"):
            if len(token) == 2 and (close := self.unseen_template(start, end)):
                return close
            self.open("{{", len(token))
        elif token.startswith("}}"):
            return start + self.close_braces(len(token))
        elif token == "-{":
            self.open(token)
        elif token == "}-":
            if self.spill_to("-{"):
                self.leave(self.variant("".join(self.frames.pop().pieces)))
            else:
                self.frames[-1].pieces.append("-")
        elif self.whole_tables:
            self.frames[-1].pieces.append(token)
        else:
            line = self.source[max(0, start - _INDENT) : start].rpartition("\n")[2]
            return end if line.strip(_INDENTING) else self.table(start) or end
        return end

    def open(self, kind: str, braces: int = 0) -> None:
        if len(self.frames) <= DEPTH:
            self.frames.append(_Frame(kind, braces))

    def leave(self, shown: str) -> None:
        """What a closed element shows goes to the one around it."""
        if shown:
            self.frames[-1].pieces.append(shown.replace("|", _PIPE))

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

    def skip(self, marks: re.Pattern[str], start: int) -> int:
        """The end of the element that begins here, by counting its marks; 0 if it has none. Rules that the page sets inside are noted."""
        if not self.retries:
            return 0
        depth = 0
        for mark in marks.finditer(self.source, start):
            text = mark.group()
            if text[0] in "{[":
                depth += len(text)
                continue
            depth -= len(text)
            if depth <= 0:
                end = mark.end() + depth
                if self.source.find("-{", start, end) >= 0:
                    self.rules += variants.declared(self.source[start:end])
                return end
        self.retries -= 1
        return 0

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

    def unseen_template(self, start: int, end: int) -> int:
        """Where a template ends that shows nothing; 0 if it may show something, or has no end."""
        match = _NAME.match(self.source, end)
        assert match
        name = match.group(1)
        if not name or _shows(name):
            return 0
        close = self.skip(_BRACES, start)
        if close and self.options.infoboxes == "facts" and not self.whole_tables and templates.is_infobox(name):
            self.leave(templates.facts(self.fragment(self.source[end : close - 2]).split("|")[1:]))
        return close

    def template(self, content: str) -> str:
        name, *parts = content.split("|")
        name = templates.name_of(name)
        if name in templates.NOTE_TA:
            values = templates.arguments([part.replace(_AS_IS, "").replace(_AS_IS_END, "") for part in parts]).values()
            self.rules += [rule for value in values for rule in variants.rules(value)]
            return ""
        return templates.render(name, parts)

    def table(self, start: int) -> int:
        end = self.skip(_TABLE, start)
        if end and self.options.tables == "text":
            self.leave(tree.table(self.fragment(self.source[start:end])))
        return end

    def fragment(self, wikitext: str) -> str:
        """A part of the page with its templates and links resolved; tables in it stay as they are."""
        outer = self.source, self.frames
        self.source, self.frames, self.whole_tables = wikitext, [_Frame("")], True
        text = self.scan()
        (self.source, self.frames), self.whole_tables = outer, False
        return text

    def hidden(self, start: int) -> bool:
        """Whether the link whose target begins here shows nothing: a picture or a category."""
        colon = self.source.find(":", start, start + 16)
        return colon >= 0 and self.source[start:colon].strip(" _").lower() in _HIDDEN

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
        shown, rules = variants.render(content.replace(_PIPE, "|"))
        self.rules += rules
        shown = shown.replace(_AS_IS, "").replace(_AS_IS_END, "")
        return f"{_AS_IS}{shown}{_AS_IS_END}" if shown.strip() else ""


_CJK, _ASCII = re.compile(f"[{script.HAN}\u3041-\u30fe]"), re.compile(r"[A-Za-z(){};=<>]")
_LINKS = re.compile(r"\[\[|\]\]")
_REF = re.compile(r"<ref(?=[\s/>])[^<>]*+>", re.IGNORECASE)
_TABLES = re.compile(r"<(/?)table(?=[\s>])[^<>]*+>", re.IGNORECASE)


@functools.cache
def _closing(name: str) -> re.Pattern[str]:
    return re.compile(rf"</{name}\s*>", re.IGNORECASE)


@functools.lru_cache(maxsize=4096)
def _shows(name: str) -> bool:
    return templates.shows(templates.name_of(name))


def _whole_table(source: str, start: int, first: re.Match[str]) -> int:
    """The end of an HTML table, tables in it included."""
    depth, end = 1, first.end()
    for tag in _TABLES.finditer(source, start):
        depth += -1 if tag.group(1) else 1
        end = tag.end() if tag.group(1) else end
        if not depth:
            break
    return end


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
        return f"{before}{mark}({inside})" if mark == "^" and len(inside) > 1 else f"{before}{mark}{inside}"

    text = _RAISED.sub(lambda match: show(match, _SUPERSCRIPT, "^"), text)
    text = _LOWERED.sub(lambda match: show(match, _SUBSCRIPT, "_"), text)
    return re.sub(f"[{SUP}{SUB}{END}]", "", text)
