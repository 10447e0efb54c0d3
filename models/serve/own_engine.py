"""Hanlin's own serving engine: one thread in which answers join a running batch between two of its steps, and leave it when they end
(iteration-level scheduling, Yu et al., Orca, OSDI 2022)."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import transformers
from transformers import PreTrainedTokenizerBase

from models import template
from models.decoding import threads
from models.loading import context_of, device_of, has_bf16, load
from models.serve.batch import Batch, HeadInput, Reading
from models.serve.checks import check
from models.serve.drawing import Draw, choose
from models.serve.engine import ContextExceeded, QueueFull, Token
from models.serve.generation import CANCELLED, OwnGeneration
from models.serve.settings import DecodingSettings
from models.serve.text_stream import TextStream


class Request:
    """A prompt, the way to answer it, and how far its answer is."""

    def __init__(self, ids: Sequence[int], settings: DecodingSettings, seed: int, limit: int, cancel: threading.Event):
        self.ids, self.settings, self.limit = list(ids), settings, limit
        self.draw = Draw(settings, seed, ids)
        self.text: TextStream | None = None  # where it may end by a text
        self.made = 0  # tokens
        self.next = 0  # the token that its row reads next


class OwnEngine:
    """A `ServingEngine` of a model in a folder: all architectures that Hanlin trains, and others of transformers with full attention.

    `slots`: answers at once. `queue`: requests that may wait beside them.
    """

    tokenizer: PreTrainedTokenizerBase

    def __init__(
        self, folder: Path, device: str = "auto", *, slots: int = 32, queue: int = 256, adapters: Mapping[str, Path] = {}
    ):
        if adapters:
            raise ValueError("adapters are not served yet")
        model, self.tokenizer = load(folder, device_of(device))
        self.model = model.to(torch.bfloat16) if has_bf16(model.device) else model
        self.context = context_of(self.model)
        self.name = f"hanlin (transformers {transformers.__version__})"
        self.slots, self.queue = slots, queue
        self._stops = frozenset(template.stops(self.tokenizer))
        self._head = HeadInput(self.model)
        self._batch = Batch(self.model)
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Request, OwnGeneration]] = deque()
        self._running: list[tuple[Request, OwnGeneration]] = []  # in the order of the batch's rows
        self._cancelled: set[OwnGeneration] = set()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="hanlin-engine", daemon=True)
        self._thread.start()

    def submit(self, ids: Sequence[int], settings: DecodingSettings, seed: int, adapter: str = "") -> OwnGeneration:
        check(settings, self.model.config.vocab_size)
        if adapter:
            raise ValueError(f"no adapter {adapter!r} is served here")
        room = self.context if self.model.config.is_encoder_decoder else self.context - len(ids)
        if not ids:
            raise ValueError("the prompt is empty; give at least one token")
        if room < 1:
            raise ContextExceeded(
                f"the prompt has {len(ids)} tokens, and the model reads {self.context} together with its answer; shorten the prompt"
            )
        request = Request(ids, settings, seed, min(settings.max_new_tokens, room), threading.Event())
        if settings.stop:
            request.text = TextStream(self.tokenizer, settings.stop)
        generation = OwnGeneration(self._cancel)
        with self._changed:
            if self._closed:
                raise RuntimeError("the engine is closed")
            if len(self._waiting) >= self.queue:
                raise QueueFull(f"{len(self._waiting)} requests wait already; send this one again later")
            self._waiting.append((request, generation))
            self._changed.notify()
        return generation

    def load(self) -> tuple[int, int]:
        with self._changed:
            return len(self._running), len(self._waiting)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _cancel(self, generation: OwnGeneration) -> None:
        with self._changed:
            self._cancelled.add(generation)
            self._changed.notify()

    def _work(self) -> None:
        with torch.inference_mode():
            while True:
                with self._changed:
                    while not (self._closed or self._waiting or self._running or self._cancelled):
                        self._changed.wait()
                    if self._closed:
                        break
                self._drop_cancelled()
                self._admit()
                if self._running:
                    self._step()
        for _, generation in [*self._running, *self._waiting]:
            generation.put([], "error", RuntimeError("the engine was closed before the answer was complete"))

    def _drop_cancelled(self) -> None:
        with self._changed:
            cancelled, self._cancelled = self._cancelled, set()
            self._waiting = deque(one for one in self._waiting if one[1] not in cancelled)
        for generation in cancelled:
            generation.put([], CANCELLED)
        self._leave([row for row, (_, generation) in enumerate(self._running) if generation in cancelled])

    def _admit(self) -> None:
        while len(self._running) < self.slots:
            with self._changed:
                if not self._waiting:
                    return
                request, generation = self._waiting.popleft()
            try:
                start = self.model.config.decoder_start_token_id if self.model.config.is_encoder_decoder else None
                reading = Reading(self.model, request.ids, start)
                with threads(self.model, len(request.ids)):
                    while not reading.advance(self._head):
                        pass
                (token,) = choose(reading.logits, [request.draw])
            except Exception as error:
                generation.put([], "error", error)
                continue
            if not self._take(request, generation, token):
                self._batch.rows.join(reading.cache)
                with self._changed:
                    self._running.append((request, generation))

    def _step(self) -> None:
        try:
            with threads(self.model, len(self._running)):
                logits = self._batch.step([request.next for request, _ in self._running])
            tokens = choose(logits, [request.draw for request, _ in self._running])
        except Exception as error:
            for _, generation in self._running:
                generation.put([], "error", error)
            self._leave(list(range(len(self._running))))
            return
        ended = [
            row
            for row, ((request, generation), token) in enumerate(zip(self._running, tokens, strict=True))
            if self._take(request, generation, token)
        ]
        self._leave(ended)

    def _take(self, request: Request, generation: OwnGeneration, token: Token) -> bool:
        """Take the next token of an answer; True where it is the last."""
        request.made += 1
        if token.id in self._stops:
            generation.put([], "stop")
            return True
        request.next = token.id
        end = "length" if request.made >= request.limit else ""
        if request.text is not None:
            request.text.put(token.id)
            end = "stop" if request.text.stopped else end
        generation.put([token], end)
        return bool(end)

    def _leave(self, rows: list[int]) -> None:
        """Take rows out of the batch; the last ones take their places."""
        for row in sorted(rows, reverse=True):
            last = len(self._running) - 1
            self._batch.rows.copy([last], [row])
            with self._changed:
                self._running[row] = self._running[last]
                self._running.pop()
            self._batch.rows.cut(last)
