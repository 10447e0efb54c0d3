"""MediaWiki's language-variant markup, `-{…}-` and NoteTA, read for the spelling that a reader in mainland China sees.

https://www.mediawiki.org/wiki/Writing_systems/Syntax. A page may also carry rules for all of itself (`-{H|zh-cn:软件;zh-tw:軟體}-`): they say how the
words of one region are written in another, which no character table knows.
"""

from __future__ import annotations

import functools
import itertools
import re

# whose spelling is taken, best first: mainland, then any simplified, then no variant, then any traditional
ORDER = ("zh-cn", "zh-hans", "zh-sg", "zh-my", "zh", "zh-hant", "zh-tw", "zh-hk", "zh-mo")
_SIMPLIFIED = ORDER[:4]
_MOST = 500
_FLAGS = re.compile(r"\s*((?:[A-Z+-]|zh(?:-[a-z]+)?)(?:\s*;\s*(?:[A-Z+-]|zh(?:-[a-z]+)?))*|)\s*\|")
_VARIANT = re.compile(  # a variant's name and, before it, the word that is replaced if that is not another variant's
    r"(?:\A|;)\s*(?:([^;:|\n]{1,60})=>\s*)?(zh(?:-[a-z]{2,4})?)\s*[:：]", re.IGNORECASE
)
_DECLARED = re.compile(r"-\{(\s*[HA+-]\s*\|[^{}]*)\}-")
_TAKEN_BACK = "-"
_SHORT = 200  # characters of markup worth remembering

Rule = dict[str, str]  # variant → spelling; a source of its own (`甲=>zh-cn:乙`) stands under "="


def parse_rule(body: str) -> Rule:
    """`zh-hans:甲;zh-hant:乙` → {"zh-hans": "甲", "zh-hant": "乙"}; empty where the text names no variant."""
    marks = list(_VARIANT.finditer(body))
    if not marks or body[: marks[0].start()].strip():
        return {}
    ends = [mark.start() for mark in marks[1:]] + [len(body)]
    rule: Rule = {}
    for mark, end in zip(marks, ends, strict=True):
        rule.setdefault(mark.group(2).lower(), body[mark.end() : end].strip().rstrip(";").strip())
        if mark.group(1):
            rule.setdefault("=", mark.group(1).strip())
    return rule


def note_rules(body: str) -> list[Rule]:
    """The rules in `zh-cn:甲;zh-tw:乙`, which is one, and in `丙=>zh-cn:甲;丁=>zh-cn:乙`, which is two."""
    if body.count("=>") < 2:
        return [rule] if (rule := parse_rule(body)) else []
    starts = [0, *(match.start() for match in _VARIANT.finditer(body) if match.group(1))]
    return [
        rule for start, end in itertools.pairwise([*starts, len(body)]) if (rule := parse_rule(body[start:end].strip(" ;\n")))
    ]


def choose(rule: Rule) -> str:
    """The spelling for a reader in mainland China, or the nearest that there is."""
    return next((rule[variant] for variant in ORDER if variant in rule), rule.get("=", ""))


def render_variant(content: str) -> tuple[str, list[Rule]]:
    """The text that the inside of `-{…}-` shows, and the rules it sets for the whole page: remembered, since pages repeat the same words."""
    return _remembered(content) if len(content) <= _SHORT else _render(content)


def _render(content: str) -> tuple[str, list[Rule]]:
    """Flags: H, T, D, N and - show nothing; H, A and + set a rule, - takes one back; R and none mean "as it stands"; variant names limit, and
    show the text."""
    head = _FLAGS.match(content)
    flags = set(re.split(r"\s*;\s*", head.group(1))) if head else set()
    body = content[head.end() :] if head else content
    rule = parse_rule(body)
    text = choose(rule) if rule else body.strip() if head else body
    if flags & {"H", "T", "D", "N", "-"}:
        text = ""
    if not flags & {"H", "A", "+", "-"}:
        return text, []
    return text, [{**rule, _TAKEN_BACK: ""} if "-" in flags else rule for rule in note_rules(body)]


_remembered = functools.lru_cache(maxsize=4096)(_render)


def page_rules(wikitext: str) -> list[Rule]:
    """The rules for the whole page that are set in text which itself is not shown."""
    return [rule for match in _DECLARED.finditer(wikitext) for rule in render_variant(match.group(1))[1]]


def apply_rules(rules: list[Rule], pieces: list[str]) -> list[str]:
    """The pieces of a text with the words of other regions written as mainland China does, by a page's rules: the longest word first, in one
    pass. A rule that the page takes back anywhere is not followed.

    One character is too little to replace a word by, and a page with more than `_MOST` words is not an article.
    """
    back = [{name: word for name, word in rule.items() if name != _TAKEN_BACK} for rule in rules if _TAKEN_BACK in rule]
    words: dict[str, str] = {}
    for rule in rules:
        target = next((rule[variant] for variant in _SIMPLIFIED if rule.get(variant)), "")
        if target and len(words) < _MOST and rule not in back and _TAKEN_BACK not in rule:
            words.update({word: target for word in rule.values() if len(word) > 1 and word != target})
    words = {word: target for word, target in words.items() if any(word in piece for piece in pieces)}
    if not words:
        return pieces
    pattern = re.compile("|".join(map(re.escape, sorted(words, key=lambda word: (-len(word), word)))))
    return [pattern.sub(lambda match: words[match.group()], piece) for piece in pieces]
