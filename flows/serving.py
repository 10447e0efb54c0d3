"""`hanlin serve`: models of the store or of folders as an OpenAI-compatible HTTP API with a chat page, as a command and as a flow.

A name that is a tag is followed: when `prod` moves to another model, that one is loaded and takes over without a lost request.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.console import store
from flows.devices import check_device

if TYPE_CHECKING:
    from models.engines.registry import Place
    from models.serve.served import ServedModel
    from models.serve.server import Server

NAMED = re.compile(r"([\w.@-]+)=(.+)")  # NAME=MODEL
TOKEN = "HANLIN_TOKEN"
Gigabytes = Annotated[
    float,
    typer.Option(
        help="GB that the answers under way may take, beside the models; more wait. 0: most of what is free once the models are loaded",
        min=0,
    ),
]


@dataclass(frozen=True)
class Options:
    """The options of `hanlin serve`, checked."""

    models: Sequence[str]
    adapters: Sequence[str] = ()  # NAME=ADAPTER, or MODEL:NAME=ADAPTER
    host: str = "127.0.0.1"
    port: int = 8000
    token: str = field(default="", repr=False)
    engine: str = "own"
    device: str = "auto"
    slots: int = 32
    queue: int = 256
    drain: float = 20.0  # seconds
    memory: float = 0.0  # GB; 0: as much as is free

    def __post_init__(self) -> None:
        from flows.profile import is_local
        from models.engines import registry

        if not self.models:
            raise ValueError("no model is named; `hanlin artifacts list` shows what there is")
        if self.token and not re.fullmatch(r"[!-~]+", self.token):
            raise ValueError("the token has characters that no header can carry; make one of ASCII letters and digits")
        if not self.token and not is_local(self.host):
            raise ValueError(
                f"--host {self.host} is reached from other machines, and there is no token, so anybody could use the models; set {TOKEN} (or "
                "--token) to a long random text, or serve at 127.0.0.1"
            )
        registry.check(self.engine)


@dataclass(frozen=True)
class Target:
    """A name to serve, and a function that says where its files are; the function of a tag says so anew each time."""

    name: str
    locate: Callable[[], Place]


def serve(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL…",
            help="Models to serve: a tag (followed when it moves), a stage (for its newest result), the beginning of a key, or a model folder. "
            "NAME=MODEL gives one another name",
        ),
    ],
    adapter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=ADAPTER",
            help="An adapter to serve beside the first model under a name of its own: an artifact of SFT or DPO with LoRA, or an adapter folder. "
            "MODEL:NAME=ADAPTER puts it beside another model. Give the option once for each",
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            help="Network address to listen at: 127.0.0.1 for this machine only, 0.0.0.0 for others too (needs a token)"
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the API and the page", min=0, max=65535)] = 8000,
    token: Annotated[
        str,
        typer.Option(
            envvar=TOKEN,
            show_envvar=False,
            help=f"Token that clients must send. Better set in {TOKEN}: a command line is seen by other users",
        ),
    ] = "",
    engine: Annotated[
        str,
        typer.Option(
            help="What runs the models: own (Hanlin's, for all architectures), llama.cpp (xllamacpp) or vllm (in its own "
            "environment, which HANLIN_VLLM names)"
        ),
    ] = "own",
    device: Annotated[str, typer.Option(help="Where the models run: auto, cpu, cuda, cuda:1, mps")] = "auto",
    slots: Annotated[int, typer.Option(help="Answers that are made at once", min=1, max=4096)] = 32,
    queue: Annotated[
        int, typer.Option(help="Answers that may wait beside them; more are refused with 429", min=0, max=100_000)
    ] = 256,
    drain: Annotated[float, typer.Option(help="Seconds that requests get to end when the server is stopped", min=0)] = 20.0,
    memory: Gigabytes = 0.0,
) -> None:
    """Serve models over HTTP, as OpenAI's API has them, with a chat page for people.

    Ctrl-C ends it when the requests under way have ended, and a second one at once.
    """
    check_device(device, numbered=True)
    options = Options(models, adapter or (), host, port, token, engine, device, slots, queue, drain, memory)
    logging.basicConfig(format="hanlin: %(message)s", stream=sys.stderr)
    logging.getLogger("hanlin").setLevel(logging.INFO)
    run(options, lambda lines: print("\n".join(lines), flush=True))


def run(
    options: Options,
    tell: Callable[[list[str]], None],
    answer: Callable[[Server, socket], None] = lambda server, door: server.run([door]),
) -> None:
    """Serve until a signal, or as long as `answer` does. `tell` gets the lines to print once it runs. `ValueError` for what cannot be served,
    before anything is loaded."""
    targets = [target_of(name) for name in options.models]
    adapters = adapters_of(options.adapters, [target.name for target in targets])
    for target in targets:
        target.locate()
    from models.serve.server import address_of, listen

    door = listen(options.host, options.port)
    log = logging.getLogger("hanlin.serve")
    with door:
        from flows.tracing import Tracer
        from models.serve.api import app
        from models.serve.server import Server

        served = loaded(options, targets, adapters, log)
        address = address_of(options.host, door.getsockname()[1])
        try:
            tell(start_block(served, address, bool(options.token)))
            answer(Server(app(served, options.token, Tracer(store())), options.drain), door)
        finally:
            served.close()
            log.info("stopped")


def loaded(options: Options, targets: Sequence[Target], adapters: dict[str, dict[str, Path]], log: logging.Logger) -> Any:
    """The models, loaded one after the other."""
    from models.engines import registry
    from models.engines.memory import SHARE, Memory
    from models.serve.served import Served, ServedModel

    memory = Memory(int(options.memory * 1e9 / len(targets)), SHARE / len(targets))
    models: list[ServedModel] = []
    for target in targets:
        beside = adapters.get(target.name, {})
        start = functools.partial(
            registry.start,
            options.engine,
            device=options.device,
            slots=options.slots,
            queue=options.queue,
            adapters=beside,
            memory=memory,
        )
        models.append(ServedModel(target.name, target.locate, start, list(beside)))
    served = Served(models)
    for model in models:
        log.info("loading %s", model.name)
        model.load()
    return served


def target_of(text: str) -> Target:
    """The model that MODEL or NAME=MODEL on the command line means. `ValueError` where there is no such model."""
    from models.engines.registry import Place

    named = None if Path(text).is_dir() else NAMED.fullmatch(text)
    own, what = (named[1], named[2]) if named else ("", text)
    if (folder := Path(what)).is_dir():
        home = model_files(folder).absolute()
        name = home.parent.name if home.name == "model" else home.name
        place = Place(fingerprint(home), home)
        return Target(own or name, lambda: place)
    home_store = store()
    if what in home_store.tags():

        def locate() -> Place:
            record = store().resolve(what)
            return Place(record.key, model_files(store().object(record.key)))

        return Target(own or what, locate)
    record = home_store.resolve(what)
    fixed = Place(record.key, model_files(home_store.object(record.key)))
    return Target(own or (what if what == record.stage else record.key[:12]), lambda: fixed)


def fingerprint(folder: Path) -> str:
    """A key for a folder outside the store: other files, or files written anew, have another."""
    files = sorted((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in folder.iterdir() if path.is_file())
    return hashlib.sha256(repr((str(folder), files)).encode()).hexdigest()


def model_files(folder: Path) -> Path:
    """The folder with a model's files: an artifact has them in a folder of their own. `ValueError` where there are none."""
    for home in (folder / "model", folder):
        if (home / "config.json").exists():
            return home
    raise ValueError(
        f"{folder} holds no model; name an artifact of pretrain, sft or dpo, or a folder with config.json and model.safetensors"
    )


def adapters_of(texts: Sequence[str], models: Sequence[str]) -> dict[str, dict[str, Path]]:
    """The adapters of the command line: model → name → folder. `ValueError` for one that is not there."""
    found: dict[str, dict[str, Path]] = {}
    for text in texts:
        names, _, what = text.partition("=")
        model, colon, name = names.rpartition(":")
        if not name or not what:
            raise ValueError(f"--adapter {text}: say NAME=ADAPTER, such as --adapter medical=sft")
        if colon and model not in models:
            raise ValueError(f"--adapter {text}: no model is served as {model}; served are {', '.join(models)}")
        found.setdefault(model or models[0], {})[name] = adapter_files(what)
    return found


def adapter_files(what: str) -> Path:
    """The folder of an adapter, by its path or by its artifact."""
    folder = Path(what)
    if not folder.is_dir():
        folder = store().object(store().resolve(what).key)
    for home in (folder / "adapter", folder):
        if (home / "adapter_config.json").exists():
            return home
    raise ValueError(
        f"{folder} holds no adapter; name an artifact of a training stage with lora, or a folder with adapter_config.json"
    )


def start_block(served: Any, address: str, token: bool) -> list[str]:
    """The lines that say what runs where, and how to ask it something."""
    names = ", ".join(
        f"{name} ({model.now.place.key[:12]})" if not adapter else name for name, (model, adapter) in served.names.items()
    )
    first = next(iter(served.names))
    now = served.models[0].now
    header = f' -H "Authorization: Bearer ${TOKEN}"' if token else ""
    body = f'{{"model": "{first}", "messages": [{{"role": "user", "content": "你好"}}]}}'
    rows = [
        ("API", f"{address}/v1"),
        ("page", f"{address}/"),
        ("models", names),
        ("engine", now.engine.name),
        ("token", "wanted" if token else "none: this machine alone is answered"),
        ("try", f"curl {address}/v1/chat/completions{header} -H 'Content-Type: application/json' -d '{body}'"),
    ]
    return [f"{name:<8} {text}" for name, text in rows] + ["hanlin: Ctrl-C stops, once the requests under way have ended"]
