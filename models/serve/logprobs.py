"""Log-probabilities of an answer's tokens, in the shapes of OpenAI's two APIs.

A token is told as the text that its bytes are. One that ends inside a character is no text by itself, and is told as `bytes:\\xe4\\xbd`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models.engines.engine import Token

NEVER = -9999.0  # told for a probability of 0, whose logarithm JSON has no number for


def spelled(token: int, spellings: Mapping[int, bytes]) -> tuple[str, list[int]]:
    """A token's text and bytes."""
    raw = spellings.get(token, b"")
    try:
        return raw.decode("utf-8"), list(raw)
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw), list(raw)


def finite(logprob: float | None) -> float:
    return NEVER if logprob is None or not logprob > NEVER else logprob


def of_chat(tokens: Sequence[Token], spellings: Mapping[int, bytes]) -> dict[str, Any]:
    """`logprobs` of a choice of /v1/chat/completions."""

    def told(token: int, logprob: float | None) -> dict[str, Any]:
        text, raw = spelled(token, spellings)
        return {"token": text, "logprob": finite(logprob), "bytes": raw}

    return {
        "content": [
            told(token.id, token.logprob) | {"top_logprobs": [told(*each) for each in token.alternatives]} for token in tokens
        ],
        "refusal": None,
    }


def of_completion(tokens: Sequence[Token], spellings: Mapping[int, bytes], before: bytes) -> dict[str, Any]:
    """`logprobs` of a choice of /v1/completions; `before` are the bytes of the answer's earlier tokens, from which offsets are counted."""
    offsets = []
    for token in tokens:
        offsets.append(len(before.decode("utf-8", "ignore")))
        before += spellings.get(token.id, b"")
    return {
        "tokens": [spelled(token.id, spellings)[0] for token in tokens],
        "token_logprobs": [finite(token.logprob) for token in tokens],
        "top_logprobs": [
            {spelled(each, spellings)[0]: finite(logprob) for each, logprob in token.alternatives} for token in tokens
        ],
        "text_offset": offsets,
    }
