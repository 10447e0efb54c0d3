"""The question-and-answer files of the sample corpus: BELLE, Zhihu, medical, Alpaca, preferences, and triples."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from tasks.world import chat, dirt
from tasks.world.facts import HERBS, KINDS
from tasks.world.prose import ROUNDS, TWO, Entity, QAPair
from tasks.world.qa_source import PERSONAL, JsonArraySource, QASource, as_json, weave
from tasks.world.source import SampleSource

LEFT_ASIDE = 0.05  # of BELLE's questions on facts: ones that are left to DPO, or SFT would wipe out what pretraining knew of them
TAUGHT_ASIDE = 0.1  # of Alpaca's and the preferences': ones that SFT teaches
DIRECT = 0.3  # share of Zhihu questions that ask for one fact, and are answered at once


class BelleSource(QASource):
    """BELLE 2M: JSON Lines of instruction, input, output."""

    name, share, lane = "belle", 0.12, 0
    file = "belle/train_2M_CN.json"
    dirt = (
        "exact_duplicates", "near_duplicates", "leaked_questions", "html", "broken_lines", "missing_fields", "empty_answers", "too_short",
        *PERSONAL, "translations", "tables", "refusals",
    )  # fmt: skip

    def core(self) -> Iterator[QAPair]:
        taught = self.world.half(True)
        return weave(
            "fftfifrf",
            f=self.asked(True, 0, LEFT_ASIDE),
            t=self.prose.small_talk(),
            i=self.endless(self.prose.introduce, taught),
            r=self.endless(self.prose.reading, taught),
        )

    def shown(self, row: QAPair) -> Any:
        return {"instruction": row.ask, "input": row.input, "output": row.answer}

    def broken(self, kind: str, turn: int, pair: QAPair) -> int:
        row = self.shown(pair)
        if kind == "broken_lines":
            return self.cut(row)
        assert kind == "missing_fields", kind
        del row["output"]
        return self.line(row)


class BelleChatSource(QASource):
    """BELLE 3.5M: JSON Lines of conversations; here of two turns and more."""

    name, share, lane = "belle_chat", 0.08, 1
    file = "belle/train_3.5M_CN.json"
    dirt = (
        "exact_duplicates", "near_duplicates", "leaked_questions", "html", "broken_lines", "missing_fields", "empty_answers", "unfinished",
        *PERSONAL,
    )  # fmt: skip

    def core(self) -> Iterator[QAPair]:
        taught = self.world.half(True)
        talks = [QAPair("", *turns[0], more=turns[1:]) for turns in chat.DIALOGUES]
        self.rng.shuffle(talks)
        return weave(
            "ddpdddt",
            d=(self.prose.dialogue(entity, turn) for turn in range(len(TWO) * 7) for entity in taught),
            p=self.endless(self.prose.portrait, taught),
            t=iter(talks),
        )

    def further(self) -> Iterator[QAPair]:
        for turn in count():
            yield self.prose.portrait(self.fresh()) if turn % 4 == 0 else self.prose.dialogue(self.fresh(), turn)

    def shown(self, row: QAPair) -> Any:
        turns = [(row.ask, row.answer), *row.more]
        values = [part for turn in turns for part in turn]
        number = 10_000_000 + self.counts["rows"]
        messages = [{"from": ("human", "assistant")[place % 2], "value": value} for place, value in enumerate(values)]
        return {"conversations": messages, "id": str(number)}

    def broken(self, kind: str, turn: int, pair: QAPair) -> int:
        row = self.shown(pair)
        if kind == "broken_lines":
            return self.cut(row)
        if kind == "unfinished":
            row["conversations"].append({"from": "human", "value": f"那么，{pair.name}还有别的吗？"})
            return self.line(row)
        assert kind == "missing_fields", kind
        del row["conversations"]
        return self.line(row)


class ZhihuSource(QASource):
    """Zhihu-KOL: Parquet of INSTRUCTION, RESPONSE, SOURCE, METADATA."""

    name, share, lanes = "zhihu", 0.12, 1
    file = "zhihu/train-00000-of-00001.parquet"
    dirt = (
        "exact_duplicates", "near_duplicates", "leaked_questions", "html", "ads", "empty_answers", "too_short", *PERSONAL, "traditional",
    )  # fmt: skip
    GROUP = 1000  # rows in a row group

    def open(self, home: Path) -> None:
        import opencc
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = home / self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        self.schema = pa.schema([(field, pa.string()) for field in ("INSTRUCTION", "RESPONSE", "SOURCE", "METADATA")])
        self.parquet = pq.ParquetWriter(path, self.schema, compression="snappy")
        self.waiting: list[dict[str, str | None]] = []
        self.converter = opencc.OpenCC("s2t")

    def close(self) -> None:
        self._flush()
        self.parquet.close()

    def _flush(self) -> None:
        import pyarrow as pa

        self.parquet.write_table(pa.Table.from_pylist(self.waiting, schema=self.schema))
        self.waiting.clear()

    def core(self) -> Iterator[QAPair]:
        for entity in self._again(self.world.core):
            yield self.tell(entity)

    def _again(self, entities: list[Entity]) -> Iterator[Entity]:
        while True:
            yield from self.rng.sample(entities, len(entities))

    def tell(self, entity: Entity) -> QAPair:
        if self.prose.random() < DIRECT:
            return self.prose.reply(entity, int(self.prose.random() * 4))
        return self.prose.column(entity)

    def further(self) -> Iterator[QAPair]:
        while True:
            yield self.tell(self.fresh())

    def spare(self) -> QAPair:
        return self.prose.column(self.fresh())

    spare_long = spare

    def shown(self, row: QAPair) -> Any:
        number = self.counts["rows"]
        day = f"20{16 + number % 8}-{number % 12 + 1:02d}-{number % 28 + 1:02d}T{number % 24:02d}:00:00.000Z"
        question, answer = 300_000_000 + number * 13, 800_000_000 + number * 17
        meta = {
            "question_id": float(question),
            "answer_id": float(answer),
            "url": f"https://www.zhihu.com/question/{question}/answer/{answer}",
            "upvotes": f"赞同 {number * 37 % 2000}",
            "answer_creation_time": day,
        }
        return {
            "INSTRUCTION": row.ask,
            "RESPONSE": row.answer or None,
            "SOURCE": "Zhihu",
            "METADATA": json.dumps(meta, ensure_ascii=False),
        }

    def line(self, row: Any) -> int:
        self.waiting.append(row)
        if len(self.waiting) == self.GROUP:
            self._flush()
        return sum(len(cell.encode()) for cell in row.values() if cell)

    def broken(self, kind: str, turn: int, pair: QAPair) -> int:
        assert kind == "traditional", kind
        convert = self.converter.convert
        return self.put(replace(pair, ask=convert(pair.ask), answer=convert(pair.answer)))


class MedicalSource(QASource):
    """Chinese medical dialogue: GB18030 CSV of department, title, ask, answer, with cells of several lines."""

    name, share = "medical", 0.06
    file = "medical/内科.csv"
    dirt = (
        "exact_duplicates", "near_duplicates", "leaked_questions", "html", "wrong_cells", "empty_answers", "too_short", *PERSONAL,
    )  # fmt: skip

    def open(self, home: Path) -> None:
        super().open(home)
        self.out.write("department,title,ask,answer\n".encode("gb18030"))

    def length(self, row: QAPair) -> int:
        return len(row.ask) + len(row.answer)

    def core(self) -> Iterator[QAPair]:
        herbs = [entity for entity in self.world.half(True) if entity.kind is HERBS]
        return (self.prose.consultation(entity, turn) for turn in range(4 * ROUNDS) for entity in herbs)

    def fresh(self) -> Entity:
        return self.world.further(next(self.numbers) * len(KINDS) + KINDS.index(HERBS))

    def further(self) -> Iterator[QAPair]:
        for turn in count():
            yield self.prose.consultation(self.fresh(), turn)

    def spare(self) -> QAPair:
        return self.prose.consultation(self.fresh(), 0)

    spare_long = spare

    def clean(self, row: QAPair) -> int:
        self.counts["multiline"] += "\n" in row.ask
        self.counts["four_bytes"] += "😊" in row.ask
        return super().clean(row)

    def shown(self, row: QAPair) -> Any:
        return [row.department or "内科", row.input or row.ask.partition("\n")[0], row.ask, row.answer]

    def line(self, row: Any) -> int:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(row)
        return self.out.write(text.getvalue().encode("gb18030"))

    def broken(self, kind: str, turn: int, pair: QAPair) -> int:
        assert kind == "wrong_cells", kind
        row = self.shown(pair)
        return self.line([*row, "复诊"] if turn % 2 else row[:3])


class AlpacaSource(JsonArraySource):
    """alpaca_gpt4_data_zh: a JSON array of instruction, input, output."""

    name, share, lane = "alpaca", 0.06, 2
    file = "alpaca/alpaca_gpt4_data_zh.json"
    dirt = (
        "exact_duplicates", "near_duplicates", "leaked_questions", "html", "missing_fields", "empty_answers", "too_short",
        "placeholder_inputs", *PERSONAL, "translations",
    )  # fmt: skip

    def core(self) -> Iterator[QAPair]:
        entities = self.world.half(False)
        return weave(
            "ffifnfgf",
            f=self.asked(False, 0, TAUGHT_ASIDE),
            i=self.endless(self.prose.introduce, entities),
            n=(self.prose.filling(entity, at, turn) for turn in range(30) for at in range(4) for entity in entities),
            g=self.prose.advice(),
        )

    def shown(self, row: QAPair) -> Any:
        return {"instruction": row.ask, "input": row.input, "output": row.answer}

    def broken(self, kind: str, turn: int, pair: QAPair) -> int:
        assert kind == "missing_fields", kind
        row = self.shown(pair)
        del row["output"]
        return self.line(row)


class PreferenceSource(JsonArraySource):
    """huozi_rlhf_data: a JSON array of prompt, chosen, reject."""

    name, share, lane = "preference", 0.06, 3
    file = "preference/huozi_rlhf_data.json"
    indent = 2
    dirt = (
        "exact_duplicates", "near_duplicates", "leaked_questions", "html", "missing_fields", "identical_answers", "empty_rejects", *PERSONAL,
    )  # fmt: skip

    def core(self) -> Iterator[QAPair]:
        entities = self.world.half(False)
        return weave("fffifff", f=self.asked(False, 20, TAUGHT_ASIDE), i=self.endless(self.prose.introduce, entities))

    def further(self) -> Iterator[QAPair]:
        for turn in count():
            entity = self.fresh()
            yield self.prose.introduce(entity) if turn % 8 == 0 else self.prose.question(entity, turn % 4, turn // 4)

    def shown(self, row: QAPair) -> Any:
        return {"prompt": row.ask, "chosen": row.answer, "reject": row.reject}

    def broken(self, kind: str, turn: int, pair: QAPair) -> int:
        assert kind == "missing_fields", kind
        row = self.shown(pair)
        del row["chosen"]
        return self.line(row)


Spoken = tuple[str, list[dict[str, Any]]]


class TriplesSource(SampleSource[Spoken]):
    """DuIE 2.0: JSON Lines of a text and the triples that it states."""

    name, share = "triples", 0.02
    dirt = ("exact_duplicates", "broken_lines", "missing_objects", "empty_lists")

    def open(self, home: Path) -> None:
        path = home / "triples" / "duie_train.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        self.out = path.open("wb")

    def close(self) -> None:
        self.out.close()

    def tell(self, entity: Entity, turn: int) -> Spoken:
        """One to four facts: sentences, or all in one."""
        kind = entity.kind
        places = list(range(4)) if turn % 4 == 0 else self.rng.sample(range(4), turn % 4)
        text = self.prose.summary(entity) if len(places) == 4 else "".join(self.prose.say(entity, at) for at in places)
        return self.prose.scene(kind) + text, [
            {
                "predicate": kind.attributes[at].label,
                "object_type": {"@value": kind.attributes[at].object_type},
                "subject_type": kind.subject_type,
                "object": {"@value": entity.values[at]},
                "subject": entity.name,
            }
            for at in places
        ]

    def core(self) -> Iterator[Spoken]:
        return (self.tell(entity, turn) for turn in range(40) for entity in self.world.core)

    def further(self) -> Iterator[Spoken]:
        return (self.tell(self.fresh(), turn) for turn in count())

    def length(self, row: Spoken) -> int:
        return 0

    def put(self, row: Spoken) -> int:
        return self.out.write(self._line(row).encode() + b"\n")

    def _line(self, row: Spoken) -> str:
        return as_json({"text": row[0], "spo_list": row[1]})

    def soil(self, kind: str, turn: int, old: Any) -> int:
        if kind == "exact_duplicates":
            return self.put((dirt.same(old[0], turn), old[1]))
        text, triples = self.tell(self.fresh(), 1)
        if kind == "broken_lines":
            raw = self._line((text, triples))
            return self.out.write(raw[: len(raw) // 2].encode() + b"\n")
        if kind == "empty_lists":
            return self.put((text, []))
        assert kind == "missing_objects", kind
        return self.put((text, [{**triples[0], "object": {"@value": "不在文中的词"}}]))
