"""`hanlin chat`: a talk with a model in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.console import store

Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="A tag, a stage (for its newest result), the beginning of a key, or a model folder")
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
MaxTokens = Annotated[int, typer.Option(min=1, help="Longest answer, in tokens; at most half of the model's context")]
Seed = Annotated[int | None, typer.Option(help="Seed of what is drawn; the same seed and messages give the same answers")]
System = Annotated[str, typer.Option(help="System message that opens the conversation and is never forgotten")]


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
) -> None:
    """Chat with a model in this terminal."""
    folder = Path(model)
    if not folder.is_dir():
        home = store()
        folder = home.object(home.resolve(model).key) / "model"
    if not (folder / "config.json").exists():
        raise ValueError(
            f"{folder} holds no model; name an artifact of pretrain, sft or dpo, or a folder with config.json and model.safetensors"
        )
    if beams > 1 and contrastive:
        raise ValueError("--beams and --contrastive are two ways to find an answer; give one of them")
    from models.chat import chat as talk
    from models.engines.settings import DecodingSettings

    settings = DecodingSettings(
        max_tokens,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        beams=beams,
        contrastive_alpha=contrastive,
        repetition_penalty=repetition_penalty,
    )
    talk(folder, message, settings=settings, system=system, seed=seed)
