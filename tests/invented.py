"""An invented run: what the records of its stages say, and their folders. The report and its tests need no more."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import math
from pathlib import Path
from typing import Any

from tasks import download, extraction, report, sft
from tasks.artifacts.stage import Job, Stage
from tasks.data.rows import Writer
from tasks.metrics import health
from tasks.metrics.intervals import wilson
from tasks.text import relations

EVIL = "<script>alert('x')</script><img src=http://example.org/x.png onerror=alert(1)>"
SOURCES = {
    "wiki": ("documents", 412),
    "belle": ("conversations", 600),
    "zhihu": ("conversations", 240),
    "exam": ("questions", 120),
}
LOST = {  # stage → source → reason → rows; the rest is kept
    "ingest": {
        "wiki": {"redirect": 40, "disambiguation": 12},
        "belle": {"broken json": 3},
        "zhihu": {"no answer": 9},
        "exam": {"no answer": 2},
    },
    "dedup": {"belle": {"exact duplicate": 31, "near duplicate": 22}, "wiki": {"near duplicate": 7}},
    "filter": {
        "wiki": {"too short": 25},
        "belle": {"too short": 14, "holds an evaluation question": 6},
        "zhihu": {"mostly not Chinese": 11},
    },
}
MODELS = ("pretrain", "sft", "dpo")
STAGES = {  # of nodes whose names do not say their stage
    "extractor": sft.run,
    "extractor-fresh": sft.run,
    "base-files": dataclasses.replace(download.run, group="model"),
}
MIX = [
    {"group": "wiki", "weight": 7.0, "share": 0.7, "available": 42_000, "taken": 42_000, "share_taken": 0.7001, "passes": 1.0}
    | {"documents": 320, "repeated": 0, "left_out": 0},
    {
        "group": "belle+zhihu",
        "weight": 3.0,
        "share": 0.3,
        "available": 9_000,
        "taken": 17_990,
        "share_taken": 0.2999,
        "passes": 1.9989,
    }
    | {"documents": 744, "repeated": 743, "left_out": 0},
]


class Run:
    """`nodes` is what the records say, `artifacts` the folders."""

    def __init__(self, home: Path):
        self.home, self.nodes, self.artifacts = home, dict[str, dict[str, Any]](), dict[str, Path]()
        self.contracts: dict[str, Any] = {}  # data node → what became of its contract
        self.about: dict[str, Any] = {}  # the circumstances of the run; of most tests no part
        self.add("sample", {"seed": 1}, [])
        rows = {source: count for source, (_, count) in SOURCES.items()}
        for source, (kind, _) in SOURCES.items():
            name = f"extract-{source}" if source == "wiki" else f"ingest-{source}"
            self.add(name, {"funnel": self.count("ingest", {source: rows[source]}, rows)}, ["sample"])
            (self.artifacts[name] / kind).mkdir()
            self.drop(name)
        trained = {source: rows[source] for source in SOURCES if source != "exam"}
        readers = ["extract-wiki", "ingest-belle", "ingest-zhihu"]
        shown = {"id": "a", "source": "belle", "excerpt": "丹江在青州的北面，长三百里。"}
        alike = {**shown, "excerpt": "丹江在青州的北边，长三百里。", "similarity": 0.912}
        clusters = {"sizes": {"2": 41, "3–4": 6}, "examples": {"conversations": [{"size": 3, "kept": shown, "dropped": [alike]}]}}
        self.add("dedup", {"funnel": self.count("dedup", trained, trained), "clusters": clusters}, readers)
        lengths = {
            "wiki": {
                "bounds": [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024],
                "before": [0, 0, 0, 5, 20, 30, 60, 90, 80, 48, 20],
                "after": [0, 0, 0, 0, 0, 30, 60, 90, 80, 48, 20],
            },
            "belle": {
                "bounds": [0, 1, 2, 4, 8, 16, 32, 64, 128],
                "before": [0, 0, 4, 10, 60, 190, 200, 80],
                "after": [0, 0, 0, 0, 54, 190, 200, 80],
            },
        }
        scripts = {"belle": {"bounds": [0.0, 0.25, 0.5, 0.75, 1.0], "before": [10, 20, 114, 400], "after": [0, 10, 114, 400]}}
        leaked = {
            "question": "青州最有名的是什么瓷器？",
            "source": "belle",
            "share": 1.0,
            "excerpt": "问：青州最有名的是什么瓷器？",
        }
        contamination = {
            "exam": {"questions": 118, "found": 5, "rows": 6, "examples": [leaked]},
            "ceval": {"questions": 12_342, "found": 0, "rows": 0, "examples": []},
        }
        found = {"lengths": lengths, "personal_data": {"belle": {"phone": 4, "e-mail": 2}, "wiki": {}}}
        found |= {"scripts": scripts, "contamination": contamination}
        self.add("filter", {"funnel": self.count("filter", trained, trained), **found}, ["dedup", "ingest-exam"])
        uses = {
            "pretrain": {
                "train": {"wiki": {"rows": 320, "characters": 91234}},
                "valid": {"wiki": {"rows": 8, "characters": 2210}},
            }
        }
        self.add("split", {"funnel": self.count("split", trained, trained), "uses": uses}, ["filter"])
        for name in ("dedup", "filter"):
            self.drop(name)
        self.add("tokenizer", {"vocab_size": 2048}, ["split"])
        row = {
            "texts": 8,
            "characters": 2210,
            "tokens": 1300,
            "single_bytes": 4,
            "characters_per_token": 1.7,
            "single_byte_share": 0.003,
        }
        facts = {
            "vocab_size": 2048,
            "words": 52000,
            "distinct_words": 3100,
            "sources": {"wiki": row},
            "sample": ["的", "青州", "\n"],
            "longest": ["天青瓷器博物馆"],
        }
        self.write("tokenizer", "report.json", facts)
        (self.artifacts["tokenizer"] / "tokenizer.json").write_text(
            tokenizer(["瓷器", "天青", "名产", "青州", "最有名的是", "博物馆"]), "utf-8"
        )
        self.add("pack", {"splits": {"train": {"tokens": 60000}}, "mix": MIX}, ["split", "tokenizer"])
        self.add(
            "pretrain",
            {
                "steps": 400,
                "tokens": 1_638_400,
                "learning_rate": 0.0093,
                "precision": "bfloat16",
                "seconds": 81.5,
                "device": "cpu",
            },
            ["pack", "tokenizer"],
        )
        self.add("sft", {"steps": 200}, ["pretrain", "split"])
        self.add(
            "rejected",
            {"funnel": {"belle": {"in": 80, "kept": 66, "dropped": {"near_equal": 10, "truncated": 4}}}},
            ["sft", "split"],
        )
        self.nodes["rejected"]["stats"]["lengths"] = {
            "generated": {"pairs": 66, "chosen_characters": 31.2, "rejected_characters": 27.9, "chosen_longer": 0.61}
        }
        with Writer(self.artifacts["rejected"] / "preferences" / "train.parquet", "preferences") as out:
            for number, meta in enumerate(("{}", '{"temperature": 0.7}')):
                row = {
                    "messages": [{"role": "user", "content": "青州有什么名产？"}],
                    "chosen": "天青瓷器。",
                    "rejected": EVIL,
                    "meta": meta,
                }
                out.add({"id": f"{number:032d}", "source": "belle", **row})
        stats = {"steps": 100, "rows": {"kept": 60, "too_long": 2}, "seconds": 1.25, "eval_kl": 0.0123}
        self.add("dpo", stats, ["sft", "rejected"])
        self.log("pretrain", 400, lambda step: 2.2 + 5.3 * math.exp(-step / 60))
        self.log("sft", 200, lambda step: 1.1 + 1.6 * math.exp(-step / 40))
        self.log("dpo", 100, lambda step: 0.69 - 0.3 * step / 100, preference=True)
        self.add("evaluate", {"health": scores()["health"]}, [*MODELS, "split", "rejected", "ingest-exam"])
        self.write("evaluate", "scores.json", scores())
        answers = {"pretrain": "江江江江", "sft": "青州的瓷器。", "dpo": "青州最有名的是天青瓷器。"}
        asked = {
            "source": "belle",
            "messages": [],
            "prompt": "青州有什么名产？",
            "reference": "青州最有名的是天青瓷器。\n它们在天青瓷器博物馆。",
            "answers": answers,
        }
        self.write(
            "evaluate",
            "answers.json",
            [asked, {**asked, "prompt": EVIL, "answers": {"pretrain": "", "sft": EVIL, "dpo": "不知道。"}}],
        )

    def add(self, name: str, stats: dict[str, Any], reads: list[str], node_stage: Stage | None = None) -> None:
        key, digest = (hashlib.sha256(f"{what} of {name}".encode()).hexdigest() for what in ("key", "digest"))
        lineage = {f"role.{number}": self.nodes[parent]["key"] for number, parent in enumerate(reads)}
        stage = name.partition("-")[0]
        shown = node_stage or STAGES.get(name) or importlib.import_module(f"tasks.{stage}").run
        self.nodes[name] = {
            "stage": stage,
            "title": f"The {stage} stage",
            "key": key,
            "digest": digest,
            "version": 1,
            "stats": stats,
            "group": shown.group,
            "section": shown.section,
            "step": shown.step or shown.name,
        }
        self.nodes[name] |= {"bytes": 1234 * len(self.nodes), "reproducibility": "bitwise", "lineage": lineage}
        self.artifacts[name] = self.home / name
        self.artifacts[name].mkdir(parents=True)

    def insert(self, name: str, stats: dict[str, Any], reads: list[str], node_stage: Stage, *, before: str) -> None:
        """Add a node of a stage at its place in the pipeline; the next node reads it instead of what it read."""
        self.add(name, stats, reads, node_stage)
        names = [other for other in self.nodes if other != name]
        names.insert(names.index(before), name)
        self.nodes = {other: self.nodes[other] for other in names}
        self.nodes[before]["lineage"] = {"rows": self.nodes[name]["key"]}

    def judge_and_experts(self) -> None:
        """What not every run has: a reward model, and experts in place of a feed-forward."""
        self.add("reward", {"steps": 50, "eval_accuracy": 0.85, "eval_rows": 40, "eval_margin": 0.9}, ["pretrain", "rejected"])
        self.log("reward", 50, lambda step: 0.69 - 0.4 * step / 50, preference=True)
        self.nodes["pretrain"]["stats"]["expert_use"] = [[0.125] * 8, [0.3, 0.2, 0.1, 0.1, 0.1, 0.1, 0.05, 0.05]]
        with (self.artifacts["pretrain"] / "log.jsonl").open("a", encoding="utf-8") as log:
            log.writelines(json.dumps({"step": step, "eval_balance": 1 + step / 4000}) + "\n" for step in (100, 200, 400))

    def extraction(self) -> None:
        """A model and new weights of its shape, tuned to extract triples: twelve texts, and what each wrote."""
        self.add("ingest-duie", {"funnel": {"duie": {"in": 60, "kept": 60, "dropped": {}}}}, ["sample"])
        self.add("triples", {"funnel": {"duie": {"in": 60, "kept": 57, "dropped": {"exact duplicate": 3}}}}, ["ingest-duie"])
        for name, parent in (("fresh", "pretrain"), ("extractor-fresh", "fresh"), ("extractor", "pretrain")):
            self.add(name, {"steps": 60, "parameters": 2_900_000}, [parent, *(["triples"] if name != "fresh" else [])])
            if name != "fresh":
                self.log(name, 60, lambda step, high=2 * (name != "extractor"): 1.5 + high - step / 60)
        truth = [
            [("丹江", "长度", "三百里"), ("丹江", "流经", "青州")],
            [("李四", "职业", "诗人")],
            [("白鹭城", "所在地", "云台县")],
        ] * 4
        said = {
            "extractor-fresh": ["[(丹江,长度,三里),(丹江,流经,青州)]", EVIL, "[]"] * 4,
            "extractor": ["[(丹江,长度,三百里),(丹江,流经,青州)]", "[(李四,职业,诗人),(李四,朝代,唐)]", "[(白鹭城,所在地,云台"]
            * 4,
        }
        self.add("extraction", {}, ["extractor-fresh", "extractor", "triples"])
        self.write("extraction", "scores.json", extraction.scored(extraction.Params(), said, truth))
        texts = ["丹江长三百里，流经青州。", "李四是诗人。", "白鹭城在云台县。"] * 4
        answers = [
            {name: {"text": wrote[place], "triples": relations.parse_triples(wrote[place])} for name, wrote in said.items()}
            for place in range(12)
        ]
        rows = zip(texts, truth, answers, strict=True)
        self.write(
            "extraction", "answers.json", [{"source": "duie", "text": t, "reference": r, "answers": a} for t, r, a in rows]
        )

    def counts(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.nodes[name]["stats"]["funnel"]
        return found

    def remove(self, *names: str) -> None:
        for name in names:
            del self.nodes[name], self.artifacts[name]

    def count(self, stage: str, taken: dict[str, int], rows: dict[str, int]) -> dict[str, Any]:
        counts = {}
        for source, taken_in in list(taken.items()):
            dropped = LOST.get(stage, {}).get(source, {})
            rows[source] = taken_in - sum(dropped.values())
            counts[source] = {"in": taken_in, "kept": rows[source], "dropped": dict(dropped)}
        return counts

    def drop(self, name: str) -> None:
        with Writer(self.artifacts[name] / "dropped" / "00000.parquet", "dropped") as out:
            for source, counts in self.nodes[name]["stats"]["funnel"].items():
                for reason, count in counts["dropped"].items():
                    for number in range(count):
                        excerpt = EVIL if reason == "broken json" else f"{source} {reason} {number}：电话 13812345678。"
                        out.add(
                            {
                                "id": f"{number:032d}",
                                "source": source,
                                "reason": reason,
                                "detail": f"row {number}",
                                "excerpt": excerpt,
                            }
                        )

    def write(self, name: str, file: str, value: object) -> None:
        (self.artifacts[name] / file).write_text(json.dumps(value, ensure_ascii=False), "utf-8")

    def log(self, name: str, steps: int, loss: Any, preference: bool = False) -> None:
        lines = []
        for step in range(1, steps + 1):
            wave = 0.06 * math.sin(7 * step) + 0.04 * math.sin(2.3 * step)
            row = {
                "step": step,
                "loss": loss(step) + wave,
                "learning_rate": 3e-4 * min(1, step / 20, (steps - step) / (0.3 * steps)),
                "grad_norm": 1 + wave,
            }
            lines.append(row | ({"margin": step / 90 + wave, "accuracy": min(1, 0.5 + step / 150)} if preference else {}))
            if name == "dpo":
                lines[-1] |= {"chosen_reward": step / 300 + wave, "rejected_reward": step / 300 - step / 90}
            if step % (steps // 5) == 0:
                more = {"eval_margin": step / 110, "eval_accuracy": 0.5 + step / 250} if preference else {}
                more |= {"eval_kl": (step / 100) ** 2 / 40} if name == "dpo" else {}
                lines.append({"step": step, "eval_loss": loss(step) + 0.08} | more)
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (self.artifacts[name] / "log.jsonl").write_text(text, "utf-8")

    def render(self, out: Path, **params: Any) -> tuple[str, dict[str, Any]]:
        statistics = self.home / "statistics.json"
        statistics.write_text(json.dumps(self.nodes, ensure_ascii=False), "utf-8")
        contracts = self.home / "contracts.json"
        contracts.write_text(json.dumps(self.contracts, ensure_ascii=False), "utf-8")
        about = self.home / "about.json"
        about.write_text(json.dumps(self.about, ensure_ascii=False), "utf-8")
        params.setdefault("recipe", "sample")
        job = Job(out=out, scratch=self.home / "scratch")
        report.run(
            job, report.Params(**params), artifacts=self.artifacts, statistics=statistics, contracts=contracts, about=about
        )
        return (out / "report.html").read_text("utf-8"), json.loads((out / "figures.json").read_text("utf-8"))


def tokenizer(words: list[str]) -> str:
    """A byte-level tokenizer that knows these words, as JSON."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    from models import bpe

    ids, merges = bpe.train_bpe([(word, 5) for word in words], vocab_size=2048)
    made = Tokenizer(models.BPE(vocab=ids, merges=merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    return str(made.to_str())


def scores() -> dict[str, Any]:
    """In the form of the evaluation's `scores.json`."""

    def tally(correct: int, n: int) -> dict[str, Any]:
        low, high = wilson(correct, n)
        return {"n": n, "correct": correct, "accuracy": correct / n, "low": low, "high": high, "chance": 0.25}

    def bits(value: float) -> dict[str, Any]:
        found = {"value": value, "bytes": 90210, "tokens": 20123, "documents": 64}
        return {"all": found, "sources": {"wiki": found}}

    def said(stops: float) -> dict[str, Any]:
        return {
            "n": 64,
            "stop_rate": stops,
            "empty": 0.0,
            "too_long": 0.0,
            "repetition": 0.31 - stops / 4,
            "mean_characters": 41.5,
            "mean_tokens": 22.0,
        }

    def model(style: str, right: tuple[int, int], value: float, preferred: float | None, stops: float) -> dict[str, Any]:
        subjects = {"exam": {"geography": tally(right[0], 64), "history": tally(right[1], 56)}}
        questions = {"all": tally(sum(right), 120), "sources": {"exam": tally(sum(right), 120)}, "subjects": subjects}
        preference = (
            {"n": 90, "accuracy": preferred, "margin": 2.1, "accuracy_per_token": preferred, "margin_per_token": 0.1}
            if preferred
            else None
        )
        made = {"style": style, "parameters": 3_212_416, "vocab_size": 2048, "context": 256, "bits_per_byte": bits(value)}
        return made | {"questions": questions, "preference": preference, "generation": said(stops)}

    change = {"n": 120, "won": 34, "lost": 6, "p": 0.000009, "accuracy_change": 0.233}
    grew = {"n": 90, "grew": 0.81, "margin_change": 3.4, "won": 22, "lost": 3, "p": 0.000157}
    return {
        "protocol": {"questions": "zero-shot; the likeliest choice", "seed": 0, "rows": {"questions": 120}},
        "reference": {"accuracy": 0.25, "bits_per_byte": 2.4541, "preference": 0.5},
        "models": {
            "pretrain": model("base", (22, 17), 1.4142, None, 0.02),
            "sft": model("chat", (40, 27), 1.5011, 0.58, 0.90),
            "dpo": model("chat", (43, 26), 1.5222, 0.79, 0.9375),
        },
        "comparisons": [
            {"before": "pretrain", "after": "sft", "questions": change, "bits_per_byte_change": 0.0869, "preference": None},
            {
                "before": "sft",
                "after": "dpo",
                "questions": {**change, "won": 8, "lost": 6, "p": 0.79},
                "bits_per_byte_change": 0.0211,
                "preference": grew,
            },
        ],
        "health": [{"before": "sft", "after": "dpo", **written(0.90, 0.9375)}],
    }


def written(before: float, after: float) -> dict[str, Any]:
    """What the health check says of 64 prompts of which these shares of the answers ended."""
    ends = [
        [{"text": "天青瓷器。", "end": "stop" if number < share * 64 else "length"} for number in range(64)]
        for share in (before, after)
    ]
    found = health.check_health(*ends, health.Bounds())
    assert found is not None
    return found
