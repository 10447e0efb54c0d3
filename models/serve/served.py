"""Served models: names that requests choose by, the engines behind them, and the change of an engine while requests run.

A name may come to mean other files: the tag `prod` moves when a model is promoted. The new model is then loaded beside the old one; from the
moment that it is there, new requests go to it, and the old one is freed when its last request has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.engines.engine import ServingEngine
from models.engines.registry import Place
from models.loading import described, home_of
from models.serve.errors import ApiError
from models.vocabulary import spellings

LOOK = 2.0  # seconds between two looks at where the names point
RETRY = 60.0  # seconds before a model that could not be loaded is tried again
SHORT = 8  # digits of a key from which it is taken for a model's name
USUAL = {"temperature": 0.7, "top_p": 0.9}  # decoding where neither request nor model says how
DECODING = ("temperature", "top_p", "top_k", "repetition_penalty")  # settings that a model's generation_config.json may have

log = logging.getLogger("hanlin.serve")


class Loaded:
    """An engine with its model, and the number of requests that hold it."""

    def __init__(self, place: Place, engine: ServingEngine):
        self.place, self.engine = place, engine
        self.since = int(time.time())
        self.defaults = defaults(place.folder)
        self.spellings = spellings(engine.tokenizer.backend_tokenizer)
        self.longest = max(map(len, self.spellings.values()))  # bytes of a token
        self.text2text = bool(described(home_of(place.folder)).get("is_encoder_decoder"))
        self.held = 0
        self.retired = False

    def take(self) -> Loaded:
        """Hold the engine, so that it is not freed before `release`."""
        self.held += 1
        return self

    def release(self) -> None:
        self.held -= 1
        self._free_if_left()

    def retire(self) -> None:
        """Free the engine once nobody holds it."""
        self.retired = True
        self._free_if_left()

    def _free_if_left(self) -> None:
        if self.retired and not self.held:
            asyncio.get_running_loop().run_in_executor(None, self.engine.close)


def defaults(folder: Path) -> dict[str, float]:
    """The decoding of a model for requests that do not say: what its generation_config.json says of it, else `USUAL`."""
    said: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        said = json.loads((folder / "generation_config.json").read_text("utf-8"))
    if said.get("do_sample") is False:
        return {"temperature": 0.0, "top_p": 1.0}
    own = {name: float(said[name]) for name in DECODING if isinstance(said.get(name), int | float)}
    return {"temperature": 1.0, "top_p": 1.0} | own if "temperature" in own or "top_p" in own else USUAL | own


@dataclass
class ServedModel:
    """A model under its name. `locate` says where its files are now, `start` loads an engine from them (and takes its time); `adapters` are the
    names under which it answers with one of its adapters."""

    name: str
    locate: Callable[[], Place]
    start: Callable[[Path], ServingEngine]
    adapters: Sequence[str] = ()
    changes: dict[str, int] = field(default_factory=lambda: {"loaded": 0, "failed": 0})
    _now: Loaded | None = None
    _failed: tuple[str, float] = ("", 0.0)  # the key that could not be loaded, and the time before which it is not tried again

    @property
    def now(self) -> Loaded:
        """The engine that new requests go to."""
        assert self._now is not None, "serving begins when every model is loaded"
        return self._now

    def load(self) -> None:
        """Load the model for the first time. Raises what its engine does."""
        place = self.locate()
        self._now = Loaded(place, self.start(place.folder))

    async def follow(self) -> None:
        """Load what the name points at, if that has changed. What cannot be loaded is logged, and the model that is there stays."""
        key = ""
        try:
            place = await asyncio.to_thread(self.locate)
            key = place.key
            if key == self.now.place.key or self._waits(key):
                return
            log.info("%s moved to %s; loading it", self.name, key[:12])
            loaded = await asyncio.to_thread(lambda: Loaded(place, self.start(place.folder)))
        except Exception as failure:
            if not self._waits(key):
                self._failed = (key, time.monotonic() + RETRY)
                self.changes["failed"] += 1
                log.error(
                    "%s stays %s: %s cannot be loaded: %s", self.name, self.now.place.key[:12], key[:12] or "its model", failure
                )
            return
        old, self._now = self.now, loaded
        self.changes["loaded"] += 1
        log.info("%s is %s now; %d requests end on %s", self.name, key[:12], old.held, old.place.key[:12])
        old.retire()

    def _waits(self, key: str) -> bool:
        return self._failed[0] == key and time.monotonic() < self._failed[1]


class Served:
    """All models of a server, by name; the first one is meant where a request names none."""

    def __init__(self, models: Sequence[ServedModel]):
        self.models = list(models)
        self.names: dict[str, tuple[ServedModel, str]] = {}
        for model in self.models:
            for name, adapter in [(model.name, ""), *((name, name) for name in model.adapters)]:
                if name in self.names:
                    raise ValueError(f"two models are called {name}; give one of them another name (NAME=MODEL)")
                self.names[name] = (model, adapter)

    def find(self, name: str | None) -> tuple[str, ServedModel, str]:
        """The name, the model and the adapter that a request means: by name, or by the beginning of a model's key. `ApiError` for an unknown
        name."""
        if name is None:
            name = self.models[0].name
        if name in self.names:
            return name, *self.names[name]
        for model in self.models:
            if len(name) >= SHORT and model.now.place.key.startswith(name):
                return model.name, model, ""
        known = ", ".join(self.names)
        raise ApiError(404, f"no model {name!r} here; there are {known}", "model_not_found", "model")

    async def watch(self) -> None:
        """Follow the names of all models, for ever."""
        while True:
            await asyncio.sleep(LOOK)
            for model in self.models:
                await model.follow()

    def close(self) -> None:
        """End the engines."""
        for model in self.models:
            if model._now is not None:
                model._now.engine.close()

    @contextlib.asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """The watch over the names, for as long as the server runs."""
        task = asyncio.create_task(self.watch())
        try:
            yield
        finally:
            task.cancel()

    def entry(self, name: str) -> dict[str, Any]:
        """A model as /v1/models tells it: OpenAI's fields, then ours."""
        model, adapter = self.names[name]
        now = model.now
        return {
            "id": name,
            "object": "model",
            "created": now.since,
            "owned_by": "hanlin",
            "root": model.name if adapter else name,
            "key": now.place.key,
            "engine": now.engine.name,
            "context": now.engine.context,
            "defaults": now.defaults,
        }
