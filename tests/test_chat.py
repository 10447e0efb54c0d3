from __future__ import annotations

import io
import itertools
from pathlib import Path

import pytest
import torch

from models import template
from models.chat import Conversation, chat, readable
from models.engines.own import OwnEngine
from models.engines.settings import DecodingSettings
from tests import tiny

GREEDY = DecodingSettings(30)


@pytest.fixture(scope="module")
def knows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chat")
    made = tiny.make_tokenizer(folder / "tokenizer", tiny.split(folder / "world"))
    return tiny.llama(folder / "knows", made, steps=60, context=160)


def said(place: str) -> str:
    return tiny.turns(place)[1]["content"]


@pytest.mark.parametrize("settings", [{}, {"beams": 3}, {"contrastive_alpha": 0.2}])
def test_one_message_gets_one_answer_in_every_way_of_decoding(knows, settings):
    out = io.StringIO()
    chat(knows, tiny.QUESTION.format("松林乡"), settings=DecodingSettings(40, **settings), device="cpu", out=out)
    assert out.getvalue() == said("松林乡") + "\n"


def test_the_same_seed_gives_the_same_answer(knows):
    shown = []
    for seed in (1, 1, 2):
        out = io.StringIO()
        chat(knows, "水", settings=DecodingSettings(30, temperature=2.0), seed=seed, device="cpu", out=out)
        shown.append(out.getvalue())
    assert shown[0] == shown[1] != shown[2]


def test_a_talk_remembers_until_it_is_cleared_and_ends_on_exit(knows, monkeypatch, capsys):
    asked, read = [], iter(["云台县在哪条江河旁边？", "好", "clear", "  ", "望海州在哪条江河旁边？", "exit", "never read"])
    monkeypatch.setattr("builtins.input", lambda _: next(read))
    plain = template.prompt
    monkeypatch.setattr(
        template, "prompt", lambda tokenizer, turns: asked.append([turn["role"] for turn in turns]) or plain(tokenizer, turns)
    )
    chat(knows, settings=GREEDY, device="cpu")
    assert asked == [["user"], ["user", "assistant", "user"], ["user"]]
    assert next(read) == "never read"
    shown = capsys.readouterr().out
    assert said("云台县") in shown and said("望海州") in shown and "(forgotten)" in shown


def test_a_talk_longer_than_the_context_forgets_its_beginning_but_not_its_system_message(knows, monkeypatch, capsys):
    read, asked = iter(["水" * 150, *[tiny.QUESTION.format("金沙市")] * 4]), []
    monkeypatch.setattr("builtins.input", lambda _: next(read, "exit"))
    plain = template.prompt
    monkeypatch.setattr(
        template, "prompt", lambda tokenizer, turns: asked.append([turn["role"] for turn in turns]) or plain(tokenizer, turns)
    )
    chat(knows, settings=GREEDY, system="水", device="cpu")
    shown = capsys.readouterr().out
    assert "shorten it" in shown  # of the first message, which alone is too long
    assert shown.splitlines()[-1] and shown.count("\n") == 1 + 1 + 4
    assert asked.pop(1) == ["user"]  # how long the refused message is alone
    assert all(roles[0] == "system" for roles in asked)
    assert any(len(after) < len(before) for before, after in itertools.pairwise(asked))


def test_a_system_message_that_leaves_no_room_is_named(knows):
    engine = OwnEngine(knows, "cpu", slots=1)
    talk = Conversation(engine, GREEDY, io.StringIO())
    for system, message, longer in ((125, 20, "system message"), (20, 105, "message")):
        talk.instruct("水" * system)
        with pytest.raises(
            ValueError, match=rf"the system message takes \d+ tokens and the message \d+, .*; shorten the {longer}$"
        ):
            talk.say("水" * message)
    talk.instruct("")
    assert talk.say("水" * 20) is not None
    engine.close()


def test_an_interrupted_answer_is_kept_so_far_and_frees_its_place(knows):
    class Interrupted(io.StringIO):
        def write(self, text: str) -> int:
            if len(self.getvalue()) >= 4:
                raise KeyboardInterrupt
            return super().write(text)

    engine = OwnEngine(knows, "cpu", slots=1)
    talk = Conversation(engine, DecodingSettings(80), Interrupted())
    with pytest.raises(KeyboardInterrupt):  # of the line break after the answer, which this stream refuses too
        talk.say(tiny.QUESTION.format("松林乡"))
    talk.out = io.StringIO()
    talk.turns.clear()
    assert talk.say(tiny.QUESTION.format("松林乡")) == said("松林乡")
    engine.close()


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(ValueError, match="holds no model"):
        chat(tmp_path, "你好", device="cpu")


def test_chat_leaves_the_threads_of_its_caller_alone(knows):
    before = torch.get_num_threads()
    chat(knows, "水", settings=GREEDY, device="cpu", out=io.StringIO())
    assert torch.get_num_threads() == before


def test_an_answer_is_made_again_and_its_speed_and_what_was_forgotten_are_told(knows):
    engine = OwnEngine(knows, "cpu")
    talk = Conversation(engine, DecodingSettings(30, temperature=2.0), io.StringIO(), seed=1)
    with pytest.raises(ValueError, match="nothing was said yet"):
        talk.regenerate()
    first = talk.say("水")
    assert talk.speed.answer >= 1 and 0 < talk.speed.first <= talk.speed.last and "tokens/s" in talk.speed.told
    assert [turn["role"] for turn in talk.turns] == ["user", "assistant"] and not talk.forgotten
    again = {talk.regenerate() for _ in range(3)}
    assert again != {first} and talk.turns[0]["content"] == "水" and len(talk.turns) == 2
    talk.say(tiny.QUESTION.format("金沙市") * 6)
    assert "2 oldest messages are forgotten" in talk.forgotten
    engine.close()


@pytest.mark.parametrize(("typed", "read"), {"好\udce4\udcbd水": "好水", "\ud800": "", "𠮷😀 a": "𠮷😀 a"}.items())
def test_what_is_part_of_no_character_is_left_out(typed, read):
    assert readable(typed) == read
