"""Question-and-answer sources of the sample corpus, the base of each: pairs, their dirt, and the two JSON layouts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import IO, Any

from tasks.world import dirt
from tasks.world.prose import ROUNDS, Entity, QAPair
from tasks.world.source import SampleSource

LANES = 4
PERSONAL = ("phone_numbers", "id_numbers", "emails")
BULKY = ("html", "ads")  # dirt of many characters, which would make short rows alike


def weave(pattern: str, **streams: Iterator[QAPair]) -> Iterator[QAPair]:
    """Rows of the streams in the order of the pattern's letters, again and again; ends with the first stream named."""
    main = next(iter(streams))
    while True:
        for letter in pattern:
            row = next(streams[letter], None)
            if row is not None:
                yield row
            elif letter == main:
                return


def as_json(row: Any, indent: int | None = None) -> str:
    """JSON with Chinese characters as they are."""
    return json.dumps(row, ensure_ascii=False, indent=indent)


class QASource(SampleSource[QAPair]):
    """A source whose rows are questions and answers."""

    file: str
    lanes = LANES

    def open(self, home: Path) -> None:
        path = home / self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        self.out: IO[bytes] = path.open("wb")

    def close(self) -> None:
        self.out.close()

    def length(self, row: QAPair) -> int:
        return len(row.answer)

    def put(self, row: QAPair) -> int:
        return self.line(self.shown(row))

    def shown(self, row: QAPair) -> Any:
        """The row as its format has it."""
        raise NotImplementedError

    def line(self, row: Any) -> int:
        """Write one row that is in the format already."""
        return self.out.write(as_json(row).encode() + b"\n")

    def cut(self, row: Any) -> int:
        """Write a line that ends in the middle."""
        raw = as_json(row)
        return self.out.write(raw[: len(raw) * 2 // 3].encode() + b"\n")

    def broken(self, kind: str, turn: int, pair: QAPair) -> int:
        """A kind of dirt that only this format can have."""
        raise AssertionError(f"{self.name} has no {kind}")

    def soil(self, kind: str, turn: int, old: Any) -> int:
        if kind == "exact_duplicates":
            ask, answer, input_ = (dirt.same(part, turn) for part in (old.ask, old.answer, old.input))
            return self.put(replace(old, ask=ask, answer=answer, input=input_ if old.input else ""))
        if kind == "near_duplicates":
            return self.put(replace(old, answer=dirt.nearly(old.answer, turn)))
        if kind == "leaked_questions":
            return self.put(dirt.leaked_pair(next(self.leaks)))
        if kind == "tables":
            return self.put(dirt.table_pair(self.fresh()))
        # of an entity beyond the core, so that nothing of the core is lost with the row
        pair = self.spare_long() if kind in BULKY else self.spare()
        if kind in dirt.PAIRS:
            return self.put(dirt.PAIRS[kind](pair, turn))
        return self.broken(kind, turn, pair)

    def spare(self) -> QAPair:
        """A row to be soiled."""
        return self.prose.question(self.fresh(), 0, 0)

    def spare_long(self) -> QAPair:
        return self.prose.introduce(self.fresh())

    def facts(self, entities: list[Entity], first: int, last: int) -> Iterator[QAPair]:
        """Every fact of these entities once a round, each round in other words."""
        cases = [(entity, at) for entity in entities for at in range(4)]
        for turn in range(first, last):
            self.rng.shuffle(cases)
            for entity, at in cases:
                yield self.prose.question(entity, at, turn)

    def asked(self, taught: bool, first: int, aside: float) -> Iterator[QAPair]:
        """Facts of the half that SFT teaches, or of the other, in rounds from `first` on; after a share `aside` of them one of the other half."""
        others = self.facts(self.world.half(not taught), ROUNDS // 2 + first, ROUNDS)
        for row in self.facts(self.world.half(taught), first, ROUNDS):
            yield row
            if self.prose.random() < aside:
                yield from islice(others, 1)

    def endless(self, tell: Callable[[Entity], QAPair], entities: list[Entity]) -> Iterator[QAPair]:
        while True:
            for entity in self.rng.sample(entities, len(entities)):
                yield tell(entity)

    def further(self) -> Iterator[QAPair]:
        tells: list[Callable[[Entity], QAPair]] = [self.prose.introduce, self.prose.reading]
        tells += [lambda entity, at=at: self.prose.question(entity, at, 0) for at in range(4)] * 2
        while True:
            for tell in tells:
                yield tell(self.fresh())


class JsonArraySource(QASource):
    """A source that is one JSON array."""

    indent = 4

    def open(self, home: Path) -> None:
        super().open(home)
        self.before = b"[\n"

    def close(self) -> None:
        self.out.write(b"\n]\n")
        super().close()

    def line(self, row: Any) -> int:
        raw = self.before + "\n".join(" " * self.indent + line for line in as_json(row, self.indent).splitlines()).encode()
        self.before = b",\n"
        return self.out.write(raw)
