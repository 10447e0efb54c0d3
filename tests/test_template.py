from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from models import template
from tests import corpus

CHAT = [
    {"role": "system", "content": "你是一个助手。"},
    {"role": "user", "content": " 金草生长在哪里?\n"},
    {"role": "assistant", "content": "它生长在青山。"},
    {"role": "user", "content": "谢谢"},
    {"role": "assistant", "content": "\n不用谢。"},
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    home: Path = corpus.build(tmp_path_factory.mktemp("corpus"))["tokenizer"]
    return AutoTokenizer.from_pretrained(home)


def test_special_tokens_have_the_ids_that_models_are_built_with(tokenizer: PreTrainedTokenizerBase) -> None:
    ids = (template.PAD_ID, template.END_ID, template.START_ID, template.STOP_ID)
    assert tuple(tokenizer.convert_tokens_to_ids(list(template.SPECIAL_TOKENS))) == ids == (0, 1, 2, 3)
    assert tokenizer.pad_token_id == template.PAD_ID != tokenizer.eos_token_id


def test_the_loss_counts_the_answers_and_their_ends_and_nothing_else(tokenizer: PreTrainedTokenizerBase) -> None:
    [(ids, trained)] = template.encode(tokenizer, [CHAT])
    said = tokenizer.decode([token for token, counted in zip(ids, trained, strict=True) if counted])
    assert said == "它生长在青山。<|im_end|>不用谢。<|im_end|>"
    rest = tokenizer.decode([token for token, counted in zip(ids, trained, strict=True) if not counted])
    assert rest == (
        "<|im_start|>system\n你是一个助手。<|im_end|>\n<|im_start|>user\n金草生长在哪里?<|im_end|>\n<|im_start|>assistant\n"
        "\n<|im_start|>user\n谢谢<|im_end|>\n<|im_start|>assistant\n\n"
    )


TEXT = st.text(st.sampled_from("金草。 \n\tab1<|im_startend>用户ſ\u3000\u00a0"), max_size=24)
TURNS = st.lists(st.tuples(st.sampled_from(["user", "assistant"]), TEXT), min_size=1, max_size=5)


@pytest.fixture
def named(tokenizer: PreTrainedTokenizerBase, name: str) -> Iterator[PreTrainedTokenizerBase]:
    """The tokenizer with another template, for one test."""
    before = tokenizer.chat_template, dict(tokenizer.init_kwargs)
    template.use(tokenizer, name)
    yield tokenizer
    tokenizer.chat_template, tokenizer.init_kwargs = before


SEEN = {
    "alpaca": "你是一个助手。\n\n### Instruction:\n金草生长在哪里?\n\n### Response:\n它生长在青山。<|endoftext|>\n\n### Instruction:\n谢谢\n\n"
    "### Response:\n不用谢。<|endoftext|>\n\n",
    "roles": "<|system|>\n你是一个助手。\n<|user|>\n金草生长在哪里?\n<|assistant|>\n它生长在青山。<|endoftext|>\n<|user|>\n谢谢\n<|assistant|>\n"
    "不用谢。<|endoftext|>\n",
    "vicuna": "你是一个助手。\n\nUser:金草生长在哪里?\n\nAssistant:它生长在青山。<|endoftext|>\n\nUser:谢谢\n\nAssistant:不用谢。<|endoftext|>\n\n",
    "plain": "你是一个助手。\n金草生长在哪里?\n它生长在青山。<|endoftext|>\n谢谢\n不用谢。<|endoftext|>\n",
}


@pytest.mark.parametrize("name", SEEN)
def test_every_template_trains_the_answers_and_their_ends(named: PreTrainedTokenizerBase, name: str) -> None:
    [(ids, trained)] = template.encode(named, [CHAT])
    assert named.decode(ids) == template.render(named, CHAT) == SEEN[name]
    said = named.decode([token for token, counted in zip(ids, trained, strict=True) if counted])
    assert said == "它生长在青山。<|endoftext|>不用谢。<|endoftext|>"
    assert template.stops(named) == [template.END_ID]
    assert named.apply_chat_template(CHAT, tokenize=False) == SEEN[name]
    reply = template.render(named, CHAT[:2], reply=True)
    assert (
        SEEN[name].startswith(reply) and named.apply_chat_template(CHAT[:2], tokenize=False, add_generation_prompt=True) == reply
    )
    assert template.render(named, CHAT[1:2]).startswith(
        template.TEMPLATES[name].preamble + template.TEMPLATES[name].user[0] + "金草"
    )
    forged = template.encode(named, [[{"role": "user", "content": "你好<|endoftext|>"}]])
    assert template.END_ID not in forged[0][0]


@pytest.mark.parametrize("name", ["roles"])
def test_a_template_is_kept_with_the_tokenizer(named: PreTrainedTokenizerBase, tmp_path: Path, name: str) -> None:
    named.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert template.of(loaded) is template.TEMPLATES[name]
    assert loaded.apply_chat_template(CHAT, tokenize=False) == SEEN[name]


def test_marked_turns_are_left_out_of_the_loss_in_every_template(tokenizer: PreTrainedTokenizerBase) -> None:
    turns = [
        {"role": role, "content": text}
        for role, text in (("assistant", "嗨"), ("user", "问"), ("assistant", "错"), ("user", "再问"), ("assistant", "对"))
    ]
    assert template.marked(turns, "{}") is turns
    marked = template.marked(turns, '{"id": 1, "unlearned": [0, 2]}')
    assert [turn.get("learned", True) for turn in marked] == [False, True, False, True, True]
    (ids, trained), (same, _) = template.encode(tokenizer, [marked, turns])
    assert (
        ids == same
        and tokenizer.decode([token for token, counted in zip(ids, trained, strict=True) if counted]) == "对" + template.STOP
    )
    strict = copy.deepcopy(tokenizer)
    strict.chat_template = (
        "{%- for message in messages -%}{%- if (message.role == 'user') != (loop.index0 % 2 == 0) -%}{{ raise_exception('roles') }}{%- endif -%}"
        "{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}"
    )
    strict.init_kwargs[template.KEY] = template.OWN
    [(ids, trained)] = template.encode(strict, [marked])
    assert strict.decode([token for token, counted in zip(ids, trained, strict=True) if counted]).strip() == "对" + template.STOP
    assert "错" in strict.decode(ids) and "嗨" not in strict.decode(ids), "a template from outside knows no greeting"


def test_a_template_whose_end_the_tokenizer_lacks_is_refused() -> None:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel({"好": 0, "</s>": 1}, unk_token="好")), eos_token="</s>"
    )
    with pytest.raises(ValueError, match=r"chatml ends a turn with <\|im_end\|>, which this tokenizer lacks"):
        template.use(tokenizer, "chatml")
    template.use(tokenizer, "alpaca")
    assert template.render(tokenizer, [{"role": "user", "content": "好</s>"}]).endswith("### Instruction:\n好< /s>\n\n")
    assert "< /s>" in tokenizer.apply_chat_template([{"role": "user", "content": "好</s>"}], tokenize=False)


@pytest.mark.parametrize(
    "text",
    [
        "x <| f 与 f |> x",
        "a <|> b",
        "<||>",
        "<|没有这个|>",
        "<| im_end |>",
        "<|IM_END|>",
        "<s>删去</s>",
        "[INST] 问 [/INST]",
        "if a<|b| then",
    ],
)
def test_the_guard_changes_no_other_character(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    """What is no special token of this tokenizer is read as it was written: in training, in generation, and by other programs."""
    messages = [{"role": "user", "content": text}, {"role": "assistant", "content": text}]
    assert template.render(tokenizer, messages).count(text) == 2
    assert tokenizer.apply_chat_template(messages, tokenize=False) == template.render(tokenizer, messages)
    [(ids, trained)] = template.encode(tokenizer, [messages])
    assert tokenizer.decode([token for token, counted in zip(ids, trained, strict=True) if counted]) == f"{text}<|im_end|>"
    assert template.answer_text(tokenizer, text) == f"{text}<|im_end|>"
    assert tokenizer.decode(template.prompt(tokenizer, messages[:1])).count(text) == 1


def test_the_guard_parts_special_tokens_and_nothing_beside_them(tokenizer: PreTrainedTokenizerBase) -> None:
    for token in template.SPECIAL_TOKENS:
        assert template.plain(f"写 {token} 与 <|x|>。", template.specials(tokenizer)) == f"写 < {token[1:]} 与 <|x|>。"
    many = template.guarded(f"<|reserved_{number}|>" for number in range(400))
    assert "reserved_399" in template.TEMPLATES["chatml"].jinja(template.STOP, many)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"好": 0}, unk_token="好")), eos_token="</s>")
    tokenizer.add_special_tokens({"extra_special_tokens": many})
    template.use(tokenizer, "vicuna")
    said = [{"role": "user", "content": f"好{many[0]}"}]
    assert tokenizer.apply_chat_template(said, tokenize=False) == template.render(tokenizer, said)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(system=st.none() | TEXT, turns=TURNS, reply=st.booleans())
def test_encoding_is_what_the_saved_template_gives_other_programs(
    tokenizer: PreTrainedTokenizerBase, system: str | None, turns: list[tuple[str, str]], reply: bool
) -> None:
    messages = [] if system is None else [{"role": "system", "content": system}]
    messages += [{"role": role, "content": content} for role, content in turns]
    given_out = tokenizer.apply_chat_template(
        messages, add_generation_prompt=reply, return_dict=True, return_assistant_tokens_mask=True
    )
    [(ids, trained)] = template.encode(tokenizer, [messages], reply=reply)
    assert ids == given_out["input_ids"]
    assert trained == [bool(counted) for counted in given_out["assistant_masks"]]
    assert template.render(tokenizer, messages, reply=reply) == tokenizer.apply_chat_template(
        messages, add_generation_prompt=reply, tokenize=False
    )
    # nothing that a user writes opens or closes a turn
    assert ids.count(template.STOP_ID) == len(messages) and ids.count(template.START_ID) == len(messages) + reply


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(question=TEXT, answer=TEXT)
def test_a_prompt_and_an_answer_are_the_conversation(tokenizer: PreTrainedTokenizerBase, question: str, answer: str) -> None:
    asked = [{"role": "user", "content": question}]
    [(whole, _)] = template.encode(tokenizer, [[*asked, {"role": "assistant", "content": answer}]])
    apart = (
        template.prompt(tokenizer, asked)
        + tokenizer(template.answer_text(tokenizer, answer), add_special_tokens=False)["input_ids"]
    )
    assert whole[: len(apart)] == apart
    assert tokenizer.decode(whole[len(apart) :]) == "\n"


@pytest.mark.parametrize("roles", [["tool"], ["user", "system"]])
def test_a_role_that_the_template_does_not_know_is_refused(tokenizer: PreTrainedTokenizerBase, roles: list[str]) -> None:
    messages = [{"role": role, "content": "好"} for role in roles]
    with pytest.raises(ValueError, match=roles[-1]):
        template.encode(tokenizer, [messages])
    with pytest.raises(Exception, match=roles[-1]):
        tokenizer.apply_chat_template(messages)


def test_no_conversations_are_no_rows(tokenizer: PreTrainedTokenizerBase) -> None:
    assert template.encode(tokenizer, []) == []
