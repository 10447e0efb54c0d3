"""Wikitext → plain text.

What is simple is resolved by passes that run in C over the whole page (comments and notes, tags, links without anything in them); what
nests in each other, templates, links, tables and variant markup, by one scan with a stack, the way MediaWiki's own preprocessor reads it. An
element that shows nothing is stepped over without looking inside. Depth is bounded (as MediaWiki bounds it) and every pattern scans forward
only, so the time is linear in the length of the page, whatever somebody wrote into it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Literal, NamedTuple

from tasks.text import tags, templates, tree, variants
from tasks.text.layout import lay_out
from tasks.text.tags import KEPT, PIPE
from tasks.text.templates import split_names

DEPTH = 40  # levels of nesting that are followed; MediaWiki's limit for templates in templates
_RETRIES = 20  # elements without an end that are looked for to the end of the page; the rest is taken for text

# Marks for the time a page is in work; they cannot be in XML, and are taken out of the input all the same.
_AS_IS, _AS_IS_END = "\x0e", "\x0f"  # -{ }-: not to be converted between scripts
_MARKS = re.compile("[\x00-\x08\x0b-\x1f]")
_EACH_MARK = [chr(code) for code in range(0x20) if _MARKS.match(chr(code))]  # looked for one by one, which is faster than a set

_RAW_TAG = re.compile(r"<[A-Za-z/!]")
_ESCAPED_TAG = re.compile(r"&lt;(?:!--|/?(?i:br|ref|nowiki|s|span|div|small|sup|sub|gallery|references|ruby|del|b|i|u|center)\b)")

_HIDDEN = frozenset(
    split_names(
        "file, image, media, 檔案, 档案, 文件, 圖像, 图像, 圖片, 图片, 画像, ファイル, 파일, fichier, datei, archivo, изображение, файл, "
        "category, 分類, 分类, カテゴリ, 분류, catégorie, kategorie, categoría, категория"
    )
)
_LANGUAGE = re.compile(r"[a-z]{2,3}|zh-[a-z-]+|be-x-old|bat-smg|cbk-zam|fiu-vro|map-bms|nds-nl|roa-(?:rup|tara)|simple")
_PROJECTS = frozenset(
    split_names(
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
_INNER = re.compile(r"\[\[|\]\]|\{\||\}-")
_TABLE = re.compile(r"\{\||\|\}(?!\})")
_NAME = re.compile(r"\s*+([^{}\[\]|<>\n\x02]*+)")
_INDENTING, _INDENT = " \t\u3000:*#;=|\x01", 32  # what may stand before a table on its line, and how much of it

_EXTERNAL = re.compile(r"\[(?:https?:|ftps?:|mailto:|news:|//)[^\s\[\]<>\"]*+[ \t\u3000]*+([^\[\]\n]*+)\]")
_QUOTES = re.compile("''+")
_SWITCH = re.compile(r"__(?:[A-Z]{3,20}|[\u4e00-\u9fff]{2,8})__")
_STRAY = re.compile(r"\{\{+|\}\}+|\[\[+|\]\]+|\{\||\|\}|-\{|\}-|</?(?i:ref)\b[^<>]*+>?")
_STRAYS = ("{{", "}}", "[[", "]]", "{|", "|}", "-{", "}-", "<")
_UNCONVERTED = re.compile(f"{_AS_IS}([^{_AS_IS}{_AS_IS_END}]*){_AS_IS_END}")


class WikitextOptions(NamedTuple):
    """Parts of a page that are left out, or told as lines of text."""

    tables: Literal["drop", "text"] = "drop"
    infoboxes: Literal["drop", "facts"] = "drop"


_DEFAULT = WikitextOptions()


def plain_text(wikitext: str, simplify: Callable[[str], str] | None = None, options: WikitextOptions = _DEFAULT) -> str:
    """The text that a reader of the page sees, without pictures, notes and lists of sources, and without tables unless `options` want them.

    `simplify` converts traditional to simplified characters; it is applied here because the page may forbid it for some words (`-{乾}-`) and
    rule it for others (NoteTA). No `{{`, `[[`, `-{`, `{|` or `<ref` is left outside of code. Formulas become $LaTeX$, code stays in back quotes.
    """
    return WikitextPage(wikitext, options).converted(simplify)


def escaped_twice(wikitext: str) -> bool:
    """True for a page whose markup was escaped once too often on its way into the file: it has escaped tags, and not one that is not."""
    return _ESCAPED_TAG.search(wikitext) is not None and _RAW_TAG.search(wikitext) is None


class _Frame:
    """An element that is open: its kind is its opening mark, "" for the page itself."""

    __slots__ = ("braces", "kind", "pieces")

    def __init__(self, kind: str, braces: int = 0):
        self.kind, self.braces = kind, braces  # braces: opening ones not yet matched, for "{{"
        self.pieces: list[str] = []


class WikitextPage:
    """A page whose markup is resolved: `text` has its lines, still in the script it was written in, `rules` how the page wants it converted."""

    def __init__(self, wikitext: str, options: WikitextOptions = _DEFAULT):
        self.options = options
        self.kept: list[str] = []
        self.rules: list[variants.Rule] = []
        self.frames = [_Frame("")]
        self.retries = _RETRIES
        self.whole_tables = False  # within a part of the page that is wanted with its tables in it
        source = _MARKS.sub("", wikitext) if any(mark in wikitext for mark in _EACH_MARK) else wikitext
        if "&lt;" in source and escaped_twice(source):
            source = tags.unescape_html(source)
        self.text = self.read(source)

    def read(self, source: str) -> str:
        """The page's lines, from its wikitext."""
        source = tags.resolve_tags(source, self.kept)
        if "[[" in source:
            source = _UNSEEN.sub("", "".join(_LINK.split(source)))
        self.source = source
        text = self.scan().replace(PIPE, "|")
        if "__" in text:
            text = _SWITCH.sub("", text)
        if "[" in text:
            text = "".join(_EXTERNAL.split(text))
        if "''" in text:
            text = _QUOTES.sub("", text)
        return lay_out(tags.superscripts(tags.unescape_html(text)))

    def converted(self, simplify: Callable[[str], str] | None) -> str:
        """The finished text, in simplified characters if `simplify` is given."""
        text = self.text
        if simplify:
            pieces = _UNCONVERTED.split(text) if _AS_IS in text else [text]
            between = simplify(
                _AS_IS.join(variants.apply_rules(self.rules, pieces[::2]))
            )  # as one text, which is faster and tells more of its script
            pieces[::2] = between.split(_AS_IS)
            text = "".join(pieces)
        if _AS_IS in text or _AS_IS_END in text:
            text = text.replace(_AS_IS, "").replace(_AS_IS_END, "")
        if any(mark in text for mark in _STRAYS):
            text = _STRAY.sub(" ", text)  # a space, since what stood around it may be half a mark each
        return KEPT.sub(lambda match: self.kept[int(match.group(1))], text).strip()

    # the scan

    def scan(self) -> str:
        """The source with its links, templates, tables and variants resolved, from its first token to its last."""
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
            if len(token) == 2 and (close := self.plain_template(start, end)):
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
        """Begin an element; deeper than `DEPTH` its marks are text."""
        if len(self.frames) <= DEPTH:
            self.frames.append(_Frame(kind, braces))

    def leave(self, text: str) -> None:
        """Append the text of a closed element to the one around it."""
        if text:
            self.frames[-1].pieces.append(text.replace("|", PIPE))

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
        if end := self.flat(marks, start):
            return end
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
                    self.rules += variants.page_rules(self.source[start:end])
                return end
        self.retries -= 1
        return 0

    def flat(self, marks: re.Pattern[str], start: int) -> int:
        """The end of the element that begins here if it is a template or a link with none in it, which most are; 0 otherwise."""
        if marks is _TABLE:
            return 0
        opening, closing = ("{{", "}}") if marks is _BRACES else ("[[", "]]")
        end = self.source.find(closing, start + 2) + 2
        if end < 2 or self.source.find(opening, start + 2, end) >= 0 or self.source.find("-{", start, end) >= 0:
            return 0
        return 0 if self.source.startswith(closing[0], end) or self.source.startswith(opening[0], start + 2) else end

    def close_braces(self, count: int) -> int:
        """Match a run of closing braces with open ones, three (a parameter) or two (a template) at a time. Returns how many were used."""
        unmatched = count
        while unmatched >= 2:
            if not self.spill_to("{{"):
                return count
            frame = self.frames.pop()
            content = "".join(frame.pieces)
            size = 3 if min(frame.braces, unmatched) >= 3 else 2
            text = content.partition("|")[2] if size == 3 else self.template(content)
            unmatched -= size
            if frame.braces - size >= 2:
                self.frames.append(_Frame("{{", frame.braces - size))
            self.leave(text)
        return count - unmatched

    # what an element shows

    def plain_template(self, start: int, end: int) -> int:
        """The end of a template that shows nothing, or text alone, which is appended; 0 if there may be more in it, or it has no end."""
        match = _NAME.match(self.source, end)
        assert match
        name = match.group(1)
        if not name or _shows(name):
            close = self.flat(_BRACES, start)
            if not close or _INNER.search(self.source, end, close - 2):
                return 0
            self.leave(self.template(self.source[end : close - 2]))
            return close
        close = self.skip(_BRACES, start)
        if close and self.options.infoboxes == "facts" and not self.whole_tables and templates.is_infobox(name):
            self.leave(templates.infobox_facts(self.fragment(self.source[end : close - 2]).split("|")[1:]))
        return close

    def template(self, content: str) -> str:
        """The text of a template; the rules of a NoteTA are noted."""
        name, *parts = content.split("|")
        name = templates.template_name(name)
        if name in templates.NOTE_TA:
            values = templates.template_arguments([part.replace(_AS_IS, "").replace(_AS_IS_END, "") for part in parts]).values()
            self.rules += [rule for value in values for rule in variants.note_rules(value)]
            return ""
        return templates.render_template(name, parts)

    def table(self, start: int) -> int:
        """The end of the table that begins here, 0 if it has none; its text is appended where that is wanted."""
        end = self.skip(_TABLE, start)
        if end and self.options.tables == "text":
            self.leave(tree.table_text(self.fragment(self.source[start:end])))
        return end

    def fragment(self, wikitext: str) -> str:
        """A part of the page with its templates and links resolved; tables in it stay as they are."""
        outer = self.source, self.frames
        self.source, self.frames, self.whole_tables = wikitext, [_Frame("")], True
        text = self.scan()
        (self.source, self.frames), self.whole_tables = outer, False
        return text

    def hidden(self, start: int) -> bool:
        """True for a link, whose target begins here, that shows nothing: a picture or a category."""
        colon = self.source.find(":", start, start + 16)
        return colon >= 0 and self.source[start:colon].strip(" _").lower() in _HIDDEN

    def link(self, content: str) -> str:
        """[[target|label]] → label; pictures, categories and the same article in other languages show nothing in the text."""
        target, bar, label = content.partition("|")
        target = target.strip()
        text = target.lstrip(":")
        prefix, colon, rest = text.partition(":")
        space = prefix.strip().lower()
        if colon and target[:1] != ":" and (space in _HIDDEN or _LANGUAGE.fullmatch(prefix.strip())):
            return ""
        if bar and label.strip():
            return label
        if colon and (space in _PROJECTS or _LANGUAGE.fullmatch(prefix) or bar):
            text = rest
        page, _, anchor = text.partition("#")
        return (page or anchor).replace("_", " ").strip()

    def variant(self, content: str) -> str:
        """The text of `-{…}-`, marked as not to be converted; its rules are noted."""
        text, rules = variants.render_variant(content.replace(PIPE, "|"))
        self.rules += rules
        text = text.replace(_AS_IS, "").replace(_AS_IS_END, "")
        return f"{_AS_IS}{text}{_AS_IS_END}" if text.strip() else ""


_LINKS = re.compile(r"\[\[|\]\]")


@functools.lru_cache(maxsize=4096)
def _shows(name: str) -> bool:
    return templates.leaves_text(templates.template_name(name))
