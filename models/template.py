"""One chat template for training, generation and serving.

A conversation is a row of turns `<|im_start|>role\\ncontent<|im_end|>\\n`, an optional system turn first. The loss counts what the model
has to say itself: an assistant turn's content and the `<|im_end|>` after it, without which a model never learns to stop.

`encode` and `CHAT_TEMPLATE` (what the saved tokenizer carries for other programs) give the same ids; a test holds them to it. Content is
stripped, so that the line break after the role never merges with white space of the content and a prompt's ids are a prefix of the
whole conversation's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = dict[str, str]  # {"role": …, "content": …}

PAD = "<|pad|>"  # fills a batch; never equal to an end, or the model would learn not to end
END = "<|endoftext|>"  # between documents of pretraining; the tokenizer's eos
START = "<|im_start|>"
STOP = "<|im_end|>"  # the end of a turn
SPECIAL_TOKENS = (PAD, END, START, STOP)  # in the order of their ids
PAD_ID, END_ID, START_ID, STOP_ID = range(4)

ROLES = ("system", "user", "assistant")

CHAT_TEMPLATE = """\
{%- for message in messages -%}
{%- if message.role not in ('system', 'user', 'assistant') or (message.role == 'system' and not loop.first) -%}
{{- raise_exception('roles are user and assistant, and system for the first message only; got ' ~ message.role) -}}
{%- endif -%}
{{- '<|im_start|>' ~ message.role ~ '\\n' -}}
{%- if message.role == 'assistant' -%}
{%- generation -%}{{- message.content | trim | replace('<|', '< |') ~ '<|im_end|>' -}}{%- endgeneration -%}
{%- else -%}
{{- message.content | trim | replace('<|', '< |') ~ '<|im_end|>' -}}
{%- endif -%}
{{- '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""


def plain(text: str) -> str:
    """Text that cannot spell a special token: `<|` becomes `< |`. Else a user's `<|im_end|>` would end the turn and forge the next."""
    return text.replace("<|", "< |")


def answer(text: str) -> str:
    """An assistant's turn as the model has to write it: the text and the end of turn."""
    return plain(text.strip()) + STOP


def pieces(messages: Sequence[Message], *, reply: bool = False) -> list[tuple[str, bool]]:
    """A conversation as (text, whether it is trained on); `reply` opens an assistant turn at the end.

    Each piece is tokenised alone. `ValueError` for a role that the template does not know.
    """
    found: list[tuple[str, bool]] = []
    before = ""
    for number, message in enumerate(messages):
        role = message["role"]
        if role not in ROLES or (role == "system" and number):
            raise ValueError(f"roles are user and assistant, and system for the first message only; got {role}")
        head, body = f"{before}{START}{role}\n", answer(message["content"])
        found += [(head, False), (body, True)] if role == "assistant" else [(head + body, False)]
        before = "\n"
    found.append((before + (f"{START}assistant\n" if reply else ""), False))
    return [piece for piece in found if piece[0]]


def render(messages: Sequence[Message], *, reply: bool = False) -> str:
    """The conversation as the text that the model reads; `reply` opens an assistant turn at the end."""
    return "".join(text for text, _ in pieces(messages, reply=reply))


def encode(
    tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Sequence[Message]], *, reply: bool = False
) -> list[tuple[list[int], list[bool]]]:
    """Token ids of each conversation, and for each id whether the loss counts it. One batched call of the tokenizer."""
    cut = [pieces(messages, reply=reply) for messages in conversations]
    texts = [text for conversation in cut for text, _ in conversation]
    ids = iter(tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else [])
    rows = []
    for conversation in cut:
        tokens: list[int] = []
        trained: list[bool] = []
        for _, assistant in conversation:
            piece = next(ids)
            tokens += piece
            trained += [assistant] * len(piece)
        rows.append((tokens, trained))
    return rows


def prompt(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int]:
    """Ids of a conversation up to where the assistant's answer begins."""
    return encode(tokenizer, [messages], reply=True)[0][0]
