"""Elements in angle brackets: some go with all that is in them, others leave their inside; code and formulas are kept to the end."""

from __future__ import annotations

import functools
import html
import re

from tasks.text.script import HAN
from tasks.text.templates import END, SUB, SUP, split_names

PIPE = "\x01"  # a bar of text: not a separator of the element around it
KEPT = re.compile("\x02([0-9]+)\x03")  # where code and formulas stand until the very end

_DROPPED = split_names(
    "ref, gallery, timeline, imagemap, score, graph, mapframe, maplink, hiero, templatedata, templatestyles, categorytree, inputbox, "
    "includeonly, references, indicator, script, style, table, rt, rp, rtc, noscript, head, nav, button, form, title"
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
_PROGRAM = re.compile(r"lang\s*=\s*[\"']?([\w+#-]+)", re.IGNORECASE)

_CJK, _ASCII = re.compile(f"[{HAN}\u3041-\u30fe]"), re.compile(r"[A-Za-z(){};=<>]")
_REF = re.compile(r"<(/?)ref(?=[\s/>])[^<>]*+>", re.IGNORECASE)
_SIMPLE_NOTE = re.compile(r"<ref(?=[\s/>])[^<>]*+(?:(?<=/)>|>[^<]*+</ref>)")  # most notes: nothing in angle brackets in them
_LITERAL = re.compile(r"<(?:nowiki|pre|code|source|syntaxhighlight)", re.IGNORECASE)  # what may show the markup of a note
_MARKUP = re.compile(r"\{\{+|\}\}+|\[\[+|\]\]+|\{\||\|\}|-\{|\}-")
_TABLES = re.compile(r"<(/?)table(?=[\s>])[^<>]*+>", re.IGNORECASE)
_NOTE = re.compile(r"</?ref\b[^<>]*+>?", re.IGNORECASE)
_TIGHT = re.compile(r"(?<=\{)(?=[{|])|(?<=\})(?=[}-])|(?<=\[)(?=\[)|(?<=\])(?=\])|(?<=-)(?=\{)|(?<=\|)(?=\})")
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


def resolve_tags(source: str, verbatim: list[str]) -> str:
    """Wikitext without its elements. What is code or a formula goes into `kept`, with a mark (`KEPT`) of its place in the text."""
    if "<" not in source:
        return source
    if _LITERAL.search(source) is None:
        source = _SIMPLE_NOTE.sub("", source)
    pieces, position, unclosed = [], 0, set[str]()
    while match := _RAW.search(source, position):
        pieces.append(source[position : match.start()])
        position = _raw(match, source, pieces, unclosed, verbatim)
    pieces.append(source[position:])
    text = "".join(pieces)
    if "<" in text:
        for tags, instead in _PASSES:
            text = tags.sub(instead, text)
    return text


def _raw(match: re.Match[str], source: str, pieces: list[str], unclosed: set[str], verbatim: list[str]) -> int:
    """A comment, or an element whose inside is not wikitext. Without an end an element is none: only its tag goes. Returns where to read on."""
    tag, end = match.group(), match.end()
    if tag == "<!--":
        close = source.find("-->", end)
        return len(source) if close < 0 else close + 3
    name = match.group(1).lower()
    if tag.endswith("/>") or name in unclosed:
        return end  # the tag itself goes with the rest of the tags
    ending = _note_end(source, end) if name == "ref" else _closing(name).search(source, end)
    if ending is None:
        unclosed.add(name)
        return end
    if name == "ref" and not ending.group(1):
        return end  # a note that was not closed before the next one: its text is the page's
    if name == "table":
        return _whole_table(source, end, ending)
    inside = source[end : ending.start()]
    if name == "nowiki" or (name == "pre" and len(_CJK.findall(inside)) > len(_ASCII.findall(inside))):  # prose, no program
        text = _MARKUP.sub(" ", inside).replace("|", PIPE)
        pieces.append(f"\n{text}\n" if name == "pre" else text)
    elif name not in _DROPPED:
        inside = unescape_html(inside)
        if name in _FORMULAS:  # no {{ of LaTeX is taken for a template later on
            formula = " ".join(_TIGHT.sub(" ", _NOTE.sub("", inside)).split())
            inside = f"${formula}$" if name == "math" else rf"$\ce{{{formula}}}$"
        else:
            inside = _code(re.sub(r"</?nowiki\s*/?>", "", inside), name, tag)
        verbatim.append(inside)
        pieces.append(f"\x02{len(verbatim) - 1}\x03")
    return ending.end()


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
    if name == "code" or "inline" in tag.lower() or (name == "source" and "\n" not in inside):
        line = " ".join(inside.split())
        return f"`{line}`" if line and "`" not in line else line
    program = _PROGRAM.search(tag)
    return f"\n```{program.group(1) if program else ''}\n{inside.strip(chr(10))}\n```\n"


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
