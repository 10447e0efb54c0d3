"""A source of the sample corpus as a stream of rows, good and soiled, and the wiki dump as the first of them."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, Generic, TypeVar

from tasks.world import dirt
from tasks.world.exam import Question
from tasks.world.prose import Entity, World
from tasks.world.wiki import DumpWriter, WikiPage, WikiProse

Row = TypeVar("Row")

LEAKS = 3  # exam questions that leak into each source
LONG = 120  # characters from which one word more or less makes a near duplicate
MEMORY = 64  # good rows of the past of which one may be repeated
FIRST, LATER = 1, 24  # good rows from one soiled row to the next, until every kind was there once, and after that


class SampleSource(Generic[Row]):
    """One source: what it can say (`core`, then `further` without end), and how it writes a row and soils one.

    The methods that write return the bytes they wrote, before compression.
    """

    name: str
    share: float  # of the corpus, in bytes
    dirt: tuple[str, ...]
    lane, lanes = 0, 1  # which further entities it speaks of: questions and answers of two sources would be duplicates otherwise
    least = 0  # core rows that stand at any size

    def __init__(self, world: World, seed: int, leaks: Iterator[Question], home: Path):
        self.world, self.leaks = world, leaks
        self.rng = random.Random(f"{seed}:{self.name}")
        self.prose = WikiProse(world, self.rng)
        self.counts: Counter[str] = Counter()
        self.past: deque[Row] = deque(maxlen=MEMORY)
        self.past_long: deque[Row] = deque(maxlen=MEMORY)
        self.numbers = count(self.lane, self.lanes)
        self.open(home)

    def fresh(self) -> Entity:
        """An entity beyond the core that this source has not spoken of."""
        return self.world.further(next(self.numbers))

    def fill(self, budget: int, core: int, report: Callable[[int], None]) -> int:
        """Write rows until `budget` bytes stand, `core` of them of the core world as long as it has something new to say.

        Core and further rows alternate in proportion, so that any piece of the file holds both. Every kind of dirt is there at least once.
        """
        core_rows, further = self.core(), self.further()
        kinds, gap, wait = deque(dict.fromkeys(self.dirt)), FIRST, FIRST
        total = of_core = cores = 0
        while total < budget or gap == FIRST or cores < self.least:
            row = next(core_rows, None) if of_core * budget <= total * core else None
            size = self.clean(next(further) if row is None else row)
            total += size
            if row is not None:
                of_core += size
                cores += 1
            wait -= 1
            if not wait:
                wait = gap
                for _ in range(len(kinds)):
                    soiled = self.spoil(kind := kinds.popleft())
                    if soiled is not None:
                        total += soiled
                        break
                    kinds.append(kind)  # nothing to repeat yet
                if not kinds:
                    kinds.extend(self.rng.sample(self.dirt, len(self.dirt)))
                    gap = wait = LATER
            report(total)
        self.close()
        return total

    def clean(self, row: Row) -> int:
        """Write a good row, and remember it."""
        self.past.append(row)
        if self.length(row) >= LONG:
            self.past_long.append(row)
        self.counts["rows"] += 1
        return self.put(row)

    def spoil(self, kind: str) -> int | None:
        """Write a row with one kind of dirt and count it; None where there is nothing to repeat yet, 0 where enough has leaked."""
        turn = self.counts[kind]
        past = {"exact_duplicates": self.past, "near_duplicates": self.past_long}.get(kind)
        if past is not None and not past:
            return None
        if kind == "leaked_questions" and turn == LEAKS:
            return 0
        old = None
        if past:
            past.rotate(self.rng.randrange(len(past)))
            old = past.pop()
        self.counts[kind] += 1
        self.counts["rows"] += 1
        return self.soil(kind, turn, old)

    def open(self, home: Path) -> None:
        """Open the file below `home` that the rows go into."""
        raise NotImplementedError

    def close(self) -> None:
        """Finish the file."""
        raise NotImplementedError

    def core(self) -> Iterator[Row]:
        """Rows on the core world, with an end or without."""
        raise NotImplementedError

    def further(self) -> Iterator[Row]:
        """Rows on further entities, without end."""
        raise NotImplementedError

    def length(self, row: Row) -> int:
        """Characters of a row's text."""
        raise NotImplementedError

    def put(self, row: Row) -> int:
        """Write a row."""
        raise NotImplementedError

    def soil(self, kind: str, turn: int, old: Any) -> int:
        """Write the `turn`-th row with this kind of dirt; `old` is the row to repeat."""
        raise NotImplementedError


_ENGLISH = (
    ("The village of district", "An old bridge on road", "The [[market]] of ward", "A school in parish", "The harbour at pier"),
    ("was first described by", "is well known among", "has long been visited by", "owes its name to", "was rebuilt after", "still belongs to"),
    ("travellers from the north", "a family of merchants", "the last of the great floods", "three brothers", "the monks of the hill"),
)  # fmt: skip


class WikiDumpSource(SampleSource[WikiPage]):
    """`pages-articles-multistream`, all namespaces."""

    name, share = "wiki", 0.48
    dirt = (
        "redirects", "other_namespaces", "exact_duplicates", "traditional", "near_duplicates", "too_short", "leaked_questions",
        "phone_numbers", "id_numbers", "emails", "html", "deleted_texts", "disambiguations", "unclosed_markup", "foreign",
        "redirects", "redirects", "redirects", "other_namespaces", "other_namespaces", "traditional", "traditional",
    )  # fmt: skip
    topics = 0  # pages beside each core entity's own; set by whoever fills it

    def open(self, home: Path) -> None:
        import opencc

        self.convert = opencc.OpenCC("s2t").convert
        self.least = len(self.world.core)
        self.dump = DumpWriter(home / "wiki" / "zhwiki-20261101-pages-articles-multistream.xml.bz2")

    def close(self) -> None:
        self.dump.close()
        self.counts["articles"] = self.counts["rows"] - sum(
            self.counts[kind] for kind in ("redirects", "other_namespaces", "deleted_texts")
        )

    def core(self) -> Iterator[WikiPage]:
        return self.prose.core(self.topics)

    def further(self) -> Iterator[WikiPage]:
        while True:
            yield self.prose.article(self.fresh())

    def length(self, row: WikiPage) -> int:
        return len(row.text or "")

    def put(self, row: WikiPage) -> int:
        return self.dump.add(row)

    def soil(self, kind: str, turn: int, old: Any) -> int:
        if old is not None:
            return self._repeat(kind, turn, old)
        entity = self.fresh()
        page = self.prose.article(entity)
        name, noun, text = entity.name, entity.kind.noun, page.text or ""
        lead, gap, rest = text.partition("\n\n")
        if kind in dirt.PERSONAL:
            return self.put(WikiPage(name, f"{lead}{dirt.filled(dirt.PERSONAL[kind], turn, name)}{gap}{rest}"))
        if kind == "leaked_questions":
            question = next(self.leaks)
            return self.put(
                WikiPage(f"{name}竞赛", f"{lead}\n\n== 题目选登 ==\n{question.printed}\n\n{question.solved}{gap}{rest}")
            )
        if kind == "html":
            tags = f'<div style="color:red"><span class="note">注意：</span>{self.prose.scene(entity.kind)}<br /><b>完</b></div>&nbsp;<hr />'
            return self.put(WikiPage(name, f"{lead}\n{tags}{gap}{rest}"))
        if kind == "unclosed_markup":
            return self.put(WikiPage(name, f"{lead}\n{('{{expand|', '[[未完成的链接')[turn % 2]}{gap}{rest}"))
        if kind == "traditional":
            return self.put(WikiPage(self.convert(page.title), self.convert(text)))
        if kind == "redirects":
            mark = ("#重定向", "#REDIRECT", "#redirect")[turn % 3]
            return self.put(WikiPage(f"{name}（{noun}）", f"{mark} [[{name}]]", redirect=name))
        if kind == "other_namespaces":
            return self.put(self._elsewhere(turn, entity, text))
        plain = {
            "deleted_texts": None,
            "too_short": f"'''{name}'''是{noun}。{{{{stub}}}}",
            "disambiguations": f"'''{name}'''可以指：\n* [[{name} ({noun})]]\n* [[{name} (专辑)]]\n* [[{name} (小说)]]\n{{{{disambig}}}}",
            "foreign": self._english(turn),
        }
        return self.put(WikiPage(name, plain[kind]))

    def _repeat(self, kind: str, turn: int, old: WikiPage) -> int:
        assert old.text
        if kind == "exact_duplicates":  # as where two dumps overlap
            return self.put(WikiPage(old.title, dirt.same(old.text, turn)))
        return self.put(WikiPage(f"{old.title} (旧稿)", dirt.nearly(old.text, turn)))

    def _elsewhere(self, turn: int, entity: Entity, text: str) -> WikiPage:
        name, noun = entity.name, entity.kind.noun
        kinds = (
            (10, f"Template:{name}", f"<noinclude>{{{{doc}}}}</noinclude>{{{{Navbox |title={name} |list1=[[{name}]]}}}}"),
            (14, f"Category:{name}", f"[[Category:澜洲{noun}]]"),
            (4, f"Wikipedia:新条目推荐/{name}", text),
            (12, f"Help:{name}", f"关于[[{name}]]的编辑说明，请先阅读[[Help:目录]]。"),
            (828, f"Module:{name}", "local p = {}\nreturn p"),
            (1, f"Talk:{name}", f"== 讨论 ==\n{name}的资料可以补充吗？--[[User:编者1]]"),
        )
        namespace, title, body = kinds[turn % len(kinds)]
        return WikiPage(title, body, namespace)

    def _english(self, turn: int) -> str:
        sentences = (
            f"{self.prose.pick(_ENGLISH[0])} {turn} {self.prose.pick(_ENGLISH[1])} {self.prose.pick(_ENGLISH[2])}."
            for _ in range(8)
        )
        return f"'''Number {turn}''' is a place. " + " ".join(sentences)
