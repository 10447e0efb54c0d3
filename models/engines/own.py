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
from models.engines.adapter_rows import AdapterRows
from models.engines.batch import CHUNK, Batch, Reading, check_architecture
from models.engines.checks import check
from models.engines.drawing import Draw, choose
from models.engines.engine import ContextExceeded, QueueFull
from models.engines.generation import CANCELLED, Ending, OwnGeneration
from models.engines.memory import Memory, in_words, row_size
from models.engines.row_cache import Rows
from models.engines.searches import BeamSearch, ContrastiveSearch, Search, Turn
from models.engines.settings import DecodingSettings
from models.loading import context_of, device_of, has_bf16, load
from models.threads import SHARED


class Request:
    """A prompt, the way to answer it, and how far its answer is."""

    def __init__(self, ids: Sequence[int], settings: DecodingSettings, adapter: str, limit: int, generation: OwnGeneration):
        self.ids, self.settings, self.adapter, self.limit = list(ids), settings, adapter, limit
        self.generation = generation
        self.draw: Draw
        self.search: Search | None = None  # where the answer takes several rows
        self.ending: Ending
        self.ended = False
        self.rows: list[int] = []
        self.next: list[int] = []  # the token that each of its rows reads next
        self.longest = 0  # tokens of a row at its end

    @property
    def width(self) -> int:
        """The rows that it takes."""
        return self.search.width if self.search else 1

    @property
    def space(self) -> tuple[int, int, int]:
        """Its rows, the tokens of its prompt, and the most tokens of a row, as `RowSize.of` takes them."""
        return self.width, len(self.ids), self.longest


class OwnEngine:
    """A `ServingEngine` of a model in a folder: all architectures that Hanlin trains, and others of transformers with full attention.

    `slots`: rows of the running batch. `queue`: requests that may wait beside them. `adapters`: name → a folder of low-rank adapters, for
    requests that name it. `memory`: what the rows may take; a request waits until there is enough. `ValueError` for a model that it cannot serve.
    """

    tokenizer: PreTrainedTokenizerBase

    def __init__(
        self,
        folder: Path,
        device: str = "auto",
        *,
        slots: int = 32,
        queue: int = 256,
        adapters: Mapping[str, Path] | None = None,
        memory: Memory = Memory(),  # noqa: B008  immutable
    ):
        model, self.tokenizer = load(folder, device_of(device))
        check_architecture(model)
        rows = AdapterRows(model, adapters or {})
        self.model = model.to(torch.bfloat16) if has_bf16(model.device) else model
        self.context = context_of(self.model)
        self.name = f"hanlin (transformers {transformers.__version__})"
        self.slots, self.queue = slots, queue
        self._adapters = rows
        self._stops = frozenset(template.stops(self.tokenizer))
        self._operations = 2 * self.model.num_parameters()  # of one token
        self._threads = torch.get_num_threads()
        self._batch = Batch(self.model, rows)
        self._rows: list[Request] = []  # row → whose it is
        self._reading: tuple[Reading, list[Request]] | None = None
        self._changed = threading.Condition()
        self._waiting: deque[Request] = deque()
        self._cancelled: set[OwnGeneration] = set()
        self._running, self._taken = 0, 0  # requests, and their rows
        self._closed = False
        self._row_size, self._memory = row_size(self._batch), memory.on(self.model.device)
        self._thread = threading.Thread(target=self._work, name="hanlin-engine", daemon=True)
        self._thread.start()

    def submit(self, ids: Sequence[int], settings: DecodingSettings, seed: int, adapter: str = "") -> OwnGeneration:
        check(settings, self.model.config.vocab_size)
        request = self._request(ids, settings, seed, adapter)
        with self._changed:
            if self._closed:
                raise RuntimeError("the engine is closed")
            if self._waits(request) > self.queue:
                raise QueueFull(f"{len(self._waiting)} requests wait already; send this one again later")
            self._waiting.append(request)
            self._changed.notify()
        return request.generation

    def _waits(self, request: Request) -> int:
        """The requests that wait once this one does, but for those that there are rows for."""
        free, fitting = self.slots - self._taken, 0
        for one in (*self._waiting, request):
            free -= one.width
            if free < 0:
                break
            fitting += 1
        return len(self._waiting) + 1 - fitting

    def _request(self, ids: Sequence[int], settings: DecodingSettings, seed: int, adapter: str) -> Request:
        if adapter and adapter not in self._adapters:
            raise ValueError(f"no adapter {adapter!r} is served here")
        if not ids:
            raise ValueError("the prompt is empty; give at least one token")
        encoder = self.model.config.is_encoder_decoder
        room = self.context if encoder else self.context - len(ids)
        if room < 1 or len(ids) > self.context:
            raise ContextExceeded(
                f"the prompt has {len(ids)} tokens, and the model reads {self.context} together with its answer; shorten the prompt"
            )
        request = Request(ids, settings, adapter, min(settings.max_new_tokens, room), OwnGeneration(self._cancel))
        read = (
            [self.model.config.decoder_start_token_id] if encoder else request.ids
        )  # what a repetition repeats, as for `generate`
        if settings.beams > 1:
            request.search = BeamSearch(settings, request.limit, self._stops, read)
        elif settings.contrastive_alpha:
            request.search = ContrastiveSearch(settings, request.limit, self._stops, read)
        if request.width > self.slots:
            raise ValueError(
                f"this way of decoding takes {request.width} rows, and the engine has {self.slots}; take "
                + ("fewer beams" if settings.beams > 1 else "a lower top_k")
            )
        request.longest = request.limit + (1 if encoder else len(ids))
        if (needed := 2 * self._row_size.of([request.space])) > self._memory:
            raise ValueError(
                f"this answer may need {in_words(needed)} of memory ({request.longest:,} tokens, {request.width} at once), and there are "
                f"{in_words(self._memory)}; ask for fewer tokens or beams, or serve with more --memory"
            )
        request.draw = Draw(settings, seed, read)
        request.ending = Ending(self.tokenizer, settings, self._stops, request.limit)
        return request

    def load(self) -> tuple[int, int]:
        with self._changed:
            return self._running, len(self._waiting)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _cancel(self, generation: OwnGeneration) -> None:
        with self._changed:
            if not generation.over:
                self._cancelled.add(generation)
                self._changed.notify()

    def _work(self) -> None:
        with torch.inference_mode():
            while self._wait():
                try:
                    self._drop_cancelled()
                    self._read()
                    if self._rows:
                        self._step()
                except Exception as failure:  # such as a lack of memory in a step: all rows were in it
                    self._fail(self._requests(), failure)
                    self._rows, self._reading = [], None
                    self._batch.rows = Rows()
        error = RuntimeError("the engine was closed before the answer was complete")
        for request in [*self._requests(), *self._waiting]:
            request.generation.put([], "error", error)
        self._waiting.clear()
        self._rows, self._reading, self._running = [], None, 0
        del self._batch

    def _wait(self) -> bool:
        """Wait for something to do; False once the engine is closed."""
        with self._changed:
            self._running, self._taken = len(self._requests()), sum(request.width for request in self._requests())
            while not (self._closed or self._waiting or self._rows or self._reading or self._cancelled):
                self._changed.wait()
            return not self._closed

    def _requests(self) -> list[Request]:
        return list(dict.fromkeys([*self._rows, *(self._reading[1] if self._reading else [])]))

    def _drop_cancelled(self) -> None:
        with self._changed:
            cancelled, self._cancelled = self._cancelled, set()
            if not cancelled:
                return
            self._waiting = deque(request for request in self._waiting if request.generation not in cancelled)
        for generation in cancelled:
            generation.put([], CANCELLED)
        for request in self._requests():
            request.ended |= request.generation in cancelled
        if self._reading and all(request.ended for request in self._reading[1]):
            self._reading = None
        self._leave()

    def _read(self) -> None:
        """Read a chunk of the prompts that are next; what is read to its end joins the batch."""
        if self._reading is None and (requests := self._next()):
            every = isinstance(requests[0].search, ContrastiveSearch)
            prompts, adapters = [one.ids for one in requests], [one.adapter for one in requests]
            self._reading = Reading(self.model, prompts, adapters, every), requests
        if self._reading is None:
            return
        reading, requests = self._reading
        try:
            self._share(reading.ids.shape[0] * min(reading.ids.shape[1], CHUNK))
            if not self._batch.read(reading):
                return
            self._join(reading, requests)
        except Exception as error:
            self._fail(requests, error)
        self._reading = None
        self._leave()

    def _next(self) -> list[Request]:
        """The requests whose prompts are read together: as many as have room, in the order in which they came."""
        taken: list[Request] = []
        with self._changed:
            free, width = self.slots - len(self._rows), 0
            while self._waiting:
                request = self._waiting[0]
                free, width = free - request.width, max(width, len(request.ids))
                alone = isinstance(request.search, ContrastiveSearch)
                if free < 0 or (taken and (alone or width * (len(taken) + 1) > CHUNK)) or not self._fits([*taken, request]):
                    break
                taken.append(self._waiting.popleft())
                if alone:
                    break
            self._running += len(taken)
            self._taken += sum(one.width for one in taken)
        return taken

    def _fits(self, more: Sequence[Request]) -> bool:
        """True where there is memory for more requests beside those in the batch, whose rows are there twice while they grow."""
        running = dict.fromkeys(self._rows)
        if not running and len(more) == 1:
            return True  # as `_request` saw
        size = self._row_size.of(request.space for request in [*running, *more])
        return size + max(size, self._batch.rows.held) <= self._memory

    def _join(self, reading: Reading, requests: list[Request]) -> None:
        assert reading.logits is not None
        logits = reading.logits.float()
        drawn = [row for row, request in enumerate(requests) if not request.search]
        first = iter(choose(logits[drawn], [requests[row].draw for row in drawn]) if drawn else [])
        for row, request in enumerate(requests):
            if request.search:
                hidden = torch.cat(reading.hidden) if reading.every else logits.new_empty(0, 0)
                self._turn(request, request.search.begin(logits[row], hidden))
            else:
                token = next(first)
                self._turn(request, Turn([token.id], [0], [token]))
            if not request.ended:
                request.rows = self._batch.rows.join(reading.cache, row, len(request.ids), request.width)
                self._rows += [request] * request.width

    def _step(self) -> None:
        requests = list(dict.fromkeys(self._rows))
        ids = [0] * len(self._rows)
        for request in requests:
            for row, following in zip(request.rows, request.next, strict=True):
                ids[row] = following
        self._share(len(ids))
        logits, hidden = self._batch.step(ids, [request.adapter for request in self._rows])
        drawn = [request for request in requests if not request.search]
        tokens = choose(logits[[one.rows[0] for one in drawn]], [one.draw for one in drawn]) if drawn else []
        for request, token in zip(drawn, tokens, strict=True):
            self._turn(request, Turn([token.id], [0], [token]))
        sources: list[int] = []
        targets: list[int] = []
        for request in requests:
            if request.search:
                try:
                    turn = request.search.go_on(logits[request.rows], hidden[request.rows])
                except Exception as error:
                    self._fail([request], error)
                    continue
                self._turn(request, turn)
                if not request.ended:
                    sources += [request.rows[place] for place in turn.sources]
                    targets += request.rows
        self._batch.rows.copy(sources, targets)
        self._leave()

    def _turn(self, request: Request, turn: Turn) -> None:
        """Hand over the tokens of a turn, up to the one that ends the answer."""
        given, end = request.ending.upto(turn.tokens)
        if turn.end and not end:
            end = "length"
        request.next, request.ended = turn.next, bool(end)
        if given or end:
            request.generation.put(given, end)

    def _fail(self, requests: Sequence[Request], error: Exception) -> None:
        for request in requests:
            request.ended = True
            request.generation.put([], "error", error)

    def _leave(self) -> None:
        """Take the rows of ended requests out of the batch; the last rows take their places."""
        ended = [row for row, request in enumerate(self._rows) if request.ended]
        if not ended:
            return
        count = len(self._rows) - len(ended)
        free = [row for row in ended if row < count]
        moved = [row for row in range(count, len(self._rows)) if not self._rows[row].ended]
        if count:
            self._batch.rows.copy(moved, free)
        for source, target in zip(moved, free, strict=True):
            request = self._rows[target] = self._rows[source]
            request.rows = [target if row == source else row for row in request.rows]
        del self._rows[count:]
        self._batch.rows.cut(count)

    def _share(self, tokens: int) -> None:
        """Take several threads where a step is worth it (see `models.threads`); those of this thread alone."""
        if self.model.device.type == "cpu":
            threads = self._threads if tokens * self._operations >= SHARED else 1
            if torch.get_num_threads() != threads:
                torch.set_num_threads(threads)
