"""The pre-tokenizer: the pattern that cuts text into words before tokens are looked up. It is that of Qwen2's tokenizer.json, which GGUF
knows as `tokenizer.ggml.pre = qwen2`.

Words are counted and text is encoded with this one pattern, so that no token is learned that encoding would cut.
"""

from __future__ import annotations

from typing import Any

# contractions, a run of letters with the mark before it, one digit, marks, line breaks, spaces
PATTERN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
NAME = "qwen2"


def pretokenizer() -> Any:
    """The pre-tokenizer that cuts by `PATTERN`."""
    from tokenizers import Regex, pre_tokenizers

    return pre_tokenizers.Split(Regex(PATTERN), "isolated")
