"""Chat templates for training, generation and serving: how a conversation becomes the text that a model reads.

The tokenizer of a model says which one is its own (`of`). The loss counts what the model has to say itself: an assistant turn's content
and the token that ends it, without which a model never learns to stop.

`encode` and `Template.jinja` (what the saved tokenizer carries for other programs) give the same ids; a test holds them to it. Content is
stripped, so that the line break after the role never merges with white space of the content and a prompt's ids are a prefix of the
whole conversation's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Template:
    """What stands around each turn. An assistant's turn ends with `stop`, or with the tokenizer's own end of text where that is empty."""

    system: tuple[str, str]
    user: tuple[str, str]
    assistant: str  # what opens an assistant's turn
    stop: str
    between: str  # after an assistant's turn, before the next
    preamble: str = ""  # opens a conversation without a system turn

    def stop_of(self, tokenizer: PreTrainedTokenizerBase) -> str:
        return self.stop or tokenizer.eos_token

    def pieces(self, messages: Sequence[Message], stop: str, *, reply: bool = False) -> list[tuple[str, bool]]:
        """A conversation as (text, whether it is trained on); `reply` opens an assistant turn at the end.

        Each piece is tokenised alone. `ValueError` for a role that the template does not know.
        """
        found: list[tuple[str, bool]] = []
        waiting = "" if messages and messages[0]["role"] == "system" else self.preamble
        for number, message in enumerate(messages):
            role, content = message["role"], plain(message["content"].strip(), stop)
            if role not in ROLES or (role == "system" and number):
                raise ValueError(f"roles are user and assistant, and system for the first message only; got {role}")
            if role == "assistant":
                found += [(waiting + self.assistant, False), (content + stop, True)]
                waiting = self.between
            else:
                before, after = self.system if role == "system" else self.user
                waiting += before + content + after
        found.append((waiting + (self.assistant if reply else ""), False))
        return [piece for piece in found if piece[0]]

    def jinja(self, stop: str) -> str:
        """The same as a template of transformers, for `stop` as the end of an assistant's turn."""

        def text(part: str) -> str:
            return "{{- " + json.dumps(part, ensure_ascii=False) + " -}}" if part else ""

        content = f"message.content | trim | replace('<|', '< |') | replace({json.dumps(stop)}, {json.dumps(plain(stop, stop))})"
        turn = {
            "system": text(self.system[0]) + "{{- " + content + " -}}" + text(self.system[1]),
            "user": text(self.user[0]) + "{{- " + content + " -}}" + text(self.user[1]),
            "assistant": text(self.assistant)
            + "{%- generation -%}{{- ("
            + content
            + f") ~ {json.dumps(stop)} -}}}}{{%- endgeneration -%}}"
            + text(self.between),
        }
        return (
            (
                "{%- if not messages or messages[0].role != 'system' -%}" + text(self.preamble) + "{%- endif -%}\n"
                if self.preamble
                else ""
            )
            + "{%- for message in messages -%}\n"
            "{%- if message.role not in ('system', 'user', 'assistant') or (message.role == 'system' and not loop.first) -%}\n"
            "{{- raise_exception('roles are user and assistant, and system for the first message only; got ' ~ message.role) -}}\n"
            "{%- endif -%}\n"
            + "".join(f"{{%- if message.role == '{role}' -%}}{shown}{{%- endif -%}}\n" for role, shown in turn.items())
            + "{%- endfor -%}\n"
            + ("{%- if add_generation_prompt -%}" + text(self.assistant) + "{%- endif -%}\n")
        )


TEMPLATES = {
    # Qwen's, which most tools know
    "chatml": Template(
        system=(f"{START}system\n", f"{STOP}\n"),
        user=(f"{START}user\n", f"{STOP}\n"),
        assistant=f"{START}assistant\n",
        stop=STOP,
        between="\n",
    ),
    # Stanford Alpaca's, as Chinese-Vicuna trains instructions with
    "alpaca": Template(
        system=("", "\n\n"),
        user=("### Instruction:\n", "\n\n"),
        assistant="### Response:\n",
        stop="",
        between="\n\n",
        preamble="Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n",
    ),
    # role tokens on lines of their own, as ChatGLM and Tiny LLM have them
    "roles": Template(
        system=("<|system|>\n", "\n"), user=("<|user|>\n", "\n"), assistant="<|assistant|>\n", stop="", between="\n"
    ),
    # Chinese-Vicuna's dialogues
    "vicuna": Template(
        system=("", "\n\n"),
        user=("User:", "\n\n"),
        assistant="Assistant:",
        stop="",
        between="\n\n",
        preamble="The following is a conversation between an AI assistant called Assistant and a human user called User.\n\n",
    ),
    # nothing but the texts, as a text-to-text model reads them
    "plain": Template(system=("", "\n"), user=("", "\n"), assistant="", stop="", between="\n"),
}
DEFAULT = "chatml"
KEY = "chat_template_name"  # in tokenizer_config.json


def of(tokenizer: PreTrainedTokenizerBase) -> Template:
    """The template that a tokenizer names, chatml where it names none."""
    return TEMPLATES[tokenizer.init_kwargs.get(KEY) or DEFAULT]


def use(tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """Make a template the tokenizer's own, for us and for other programs. `ValueError` where its end of turn is not in the vocabulary."""
    chosen = TEMPLATES[name]
    if chosen.stop and chosen.stop not in tokenizer.get_vocab():
        raise ValueError(
            f"template {name} ends a turn with {chosen.stop}, which this tokenizer lacks; take another of {', '.join(TEMPLATES)}"
        )
    if not chosen.stop_of(tokenizer):
        raise ValueError(
            "the tokenizer has no end of text (eos_token), so a model could not learn to stop; set one in its tokenizer_config.json"
        )
    tokenizer.init_kwargs[KEY] = name
    tokenizer.chat_template = chosen.jinja(chosen.stop_of(tokenizer))


def plain(text: str, stop: str = STOP) -> str:
    """Text that cannot spell a special token: `<|` becomes `< |`. Else a user's `<|im_end|>` would end the turn and forge the next."""
    return text.replace("<|", "< |").replace(stop, f"{stop[0]} {stop[1:]}")


def answer(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """An assistant's turn as the model has to write it: the text and the end of turn."""
    stop = of(tokenizer).stop_of(tokenizer)
    return plain(text.strip(), stop) + stop


def stops(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids that end an answer: the end of a turn, and the end of a text."""
    vocabulary = tokenizer.get_vocab()
    found = {vocabulary[of(tokenizer).stop_of(tokenizer)], tokenizer.eos_token_id, vocabulary.get(END)}
    return sorted(token for token in found if token is not None)


def render(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, reply: bool = False) -> str:
    """The conversation as the text that the model reads; `reply` opens an assistant turn at the end."""
    chosen = of(tokenizer)
    return "".join(text for text, _ in chosen.pieces(messages, chosen.stop_of(tokenizer), reply=reply))


def encode(
    tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Sequence[Message]], *, reply: bool = False
) -> list[tuple[list[int], list[bool]]]:
    """Token ids of each conversation, and for each id whether the loss counts it. One batched call of the tokenizer."""
    chosen = of(tokenizer)
    stop = chosen.stop_of(tokenizer)
    cut = [chosen.pieces(messages, stop, reply=reply) for messages in conversations]
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


def exchanges(
    tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Sequence[Message]]
) -> list[list[tuple[list[int], list[int]]]]:
    """Of each conversation every answer, with its end of turn, and before it the ids of all that came before: (prompt, answer) pairs."""
    rows = []
    for ids, trained in encode(tokenizer, conversations):
        starts = [place for place in range(1, len(ids)) if trained[place] and not trained[place - 1]]
        ends = [next((place for place in range(start, len(ids)) if not trained[place]), len(ids)) for start in starts]
        rows.append([(ids[:start], ids[start:end]) for start, end in zip(starts, ends, strict=True)])
    return rows
