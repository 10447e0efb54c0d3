"""A talk at a terminal, typed key by key into a real prompt."""

from __future__ import annotations

import json
import os
import pty
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from flows.chat_session import Session
from flows.chatting import loading
from models.chat import Conversation
from models.engines.own import OwnEngine
from models.engines.settings import DecodingSettings
from tests import tiny

LEFT, PASTE, PASTED = "\x1b[D", "\x1b[200~", "\x1b[201~"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnEngine]:
    folder = tmp_path_factory.mktemp("session")
    made = tiny.make_tokenizer(folder / "tokenizer", tiny.split(folder / "world"))
    engine = OwnEngine(tiny.llama(folder / "model", made, context=160), "cpu")
    yield engine
    engine.close()


@pytest.fixture
def typed(engine: OwnEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Type keys into a new session, and return what it said to the model and wrote."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def type_(keys: str, system: str = "") -> tuple[Conversation, list[str], str]:
        import sys

        talk = Conversation(engine, DecodingSettings(8), sys.stdout, system, seed=1)
        said: list[str] = []
        plain = talk.say
        monkeypatch.setattr(talk, "say", lambda message: said.append(message) or plain(message))
        with create_pipe_input() as pipe, create_app_session(input=pipe, output=DummyOutput()):
            pipe.send_text(keys)
            Session(talk, "toy").run()
        return talk, said, capsys.readouterr().out

    return type_


def test_lines_are_edited_sent_and_kept_for_the_next_session(typed: Any, tmp_path: Path) -> None:
    _, said, shown = typed(f"水火{LEFT}，\r\x04")
    assert said == ["水，火"]
    history = tmp_path / "state" / "hanlin" / "chat_history"
    assert "+水，火" in history.read_text("utf-8") and history.stat().st_mode & 0o077 == 0
    assert "toy: llama, " in shown and "context of 160 tokens, on cpu" in shown


def test_pasted_lines_and_lines_in_quotes_are_one_message(typed: Any) -> None:
    _, said, _ = typed(f'{PASTE}一\n二{PASTED}\r"""三\r四"""\r五\x1b\r六\r/bye\r')
    assert said == ["一\n二", "三\n四", "五\n六"]


def test_commands_change_the_settings_and_mistakes_are_told(typed: Any, tmp_path: Path) -> None:
    file = tmp_path / "a b.jsonl"
    lines = [
        "/set temperature 1.5", "/set max-tokens 5", "/set seed 7", "/set verbose on", "/system 短答", "水", "/regenerate",
        f'/save "{file}"', f'/save "{file}"', "/set top-p 7", "/set beams x", "/set colour 1", "/sett", "/set", "/help", "/path/to 水",
        "/clear", "/system none", "/system", "/exit",
    ]  # fmt: skip
    talk, said, shown = typed("\r".join(lines) + "\r")
    assert said == ["水", "水", "/path/to 水"] and talk.turns == [] and talk.opening == []
    assert (talk.settings.temperature, talk.settings.max_new_tokens, talk.seed) == (1.5, 5, 7)
    saved = json.loads(file.read_text("utf-8"))["messages"]
    assert [turn["role"] for turn in saved] == ["system", "user", "assistant"]
    for told in (
        "is there already", "top_p is 7.0", "beams: 'x' is no such number", "no setting 'colour'", "no command /sett", "tokens/s",
        "/regenerate ", "(forgotten)", "no system message",
    ):  # fmt: skip
        assert told in shown


def test_ctrl_c_at_the_prompt_does_not_end_the_talk(typed: Any) -> None:
    _, said, shown = typed("水\x03火\r\x04")
    assert said == ["火"] and "Ctrl-D or /bye" in shown


def test_a_terminal_is_told_that_a_model_is_loaded_until_it_is_and_a_pipe_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with loading("toy 123") as loaded:
        loaded()
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("TERM", "xterm")
    screen, terminal = pty.openpty()
    with os.fdopen(terminal, "w") as stream, monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", stream)
        with loading("toy 123") as loaded:
            loaded()
    shown = os.read(screen, 4096).decode()
    os.close(screen)
    assert "loading toy 123 …" in shown and shown.rindex("\x1b[2K") > shown.rindex("loading")
