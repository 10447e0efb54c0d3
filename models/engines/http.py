"""The common part of serving engines that are servers of other programs on this machine: requests go to them over HTTP, as token ids."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Coroutine, Sequence
from pathlib import Path
from typing import Any

import httpx

from models import template, tokenizer_files
from models.engines.checks import check
from models.engines.engine import ContextExceeded, QueueFull, Token
from models.engines.generation import CANCELLED, Ending, OwnGeneration
from models.engines.settings import DecodingSettings
from models.loading import config_of, context_of, home_of


class HTTPEngine(ABC):
    """A `ServingEngine` over a server; `slots` answers are made at once, and `queue` may wait. A thread of its own talks to the server."""

    name: str
    title: str  # without its version

    def __init__(self, folder: Path, slots: int, queue: int):
        home = home_of(folder)
        config = config_of(home)
        self.tokenizer = tokenizer_files.read(home)
        self.context = context_of(config)
        self.stops = frozenset(template.stops(self.tokenizer))
        self.slots, self.queue = slots, queue
        self._vocabulary = config.vocab_size
        self._tasks: dict[OwnGeneration, asyncio.Task[None] | None] = {}  # None: not begun
        self._lock = threading.Lock()  # of those who submit; the loop's thread takes none
        self._free: asyncio.Queue[int] = asyncio.Queue()
        for slot in range(slots):
            self._free.put_nowait(slot)
        self._client: httpx.AsyncClient
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="hanlin-http-engine", daemon=True)

    def connect(self, address: str, token: str = "") -> None:
        """Take requests from now on, for the server at this address."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.AsyncClient(
            base_url=address, headers=headers, timeout=httpx.Timeout(600, connect=10), trust_env=False
        )
        self._thread.start()

    @abstractmethod
    def lacking(self, settings: DecodingSettings) -> dict[str, bool]:
        """Settings that this engine has not → True for those that a request uses."""

    @abstractmethod
    def tokens(
        self, ids: list[int], settings: DecodingSettings, seed: int, limit: int, slot: int
    ) -> AsyncIterator[tuple[list[Token], bool]]:
        """The tokens of an answer, some at a time, its stop token perhaps among them; and True with the last of them."""

    def submit(self, ids: Sequence[int], settings: DecodingSettings, seed: int, adapter: str = "") -> OwnGeneration:
        check(settings, self._vocabulary)
        if names := [name for name, used in self.lacking(settings).items() if used]:
            raise ValueError(
                f"the engine {self.title} has no {' and no '.join(names)}; leave it out, or serve with the engine own"
            )
        if adapter:
            raise ValueError(f"no adapter {adapter!r} is served here: {self.name} runs the base alone")
        if not ids:
            raise ValueError("the prompt is empty; give at least one token")
        if len(ids) >= self.context:
            raise ContextExceeded(
                f"the prompt has {len(ids)} tokens, and the model reads {self.context} together with its answer; shorten the prompt"
            )
        limit = min(settings.max_new_tokens, self.context - len(ids))
        generation = OwnGeneration(self._cancel)
        with self._lock:
            if not self._thread.is_alive():
                raise RuntimeError("the engine is closed")
            if (under_way := self._under_way()) >= self.slots + self.queue:
                raise QueueFull(f"{under_way - self.slots} requests wait already; send this one again later")
            self._tasks[generation] = None
        work = self._answer(list(ids), settings, seed, limit, generation)
        self._loop.call_soon_threadsafe(self._start, generation, work)
        return generation

    def _start(self, generation: OwnGeneration, work: Coroutine[Any, Any, None]) -> None:
        task = self._tasks[generation] = self._loop.create_task(work)
        task.add_done_callback(
            lambda _: self._tasks.pop(generation, None)
        )  # cancelled before it began, it runs no line of its own

    async def _answer(self, ids: list[int], settings: DecodingSettings, seed: int, limit: int, generation: OwnGeneration) -> None:
        ending, slot = Ending(self.tokenizer, settings, self.stops, limit), -1
        try:
            slot = await self._free.get()
            async for tokens, last in self.tokens(ids, settings, seed, limit, slot):
                given, end = ending.upto(tokens)
                end = end or ("stop" if last else "")
                generation.put(given, end)
                if end:
                    return
        except asyncio.CancelledError:
            generation.put([], CANCELLED)
        except Exception as error:
            generation.put([], "error", error)
        finally:
            if slot >= 0:
                self._free.put_nowait(slot)

    async def post(self, where: str, body: dict[str, Any]) -> Any:
        """The answer of the server to a request. `RuntimeError` with its words where it fails."""
        response = await self._client.post(where, json=body)
        if response.is_error:
            raise RuntimeError(f"{self.name} answered {response.status_code}: {response.text[:500]}")
        return response.json()

    def _cancel(self, generation: OwnGeneration) -> None:
        generation.put([], CANCELLED)
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop, generation)

    def _stop(self, generation: OwnGeneration) -> None:
        if task := self._tasks.get(generation):
            task.cancel()

    def load(self) -> tuple[int, int]:
        running = self.slots - self._free.qsize()
        return running, max(0, self._under_way() - running)

    def _under_way(self) -> int:
        return sum(not generation.over for generation in list(self._tasks))

    def close(self) -> None:
        if not self._thread.is_alive():
            return

        async def stop() -> None:
            tasks = [task for task in self._tasks.values() if task]
            for generation in list(self._tasks):
                generation.put([], "error", RuntimeError("the engine was closed before the answer was complete"))
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._client.aclose()

        asyncio.run_coroutine_threadsafe(stop(), self._loop).result(timeout=30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
