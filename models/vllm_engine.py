"""The engine of vLLM (https://docs.vllm.ai) for answers to many prompts: the same prompts, stops and batches as `models/generate.py`, by other
arithmetic and another sampler, and so other answers.

vLLM keeps its own queue: it takes a whole batch of prompts at once, and a finished answer makes room for the next. A batch of some
thousand keeps a GPU busy; it is still what a kill can lose.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from models.decoding import SHARD, Answer
from models.engines.settings import DecodingSettings
from models.engines.vllm_server import VLLMServerEngine
from models.events import emit
from models.sampling import Sampling

AT_ONCE = 256  # answers that are made at once


class VLLMEngine:
    """A vLLM server of this process. `ValueError` where there is no vLLM, or it cannot run the model."""

    def __init__(self, folder: Path, batch: int):
        self._server = VLLMServerEngine(folder, slots=min(batch, AT_ONCE), queue=batch * SHARD)
        self.tokenizer, self.context, self.name = self._server.tokenizer, self._server.context, self._server.name
        self._stop = min(self._server.stops)

    def answer(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, seeds: Sequence[int], done: Callable[[int], Any] | None = None
    ) -> list[Answer]:
        """As `models.decoding.answer`."""
        answers = [Answer("", 0, "too_long")] * len(prompts)
        settings = DecodingSettings(
            sampling.max_new_tokens, sampling.temperature, sampling.top_p if sampling.temperature > 0 else 1.0
        )
        under_way = {
            number: self._server.submit(ids, settings, seeds[number] % (1 << 63))
            for number, ids in enumerate(prompts)
            if len(ids) <= self.context - sampling.max_new_tokens
        }
        for number, generation in under_way.items():
            tokens = [token.id for token in generation]
            ended = [self._stop] if generation.end == "stop" else []
            answers[number] = Answer.of(self.tokenizer, tokens + ended, [self._stop])
        return answers


def engine(job: dict[str, Any]) -> VLLMEngine:
    """The engine for a job of `models/generate.py`."""
    if job["device"] != "auto":
        emit(
            "log", text=f"resources.device is {job['device']}, which vLLM does not ask for: it takes the device it was built for"
        )
    return VLLMEngine(Path(job["model"]), job["batch"])
