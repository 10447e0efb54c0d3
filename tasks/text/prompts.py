"""Prompts for articles: an encyclopaedia's title becomes a request, and its text, cut where a sentence ends, the answer.

A model that reads prompt and response (T5) learns from articles this way; ChatLM does it with 20 templates. All of ours read right whatever
the title names, a person, a place, a year or a film: none asks 是什么 or 是谁.
"""

from __future__ import annotations

import hashlib
import re

from tasks.text.script import HAN

TEMPLATES = (
    "介绍一下{}。",
    "请介绍{}。",
    "请简单介绍一下{}。",
    "请详细介绍一下{}。",
    "能给我介绍一下{}吗？",
    "可以讲讲{}吗？",
    "跟我说说{}吧。",
    "给我讲一讲{}。",
    "我想了解{}。",
    "我想知道一些关于{}的知识。",
    "关于{}，你知道些什么？",
    "对于{}，你了解多少？",
    "你了解{}吗？请说明一下。",
    "说说你对{}的认识。",
    "有没有关于{}的资料？",
    "请写一段关于{}的简介。",
    "请为{}写一则百科词条。",
    "帮我查一下{}，并作个说明。",
    "提到{}，有哪些内容值得一说？",
    "请用几句话概括{}的基本情况。",
)

_QUALIFIED = re.compile(r"(.*\S)\s*[(（]([^()（）]+)[)）]", re.DOTALL)  # 李白 (唐代): which of several is meant
# A name that stands in a sentence without quotes: short, of letters, digits and ideographs, and none of the words that sentences are made of
_PLAIN = re.compile(rf"(?=.*[^\W\d_])[{HAN}0-9·]{{2,8}}|(?=.*[A-Za-z])[A-Za-z0-9.+#&' -]{{2,24}}|[{HAN}A-Za-z0-9·]{{3,12}}")
_WORDS = re.compile(
    "[我你您他她它这那谁的了着是吗呢吧啊么]|^[不没就都也很把被让给请想要能会说讲听看有在从向对与和或及]|关于|什么|怎么|如何|介绍|一下|一些"
)
_QUOTED = re.compile("《.+》|“.+”|‘.+’|「.+」")


def article_prompt(title: str, seed: int) -> str:
    """A request for the article of this title, in one of `TEMPLATES`, drawn by nothing but seed and title.

    Raises `ValueError` for a blank title.
    """
    name = " ".join(title.split())
    if not name:
        raise ValueError("an article without a title has no prompt; leave it out, or train on its text alone")
    digest = hashlib.blake2b(f"{seed}\x1f{title}".encode("utf-8", "surrogatepass"), digest_size=8)
    return TEMPLATES[int.from_bytes(digest.digest()) % len(TEMPLATES)].format(_named(name))


def _named(title: str) -> str:
    """The title as it stands in a sentence: 李白（唐代）, and in quotes what would run into the words around it, such as “你好，李焕英”."""
    qualified = _QUALIFIED.fullmatch(title)
    name, which = qualified.groups() if qualified else (title, "")
    which = f"（{which.strip()}）" if which.strip() else ""
    plain = _PLAIN.fullmatch(name) and not _WORDS.search(name)
    return f"{name}{which}" if plain or _QUOTED.fullmatch(name) or "“" in name else f"“{name}”{which}"


_CLOSING = "”’」』）)》】\"'"
_SENTENCE = re.compile(rf"[。！？!?…]+[{_CLOSING}]*|(?<=[a-z]{{2}})\.(?=\s)|(?<=\S)(?=\n)")
_CLAUSE = re.compile("[；，、,：:]")


def cut_at_sentence(text: str, longest: int) -> str:
    """The beginning of a text that has at most `longest` characters (all of them count) and ends where a sentence does.

    A line that ends without a mark, such as a heading, does not end the result, unless there is nothing else. Where not even the first
    sentence fits, it is cut after a clause, and at the last resort at `longest`.
    """
    if longest < 1:
        raise ValueError(f"longest is {longest}; a text is cut to one character or more")
    text = text.strip()
    if len(text) <= longest:
        return text
    head = text[: longest + 1]  # with the character after it, which says whether a line ends there
    ends = [match.end() for match in _SENTENCE.finditer(head) if match.end() <= longest]
    marked = [end for end in ends if text[end - 1] in "。！？!?…." + _CLOSING]
    clauses = [match.start() for match in _CLAUSE.finditer(head[:longest]) if match.start()]
    end = (marked or ends or clauses or [longest])[-1]
    return text[:end].rstrip()
