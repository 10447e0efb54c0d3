"""Chat templates for training, generation and serving: the text that a model reads of a conversation.

The tokenizer of a model says which one is its own (`of`). The loss counts what the model has to say itself: an assistant turn's content
and the token that ends it, without which a model never learns to stop.

`encode` and `Template.jinja` (what the saved tokenizer carries for other programs) give the same ids; a test holds them to it. Content is
stripped, so that the line break after the role never merges with white space of the content and a prompt's ids are a prefix of the
whole conversation's.

A model from outside may know turns already, and keep the template that it came with (`keep`). What of it is an answer is then found by
comparing a conversation up to the answer with one that has it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.continuation import bos_ids, continuation_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = dict[str, Any]  # {"role": …, "content": …}, and `learned` where it is False

PAD = "<|pad|>"  # fills a batch; never equal to an end, or the model would learn not to end
END = "<|endoftext|>"  # between documents of pretraining; the tokenizer's eos
START = "<|im_start|>"
STOP = "<|im_end|>"  # the end of a turn
SPECIAL_TOKENS = (PAD, END, START, STOP)  # in the order of their ids
PAD_ID, END_ID, START_ID, STOP_ID = range(4)

ROLES = ("system", "user", "assistant")
WIDE_SPACES = "\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
UNLEARNED = "unlearned"  # key of a row's `meta`: the numbers of the turns that the loss leaves out


@dataclass(frozen=True)
class Template:
    """A chat template: the text around each turn.

    An assistant's turn ends with `stop`, or with the tokenizer's own end of text where that is empty.
    """

    system: tuple[str, str]
    user: tuple[str, str]
    assistant: str  # what opens an assistant's turn
    stop: str
    between: str  # after an assistant's turn, before the next
    preamble: str = ""  # opens a conversation without a system turn

    def stop_of(self, tokenizer: PreTrainedTokenizerBase) -> str:
        """The text that ends an assistant's turn."""
        return self.stop or tokenizer.eos_token

    def pieces(
        self, messages: Sequence[Message], stop: str, special: Sequence[str] = (), *, reply: bool = False
    ) -> list[tuple[str, bool]]:
        """A conversation as pairs of a text and True where it is trained on.

        `special` cannot be spelled by its contents, and `reply` opens an assistant turn at the end. Each piece is tokenised alone.
        `ValueError` for a role that the template does not know.
        """
        pieces: list[tuple[str, bool]] = []
        waiting = "" if messages and messages[0]["role"] == "system" else self.preamble
        for number, message in enumerate(messages):
            role, content = message["role"], plain(message["content"].strip(), special)
            if role not in ROLES or (role == "system" and number):
                raise ValueError(f"roles are user and assistant, and system for the first message only; got {role}")
            if role == "assistant":
                pieces += [(waiting + self.assistant, False), (content + stop, True)]
                waiting = self.between
            else:
                before, after = self.system if role == "system" else self.user
                waiting += before + content + after
        pieces.append((waiting + (self.assistant if reply else ""), False))
        return [piece for piece in pieces if piece[0]]

    def jinja(self, stop: str, special: Sequence[str] = (), begin: str = "") -> str:
        """The template in Jinja, as transformers reads it, after `begin`."""

        def text(part: str) -> str:
            return "{{- " + quoted(part) + " -}}" if part else ""

        def quoted(part: str) -> str:
            return json.dumps(part, ensure_ascii=False)

        # one after another, since a chain of some hundred filters is too deep for Jinja
        content = _stripped() + "".join(
            f"{{%- set content = content | replace({quoted(token)}, {quoted(plain(token, [token]))}) -%}}\n" for token in special
        )
        turn = {
            "system": text(self.system[0]) + "{{- content -}}" + text(self.system[1]),
            "user": text(self.user[0]) + "{{- content -}}" + text(self.user[1]),
            "assistant": text(self.assistant)
            + "{%- generation -%}{{- content ~ "
            + f"{quoted(stop)} -}}}}{{%- endgeneration -%}}"
            + text(self.between),
        }
        return (
            text(begin)
            + (
                "{%- if not messages or messages[0].role != 'system' -%}" + text(self.preamble) + "{%- endif -%}\n"
                if self.preamble
                else ""
            )
            + "{%- for message in messages -%}\n"
            "{%- if message.role not in ('system', 'user', 'assistant') or (message.role == 'system' and not loop.first) -%}\n"
            "{{- raise_exception('roles are user and assistant, and system for the first message only; got ' ~ message.role) -}}\n"
            "{%- endif -%}\n"
            + content
            + "".join(f"{{%- if message.role == '{role}' -%}}{text}{{%- endif -%}}\n" for role, text in turn.items())
            + "{%- endfor -%}\n"
            + ("{%- if add_generation_prompt -%}" + text(self.assistant) + "{%- endif -%}\n")
        )


def _stripped() -> str:
    """Jinja that sets `content` to a message's content without white space around it, as Python's `strip` has it. The filter `trim` does just
    that in Python, and knows spaces of one byte alone in llama.cpp, so the others are taken one by one."""
    spaces = ", ".join(f"'{space}'" for space in WIDE_SPACES)
    return (
        "{%- set turn = namespace(content=message.content | trim, stripped=false) -%}\n"
        "{%- for _ in range(message.content | length) -%}{%- if not turn.stripped -%}{%- set turn.stripped = true -%}\n"
        f"{{%- for space in [{spaces}] -%}}\n"
        "{%- if turn.content.startswith(space) -%}"
        "{%- set turn.content = turn.content.split(space, 1)[1] | trim -%}{%- set turn.stripped = false -%}{%- endif -%}\n"
        "{%- if turn.content.endswith(space) -%}"
        "{%- set turn.content = turn.content.rsplit(space, 1)[0] | trim -%}{%- set turn.stripped = false -%}{%- endif -%}\n"
        "{%- endfor -%}{%- endif -%}{%- endfor -%}\n"
        "{%- set content = turn.content -%}\n"
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
OWN = "own"  # the template that a model from outside came with
KEY = "chat_template_name"  # in tokenizer_config.json


def name_of(tokenizer: PreTrainedTokenizerBase) -> str:
    """The name of a tokenizer's template: the one it names, else its own if it came with one, else the one of ours that fits."""
    return tokenizer.init_kwargs.get(KEY) or (OWN if tokenizer.chat_template else fitting(tokenizer))


def fitting(tokenizer: PreTrainedTokenizerBase) -> str:
    """The name of a template of ours that a tokenizer can use: chatml where it has the tokens for that, else one that needs none."""
    return "chatml" if STOP in tokenizer.get_vocab() else "vicuna"


def of(tokenizer: PreTrainedTokenizerBase) -> Template:
    """The template of ours that a tokenizer uses."""
    return TEMPLATES[name_of(tokenizer)]


def stop_of(tokenizer: PreTrainedTokenizerBase) -> str:
    """The token that ends an assistant's turn."""
    return tokenizer.eos_token if _keeps(tokenizer) else of(tokenizer).stop_of(tokenizer)


def keep(tokenizer: PreTrainedTokenizerBase) -> None:
    """Make the template that a tokenizer came with the one that we use."""
    assert tokenizer.chat_template
    tokenizer.init_kwargs[KEY] = OWN


def _keeps(tokenizer: PreTrainedTokenizerBase) -> bool:
    return name_of(tokenizer) == OWN


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
    tokenizer.chat_template = chosen.jinja(chosen.stop_of(tokenizer), specials(tokenizer), _begin(tokenizer))


def specials(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The special tokens that a text must not spell."""
    return guarded(str(token) for token in tokenizer.added_tokens_decoder.values() if token.special)


def guarded(special: Iterable[str]) -> list[str]:
    """Special tokens, the longest first. One of a single character cannot be told from text."""
    return sorted({token for token in special if len(token) > 1}, key=lambda token: (-len(token), token))


def _begin(tokenizer: PreTrainedTokenizerBase) -> str:
    return "".join(tokenizer.convert_ids_to_tokens(bos_ids(tokenizer)))


def plain(text: str, special: Sequence[str]) -> str:
    """A text that cannot spell a special token: each gets a space after its first character, and nothing else changes. Else a user's
    `<|im_end|>` would end the turn and forge the next. Training, generation and chat all read texts through this."""
    for token in special:
        if token in text:
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


def answer_text(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """An assistant's turn as the model has to write it: the text and the end of turn."""
    return plain(text.strip(), specials(tokenizer)) + stop_of(tokenizer)


def stops(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids that end an answer: the end of a turn, and the end of a text."""
    vocabulary = tokenizer.get_vocab()
    ids = {vocabulary[stop_of(tokenizer)], tokenizer.eos_token_id, vocabulary.get(END)}
    return sorted(token for token in ids if token is not None)


def render(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, reply: bool = False) -> str:
    """The conversation as the text that the model reads; `reply` opens an assistant turn at the end."""
    if _keeps(tokenizer):
        return tokenizer.apply_chat_template(_safe(tokenizer, messages), tokenize=False, add_generation_prompt=reply)
    return _begin(tokenizer) + "".join(text for text, _ in _cut(tokenizer, messages, reply))


def encode(
    tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Sequence[Message]], *, reply: bool = False
) -> list[tuple[list[int], list[bool]]]:
    """Token ids of each conversation, and for each id True where the loss counts it. Few calls of the tokenizer, whatever their number."""
    if _keeps(tokenizer):
        return [_compared(tokenizer, messages, reply) for messages in conversations]
    begin = bos_ids(tokenizer)
    cut = [_cut(tokenizer, messages, reply) for messages in conversations]
    # an answer follows what opens it; all else begins a text, or stands after a special token, where tokenizers begin again
    following = [[assistant and number > 0 for number, (_, assistant) in enumerate(conversation)] for conversation in cut]
    texts: dict[bool, list[str]] = {True: [], False: []}
    for conversation, follows in zip(cut, following, strict=True):
        for (text, _), after in zip(conversation, follows, strict=True):
            texts[after].append(text)
    begun = tokenizer(texts[False], add_special_tokens=False)["input_ids"] if texts[False] else []
    ids = {True: iter(continuation_ids(tokenizer, texts[True])), False: iter(begun)}
    rows = []
    for messages, conversation, follows in zip(conversations, cut, following, strict=True):
        tokens, trained = list(begin), [False] * len(begin)
        learned = iter([message.get("learned", True) for message in messages if message["role"] == "assistant"])
        for (_, assistant), after in zip(conversation, follows, strict=True):
            piece = next(ids[after])
            tokens += piece
            trained += [assistant and next(learned)] * len(piece)
        rows.append((tokens, trained))
    return rows


def _cut(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], reply: bool) -> list[tuple[str, bool]]:
    return of(tokenizer).pieces(messages, stop_of(tokenizer), specials(tokenizer), reply=reply)


def _compared(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], reply: bool) -> tuple[list[int], list[bool]]:
    """A conversation by the tokenizer's own template. `ValueError` where that renders a turn in another way once others follow it."""
    messages = _safe(tokenizer, messages)

    def ids_upto(upto: int, reply: bool) -> list[int]:
        return tokenizer.apply_chat_template(messages[:upto], add_generation_prompt=reply, return_dict=False)

    ids = ids_upto(len(messages), reply)
    trained, ends = [False] * len(ids), set(stops(tokenizer))
    for number, message in enumerate(messages):
        if message["role"] == "assistant":
            before, after = ids_upto(number, True), ids_upto(number + 1, False)
            if ids[: len(before)] != before or ids[: len(after)] != after:
                raise ValueError(
                    "the model's own chat template writes a turn in another way once others follow it, so what of it is an answer cannot be "
                    f"told; set sft.template to one of {', '.join(TEMPLATES)}"
                )
            last = max((at for at in range(len(before), len(after)) if ids[at] in ends), default=len(after) - 1)
            trained[len(before) : last + 1] = [message.get("learned", True)] * (last + 1 - len(before))
    return ids, trained


def _safe(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[Message]:
    """Messages for a template from outside. Most of these know no greeting before the first question, so it is left out, and not learned."""
    first = next((number for number, one in enumerate(messages) if one["role"] != "system"), 0)
    greets = len(messages) > first + 1 and messages[first]["role"] == "assistant"
    kept = [*messages[:first], *messages[first + greets :]]
    special = specials(tokenizer)
    return [{**one, "content": plain(one["content"].strip(), special)} for one in kept]


def marked(messages: Sequence[Message], meta: str) -> Sequence[Message]:
    """A row's messages, with `learned` False for those that its `meta` says are not to be learned."""
    if UNLEARNED not in meta:
        return messages
    numbers = set(json.loads(meta).get(UNLEARNED, ()))
    return [one | {"learned": False} if number in numbers else one for number, one in enumerate(messages)]


def replies(
    tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Sequence[Message]], texts: Sequence[str]
) -> list[list[int]]:
    """Ids of a text as the assistant's answer to each conversation, with its end of turn: what follows the ids of `reply`."""
    if not _keeps(tokenizer):
        return continuation_ids(tokenizer, [answer_text(tokenizer, text) for text in texts])
    lengths = [len(ids) for ids, _ in encode(tokenizer, conversations, reply=True)]
    whole = [[*turns, {"role": "assistant", "content": text}] for turns, text in zip(conversations, texts, strict=True)]
    return [
        [number for number, counted in zip(ids[start:], trained[start:], strict=True) if counted]
        for (ids, trained), start in zip(encode(tokenizer, whole), lengths, strict=True)
    ]


def prompt(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int]:
    """Ids of a conversation up to where the assistant's answer begins."""
    return encode(tokenizer, [messages], reply=True)[0][0]


def exchanges(
    tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Sequence[Message]]
) -> list[list[tuple[list[int], list[int]]]]:
    """The (prompt, answer) pairs of each conversation, as ids: every answer with its end of turn, after all that came before it."""
    rows = []
    for ids, trained in encode(tokenizer, conversations):
        starts = [place for place in range(1, len(ids)) if trained[place] and not trained[place - 1]]
        ends = [next((place for place in range(start, len(ids)) if not trained[place]), len(ids)) for start in starts]
        rows.append([(ids[:start], ids[start:end]) for start, end in zip(starts, ends, strict=True)])
    return rows
