"""`hanlin chat`: a talk with a model in the terminal."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.amounts import tokens
from flows.command_groups import model_names
from flows.console import store
from flows.devices import check_device

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A tag, a stage (for its newest result), the beginning of a key, or a model folder",
        autocompletion=model_names,
    ),
]
Message = Annotated[str | None, typer.Argument(help="One question to ask; without it, a conversation begins")]
Temperature = Annotated[
    float,
    typer.Option(min=0, max=2, help="How evenly tokens are drawn: below 1 the likely ones more often; 0: always the likeliest"),
]
TopP = Annotated[float, typer.Option(min=0.001, max=1, help="Draw from the likeliest tokens that together have this probability")]
TopK = Annotated[int, typer.Option(min=0, help="Draw from this many of the likeliest tokens; 0: from all")]
Beams = Annotated[
    int,
    typer.Option(min=1, max=32, help="Beam search for the likeliest answer by so many beams, shown once it is complete; 1: none"),
]
Contrastive = Annotated[
    float,
    typer.Option(
        min=0,
        max=1,
        help="Contrastive search, with this weight of the penalty for what resembles the text so far; 0.6 is usual, 0: none. --top-k says how "
        "many tokens it weighs (4)",
    ),
]
RepetitionPenalty = Annotated[
    float, typer.Option(min=0.01, max=10, help="Divisor of the scores of tokens that were already there; 1: none")
]
MaxTokens = Annotated[
    int,
    typer.Option(
        parser=tokens, metavar="TOKENS", help="Longest answer, in tokens (512, 1k); at most half of the model's context"
    ),
]
Seed = Annotated[int | None, typer.Option(help="Seed of what is drawn; the same seed and messages give the same answers")]
System = Annotated[str, typer.Option(help="System message that opens the conversation and is never forgotten")]
Device = Annotated[str, typer.Option(help="Device that the model runs on: auto (a GPU where there is one), cpu, cuda or mps")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Tell after each answer how many tokens it has, and how many a second")]


def chat(
    model: Model,
    message: Message = None,
    temperature: Temperature = 0.7,
    top_p: TopP = 0.9,
    top_k: TopK = 0,
    beams: Beams = 1,
    contrastive: Contrastive = 0.0,
    repetition_penalty: RepetitionPenalty = 1.0,
    max_tokens: MaxTokens = 512,
    seed: Seed = None,
    system: System = "",
    device: Device = "auto",
    verbose: Verbose = False,
) -> None:
    """Chat with a model in this terminal, or have one question answered.

    At a terminal, /help lists what can be done in the conversation. Where the input is a file or a pipe, each of its lines is a message.
    """
    if message is not None and not message.strip():
        raise ValueError("the message is empty; write a question, or leave it out and a conversation begins")
    folder, name = _found(model)
    if beams > 1 and contrastive:
        raise ValueError("--beams and --contrastive are two ways to find an answer; give one of them")
    check_device(device)
    settings = {
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "beams": beams,
        "contrastive_alpha": contrastive,
        "repetition_penalty": repetition_penalty,
    }
    talk(
        folder,
        name,
        message,
        {"max_new_tokens": max_tokens} | settings,
        {"system": system, "seed": seed, "device": device},
        verbose,
    )


def talk(
    folder: Path, name: str, message: str | None, settings: dict[str, Any], conversation: dict[str, Any], verbose: bool
) -> None:
    """One answer, or a conversation: at a terminal with its comforts, else line by line. While the model is loaded, a live line says so."""
    typed = message is None and sys.stdin.isatty() and sys.stdout.isatty()
    if message is None and not typed and isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")  # half a character in a file is no reason to stop
    with loading(name) as loaded:
        from models.chat import Conversation
        from models.chat import chat as plain
        from models.engines.settings import DecodingSettings

        wanted = DecodingSettings(**settings)
        if not typed:
            plain(folder, message, settings=wanted, **conversation, verbose=verbose, ready=loaded)
            return
        from flows.chat_session import Session
        from models.engines.own import OwnEngine

        engine = OwnEngine(folder, conversation["device"])
        try:
            loaded()
            Session(Conversation(engine, wanted, sys.stdout, conversation["system"], conversation["seed"]), name, verbose).run()
        finally:
            engine.close()


@contextlib.contextmanager
def loading(name: str) -> Iterator[Callable[[], None]]:
    """A live line on standard error while a model is loaded, where that is a terminal; calling what it yields, or leaving, removes it."""
    from rich.console import Console

    line = Console(stderr=True).status(f"loading {name} …")
    if sys.stderr.isatty():
        line.start()
    try:
        yield line.stop
    finally:
        line.stop()


def _found(model: str) -> tuple[Path, str]:
    """The folder of a model, and its name for people. `ValueError` where it holds none."""
    folder, name = Path(model), model
    if not folder.is_dir():
        home = store()
        record = home.resolve(model)
        folder = home.object(record.key) / "model"
        tags = [tag for tag, moves in home.tags().items() if moves[-1]["key"] == record.key]
        name = f"{record.stage} {record.key[:12]}" + (f" ({', '.join(tags)})" if tags else "")
    if not (folder / "config.json").exists():
        raise ValueError(
            f"{folder} holds no model; name an artifact of pretrain, sft or dpo, or a folder with config.json and model.safetensors"
        )
    return folder, name
