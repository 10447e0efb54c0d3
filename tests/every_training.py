"""Every kind of training, a few steps each, in one process: `python -m tests.every_training HOME` writes each one's files into a folder of HOME.

What two such processes write can be compared: they differ in where they write, in their time, and in the seed of their hashes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from models import importer, presets, random_weights, train
from tasks import dpo, reward, sft
from tasks.processes.training import Lora
from tests import corpus, outside, small
from tests.test_train import job
from tests.test_train import run as pretrained
from tests.test_training_stages import BASE, tuned

QUICK = BASE | {"learning_rate": 5e-3, "epochs": 0.2, "max_length": 64}
LORA = Lora(rank=2, modules=("v_proj", "o_proj", "q_proj", "lm_head", "down_proj", "k_proj", "up_proj"))


def main(home: Path) -> None:
    """Train everything."""
    train.quiet(home / "quiet")
    folders = dict(corpus.build(home / "corpus"))
    tokenizer = AutoTokenizer.from_pretrained(folders["tokenizer"])
    torch.manual_seed(0)
    bases = {}
    for preset, kind in (("tiny", AutoModelForCausalLM), ("t5-tiny", AutoModelForSeq2SeqLM)):
        bases[preset] = home / "bases" / preset
        kind.from_config(presets.build(preset, len(tokenizer), 128)).save_pretrained(bases[preset])
        tokenizer.save_pretrained(bases[preset])

    def tune(stage: str, name: str, preset: str, params: Any, start: str = "") -> None:
        (home / name).mkdir()
        assert tuned(
            stage, folders | {"model": bases[preset]}, home / name, params, start=home / start / "out" if start else None
        )

    for name, options in (
        ("pretrain", {}),
        ("pretrain-moe", {"preset": "tiny-moe"}),
        ("pretrain-retnet", {"preset": "retnet-tiny"}),
    ):
        pretrained(job(folders, home / name, steps=3, eval_steps=2, decay=0.4, **options))
    tune("sft", "sft", "tiny", sft.Params(**QUICK, keep_state=True))
    tune("sft", "sft-frozen", "tiny", sft.Params(**QUICK, freeze=("model.layers.*",), packing=True))
    tune("sft", "sft-adapters", "tiny", sft.Params(**QUICK, lora=LORA, keep_state=True))
    tune("sft", "sft-adapters-from-state", "tiny", sft.Params(**QUICK, lora=LORA), "sft-adapters")
    tune("sft", "sft-adapters-alone", "tiny", sft.Params(**QUICK, lora=Lora(rank=2)))
    tune("sft", "sft-adapters-from-adapters", "tiny", sft.Params(**QUICK, lora=Lora(rank=2)), "sft-adapters-alone")
    tune("sft", "sft-adapters-4-bits", "tiny", sft.Params(**QUICK, lora=Lora(rank=2, bits=4)))
    tune("sft", "sft-adapters-t5", "t5-tiny", sft.Params(**QUICK, lora=Lora(rank=2)))
    tune("dpo", "dpo", "tiny", dpo.Params(**QUICK))
    tune("dpo", "dpo-adapters", "tiny", dpo.Params(**QUICK, lora=LORA))
    tune("dpo", "dpo-t5", "t5-tiny", dpo.Params(**QUICK))
    tune("reward", "reward", "tiny", reward.Params(**QUICK))
    random_weights.reinitialise({"model": str(bases["tiny"]), "out": str(home / "fresh" / "out"), "seed": 1})
    files = outside.base(home / "bases" / "outside")
    importer.import_model({"files": str(files), "out": str(home / "base" / "out"), "tokenizer": None, "chat": False})


if __name__ == "__main__":
    with small.known(small.SMALL):
        main(Path(sys.argv[1]))
