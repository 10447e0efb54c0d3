"""The serving engine of llama.cpp (package xllamacpp): its server on the model as a GGUF file, for the architectures that it runs."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import AsyncIterator, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from models.engines.drawing import COLDEST
from models.engines.engine import Token
from models.engines.http import HTTPEngine
from models.engines.memory import Memory, in_words
from models.engines.settings import DecodingSettings
from models.loading import config_of, home_of

# Tokens that are asked for at once. A stream of single tokens would lose those that end inside a character: llama.cpp holds back their text,
# and never tells their ids.
PIECE = 8
RANDOM = (1 << 32) - 1  # the seed that means none


class LlamaCppEngine(HTTPEngine):
    """A model in llama.cpp. `ValueError` where the package is missing, or cannot run the model.

    `folder` may have a GGUF file; without one, the model is written as such into a temporary file first, in float32.
    """

    title = "llama.cpp"

    def __init__(
        self,
        folder: Path,
        device: str = "auto",
        *,
        slots: int = 32,
        queue: int = 256,
        adapters: Mapping[str, Path] | None = None,
        memory: Memory = Memory(),  # noqa: B008  immutable
    ):
        if find_spec("xllamacpp") is None:
            raise ValueError("the engine llama.cpp needs the package xllamacpp; install it with pip install 'hanlin[export]'")
        if adapters:
            raise ValueError(f"llama.cpp serves no adapters here ({', '.join(adapters)}); merge them, or take the engine own")
        super().__init__(folder, slots, queue)
        self.name = f"llama.cpp (xllamacpp {version('xllamacpp')})"
        token = secrets.token_urlsafe()
        with tempfile.TemporaryDirectory(prefix="hanlin-gguf-") as temporary:  # a file that is loaded needs no name any more
            path = next(iter(sorted(folder.glob("*.gguf"))), None) or _written(folder, Path(temporary))
            _check_room(config_of(home_of(folder)), self.context, slots, memory)
            self._server = _started(path, self.context * slots, slots, token)
        self.connect(self._server.listening_address, token)

    def lacking(self, settings: DecodingSettings) -> dict[str, bool]:
        return {
            "beams": settings.beams > 1,
            "contrastive_alpha": settings.contrastive_alpha > 0,
            "presence_penalty": settings.presence_penalty != 0,  # llama.cpp's count the prompt too
            "frequency_penalty": settings.frequency_penalty != 0,
        }

    async def tokens(
        self, ids: list[int], settings: DecodingSettings, seed: int, limit: int, slot: int
    ) -> AsyncIterator[tuple[list[Token], bool]]:
        body = {
            "id_slot": slot,
            "cache_prompt": True,
            "return_tokens": True,
            "temperature": max(settings.temperature, COLDEST) if settings.temperature else 0.0,
            "top_p": settings.top_p,
            "top_k": settings.top_k,
            "min_p": 0.0,
            "repeat_penalty": settings.repetition_penalty,
            "repeat_last_n": len(ids) + limit,
            "samplers": ["penalties", "temperature", "top_k", "top_p"],
            "logit_bias": [[token, bias] for token, bias in settings.logit_bias.items()],
            "n_probs": 0 if settings.alternatives is None else max(1, settings.alternatives),
        }
        written: list[int] = []
        size = 1  # the first token comes at once
        while True:
            asked = min(size, limit - len(written))
            piece = body | {"prompt": ids + written, "n_predict": asked, "seed": (seed + len(written)) % RANDOM}
            said = await self.post("/completion", piece)
            new = said["tokens"]
            written += new
            size = PIECE
            ended = said["stop_type"] != "limit"
            yield _told(new, said.get("completion_probabilities", []), settings.alternatives), ended
            if ended or len(written) >= limit:
                return

    def close(self) -> None:
        super().close()
        if hasattr(self, "_server"):
            del self._server


def _told(ids: list[int], probabilities: list[dict[str, Any]], alternatives: int | None) -> list[Token]:
    """Tokens with their log-probabilities, of which llama.cpp tells none for a token that ends inside a character."""
    tokens, rest = [], iter(probabilities)
    following = next(rest, None)
    for number in ids:
        if following is None or following["id"] != number or alternatives is None:
            tokens.append(Token(number))
            continue
        best = tuple((one["id"], one["logprob"]) for one in following["top_logprobs"][:alternatives])
        tokens.append(Token(number, following["logprob"], best))
        following = next(rest, None)
    return tokens


def _written(folder: Path, out: Path) -> Path:
    from models.export import gguf
    from models.export.formats import problems
    from models.export.source import Source

    source = Source(folder)
    if wrong := problems(source.home, "gguf", "f32"):
        raise ValueError("; ".join(wrong))
    return out / str(gguf.write(source, out, "f32", lambda note: None)["file"])


def _check_room(config: Any, context: int, slots: int, memory: Memory) -> None:
    """`ValueError` where the cache, which llama.cpp takes for all slots at once, is more than there is memory for."""
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    column = 2 * 2 * config.num_hidden_layers * config.num_key_value_heads * head  # keys and values in float16
    if (needed := column * context * slots) > (free := memory.on(torch.device("cpu"))):
        raise ValueError(
            f"llama.cpp takes {in_words(needed)} for {slots} answers of {context:,} tokens, and there are {in_words(free)}; serve with fewer "
            "--slots, or with the engine own, which takes it as answers need it"
        )


def _started(path: Path, context: int, slots: int, token: str) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx, params.n_parallel = context, slots
    params.hostnames, params.port = ["127.0.0.1"], 0
    params.cpuparams.n_threads = 1  # threads that wait for each other spin
    params.warmup = False
    params.verbosity = -1
    params.api_keys = [token]
    try:
        return xllamacpp.Server(params)
    except RuntimeError as failure:
        raise ValueError(f"llama.cpp does not load {path.name} ({failure}); serve with the engine own") from failure
