"""The engine of vLLM (https://docs.vllm.ai), where it is installed: the same prompts, stops and batches as `models/generate.py`, by other
arithmetic and another sampler, and so other answers.

vLLM keeps its own queue: it takes a whole batch of prompts at once, and a finished answer makes room for the next. A batch of some
thousand keeps a GPU busy; it is still what a kill can lose.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from models import presets, template, tokenizer_files
from models.decoding import Answer
from models.events import emit
from models.loading import config_of, context_of, has_bf16, home_of
from models.sampling import Sampling


class VLLMEngine:
    """The engine of vLLM, for the architectures that it runs. `ValueError` where the package is missing, or has no such architecture."""

    def __init__(self, folder: Path, seed: int):
        home = home_of(folder)
        config = config_of(home)
        architecture = presets.architecture_of(config.model_type)
        if not architecture.vllm if architecture else config.is_encoder_decoder:
            raise ValueError(
                f"rejected.engine is vllm, which cannot run {config.model_type} ({home}); set rejected.engine to transformers"
            )
        if find_spec("vllm") is None:
            raise ValueError(
                "the package vllm is not installed here; pip install vllm (Linux with a GPU), or set rejected.engine to transformers"
            )
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # in this process, which ends with its parent; and in a fixed order
        os.environ["VLLM_NO_USAGE_STATS"] = "1"
        import vllm

        self.tokenizer = tokenizer_files.read(home)
        self.context = context_of(config)
        self.name = f"vllm {vllm.__version__}"
        self._params = vllm.SamplingParams
        # weights are float32 on disk, of which vLLM's `auto` would make float16
        dtype = "bfloat16" if torch.cuda.is_available() and has_bf16(torch.device("cuda")) else "float32"
        self._model = vllm.LLM(model=str(home), dtype=dtype, seed=seed % (1 << 32), generation_config="vllm")

    def answer(self, prompts: Sequence[Sequence[int]], sampling: Sampling, seed: int) -> list[Answer]:
        """As `models.decoding.answer`. Each prompt has a seed of its own, so that its answer does not depend on what else is in the queue."""
        answers = [Answer("", 0, "too_long")] * len(prompts)
        fitting = [number for number, ids in enumerate(prompts) if len(ids) <= self.context - sampling.max_new_tokens]
        if not fitting:
            return answers
        stops = template.stops(self.tokenizer)
        settings = [
            self._params(
                temperature=sampling.temperature,
                top_p=sampling.top_p if sampling.temperature > 0 else 1.0,
                max_tokens=sampling.max_new_tokens,
                stop_token_ids=stops,
                seed=(seed + number) % (1 << 63),
                detokenize=False,
            )
            for number in fitting
        ]
        inputs: list[Any] = [{"prompt_token_ids": list(prompts[number])} for number in fitting]
        for number, output in zip(fitting, self._model.generate(inputs, settings, use_tqdm=False), strict=True):
            answers[number] = Answer.of(self.tokenizer, list(output.outputs[0].token_ids), stops)
        return answers


def engine(job: dict[str, Any]) -> VLLMEngine:
    """The engine for a job of `models/generate.py`."""
    if job["device"] != "auto":
        emit(
            "log", text=f"resources.device is {job['device']}, which vLLM does not ask for: it takes the device it was built for"
        )
    return VLLMEngine(Path(job["model"]), job["seed"])
