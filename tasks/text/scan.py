"""The scan of a page for what nests in each other: templates, links, tables and variant markup, with a stack, as MediaWiki's preprocessor reads it.

An element that shows nothing is stepped over without looking inside. Depth is bounded (as MediaWiki bounds it), so the time is linear.
"""

from __future__ import annotations

import functools
import re
from typing import Literal, NamedTuple

from tasks.text import functions, templates, tree, variants
from tasks.text.functions import PageFacts
from tasks.text.ledger import NO_LEDGER, Around, Ledger
from tasks.text.tags import HOLE, PIPE
from tasks.text.templates import split_names

DEPTH = 40  # levels of nesting that are followed; MediaWiki's limit for templates in templates
_RETRIES = 20  # elements without an end that are looked for to the end of the page; the rest is taken for text

AS_IS, AS_IS_END = "\x0e", "\x0f"  # -{ }-: not to be converted between scripts

FILES = frozenset(
    split_names(
        "file, image, media, 檔案, 档案, 文件, 圖像, 图像, 圖片, 图片, 画像, ファイル, 파일, fichier, datei, archivo, изображение, файл"
    )
)
CATEGORIES = frozenset(split_names("category, 分類, 分类, カテゴリ, 분류, catégorie, kategorie, categoría, категория"))
HIDDEN = FILES | CATEGORIES
_LANGUAGE = re.compile(r"[a-z]{2,3}|zh-[a-z-]+|be-x-old|bat-smg|cbk-zam|fiu-vro|map-bms|nds-nl|roa-(?:rup|tara)|simple")
_PROJECTS = frozenset(
    split_names(
        "wikt, wiktionary, s, q, b, n, m, c, d, v, w, voy, species, commons, wikipedia, project, help, template, user, special, talk"
    )
)
_TOKEN = re.compile(r"\{\{+|\}\}+|\[\[|\]\]|-\{(?!\{)|\}-|\{\|")
_BRACES = re.compile(r"\{\{+|\}\}+")
_INNER = re.compile(r"\[\[|\]\]|\{\||\}-")
_TABLE = re.compile(r"\{\||\|\}(?!\})")
_NAME = re.compile(r"\s*+([^{}\[\]|<>\n\x02]*+)")
_INDENTING, _INDENT = " \t\u3000:*#;=|\x01", 32  # what may stand before a table on its line, and how much of it

_ADJACENT = re.compile(r"\{\{[^{}]*+\}\}|\[\[[^\[\]]*+\]\]|''+")
_LETTER = re.compile(r"[^\W_]")
_BEFORE_HOLE, _AFTER_HOLE = frozenset(" \t（(，,、；;：:'" + HOLE), frozenset(" \t）)，,、；;。'")
_NEAR = 80  # characters of a line in which words make an element stand in a sentence


class WikitextOptions(NamedTuple):
    """Parts of a page that are left out, or told as lines of text."""

    tables: Literal["drop", "text"] = "drop"
    infoboxes: Literal["drop", "facts"] = "drop"


class _Frame:
    """An element that is open: its kind is its opening mark, "" for the page itself."""

    __slots__ = ("braces", "kind", "pieces")

    def __init__(self, kind: str, braces: int = 0):
        self.kind, self.braces = kind, braces  # braces: opening ones not yet matched, for "{{"
        self.pieces: list[str] = []


class Scan:
    """One pass over a page's wikitext: `text` gives it with its elements resolved, `rules` how the page wants its words converted."""

    def __init__(self, source: str, options: WikitextOptions, facts: PageFacts, ledger: Ledger = NO_LEDGER):
        self.source, self.options, self.facts, self.ledger = source, options, facts, ledger
        self.noting = ledger is not NO_LEDGER
        self.entries = ledger.entries
        self.noted: set[str] = set()  # rules that have an excerpt
        self.rules: list[variants.Rule] = []
        self.frames = [_Frame("")]
        self.retries = _RETRIES
        self.broken = False  # a template or a table has no end
        self.whole_tables = False  # within a part of the page that is wanted with its tables in it

    def text(self) -> str:
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

    def note(self, rule: str, before: str, after: str = "", detail: str = "", around: Around | None = None) -> None:
        """An element that became something else, for the ledger; the first of a rule is shown."""
        if not self.noting:
            return
        if rule in self.noted:
            less = len(before) - len(after)
            self.entries.append((rule, detail, less, 0, 0) if less > 0 else (rule, detail, 0, -less, 0))
        else:
            self.noted.add(rule)
            self.ledger.note(rule, before, after, detail, around)

    def handle(self, token: str, start: int, end: int) -> int:
        """Act on a token; returns where to read on."""
        if token == "[[":
            return self.link_begins(start, end)
        if token == "]]":
            if self.frames[-1].kind == "[[":
                content = "".join(self.frames.pop().pieces)
                self.element("link markup", f"[[{content}]]", self.link(content))
            else:
                self.note("stray markup", token)
        elif token.startswith("{{"):
            if len(token) == 2 and (close := self.plain_template(start, end)):
                return close
            self.open("{{", len(token))
        elif token.startswith("}}"):
            return start + self.close_braces(len(token), end)
        elif token == "-{":
            self.open(token)
        elif token == "}-":
            if self.spill_to("-{"):
                content = "".join(self.frames.pop().pieces)
                self.element("variant markup", f"-{{{content}}}-", self.variant(content))
            else:
                self.element("stray markup", token, "-")
        elif self.whole_tables:
            self.frames[-1].pieces.append(token)
        else:
            line = self.source[max(0, start - _INDENT) : start].rpartition("\n")[2]
            if not line.strip(_INDENTING):
                if close := self.table(start):
                    return close
                self.broken = True
            self.note("stray markup", token)
        return end

    def link_begins(self, start: int, end: int) -> int:
        """Open a link, or step over one that shows nothing. Returns where to read on."""
        if (rule := self.hidden(end)) and (close := self.skip(_LINKS, start)):
            self.note(rule, self.source[start:close], "", "", (self.source, start, close))
            return close
        self.open("[[")
        return end

    def open(self, kind: str, braces: int = 0) -> None:
        """Begin an element; deeper than `DEPTH` its marks are text."""
        if len(self.frames) <= DEPTH:
            self.frames.append(_Frame(kind, braces))
        else:
            self.note("stray markup", "{" * braces or kind)

    def leave(self, text: str) -> None:
        """Append the text of a closed element to the one around it."""
        if text:
            self.frames[-1].pieces.append(text.replace("|", PIPE))

    def element(self, rule: str, before: str, text: str, detail: str = "", around: Around | None = None) -> None:
        """Append what an element left, and tell the ledger of it."""
        self.leave(text)
        if self.noting:
            self.note(rule, before, text, detail, around)

    def hole(self, end: int) -> str:
        """The mark for an element that left nothing and ends here: where punctuation that went with it stands, and where it is an argument."""
        frame = self.frames[-1]
        before = frame.pieces[-1][-1:] if frame.pieces else ""
        return HOLE if frame.kind == "{{" or before in _BEFORE_HOLE or self.source[end : end + 1] in _AFTER_HOLE else ""

    def spill(self, depth: int) -> None:
        """Elements above this depth were never closed: their content is text."""
        while len(self.frames) > depth + 1:
            frame = self.frames.pop()
            self.broken = self.broken or frame.kind == "{{"
            self.note("stray markup", "{" * frame.braces or frame.kind)
            self.frames[-1].pieces += frame.pieces

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
                if text == "]]" and self.source[end : end + 1] == "]" and _OPENED.search(self.source, start, mark.start()):
                    end += 1  # the first of three closes an address: [[File:a.png|[http://a.b 甲]]]
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
        following = self.source.find(opening, start + 2)  # looked for first, so that elements without an end take linear time
        end = self.source.find(closing, start + 2, following if following >= 0 else len(self.source)) + 2
        if end < 2 or self.source.find("-{", start, end) >= 0:
            return 0
        return 0 if self.source.startswith(closing[0], end) or self.source.startswith(opening[0], start + 2) else end

    def close_braces(self, count: int, end: int) -> int:
        """Match a run of closing braces with open ones, three (a parameter) or two (a template) at a time. Returns how many were used."""
        unmatched = count
        while unmatched >= 2:
            if not self.spill_to("{{"):
                self.note("stray markup", "}" * unmatched)
                return count
            frame = self.frames.pop()
            content = "".join(frame.pieces)
            size = 3 if min(frame.braces, unmatched) >= 3 else 2
            unmatched -= size
            if frame.braces - size >= 2:
                self.frames.append(_Frame("{{", frame.braces - size))
            elif frame.braces > size:
                self.note("stray markup", "{")
            whole = "{" * size + content + "}" * size
            if size == 3:
                self.element("template markup", whole, content.partition("|")[2])
            else:
                self.element(*self.template(content, whole, end - unmatched, self.around(end - unmatched)))
        return count - unmatched

    # what an element shows

    def around(self, end: int) -> str:
        """The words of the line that stand before and after an element that is now to be left and ends here."""
        before = "".join(self.frames[-1].pieces[-3:])[-_NEAR:].rpartition("\n")[2]
        after = self.source[end : end + _NEAR].partition("\n")[0]
        return "" if before.lstrip()[:1] in ("|", "!") else _ADJACENT.sub("", f"{before} {after}")

    def plain_template(self, start: int, end: int) -> int:
        """The end of a template that shows nothing, or text alone, which is appended; 0 if there may be more in it, or it has no end."""
        match = _NAME.match(self.source, end)
        assert match
        name = match.group(1)
        if not name or _shows(name):
            close = self.flat(_BRACES, start)
            if not close or _INNER.search(self.source, end, close - 2):
                return 0
            content, whole = self.source[end : close - 2], self.source[start:close]
            rule, _, text, detail = self.template(content, whole, close, "")
            self.element(rule, whole, text, detail, (self.source, start, close))
            return close
        close = self.skip(_BRACES, start)
        if not close:
            return 0
        if self.options.infoboxes == "facts" and not self.whole_tables and templates.is_infobox(name):
            content = self.fragment(self.source[end : close - 2])
            self.element("template markup", f"{{{{{content}}}}}", templates.infobox_facts(content.split("|")[1:]), name)
            return close
        begins_line = not start or self.source[start - 1] == "\n"
        alone = begins_line and self.source[close : close + 1] in ("", "\n")
        if alone and not self.noting and self.frames[-1].kind != "{{":
            return close
        said = "" if alone else self.around(close)
        whole = self.source[start:close]
        rule, _, text, detail = self.unknown(name, whole, close, said)
        while begins_line and not text and self.source[close : close + 1] in (" ", "\t"):
            close += 1  # what follows begins the line
        self.element(rule, self.source[start:close] if begins_line else whole, text, detail, (self.source, start, close))
        return close

    def template(self, content: str, whole: str, end: int, said: str) -> tuple[str, str, str, str]:
        """(the ledger's rule, the whole template, the text it leaves, its name); the rules of a NoteTA are noted."""
        if ":" in content and functions.is_function(content):
            text = functions.function(content)
            name = content.partition(":")[0].strip().lower()
            return ("template without output" if text is None else "template markup"), whole, text or self.hole(end), name
        written, *parts = (content.replace(HOLE, "") if HOLE in content else content).split("|")
        name = templates.template_name(written)
        if name in templates.NOTE_TA:
            values = templates.template_arguments([part.replace(AS_IS, "").replace(AS_IS_END, "") for part in parts]).values()
            self.rules += [rule for value in values for rule in variants.note_rules(value)]
            return "variant markup", whole, "", name
        if not parts and functions.is_variable(written):
            known = functions.variable(written, self.facts)
            return ("template without output" if known is None else "template markup"), whole, known or self.hole(end), name
        known = templates.render_template(name, parts)
        if known is None:
            return self.unknown(written, whole, end, said)
        return ("template markup" if known else "template without output"), whole, known or self.hole(end), name

    def unknown(self, name: str, whole: str, end: int, said: str) -> tuple[str, str, str, str]:
        """The same of a template that is not listed: in a sentence it may stand for words, elsewhere it shows nothing."""
        if ":" in name and functions.is_silent(name):
            return "behaviour switch", whole, "", ""
        spelled = templates.template_name(name)
        if templates.is_note(spelled):
            return "reference", whole, self.hole(end), spelled
        if not _LETTER.search(said):
            return "template without output", whole, self.hole(end), spelled
        words = templates.words_within(spelled, whole[2:-2].split("|")[1:])
        return "template in running text", whole, words or self.hole(end), spelled

    def table(self, start: int) -> int:
        """The end of the table that begins here, 0 if it has none; its text is appended where that is wanted."""
        end = self.skip(_TABLE, start)
        if end and self.options.tables == "text":
            markup = self.fragment(self.source[start:end])
            self.element("table", markup, tree.table_text(markup))
        elif end:
            self.note("table", self.source[start:end], "", "", (self.source, start, end))
        return end

    def fragment(self, wikitext: str) -> str:
        """A part of the page with its templates and links resolved; tables in it stay as they are."""
        outer = self.source, self.frames
        self.source, self.frames, self.whole_tables = wikitext, [_Frame("")], True
        text = self.text()
        (self.source, self.frames), self.whole_tables = outer, False
        before, text = text, text.replace(HOLE, "")
        self.note("gap", before, text)
        return text

    def hidden(self, start: int) -> str:
        """The rule by which a link, whose target begins here, shows nothing: a picture or a category. "" for other links."""
        colon = self.source.find(":", start, start + 16)
        space = self.source[start:colon].strip(" _").lower() if colon >= 0 else ""
        return "file" if space in FILES else "category" if space in CATEGORIES else ""

    def link(self, content: str) -> str:
        """[[target|label]] → label; pictures, categories and the same article in other languages show nothing in the text."""
        target, bar, label = content.partition("|")
        target = target.strip()
        text = target.lstrip(":")
        prefix, colon, rest = text.partition(":")
        space = prefix.strip().lower()
        if colon and target[:1] != ":" and (space in HIDDEN or _LANGUAGE.fullmatch(prefix.strip())):
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
        text = text.replace(AS_IS, "").replace(AS_IS_END, "")
        return f"{AS_IS}{text}{AS_IS_END}" if text.strip() else ""


_LINKS = re.compile(r"\[\[|\]\]")
_OPENED = re.compile(r"(?<!\[)\[(?=https?:|//)[^\[\]]*+\Z")


@functools.lru_cache(maxsize=4096)
def _shows(name: str) -> bool:
    known = templates.leaves_text(templates.template_name(name))
    return known or functions.is_function(name) or functions.is_variable(name)
