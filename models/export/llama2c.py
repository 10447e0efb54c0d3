"""The two files of llama2.c (https://github.com/karpathy/llama2.c): weights in its first layout, and the tokens' texts.

Its `run.c` continues from the beginning of a text, and decodes our tokens rightly. It cannot read a prompt: it looks texts up by code points
and scores, knows neither our words nor special tokens, and stops at id 1 alone. So this is an export of weights and of decoding, no more.
`run` below is the same arithmetic in numpy, by which the file is read back; run.c itself is a program in C that is not part of Hanlin.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from models import template
from models.bpe import byte_alphabet
from models.export.comparison import Reader
from models.export.gguf import pairs
from models.export.source import Source

HEADER = "<7i"
EPSILON, BASE = 1e-5, 10_000.0  # of run.c, fixed in it
Cache = dict[int, tuple[np.ndarray, np.ndarray]]  # layer → keys and values, (length, heads, d)
LAYERS = (
    "input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "post_attention_layernorm",
    "mlp.gate_proj", "mlp.down_proj", "mlp.up_proj",
)  # fmt: skip


def write(source: Source, out: Path, precision: str, note: Callable[[str], None]) -> dict[str, Any]:
    """Write `model.bin` and `tokenizer.bin`; returns a line that uses them."""
    config = source.config
    heads = config["num_attention_heads"]
    shared = config.get("num_key_value_heads") or heads
    vocabulary = config["vocab_size"] * (1 if source.tied else -1)  # negative: the head has weights of its own
    sizes = (config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"], heads, shared)
    with (out / "model.bin").open("wb") as file:
        file.write(struct.pack(HEADER, *sizes, vocabulary, config["max_position_embeddings"]))
        _put(file, source.tensor("model.embed_tokens.weight"))
        for kind in LAYERS:
            for layer in range(config["num_hidden_layers"]):
                weight = source.tensor(f"model.layers.{layer}.{kind}.weight")
                turned = {"self_attn.q_proj": heads, "self_attn.k_proj": shared}.get(kind)
                _put(file, pairs(weight, turned) if turned else weight)
        _put(file, source.tensor("model.norm.weight"))
        _put(
            file, np.zeros((config["max_position_embeddings"], config["hidden_size"] // heads))
        )  # rotations, which nothing reads any more
        if not source.tied:
            _put(file, source.tensor("lm_head.weight"))
    _write_tokens(source, out / "tokenizer.bin")
    if config["rms_norm_eps"] != EPSILON:
        apart = _apart(source, out / "model.bin")
        note(
            f"run.c adds {EPSILON} under the root of a norm, and this model was trained with {config['rms_norm_eps']}: its log-probabilities are "
            f"some {apart:.2g} away from the model's"
        )
    note(
        "run.c decodes this model, and cannot read prompts for it: it looks texts up in another way. For a chat, export it --to gguf"
    )
    return {"use": "./run model.bin -z tokenizer.bin -t 0 -n 100"}


def reader(source: Source, out: Path, facts: dict[str, Any]) -> Run:
    """The arithmetic of run.c with the file."""
    return Run(out / "model.bin", source.config["rms_norm_eps"], template.stops(source.tokenizer))


def _apart(source: Source, path: Path) -> float:
    """The largest difference in nats that run.c's constant makes, along a text of the model's own."""
    start = [source.tokenizer.eos_token_id]
    [text] = Run(path, source.config["rms_norm_eps"]).greedy([start], 24)
    found = [Run(path, epsilon).log_probabilities(start, text) for epsilon in (EPSILON, source.config["rms_norm_eps"])]
    return float(np.abs(found[0] - found[1]).max())


def _put(file: IO[bytes], weight: np.ndarray) -> None:
    file.write(np.ascontiguousarray(weight, dtype="<f4").tobytes())


def _write_tokens(source: Source, path: Path) -> None:
    """The longest token's bytes, then each token's score and bytes; the scores are no use to our tokens, and fall with the id."""
    byte_of = {character: byte for byte, character in enumerate(byte_alphabet())}
    names = {number: token for token, number in source.tokenizer.get_vocab().items()}
    added = source.tokenizer.added_tokens_decoder
    tokens = []
    for number in range(source.config["vocab_size"]):
        token = names.get(number, "")
        tokens.append(token.encode("utf-8") if number in added else bytes(byte_of[character] for character in token))
    with path.open("wb") as file:
        file.write(struct.pack("<I", max(map(len, tokens))))
        for number, token in enumerate(tokens):
            file.write(struct.pack("<fI", -float(number), len(token)) + token)


class Run(Reader):
    """A model.bin, by the arithmetic of run.c but for what is added under the root of a norm."""

    name = "Hanlin's own reading of the file, by the arithmetic of run.c"

    def __init__(self, path: Path, epsilon: float = EPSILON, stops: Sequence[int] = ()):
        self.epsilon, self.stops = epsilon, stops
        data = path.read_bytes()
        self.width, hidden, self.layers, self.heads, self.shared, vocabulary, _ = sizes = struct.unpack_from(HEADER, data)
        self.head = self.width // self.heads
        values = np.frombuffer(data, "<f4", offset=struct.calcsize(HEADER))
        place = 0

        def take(*shape: int) -> np.ndarray:
            nonlocal place
            place += int(np.prod(shape))
            return values[place - int(np.prod(shape)) : place].reshape(shape)

        count, width, keys = abs(vocabulary), self.width, self.shared * self.head
        self.embedding = take(count, width)
        shapes = [
            (width,),
            (width, width),
            (keys, width),
            (keys, width),
            (width, width),
            (width,),
            (hidden, width),
            (width, hidden),
            (hidden, width),
        ]
        self.weights = [take(self.layers, *shape) for shape in shapes]
        self.norm = take(width)
        take(sizes[6], self.head)
        self.output = take(count, width) if vocabulary < 0 else self.embedding
        if place != len(values):
            raise ValueError(f"{path} has {len(values)} numbers, and its header describes {place}")

    def greedy(self, prompts: Sequence[Sequence[int]], tokens: int) -> list[list[int]]:
        answers = []
        for prompt in prompts:
            cache: Cache = {}
            answer: list[int] = []
            while len(answer) < tokens and not (answer and answer[-1] in self.stops):
                answer.append(int(self.run(answer[-1:] or prompt, cache)[-1].argmax()))
            answers.append(answer)
        return answers

    def log_probabilities(self, prompt: Sequence[int], answer: Sequence[int]) -> np.ndarray:
        logits = self.run([*prompt, *answer[:-1]])[len(prompt) - 1 :].astype(np.float64)
        return logits - np.logaddexp.reduce(logits, -1, keepdims=True)

    def run(self, ids: Sequence[int], cache: Cache | None = None) -> np.ndarray:
        """Logits (length, vocabulary) of token ids, which follow those that the cache has and are put into it. A head's numbers are turned in
        pairs of neighbours."""
        cache = {} if cache is None else cache
        x = self.embedding[list(ids)]
        length, before = len(ids), len(cache[0][0]) if cache else 0
        later = np.triu(np.full((length, before + length), -np.inf, dtype=np.float32), before + 1)
        attention, q, k, v, o, feed, gate, down, up = self.weights
        for layer in range(self.layers):
            y = self._normed(x, attention[layer])
            queries, keys = (_turned((y @ w[layer].T).reshape(length, -1, self.head), before) for w in (q, k))
            values = (y @ v[layer].T).reshape(length, -1, self.head)
            if layer in cache:
                keys, values = (np.concatenate(parts) for parts in zip(cache[layer], (keys, values), strict=True))
            cache[layer] = keys, values
            keys, values = (np.repeat(one, self.heads // self.shared, 1) for one in (keys, values))
            scores = np.einsum("ihd,jhd->hij", queries, keys) / np.sqrt(self.head).astype(np.float32) + later
            scores = np.exp(scores - scores.max(-1, keepdims=True))
            mixed = np.einsum("hij,jhd->ihd", scores / scores.sum(-1, keepdims=True), values)
            x = x + mixed.reshape(length, -1) @ o[layer].T
            y = self._normed(x, feed[layer])
            gated = y @ gate[layer].T
            x = x + (gated / (1 + np.exp(-gated)) * (y @ up[layer].T)) @ down[layer].T
        return self._normed(x, self.norm) @ self.output.T

    def _normed(self, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(self.epsilon)) * weight


def _turned(x: np.ndarray, before: int) -> np.ndarray:
    """Rotary positions on (length, heads, d), after so many tokens."""
    length, _, size = x.shape
    angle = np.arange(before, before + length)[:, None] * BASE ** (-np.arange(0, size, 2) / size)
    cos, sin = (part.astype(np.float32)[:, None] for part in (np.cos(angle), np.sin(angle)))
    first, second = x[..., ::2], x[..., 1::2]
    return np.stack([first * cos - second * sin, first * sin + second * cos], -1).reshape(x.shape)
