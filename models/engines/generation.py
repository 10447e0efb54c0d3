"""An answer on its way from the engine's thread to those who wait for it, in an event loop or in another thread."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator

from transformers import PreTrainedTokenizerBase

from models.engines.engine import Token
from models.engines.settings import DecodingSettings
from models.engines.text_stream import TextStream

CANCELLED = "cancelled"


class OwnGeneration:
    """A `Generation` that can be read by `async for` in one event loop, or by `for` in a thread; once, by one reader."""

    def __init__(self, cancel: Callable[[OwnGeneration], None]):
        self._cancel = cancel
        self._changed = threading.Condition()
        self._tokens: deque[Token] = deque()
        self._end = ""
        self._error: BaseException | None = None
        self._waiting: tuple[asyncio.AbstractEventLoop, asyncio.Future[None]] | None = None

    @property
    def end(self) -> str:
        """The reason of its end; empty while it goes on, or where tokens of it are still to be read."""
        with self._changed:
            return "" if self._tokens else self._end

    @property
    def over(self) -> bool:
        """True once no more tokens come."""
        return bool(self._end)

    def cancel(self) -> None:
        """Free its place in the engine; what was made is not read any more."""
        self._cancel(self)

    def put(self, tokens: list[Token], end: str = "", error: BaseException | None = None) -> None:
        """Hand tokens over, or the end; by the engine's thread. After an end, nothing more is taken."""
        with self._changed:
            if self._end:
                return
            self._tokens.extend(tokens)
            self._end, self._error = end, error
            if end == CANCELLED:
                self._tokens.clear()
            waiting, self._waiting = self._waiting, None
            self._changed.notify_all()
        if waiting:
            _wake(*waiting)

    async def __aiter__(self) -> AsyncIterator[Token]:
        loop = asyncio.get_running_loop()
        while True:
            with self._changed:
                tokens, end, future = list(self._tokens), self._end, loop.create_future()
                self._tokens.clear()
                if not tokens and not end:
                    self._waiting = (loop, future)
            for token in tokens:
                yield token
            if tokens:
                continue
            if end:
                if self._error:
                    raise self._error
                return
            await future

    def __iter__(self) -> Iterator[Token]:
        while True:
            with self._changed:
                while not self._tokens and not self._end:
                    self._changed.wait()
                tokens, end = list(self._tokens), self._end
                self._tokens.clear()
            yield from tokens
            if not tokens:
                if self._error:
                    raise self._error
                assert end
                return


class Ending:
    """The end of an answer: at a token of `stops`, at one of the stop texts of its settings, or after `limit` tokens."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, settings: DecodingSettings, stops: Collection[int], limit: int):
        self.stops, self.limit = stops, limit
        self.text = TextStream(tokenizer, settings.stop) if settings.stop else None
        self.made = 0

    def upto(self, tokens: Iterable[Token]) -> tuple[list[Token], str]:
        """Those of the next tokens that belong to the answer, and the reason of its end, if it ends with them."""
        given: list[Token] = []
        for token in tokens:
            self.made += 1
            if token.id in self.stops:
                return given, "stop"
            given.append(token)
            if self.text is not None:
                self.text.put(token.id)
                if self.text.stopped:
                    return given, "stop"
            if self.made >= self.limit:
                return given, "length"
        return given, ""


def _wake(loop: asyncio.AbstractEventLoop, future: asyncio.Future[None]) -> None:
    def wake() -> None:
        if not future.done():
            future.set_result(None)

    try:
        loop.call_soon_threadsafe(wake)
    except RuntimeError:  # the loop has ended, and with it whoever waited
        return
