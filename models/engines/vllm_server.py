"""The serving engine of vLLM (https://docs.vllm.ai), as a server process of another Python environment: its packages and Hanlin's exclude
each other."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import secrets
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import torch

from models import presets
from models.engines.engine import Token
from models.engines.http import HTTPEngine
from models.engines.settings import DecodingSettings
from models.engines.vllm_place import vllm_command
from models.lifetime import end_with_parent
from models.loading import config_of, has_bf16, home_of

START = 900.0  # seconds in which it must be ready: it compiles on its first start
MODEL = "model"  # its name between the two of us


class VLLMServerEngine(HTTPEngine):
    """A model in a vLLM server on 127.0.0.1, which ends with this process. `ValueError` where there is no vLLM, or it cannot run the model."""

    title = "vllm"

    def __init__(
        self,
        folder: Path,
        device: str = "auto",
        *,
        slots: int = 32,
        queue: int = 256,
        adapters: Mapping[str, Path] | None = None,
    ):
        home = home_of(folder)
        config = config_of(home)
        architecture = presets.architecture_of(config.model_type)
        if not architecture.vllm if architecture else config.is_encoder_decoder:
            raise ValueError(f"vLLM cannot run {config.model_type} ({home}); take another engine")
        if adapters:
            raise ValueError(f"vLLM serves no adapters here ({', '.join(adapters)}); merge them, or take the engine own")
        command = vllm_command()
        super().__init__(home, slots, queue)
        self.name = self.title
        token = secrets.token_urlsafe()
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115  as long as the engine
        port = _free_port()
        self._process = subprocess.Popen(
            [*command, "serve", str(home), *_options(port, slots)],
            env=os.environ | {"VLLM_API_KEY": token, "VLLM_NO_USAGE_STATS": "1", "PYTHONPATH": ""},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            preexec_fn=end_with_parent,
        )
        atexit.register(self.close)
        try:
            self._wait(f"http://127.0.0.1:{port}")
        except BaseException:
            self.close()
            raise
        self.connect(f"http://127.0.0.1:{port}", token)

    def _wait(self, address: str) -> None:
        until = time.monotonic() + START
        while time.monotonic() < until:
            if self._process.poll() is not None:
                raise ValueError(
                    f"vLLM ended with {self._process.returncode} before it was ready; its last words: {self._words()}"
                )
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{address}/health", timeout=5, trust_env=False).is_success:
                    with contextlib.suppress(httpx.HTTPError, ValueError, KeyError):
                        self.name = f"vllm {httpx.get(f'{address}/version', timeout=5, trust_env=False).json()['version']}"
                    return
            time.sleep(0.2)
        raise ValueError(f"vLLM was not ready after {START:.0f} s; its last words: {self._words()}")

    def _words(self) -> str:
        self._log.seek(0)
        return " / ".join(line.strip() for line in self._log.read().strip().splitlines()[-5:]) or "(none)"

    def lacking(self, settings: DecodingSettings) -> dict[str, bool]:
        return {"beams": settings.beams > 1, "contrastive_alpha": settings.contrastive_alpha > 0}

    async def tokens(
        self, ids: list[int], settings: DecodingSettings, seed: int, limit: int, slot: int
    ) -> AsyncIterator[tuple[list[Token], bool]]:
        body = {
            "model": MODEL,
            "prompt": ids,
            "max_tokens": limit,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "top_k": settings.top_k or -1,
            "repetition_penalty": settings.repetition_penalty,
            "presence_penalty": settings.presence_penalty,
            "frequency_penalty": settings.frequency_penalty,
            "logit_bias": {str(token): bias for token, bias in settings.logit_bias.items()} or None,
            "seed": seed % (1 << 63),
            "stop_token_ids": sorted(self.stops),
            "logprobs": settings.alternatives,
            "return_token_ids": True,
            "return_tokens_as_token_ids": True,
            "stream": True,
        }
        async with self._client.stream("POST", "/v1/completions", json=body) as response:
            if response.is_error:
                raise RuntimeError(f"{self.name} answered {response.status_code}: {(await response.aread()).decode()[:500]}")
            async for line in response.aiter_lines():
                if not line.startswith("data: ") or line == "data: [DONE]":
                    continue
                said = json.loads(line.removeprefix("data: "))
                if "error" in said:
                    raise RuntimeError(f"{self.name} failed: {said['error']}")
                for choice in said["choices"]:
                    yield _told(choice, settings.alternatives), bool(choice.get("finish_reason"))

    def close(self) -> None:
        atexit.unregister(self.close)
        super().close()
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._log.close()


def _options(port: int, slots: int) -> list[str]:
    # weights are float32 on disk, of which vLLM's `auto` would make float16
    dtype = "bfloat16" if torch.cuda.is_available() and has_bf16(torch.device("cuda")) else "float32"
    options = {
        "host": "127.0.0.1",
        "port": port,
        "served-model-name": MODEL,
        "dtype": dtype,
        "max-num-seqs": slots,
        "generation-config": "vllm",
        "max-logprobs": 20,
    }
    return [part for name, value in options.items() for part in (f"--{name}", str(value))]


def _told(choice: dict[str, Any], alternatives: int | None) -> list[Token]:
    """The tokens of a piece of the stream, with log-probabilities where asked for."""
    ids: list[int] = choice.get("token_ids") or []
    logs = choice.get("logprobs")
    if alternatives is None or not logs:
        return [Token(number) for number in ids]
    tokens = []
    for number, log, best in zip(ids, logs["token_logprobs"], logs["top_logprobs"], strict=True):
        ranked = sorted(((int(name.removeprefix("token_id:")), value) for name, value in best.items()), key=lambda one: -one[1])
        tokens.append(Token(number, log, tuple(ranked[:alternatives])))
    return tokens


def _free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])
