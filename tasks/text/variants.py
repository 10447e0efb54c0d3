"""MediaWiki's language-variant markup, `-{…}-` and NoteTA: which spelling a reader in mainland China sees.

https://www.mediawiki.org/wiki/Writing_systems/Syntax. A page may also carry rules for all of itself (`-{H|zh-cn:软件;zh-tw:軟體}-`): they say how the
words of one region are written in another, which no character table knows.
"""

from __future__ import annotations

import re
from collections.abc import Callable

# whose spelling is taken, best first: mainland, then any simplified, then no variant, then any traditional
ORDER = ("zh-cn", "zh-hans", "zh-sg", "zh-my", "zh", "zh-hant", "zh-tw", "zh-hk", "zh-mo")
_SIMPLIFIED = ORDER[:4]
_MOST = 500
_FLAGS = re.compile(r"\s*((?:[A-Z+-]|zh(?:-[a-z]+)?)(?:\s*;\s*(?:[A-Z+-]|zh(?:-[a-z]+)?))*|)\s*\|")
_VARIANT = re.compile(r"(?:\A|;)\s*(?:([^;:|\n]{1,60})=>\s*)?(zh(?:-[a-z]{2,4})?)\s*:")

Rule = dict[str, str]  # variant → spelling; a source of its own (`甲=>zh-cn:乙`) stands under "="


def parse(body: str) -> Rule:
    """`zh-hans:甲;zh-hant:乙` → {"zh-hans": "甲", "zh-hant": "乙"}; empty where the text names no variant."""
    marks = list(_VARIANT.finditer(body))
    if not marks or body[: marks[0].start()].strip():
        return {}
    ends = [mark.start() for mark in marks[1:]] + [len(body)]
    rule: Rule = {}
    for mark, end in zip(marks, ends, strict=True):
        rule.setdefault(mark.group(2), body[mark.end() : end].strip().rstrip(";").strip())
        if mark.group(1):
            rule.setdefault("=", mark.group(1).strip())
    return rule


def choose(rule: Rule) -> str:
    """The spelling for a reader in mainland China, or the nearest that there is."""
    return next((rule[variant] for variant in ORDER if variant in rule), rule.get("=", ""))


def render(content: str) -> tuple[str, Rule]:
    """What the inside of `-{…}-` shows, and the rule it sets for the whole page (empty if none).

    Flags: H, T, D, N and - show nothing; H, A and + set a rule; R and none mean "as it stands"; variant names limit, and show the text.
    """
    head = _FLAGS.match(content)
    flags = set(re.split(r"\s*;\s*", head.group(1))) if head else set()
    body = content[head.end() :] if head else content
    rule = parse(body)
    shown = choose(rule) if rule else body.strip() if head else body
    if flags & {"H", "T", "D", "N", "-"}:
        shown = ""
    return shown, rule if flags & {"H", "A", "+"} else {}


def replacer(rules: list[Rule]) -> Callable[[str], str]:
    """A function that writes the words of other regions as mainland China does, by a page's rules: the longest word first, in one pass.

    One character is too little to replace a word by, and a page with more than `_MOST` words is not an article.
    """
    words: dict[str, str] = {}
    for rule in rules:
        target = next((rule[variant] for variant in _SIMPLIFIED if rule.get(variant)), "")
        if target and len(words) < _MOST:
            words.update({word: target for word in rule.values() if len(word) > 1 and word != target})
    if not words:
        return lambda text: text
    pattern = re.compile("|".join(map(re.escape, sorted(words, key=lambda word: (-len(word), word)))))
    return lambda text: pattern.sub(lambda match: words[match.group()], text)
