"""Elements in angle brackets: some go with all that is in them, others leave their inside; code and formulas are kept to the end."""

from __future__ import annotations

import functools
import html
import re

from tasks.text.functions import UNKNOWN as HOLE
from tasks.text.ledger import NO_LEDGER, Ledger
from tasks.text.measures import END, SUB, SUP
from tasks.text.script import HAN
from tasks.text.templates import alternatives, render_template, split_names, template_name

PIPE = "\x01"  # a bar of text: not a separator of the element around it
LESS = "\x19"  # a < of text: no tag begins with it
KEPT = re.compile("\x02([0-9]+)\x03")  # where code and formulas stand until the very end

_DROPPED = split_names(
    "ref, gallery, timeline, imagemap, score, graph, mapframe, maplink, hiero, templatedata, templatestyles, categorytree, inputbox, "
    "includeonly, references, indicator, script, style, table, rt, rp, rtc, noscript, head, nav, button, form, title, "
    # of extensions: players, maps, boxes and lists that are made elsewhere
    "comments, youtube, nicovideo, vimeo, bilibili, aovideo, embedvideo, evlplayer, spotify, soundcloud, twitter, tweet, gmap, googlemap, "
    "googlemaps, map, poll, vote, votepage, rating, ratings, widget, rss, feed, dpl, dynamicpagelist, forum, listpages, pagelist, pages, "
    "charinsert, infobox, data-map, activityfeed, newusers, discussions, badge, catgallery, graphviz, mermaid, plantuml, uml, abc, lilypond, "
    "chessboard, flash, swf, jwplayer, videoflash, flashmp3, html5video, seo, calendar, createbox, searchbox, quiz, mscgen, smw, ask"
)
_FORMULAS = ("math", "chem", "ce")
_CODE = ("pre", "syntaxhighlight", "source", "code")
_BREAKS = split_names(
    "br, p, div, li, ul, ol, dl, dt, dd, tr, hr, blockquote, center, poem, h1, h2, h3, h4, h5, h6, caption, section"
)
_INLINE = split_names(
    "b, i, u, s, del, ins, strike, em, strong, big, small, span, font, q, cite, dfn, abbr, acronym, var, kbd, samp, tt, "
    "thead, tbody, tfoot, col, colgroup, ruby, rb, bdi, bdo, mark, time, data, wbr, a, img, noinclude, onlyinclude, nobr, link, meta, "
    "html, body, header, footer, main, input, label, select, option, textarea, iframe, video, audio, figure, figcaption, h, article, "
    "aside, translate, languages, nowiki, verse, tabber, tab, tabs, tabview, choose, option, choicetemplate, spoiler, hide, nomobile, "
    "mobileonly, langconvert, phonos, shy, tvar, staff, includeme, verbatim, onlymobile, ce-inline"
)


def _tags(all_of: list[str] | tuple[str, ...], slash: str = "/?") -> re.Pattern[str]:
    return re.compile(rf"<{slash}({alternatives(all_of)})(?=[\s/>])[^<>]*+>")


_RAW = re.compile(rf"<!--|{_tags([*_DROPPED, *_FORMULAS, *_CODE, 'nowiki'], '').pattern}")
_PASSES = (  # in this order: (tags, what they leave)
    (_tags([*_INLINE, *_DROPPED, *_FORMULAS, *_CODE]), ""),
    (_tags(_BREAKS), "\n"),
    (_tags(["td", "th"]), " "),
    (_tags(["sup"], ""), SUP),
    (_tags(["sub"], ""), SUB),
    (_tags(["sup", "sub"], "/"), END),
)
_PROGRAM = re.compile(r"lang\s*=\s*[\"']?([\w+#-]+)", re.IGNORECASE)

_NOWIKI = re.compile(r"<nowiki>(.*?)</nowiki>", re.IGNORECASE | re.DOTALL)
_NOWIKI_TAG = re.compile(r"</?nowiki\s*/?>", re.IGNORECASE)
_CODE_TAG = re.compile(r"</?(b|i|u|var|em|strong|span|small|big|tt|kbd|samp|font|sub|sup|br)(?=[\s/>])[^<>]*+>", re.IGNORECASE)
_CODE_LINK = re.compile(r"\[\[(?![\s\d,]*\]\])(?:(?<!\w\[\[)|(?=[^\[\]]*\|))([^\[\]{}<>|\n\"']+)(?:\|([^\[\]{}|\n]+))?\]\]")
_CODE_ADDRESS = re.compile(r"\[https?://[^\s\[\]<>\"]+ +([^\[\]\n]+)\]")
_CODE_TEMPLATE = re.compile(r"\{\{([^{}\n]{1,80})\}\}")
_BOLD = re.compile(r"(?<!')('{2,3}|'{5})(?=[^\s'+,.;)])([^'\n]*[^\s'(=+,])\1(?!')")
_PAGE = re.compile(r"<!doctype|<html\b|<body\b", re.IGNORECASE)
_DOCTYPE = re.compile(r"<!doctype[^<>]*+>", re.IGNORECASE)
_LINES = re.compile(r"\s*\n\s*")
_STOPS = re.compile("[。！？]")
# tags in lower case that are no HTML: without an inside, alone on a line, around an address or a key such as dQw4w9WgXcQ
_SELF_CLOSED = re.compile(r"<[a-z][a-z-]{2,}(?:\s[^<>\n]*+|/)?(?<=/)>")
_CLOSED_LINE = re.compile(r"</([a-z][a-z-]{2,})>\s*")
_LINES_INSIDE = 100
_KEYED = re.compile(r"<([a-z][a-z-]{2,})(?:\s[^<>\n]*+)?>\s*(?:https?://[^\s<>]++|(?=[\w-]*\d)[\w-]{6,64})\s*</\1>")

_CJK, _ASCII = re.compile(f"[{HAN}\u3041-\u30fe]"), re.compile(r"[A-Za-z(){};=<>]")
_REF = re.compile(r"<(/?)ref(?=[\s/>])[^<>]*+>", re.IGNORECASE)
_SIMPLE_NOTE = re.compile(r"<ref(?=[\s/>])[^<>]*+(?:(?<=/)>|>[^<]*+</ref>)")  # most notes: nothing in angle brackets in them
_BRACKETED_NOTE = re.compile(rf"(?<=[（(]){_SIMPLE_NOTE.pattern}")
_LITERAL = re.compile(r"<(?:nowiki|pre|code|source|syntaxhighlight)", re.IGNORECASE)  # what may show the markup of a note
_MARKUP = re.compile(r"\{\{+|\}\}+|\[\[+|\]\]+|\{\||\|\}|-\{|\}-")
_TABLES = re.compile(r"<(/?)table(?=[\s>])[^<>]*+>", re.IGNORECASE)
_NOTE = re.compile(r"</?ref\b[^<>]*+>?", re.IGNORECASE)
_TIGHT = re.compile(r"(?<=\{)(?=[{|])|(?<=\})(?=[}-])|(?<=\[)(?=\[)|(?<=\])(?=\])|(?<=-)(?=\{)|(?<=\|)(?=\})")
_BESIDE_HOLES = frozenset("（(，、；：" + HOLE)
_RAISED = re.compile(f"(.?){SUP}([^{SUP}{SUB}{END}]*){END}")
_LOWERED = re.compile(f"(.?){SUB}([^{SUP}{SUB}{END}]*){END}")
_SUPERSCRIPT = str.maketrans("0123456789+-−=()n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁼⁽⁾ⁿ")
_SUBSCRIPT = str.maketrans("0123456789+-−=()", "₀₁₂₃₄₅₆₇₈₉₊₋₋₌₍₎")
# A number of more digits than any character has is left alone, since Python refuses to read it
_ENTITY = re.compile(r"&(?:#(?:[0-9]{1,8}(?![0-9])|[xX][0-9a-fA-F]{1,8}(?![0-9a-fA-F]))|[A-Za-z][A-Za-z0-9]{1,31});?")
_COMMON = (("&nbsp;", "\u00a0"), ("&lt;", "<"), ("&gt;", ">"))
_character = functools.lru_cache(maxsize=4096)(html.unescape)


def unescape_html(text: str) -> str:
    """HTML's entities as characters, each once; the commonest first, which is faster."""
    for entity, character in _COMMON:
        if entity in text:
            text = text.replace(entity, character)
    return _ENTITY.sub(lambda match: _character(match.group()), text) if "&" in text else text


class Stash:
    """Code and formulas, kept out of the text until the end: each with the markup it was, for the ledger."""

    def __init__(self, ledger: Ledger = NO_LEDGER):
        self.ledger = ledger
        self.texts: list[str] = []
        self.sources: list[tuple[str, str]] = []  # (rule, markup)

    def keep(self, text: str, rule: str, markup: str) -> str:
        """The mark that stands for a text."""
        self.texts.append(text)
        self.sources.append((rule, markup))
        return f"\x02{len(self.texts) - 1}\x03"

    def restore(self, text: str) -> str:
        """The text with what was kept in the place of its marks. What lost its mark on the way was cut with what it stood in."""
        if not self.texts:
            return text
        found = [0] * len(self.texts)

        def show(match: re.Match[str]) -> str:
            found[int(match.group(1))] += 1
            return self.texts[int(match.group(1))]

        text = KEPT.sub(show, text)
        if self.ledger is not NO_LEDGER:
            for number, (times, kept, (rule, markup)) in enumerate(zip(found, self.texts, self.sources, strict=True)):
                mark = f"\x02{number}\x03"
                self.ledger.note(rule, markup, kept if times else mark)
                for _ in range(times - 1):
                    self.ledger.note(rule, mark, kept)
        return text


def resolve_tags(source: str, stash: Stash) -> str:
    """Wikitext without its elements. What is code or a formula goes into the stash, with a mark (`KEPT`) of its place in the text."""
    if "<" not in source:
        return source
    ledger = stash.ledger
    if _LITERAL.search(source) is None:
        before = source
        if "（<ref" in source or "(<ref" in source:
            source = _BRACKETED_NOTE.sub(HOLE, source)
        source = _SIMPLE_NOTE.sub("", source)
        ledger.note("reference", before, source)
    pieces, position, unclosed = [], 0, set[str]()
    noting = ledger is not NO_LEDGER
    while match := _RAW.search(source, position):
        start = match.start()
        pieces.append(source[position:start])
        position, instead, rule, detail = _raw(match, source, unclosed, stash)
        if not instead and source[start - 1 : start] in _BESIDE_HOLES:
            instead = HOLE
        if instead:
            pieces.append(instead)
        if noting and rule not in ("code", "formula"):  # these are settled when they come back
            ledger.note(rule, source[start:position], instead, detail, (source, start, position))
    pieces.append(source[position:])
    text = "".join(pieces)
    if "<" in text:
        before = text
        for tags, instead in _PASSES:
            if "<" in text:
                text = tags.sub(instead, text)
        if "/>" in text or "</" in text:
            text = _extensions(text)
        ledger.note("tag", before, text)
    return text


def _raw(match: re.Match[str], source: str, unclosed: set[str], stash: Stash) -> tuple[int, str, str, str]:
    """A comment, or an element whose inside is not wikitext: (where to read on, what it leaves, the ledger's rule and detail).

    Without an end an element is none: only its tag goes.
    """
    tag, end = match.group(), match.end()
    if tag == "<!--":
        close = source.find("-->", end)
        return len(source) if close < 0 else close + 3, "", "comment", ""
    name = match.group(1).lower()
    if tag.endswith("/>") or name in unclosed:
        return end, "", "reference" if name == "ref" else "tag", ""
    ending = _note_end(source, end) if name == "ref" else _closing(name).search(source, end)
    if ending is None:
        unclosed.add(name)
        return end, "", "tag", ""
    if name == "ref" and not ending.group(1):
        return end, "", "tag", ""  # a note that was not closed before the next one: its text is the page's
    if name == "table":
        return _whole_table(source, end, ending), "", "table", ""
    inside, whole = source[end : ending.start()], source[match.start() : ending.end()]
    if name == "nowiki":
        return ending.end(), _MARKUP.sub(" ", inside).replace("|", PIPE).replace("<", LESS), "tag", ""
    if name == "pre" and (prose := _prose(inside)):
        return ending.end(), f"\n{prose}\n", "tag", ""
    if name in _DROPPED:
        return ending.end(), "", "reference" if name in ("ref", "references") else "element", name
    if name in _FORMULAS:  # no {{ of LaTeX is taken for a template later on
        formula = " ".join(_TIGHT.sub(" ", _NOTE.sub("", unescape_html(inside))).split())
        shown = f"${formula}$" if name == "math" else rf"$\ce{{{formula}}}$"
        return ending.end(), stash.keep(shown, "formula", whole), "formula", ""
    return ending.end(), stash.keep(_code(inside, name, tag), "code", whole), "code", ""


def _prose(inside: str) -> str:
    """The text of a <pre> that holds prose and no program; of a whole HTML page in it what the page says. "" for a program."""
    if _PAGE.search(inside) and "<" in inside:
        within = Stash()
        said = unescape_html(within.restore(resolve_tags(_DOCTYPE.sub("", inside), within)))
        if len(_STOPS.findall(said)) < 2 or len(_CJK.findall(said)) <= len(_ASCII.findall(said)):
            return ""
        return _MARKUP.sub(" ", _LINES.sub("\n", said)).replace("|", PIPE).strip()
    if len(_CJK.findall(inside)) <= len(_ASCII.findall(inside)):
        return ""
    return _MARKUP.sub(" ", inside).replace("|", PIPE)


def _extensions(text: str) -> str:
    """The text without tags of extensions that nobody listed: those without an inside, around an address or a key, or alone on their lines."""
    text = _KEYED.sub("", text)
    lines = text.split("\n")
    for place, line in enumerate(lines):
        if ("/>" in line or line.startswith("</")) and not line.startswith(" "):  # what begins with a space is a program
            lines[place] = _SELF_CLOSED.sub("", line)
            if (name := _CLOSED_LINE.fullmatch(line)) and (opened := _opening(lines, place, name.group(1))) is not None:
                lines[place] = lines[opened] = ""
    return "\n".join(lines)


def _opening(lines: list[str], end: int, name: str) -> int | None:
    """The line, not far above this one, on which a tag of this name stands alone."""
    return next(
        (
            place
            for place in range(end - 1, max(-1, end - _LINES_INSIDE), -1)
            if re.fullmatch(rf"<{name}(?:\s[^<>]*)?>\s*", lines[place])
        ),
        None,
    )


def _note_end(source: str, start: int) -> re.Match[str] | None:
    """The next `</ref>`, or `<ref>` if that comes first."""
    return next((mark for mark in _REF.finditer(source, start) if not mark.group().endswith("/>")), None)


@functools.cache
def _closing(name: str) -> re.Pattern[str]:
    return re.compile(rf"</{name}\s*>", re.IGNORECASE)


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
    if name == "code":
        pieces = _NOWIKI.split(inside)  # every other one stands between <nowiki> tags
        pieces[::2] = [
            _interpreted(piece) if "<" in piece or "''" in piece or "[" in piece or "{{" in piece else piece
            for piece in pieces[::2]
        ]
        inside = "".join(pieces)
    inside = unescape_html(_NOWIKI_TAG.sub("", inside))
    if name == "code" or "inline" in tag.lower() or (name == "source" and "\n" not in inside):
        line = " ".join(inside.split())
        return f"`{line}`" if line and "`" not in line else line
    program = _PROGRAM.search(tag)
    return f"\n```{program.group(1) if program else ''}\n{inside.strip(chr(10))}\n```\n"


def _interpreted(code: str) -> str:
    """The markup that <code> shows the effect of, as <pre> does not: links, emphasis, tags, and templates that stand for a character or words."""
    code = _CODE_TAG.sub(lambda match: " " if match.group(1).lower() == "br" else "", _SIMPLE_NOTE.sub("", code))
    code = _CODE_LINK.sub(lambda match: match.group(2) or match.group(1), code)
    code = _CODE_ADDRESS.sub(lambda match: match.group(1), code)
    code = _CODE_TEMPLATE.sub(_code_template, code)
    return _BOLD.sub(lambda match: match.group(2), code)


def _code_template(match: re.Match[str]) -> str:
    name, *parts = match.group(1).split("|")
    if template_name(name) in ("tl", "tlx", "tlc", "tlp", "tld"):
        return "{{" + "|".join(parts) + "}}"
    return render_template(template_name(name), parts) or match.group()


def superscripts(text: str) -> str:
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
