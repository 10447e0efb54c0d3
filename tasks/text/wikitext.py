"""Wikitext → plain text.

What is simple is resolved by passes that run in C over the whole page (comments and notes, tags, links without anything in them); what
nests in each other by the scan of `tasks.text.scan`. Every pattern scans forward only, so the time is linear in the length of the page, whatever
somebody wrote into it. Each pass and each element tells the ledger what it took away.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from tasks.text import sections, tags, variants
from tasks.text.functions import PageFacts
from tasks.text.layout import lay_out
from tasks.text.ledger import NO_LEDGER, Ledger
from tasks.text.scan import AS_IS, AS_IS_END, FILES, HIDDEN, Scan, WikitextOptions
from tasks.text.tags import HOLE, LESS, PIPE, Stash
from tasks.text.templates import alternatives

# Marks for the time a page is in work cannot be in XML, and are taken out of the input all the same.
_MARKS = re.compile("[\x00-\x08\x0b-\x1f]")
_EACH_MARK = [chr(code) for code in range(0x20) if _MARKS.match(chr(code))]  # looked for one by one, which is faster than a set

_RAW_TAG = re.compile(r"<[A-Za-z/!]")
_ESCAPED_TAG = re.compile(r"&lt;(?:!--|/?(?i:br|ref|nowiki|s|span|div|small|sup|sub|gallery|references|ruby|del|b|i|u|center)\b)")

# [[target]], [[target|label]] with nothing in them that has to be looked at; the group is what they show
_LINK = re.compile(
    r"\[\[(?:[^\[\]{}<>|:\n]*+\|(?=\s*+[^\s\]])|(?=[^\[\]{}<>|:#_\n\s](?:[^\[\]{}<>|:#_\n]*+(?<=\S))?\]\]))([^\[\]{}<>|\n]++)\]\]"
)
_UNSEEN = re.compile(rf"\[\[[ _]*+({alternatives(sorted(HIDDEN))})[ _]*+:[^\[\]{{}}]*+\]\]([ \t]*+)")  # pictures and categories

_EXTERNAL = re.compile(r"\[(?:https?:|ftps?:|mailto:|news:|//)[^\s\[\]<>\"]*+[ \t\u3000]*+([^\[\]\n]*+)\]")
_BRACKETED_ADDRESS = re.compile(r"\[(?<=[（(]\[)(?:https?:|//)[^\s\[\]<>\"]*+[ \t\u3000]*+\](?=[）)])")
_QUOTES = re.compile("''+")
_SWITCH = re.compile(
    r"__(?:(?:NO|FORCE)?TOC|NOEDITSECTION|(?:NO)?NEWSECTIONLINK|NOGALLERY|HIDDENCAT|EXPECTUNUSED(?:CATEGORY|TEMPLATE)|NO(?:CONTENT|TITLE)CONVERT|"
    r"NOCC|NOTC|START|END|(?:NO)?INDEX|STATICREDIRECT|NOGLOBAL|DISAMBIG|ARCHIVEDTALK|NOTALK|目[录錄次]|[无無不强強非][\u4e00-\u9fff]{1,7}|隐藏分类|隱藏分類|"
    r"新段落[链連][接結]|静态重定向|靜態重定向|索引)__"
)
_STRAY = re.compile(r"\{\{+|\}\}+|\[\[+|\]\]+|\{\||\|\}|-\{|\}-|</?(?i:ref)\b[^<>]*+>?")
_STRAYS = ("{{", "}}", "[[", "]]", "{|", "|}", "-{", "}-", "<")
_UNCONVERTED = re.compile(f"{AS_IS}([^{AS_IS}{AS_IS_END}]*){AS_IS_END}")


_LATER: tuple[
    tuple[str, str, Callable[[str], str]], ...
] = (  # what to look for, the ledger's rule, what is done about it; in this order
    ("__", "behaviour switch", lambda text: _SWITCH.sub("", text)),
    ("[http", "link markup", lambda text: _BRACKETED_ADDRESS.sub(HOLE, text)),
    ("[", "link markup", lambda text: "".join(_EXTERNAL.split(text))),
    ("''", "emphasis", lambda text: _QUOTES.sub("", text)),
    ("&", "unescaping", tags.unescape_html),
    (LESS, "tag", lambda text: text.replace(LESS, "<")),
)
_LAST: tuple[tuple[tuple[str, ...], str, Callable[[str], str]], ...] = (
    ((AS_IS, AS_IS_END), "variant markup", lambda text: text.replace(AS_IS, "").replace(AS_IS_END, "")),
    (_STRAYS, "stray markup", lambda text: _STRAY.sub(" ", text)),  # a space, since what stood around it may be half a mark each
)
_DEFAULT = WikitextOptions()
_NOTHING_KNOWN = PageFacts()


def plain_text(
    wikitext: str,
    simplify: Callable[[str], str] | None = None,
    options: WikitextOptions = _DEFAULT,
    facts: PageFacts = _NOTHING_KNOWN,
    ledger: Ledger = NO_LEDGER,
) -> str:
    """The text that a reader of the page sees, without pictures, notes and lists of sources, and without tables unless `options` want them.

    `simplify` converts traditional to simplified characters; it is applied here because the page may forbid it for some words (`-{乾}-`) and
    rule it for others (NoteTA). No `{{`, `[[`, `-{`, `{|` or `<ref` is left outside of code. Formulas become $LaTeX$, code stays in back quotes.
    """
    return WikitextPage(wikitext, options, facts, ledger).converted(simplify)


def escaped_twice(wikitext: str) -> bool:
    """True for a page whose markup was escaped once too often on its way into the file: it has escaped tags, and not one that is not."""
    return _ESCAPED_TAG.search(wikitext) is not None and _RAW_TAG.search(wikitext) is None


class WikitextPage:
    """A page whose markup is resolved: `text` has its lines, still in the script it was written in, `rules` how the page wants it converted."""

    def __init__(
        self,
        wikitext: str,
        options: WikitextOptions = _DEFAULT,
        facts: PageFacts = _NOTHING_KNOWN,
        ledger: Ledger = NO_LEDGER,
    ):
        self.options, self.facts, self.ledger = options, facts, ledger
        self.stash = Stash(ledger)
        self.rules: list[variants.Rule] = []
        source = wikitext
        if any(map(wikitext.__contains__, _EACH_MARK)):
            source = _MARKS.sub("", wikitext)
            ledger.note("control characters", wikitext, source)
        if "&lt;" in source and escaped_twice(source):
            before, source = source, tags.unescape_html(source)
            ledger.note("unescaping", before, source)
        self.text = self.read(source)

    def read(self, source: str) -> str:
        """The page's lines, from its wikitext."""
        note = self.ledger.note
        source = tags.resolve_tags(source, self.stash)
        if "==" in source:
            before, source = source, sections.mark_links(source)
            note("section", before, source)
        if "[[" in source:
            before, source = source, "".join(_LINK.split(source))
            note("link markup", before, source)
            source = _UNSEEN.sub(self.unseen, source)
        scan = Scan(source, self.options, self.facts, self.ledger)
        text = scan.text().replace(PIPE, "|")
        self.rules = scan.rules
        for mark, rule, resolve in _LATER:
            if mark in text:
                before, text = text, resolve(text)
                note(rule, before, text)
        before, text = text, tags.superscripts(text)
        note("raised or lowered text", before, text)
        return lay_out(text, scan.broken, self.ledger)

    def unseen(self, match: re.Match[str]) -> str:
        """A picture or a category goes; the spaces behind it go where it begins a line."""
        (start, end), (name, spaces) = match.span(), match.groups()
        if spaces and (not start or match.string[start - 1] == "\n"):
            spaces = ""
        rule = "file" if name.lower() in FILES else "category"
        if rule in self.ledger.shown:
            self.ledger.entries.append((rule, "", end - start - len(spaces), 0, 0))
        else:
            self.ledger.note(rule, match.group(), spaces, around=(match.string, start, end))
        return spaces

    def converted(self, simplify: Callable[[str], str] | None) -> str:
        """The finished text, in simplified characters if `simplify` is given."""
        text, ledger = self.text, self.ledger
        if simplify:
            pieces = _UNCONVERTED.split(text) if AS_IS in text else [text]
            if len(pieces) > 1 or AS_IS in text:
                before = text
                pieces[::2] = [piece.replace(AS_IS, "").replace(AS_IS_END, "") for piece in pieces[::2]]
                text = "".join(pieces)
                ledger.note("variant markup", before, text)
            between = AS_IS.join(pieces[::2])  # as one text, which is faster and tells more of its script
            ruled = AS_IS.join(variants.apply_rules(self.rules, pieces[::2])) if self.rules else between
            ledger.change("regional words", between, ruled)
            between = simplify(ruled)
            ledger.change("conversion", ruled, between)
            pieces[::2] = between.split(AS_IS)
            text = "".join(pieces)
        for marks, rule, resolve in _LAST:
            if any(map(text.__contains__, marks)):
                before, text = text, resolve(text)
                ledger.note(rule, before, text)
        text = self.stash.restore(text)
        whole = text.strip()
        ledger.note("white space", text, whole)
        return whole
