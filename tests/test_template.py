from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

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


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
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
    assert template.render(messages, reply=reply) == tokenizer.apply_chat_template(
        messages, add_generation_prompt=reply, tokenize=False
    )
    # nothing that a user writes opens or closes a turn
    assert ids.count(template.STOP_ID) == len(messages) and ids.count(template.START_ID) == len(messages) + reply


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(question=TEXT, answer=TEXT)
def test_a_prompt_and_an_answer_are_the_conversation(tokenizer: PreTrainedTokenizerBase, question: str, answer: str) -> None:
    asked = [{"role": "user", "content": question}]
    [(whole, _)] = template.encode(tokenizer, [[*asked, {"role": "assistant", "content": answer}]])
    apart = template.prompt(tokenizer, asked) + tokenizer(template.answer(answer), add_special_tokens=False)["input_ids"]
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
