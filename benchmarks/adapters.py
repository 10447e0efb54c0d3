"""Adapters on bases of 32, 8 and 4 bits, on a CPU: do they learn, and is the merged model the base with its adapter?

A small Llama and a small T5, LoRA, LLM.int8 and NF4, adapters beside every kind of module, the head and the embeddings among them. The figure is
the largest difference of a logit between the merged model and the full-precision base with the adapter, as another program loads it: what merging
does to the weights, so both are computed in float64. In float32 the two ways of computing the same round differently; that is printed beside it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.bench import close, playground

BAR = 1e-5
CASES: list[tuple[str, dict[str, Any]]] = [
    ("tiny", {"bits": 32}),
    (
        "tiny",
        {
            "bits": 32,
            "modules": ["embed_tokens", "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head"],
        },
    ),
    ("tiny", {"bits": 8}),
    ("tiny", {"bits": 4}),
    ("tiny", {"bits": 4, "modules": ["q_proj", "v_proj"]}),
    ("t5-tiny", {"bits": 32}),
]


def main() -> None:
    worst, rounded, learned = 0.0, 0.0, True
    with playground() as folder:
        for number, (preset, lora) in enumerate(CASES):
            first, last, off, in32 = case(folder / str(number), preset, lora)
            told = f"merged − adapted {off:.1e}, {in32:.1e} in float32"
            print(f"{preset:<8} {json.dumps(lora):<150} loss {first:.3f} → {last:.3f}  {told}", flush=True)
            worst, rounded, learned = max(worst, off), max(rounded, in32), learned and last < first
    close(
        "adapters",
        worst,
        "largest difference of a logit",
        f"at most {BAR} (full-precision base), every loss falls",
        worst <= BAR and learned,
        in_float32=float(f"{rounded:.1e}"),
    )


def case(home: Path, preset: str, lora: dict[str, Any]) -> tuple[float, float, float, float]:
    """First and last loss of a run, and how far the merged model is from the base with its adapter, in float64 and in float32."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    from models import presets, train
    from models.job import read
    from tasks import sft
    from tasks.artifacts.stage import Job, Resources
    from tasks.processes.training import Lora, description
    from tests import corpus

    made = corpus.build(home / "corpus")
    kind = AutoModelForSeq2SeqLM if presets.find(preset).text2text else AutoModelForCausalLM
    tokenizer = AutoTokenizer.from_pretrained(made["tokenizer"])
    torch.manual_seed(0)
    kind.from_config(presets.build(preset, len(tokenizer), 128)).save_pretrained(home / "base")
    tokenizer.save_pretrained(home / "base")
    params = sft.Params(
        lora=Lora(rank=4, **lora), learning_rate=5e-3, optimizer="adamw", precision="float32", batch_size=8, epochs=1, log_steps=1
    )
    job = Job(out=home / "out", scratch=home / "scratch", resources=Resources(device="cpu"))
    described = description("sft", sft.METHOD, job, params, shards=True, model=home / "base", rows=made["rows"])
    (home / "job.json").write_text(json.dumps(described), "utf-8")
    assert train.run(read(home / "job.json"), lambda event, **fields: None) is not None
    log = [json.loads(line) for line in (home / "out" / "log.jsonl").read_text("utf-8").splitlines()]
    losses = [row["loss"] for row in log if "loss" in row]
    ids = torch.randint(4, len(tokenizer), (4, 48), generator=torch.Generator().manual_seed(1))
    more = {"labels": ids} if kind is AutoModelForSeq2SeqLM else {}
    adapted = PeftModel.from_pretrained(kind.from_pretrained(home / "base"), home / "out" / "adapter").eval()
    merged = kind.from_pretrained(home / "out" / "model").eval()
    off = []
    with torch.no_grad():
        for precision in (torch.float64, torch.float32):
            both = (model.to(precision)(input_ids=ids, **more).logits for model in (adapted, merged))
            off.append(torch.stack(tuple(both)).diff(dim=0).abs().max().item())
    return losses[0], losses[-1], *off


if __name__ == "__main__":
    main()
