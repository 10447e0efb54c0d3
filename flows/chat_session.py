"""A talk at a terminal: lines that can be edited and recalled, messages of several lines, and commands that begin with a slash."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import NestedCompleter
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import HTML
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from flows.amounts import amount
from models.chat import EXIT, Conversation, readable
from models.engines.checks import check

QUOTES = '"""'
HELP = """\
/help             these lines (also /?)
/set              the settings, and their values now
/set NAME VALUE   change one from the next answer on: /set temperature 0.3
/system TEXT      open the conversation with this system message; without
                  TEXT: show it; /system none: have none
/clear            forget what was said
/regenerate       answer the last message again
/save FILE        write the conversation to a file, as a line of JSON with
                  "messages", which `hanlin sniff` and recipes read
/bye              end (also exit, Ctrl-D)

Enter sends a message. Alt-Enter (or Esc, then Enter) begins a new line in it,
and so does Enter after an opening \"\"\". Pasted lines are one message. Arrows
move and recall earlier messages, Ctrl-R searches them. Ctrl-C stops an answer
and keeps what was said so far."""
FIELDS: dict[str, tuple[str, Callable[[str], Any], str]] = {
    "temperature": ("temperature", float, "0: always the likeliest token; above: drawn"),
    "top-p": ("top_p", float, "draw from the likeliest that hold this probability"),
    "top-k": ("top_k", amount, "draw from this many of the likeliest; 0: all"),
    "repetition-penalty": ("repetition_penalty", float, "divisor of what was there already; 1: none"),
    "beams": ("beams", amount, "beam search by so many beams; 1: none"),
    "contrastive": ("contrastive_alpha", float, "weight of contrastive search's penalty; 0: none"),
    "max-tokens": ("max_new_tokens", amount, "longest answer, at most half of the context"),
}
BEYOND = {"seed": "seed of what is drawn; none: another each time", "verbose": "on: the speed of each answer"}


class Session:
    """A conversation, and the commands of whoever sits at the terminal."""

    def __init__(self, talk: Conversation, name: str, verbose: bool = False):
        self.talk, self.name, self.verbose = talk, name, verbose
        self.commands: dict[str, Callable[[str], None]] = {
            "/help": lambda rest: print(HELP),
            "/?": lambda rest: print(HELP),
            "/set": self.set,
            "/system": self.system,
            "/clear": self.clear,
            "/regenerate": lambda rest: self.answered(self.talk.regenerate),
            "/save": self.save,
        }

    def run(self) -> None:
        """Read and answer until the end."""
        print(f"{self.name}: {described(self.talk)}")
        print("Type a message, or /help. Ctrl-C stops an answer, /bye or Ctrl-D ends.")
        reader = _reader([*self.commands, "/bye"])
        while True:
            try:
                line = readable(reader())
            except KeyboardInterrupt:
                print("(Ctrl-D or /bye ends the chat)")
                continue
            except EOFError:
                return
            if line.strip() in EXIT or line.strip() == "/exit":
                return
            try:
                self.take(line)
            except (ValueError, OSError) as mistake:
                print(mistake)
            except KeyboardInterrupt:
                print()

    def take(self, line: str) -> None:
        """A message or a command. `ValueError` for a command that is none."""
        text = line.strip()
        if text.startswith("/"):
            word, _, rest = text.partition(" ")
            if word in self.commands:
                self.commands[word](rest.strip())
                return
            if "\n" not in text and word.count("/") == 1:  # else it is a path or a text
                raise ValueError(f"no command {word}; /help lists them")
        if text.startswith(QUOTES) and text.endswith(QUOTES) and len(text) >= 2 * len(QUOTES):
            text = text[len(QUOTES) : -len(QUOTES)].strip()
        if text:
            self.answered(lambda: self.talk.say(text))

    def answered(self, answer: Callable[[], str]) -> None:
        """Have an answer printed, and say what it cost."""
        answer()
        for told in (self.talk.forgotten, self.talk.speed.told if self.verbose and self.talk.speed else ""):
            if told:
                print(f"\x1b[2m{textwrap.fill(f'({told})', shutil.get_terminal_size().columns - 1)}\x1b[0m")

    def set(self, rest: str) -> None:
        """Show the settings, or change one."""
        name, _, text = rest.partition(" ")
        text = text.strip()
        if not name:
            for each, (field, _, about) in FIELDS.items():
                print(f"{each:<19} {getattr(self.talk.settings, field)!s:<7} {about}")
            print(f"{'seed':<19} {'none' if self.talk.seed is None else self.talk.seed!s:<7} {BEYOND['seed']}")
            print(f"{'verbose':<19} {'on' if self.verbose else 'off':<7} {BEYOND['verbose']}")
        elif name == "system":
            self.system(text)
        elif name == "verbose" and text in ("", "on", "off"):
            self.verbose = text != "off"
        elif name == "seed":
            self.talk.draw_from(None if text in ("", "none") else amount(text))
        elif name in FIELDS:
            field, read, about = FIELDS[name]
            try:
                value = read(text)
            except ValueError:
                raise ValueError(f"{name}: {text!r} is no such number; it is: {about}") from None
            settings = replace(self.talk.settings, **{field: value})
            check(settings, self.talk.engine.model.config.vocab_size)
            self.talk.change(settings)
            print(f"{name} {getattr(self.talk.settings, field)}")
        else:
            raise ValueError(f"no setting {name!r}; there are {', '.join([*FIELDS, *BEYOND])}")

    def system(self, text: str) -> None:
        """Show, change or take away the system message."""
        if text:
            self.talk.instruct("" if text == "none" else text)
        else:
            print(self.talk.opening[0]["content"] if self.talk.opening else "no system message")

    def clear(self, rest: str) -> None:
        """Forget what was said."""
        self.talk.clear()
        print("(forgotten)")

    def save(self, rest: str) -> None:
        """Write the conversation to a file. `ValueError` for none, or one that is there."""
        names = shlex.split(rest)
        if len(names) != 1:
            raise ValueError("/save needs the name of a file: /save chat.jsonl")
        path = Path(names[0]).expanduser()
        messages = [*self.talk.opening, *self.talk.turns]
        if path.exists():
            raise ValueError(f"{path} is there already; give another name")
        path.write_text(json.dumps({"messages": messages}, ensure_ascii=False) + "\n", "utf-8")
        print(f"{len(messages)} messages in {path}")


def described(talk: Conversation) -> str:
    """`llama, 2.2M parameters, context of 128 tokens, on cpu`"""
    model = talk.engine.model
    size = model.num_parameters()
    written = f"{size / 1e9:.2f}B" if size >= 1e9 else f"{size / 1e6:.1f}M"
    context = f"context of {talk.engine.context:,} tokens" if talk.engine.context < 1 << 30 else "no limit of its context"
    return f"{model.config.model_type}, {written} parameters, {context}, on {model.device.type}"


def _reader(commands: list[str]) -> Callable[[], str]:
    """The function that asks for a line, with a history that outlives the session where it can be written."""
    choices: dict[str, Any] = dict.fromkeys(commands)
    choices["/set"] = dict.fromkeys([*FIELDS, *BEYOND])
    session: PromptSession[str] = PromptSession(
        history=_history(),
        completer=NestedCompleter.from_nested_dict(choices),
        complete_while_typing=Condition(lambda: session.default_buffer.text.startswith("/")),
        key_bindings=_keys(),
        multiline=True,
        prompt_continuation="... ",
        placeholder=HTML("<ansibrightblack>a message, or /help</ansibrightblack>"),
        reserve_space_for_menu=4,
    )
    return lambda: session.prompt(">>> ")


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.text.lstrip().startswith(QUOTES) and buffer.text.count(QUOTES) == 1:
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys


def _history() -> History:
    home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "hanlin"
    try:
        home.mkdir(parents=True, exist_ok=True)
        (home / "chat_history").touch(mode=0o600)
    except OSError:
        return InMemoryHistory()
    return FileHistory(str(home / "chat_history"))
