"""A store of records and small files as runs leave them: two dumps, a dataset, files of one's own, an exam, and the models made of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tasks.artifacts.store import Record, Store, recipe_key, sha256_of

SECRET = "/home/somebody/secret"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Published:
    """A store in which artifacts are put one after the other; `key[name]` is that of each."""

    def __init__(self, root: Path):
        self.store, self.key = Store(root), dict[str, str]()
        self.clock = 1_796_000_000.0

    def add(
        self,
        name: str,
        stage: str,
        inputs: dict[str, Any],
        lineage: dict[str, str],
        files: dict[str, str | bytes] | None = None,
        stats: dict[str, Any] | None = None,
        **params: Any,
    ) -> Record:
        """Put an artifact: `lineage` is role → the name of an earlier one, or a key."""
        identity = {
            "stage": stage,
            "version": 1,
            "params": params,
            "inputs": inputs,
            "tools": {"torch": "2.13.0"} if stage in ("sft",) else {},
        }
        reads = {role: self.key.get(of, of) for role, of in lineage.items()}
        key = recipe_key(identity | {"name": name, "reads": reads})
        home = self.store.object(key)
        for path, content in (files or {"rows.txt": name}).items():
            (home / path).parent.mkdir(parents=True, exist_ok=True)
            (home / path).write_bytes(content if isinstance(content, bytes) else content.encode())
        listing = [
            {"path": str(path.relative_to(home)), "size": path.stat().st_size, "sha256": sha256_of(path)}
            for path in sorted(home.rglob("*"))
            if path.is_file()
        ]
        self.clock += 60
        made = {
            "finished": self.clock,
            "seconds": 61.5,
            "commit": COMMIT,
            "dirty": False,
            "host": "workstation-7",
            "machine": "Linux x86_64, 2 cores",
        }
        made |= {
            "python": "3.11.7",
            "versions": {"torch": "2.13.0+cpu", "transformers": "5.23.0"},
            "resources": {"device": "auto"},
        }
        record = Record(
            key=key,
            digest=key[::-1],
            stage=name,
            title=f"Stage {stage}",
            identity=identity,
            lineage=reads,
            files=listing,
            stats=stats or {},
            made=made,
            reproducibility="bitwise",
        )
        self.store.put(record)
        self.key[name] = key
        return record

    def record(self, name: str) -> Record:
        found = self.store.record(self.key[name])
        assert found
        return found


def funnel(**sources: tuple[int, int, dict[str, int]]) -> dict[str, Any]:
    return {"funnel": {name: {"in": taken, "kept": kept, "dropped": dropped} for name, (taken, kept, dropped) in sources.items()}}


def corpus(root: Path) -> Published:
    """A corpus of four sources: a dump, a dataset of the hub, files of one's own, and an exam that is only searched for."""
    made = Published(root)
    asked = {"dump": "zhwiki", "date": "latest", "job": "articlesmultistreamdump", "files": []}
    made.add("download-wiki", "download", {"upstream": [["date", "20261101"]]}, {}, asked=asked)
    made.add(
        "download-belle",
        "download",
        {"upstream": [["commit", "a" * 40]]},
        {},
        asked={"hub": "BelleGroup/train_2M_CN", "revision": "main", "files": []},
    )
    files = {
        name: [[f"{name}.bz2" if name == "wiki" else f"{name}.json", f"{number}" * 64]]
        for number, name in enumerate(("wiki", "belle", "own", "exam"))
    }
    made.add(
        "extract-wiki",
        "extract",
        {"files": files["wiki"]},
        {"files": "download-wiki"},
        stats=funnel(wiki=(100, 90, {"redirect": 10})),
        source="wiki",
    )
    for name, reads in (("belle", {"files": "download-belle"}), ("own", {}), ("exam", {})):
        stats = funnel(**{name: (50, 48, {"no answer": 2})})
        made.add(
            f"ingest-{name}",
            "ingest",
            {"files": files[name]},
            reads,
            stats=stats,
            source=name,
            format="exam" if name == "exam" else "belle",
        )
    stats = funnel(wiki=(90, 88, {"near duplicate": 2}), belle=(48, 47, {"exact duplicate": 1}), own=(48, 48, {}))
    made.add(
        "dedup", "dedup", {}, {"sources": "extract-wiki", "sources.1": "ingest-belle", "sources.2": "ingest-own"}, stats=stats
    )
    stats = funnel(
        wiki=(88, 80, {"too short": 8}), belle=(47, 40, {"leaked evaluation question": 7}), own=(48, 40, {"too short": 8})
    )
    found = {
        "questions": 48,
        "found": 3,
        "rows": 7,
        "examples": [{"excerpt": "秘密的一句话", "question": "问？", "source": "belle", "share": 1.0}],
    }
    stats |= {"contamination": {"exam": found}, "personal_data": {"own": {"phone": 3}}}
    made.add(
        "filter", "filter", {}, {"rows": "dedup", "questions": "ingest-exam"}, stats=stats, min_document=15, languages=["zh"]
    )
    uses = {"wiki": ["pretrain"], "belle": ["sft"], "own": ["prompts"]}
    sides = {
        "pretrain": {"train": {"wiki": {"rows": 76, "characters": 9000}}, "valid": {"wiki": {"rows": 4, "characters": 400}}},
        "sft": {"train": {"belle": {"rows": 38, "characters": 2000}}, "valid": {"belle": {"rows": 2, "characters": 90}}},
        "prompts": {"train": {"own": {"rows": 38, "characters": 1900}}, "valid": {"own": {"rows": 2, "characters": 80}}},
    }
    stats = funnel(wiki=(80, 80, {}), belle=(40, 40, {}), own=(40, 40, {})) | {"uses": sides}
    rows = {f"{use}/{side}.parquet": f"{use} {side}" for use in sides for side in ("train", "valid")} | {
        "dropped/00000.parquet": "an excerpt"
    }
    made.add("split", "split", {}, {"rows": "filter"}, rows, stats=stats, use=uses, seed=7)
    for name, licence in (
        ("extract-wiki", "CC-BY-SA-4.0 OR GFDL-1.3-or-later"),
        ("ingest-belle", "GPL-3.0-only"),
        ("ingest-exam", "CC-BY-NC-4.0"),
    ):
        made.store.note_source(made.key[name], {"licence": licence, "url": "", "date": ""})
    made.store.note_source(
        made.key["ingest-own"], {"licence": "MIT", "url": "https://example.org/rows.json?token=s3cret", "date": "2026-10"}
    )
    return made


CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "max_position_embeddings": 128,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "vocab_size": 300,
}
GENERATION = {"bos_token_id": 1, "eos_token_id": [1, 3], "pad_token_id": 0, "transformers_version": "5.23.0"}
TRAINED = {
    "parameters": 2_923_200,
    "steps": 98,
    "tokens": 401_408,
    "loss": 0.63,
    "learning_rate": 0.01,
    "device": "cpu",
    "processes": 1,
    "precision": "float32",
}


def model_files(**more: str) -> dict[str, str | bytes]:
    """The files of a model's artifact, as far as cards and uploads look at them."""
    files = {
        "model/config.json": json.dumps(CONFIG),
        "model/generation_config.json": json.dumps(GENERATION),
        "model/tokenizer.json": json.dumps({"version": "1.0"}),
        "model/tokenizer_config.json": json.dumps({"chat_template_name": "chatml"}),
        "model/chat_template.jinja": "{{ messages }}",
        "model/model.safetensors": "weights " * 1000,
        "log.jsonl": "{}",
    }
    return {**files, **more}


def models(made: Published) -> Published:
    """A pretrained and two tuned models of that corpus, and their evaluation."""
    made.add("tokenizer", "tokenizer", {}, {"counts": "split", "rows": "split"}, stats={"vocab_size": 300})
    pack = {"splits": {"train": {"tokens": 118_277, "documents": 76, "sources": {"wiki": 118_277}}}}
    made.add("pack", "pack", {}, {"rows": "split", "tokenizer": "tokenizer"}, stats=pack)
    made.add(
        "pretrain",
        "pretrain",
        {},
        {"packed": "pack", "tokenizer": "tokenizer"},
        model_files(),
        TRAINED | {"passes": 3.4},
        preset="tiny",
        context=128,
        seed=1,
    )
    made.add(
        "sft",
        "sft",
        {},
        {"model": "pretrain", "rows": "split"},
        model_files(),
        TRAINED | {"tokens": 2000, "rows": {"kept": 38}},
        seed=1,
        lora=None,
    )
    made.add("rejected", "rejected", {}, {"model": "sft", "rows": "split"}, stats=funnel(own=(40, 36, {"truncated": 4})), seed=0)
    made.add("reference", "reference", {}, {"model": "sft", "pairs": "rejected"})
    lineage = {"model": "sft", "reference": "reference", "pairs": "rejected"}
    made.add(
        "dpo", "dpo", {}, lineage, model_files(), TRAINED | {"tokens": 1000, "rows": {"kept": 36}}, seed=2, beta=0.1, lora=None
    )
    evaluate(made, ("pretrain", "sft", "dpo"))
    return made


def evaluate(made: Published, names: tuple[str, ...]) -> None:
    """The scores of these models, of which each answers more questions than the one before."""
    scores: dict[str, Any] = {
        "protocol": {"questions": "zero-shot"},
        "reference": {"accuracy": 0.25, "bits_per_byte": 2.7, "preference": 0.5},
        "models": {},
    }
    for number, name in enumerate(names):
        right = 14 + 10 * number
        tally = {
            "n": 48,
            "correct": right,
            "accuracy": right / 48,
            "low": right / 48 - 0.1,
            "high": right / 48 + 0.1,
            "chance": 0.25,
        }
        scores["models"][name] = {
            "style": "chat",
            "parameters": 2_923_200,
            "vocab_size": 300,
            "context": 128,
            "bits_per_byte": {"all": {"value": 0.43, "bytes": 24_468, "tokens": 5_817, "documents": 40}, "sources": {}},
            "questions": {"all": tally, "sources": {"exam": tally}, "subjects": {"exam": {"biography": tally}}},
            "preference": {"n": 41, "accuracy": 0.73, "margin": 1.0} if number else None,
            "generation": {
                "n": 26,
                "stop_rate": 0.96,
                "empty": 0.0,
                "too_long": 0.0,
                "repetition": 0.0026,
                "mean_characters": 13.3,
                "mean_tokens": 10.9,
            },
        }
    answers = [
        {
            "source": "own",
            "prompt": "秘密的问题",
            "reference": "碧湖省管辖。",
            "messages": [],
            "answers": dict.fromkeys(names, "碧湖省。"),
        }
    ]
    inputs = {"models": [[name, made.record(name).digest] for name in names]}
    lineage = {f"models{f'.{number}' if number else ''}": name for number, name in enumerate(names)} | {
        "rows": "split",
        "questions": "ingest-exam",
    }
    made.add(
        "evaluate",
        "evaluate",
        inputs,
        lineage,
        {"scores.json": json.dumps(scores), "answers.json": json.dumps(answers, ensure_ascii=False)},
    )


def add_base(made: Published) -> None:
    """A base model from the hub, under Apache-2.0."""
    made.add(
        "base-files",
        "download",
        {"upstream": [["commit", "b" * 40]]},
        {},
        asked={"model": "Qwen/Qwen3-0.6B-Base", "revision": "main"},
    )
    made.add("base", "base", {"files": [["config.json", "c" * 64]]}, {"files": "base-files"}, model_files(), chat=False)
    made.store.note_source(made.key["base"], {"licence": "Apache-2.0"})
