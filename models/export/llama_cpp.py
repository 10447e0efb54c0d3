"""llama.cpp as the reader of a GGUF file: its server, from the package xllamacpp, in this process and for this process alone.

The arithmetic is the exact one (no flash attention, a cache in float32), so that what differs from transformers is the file's.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from models.export.comparison import Reader

FORCED = 1e4  # added to the logit of the one token that may come


class LlamaCpp(Reader):
    """A GGUF file in llama.cpp. `ValueError` where it does not load."""

    def __init__(self, path: Path, context: int):
        import xllamacpp

        os.environ.setdefault("GGML_NO_BACKTRACE", "1")  # else a failed assertion in it starts a debugger, and that waits
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx = context
        params.n_parallel = 1
        params.hostnames, params.port = ["127.0.0.1"], 0
        params.cpuparams.n_threads = 1
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        params.warmup = False
        params.verbosity = -1
        key = secrets.token_urlsafe()
        params.api_keys = [key]
        try:
            self._server = xllamacpp.Server(params)
        except RuntimeError as failure:
            raise ValueError(
                f"llama.cpp does not load {path.name} ({failure}), so it is not kept. The fault is Hanlin's: report it with the model's config.json, "
                "and export the model --to hf meanwhile"
            ) from failure
        self.name = f"llama.cpp (xllamacpp {_version()})"
        headers = {"Authorization": f"Bearer {key}"}
        self._http = httpx.Client(base_url=self._server.listening_address, headers=headers, timeout=600, trust_env=False)
        self._vocabulary = 0

    def _post(self, where: str, **body: Any) -> Any:
        return self._http.post(where, json=body).raise_for_status().json()

    def ids(self, text: str) -> list[int]:
        return self._post("/tokenize", content=text, add_special=False, parse_special=True)["tokens"]

    def render(self, messages: Sequence[dict[str, str]]) -> str:
        return self._post("/apply-template", messages=messages, add_generation_prompt=True)["prompt"]

    def greedy(self, prompts: Sequence[Sequence[int]], tokens: int) -> list[list[int]]:
        settings = {"temperature": 0.0, "return_tokens": True, "cache_prompt": False}
        return [self._post("/completion", prompt=list(ids), n_predict=tokens, **settings)["tokens"] for ids in prompts]

    def log_probabilities(self, prompt: Sequence[int], answer: Sequence[int]) -> np.ndarray:
        """As `Reader`. One token at a time; that token is forced to be the letter A, since the server says nothing of half a character."""
        if not self._vocabulary:
            self._vocabulary = self._http.get("/v1/models").raise_for_status().json()["data"][0]["meta"]["n_vocab"]
            [self._letter] = self.ids("A")
        rows = []
        for length in range(len(answer)):
            [said] = self._post(
                "/completion",
                prompt=[*prompt, *answer[:length]],
                n_predict=1,
                n_probs=self._vocabulary,
                temperature=0.0,
                logit_bias=[[self._letter, FORCED]],
            )["completion_probabilities"]
            row = np.full(self._vocabulary, -np.inf)
            for one in said["top_logprobs"]:
                row[one["id"]] = one["logprob"]
            rows.append(row)
        return np.stack(rows)

    def close(self) -> None:
        self._http.close()
        del self._server


def _version() -> str:
    from importlib.metadata import version

    return version("xllamacpp")
