"""Models for the benchmark of serving: one of every architecture with random weights, in a few layers, and a server over them."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.bench import ROOT

TOKEN = "benchmark"
TOKENS = 48  # of an answer
SMALL = {"hidden": 48, "ffn": 64, "layers": 2, "heads": 2}
ARCHITECTURES = {
    "llama": ("tiny", {"kv_heads": 1}),
    "qwen2": ("tiny", {"qkv_bias": True}),
    "qwen3": ("tiny", {"qk_norm": True}),
    "moe": ("tiny-moe", {}),
    "t5": ("t5-tiny", {}),
    "retnet": ("retnet-tiny", {}),
}
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def random_model(folder: Path, tokenizer: Path, name: str, context: int = 128) -> Path:
    """A model of an architecture whose answers differ from prompt to prompt."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    from models import presets

    preset, options = ARCHITECTURES[name]
    torch.manual_seed(0)
    size = replace(presets.find(preset), **SMALL)  # type: ignore[type-var]
    size.register()
    config = size.config(len(AutoTokenizer.from_pretrained(tokenizer)), context, presets.chosen(preset, **options))
    model = (AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM).from_config(config)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * (0.05 if p.ndim == 1 else 0.2))
    model.save_pretrained(folder)
    for file in TOKENIZER:
        shutil.copyfile(tokenizer / file, folder / file)
    return folder


@contextlib.contextmanager
def serving(models: Sequence[str], *options: str, token: str = "") -> Iterator[tuple[str, int]]:
    """`hanlin serve` in a process of its own: its address and process number."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "HANLIN_TOKEN": token, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-u", "-m", "flows.cli", "serve", *models, "--port", "0", *options]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            assert process.stdout is not None
            lines = iter(process.stdout.readline, "")
            address = next((line.split()[1].removesuffix("/v1") for line in lines if line.startswith("API ")), "")
            if not address:
                log.seek(0)
                raise SystemExit(f"hanlin serve did not start: {log.read()[-2000:]}")
            threading.Thread(target=lambda: list(lines), daemon=True).start()
            yield address, process.pid
        finally:
            process.terminate()
            if process.wait(60):
                log.seek(0)
                print(f"hanlin serve ended with {process.returncode}: {log.read()[-2000:]}")


def direct_answers(folders: dict[str, Path], prompts: Sequence[tuple[str, list[int]]], tokens: int = TOKENS) -> list[str]:
    """The text that `models.decoding.answer` gives to each (model, prompt), one by one at temperature 0, but for bytes that never became a
    character."""
    import torch

    from models.decoding import answer
    from models.loading import context_of, load
    from models.sampling import Sampling

    texts: dict[int, str] = {}
    for name, folder in folders.items():
        model, tokenizer = load(folder, torch.device("cpu"))
        for number, (wanted, ids) in enumerate(prompts):
            if wanted == name:
                room = context_of(model) - (0 if model.config.is_encoder_decoder else len(ids))
                said = answer(model, tokenizer, [ids], Sampling(min(tokens, room)))[0]
                texts[number] = said.text.replace("\ufffd", "")
    return [texts[number] for number in range(len(prompts))]
