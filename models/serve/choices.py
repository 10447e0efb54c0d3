"""Choices: the answers to one request while they are made, as pieces of text that are certain, with their tokens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass

from models.engines.engine import Generation, Token
from models.engines.text_stream import TextStream


@dataclass(frozen=True)
class Piece:
    """A part of an answer. Its text may lag behind its tokens, and the last piece may have no text."""

    text: str
    tokens: Sequence[Token]
    before: bytes  # the bytes of the tokens before these
    end: str = ""  # `stop` or `length` in the last piece


class Choice:
    """One answer under way; `spellings` are the bytes of the model's tokens, and `begun` is told of its first one."""

    def __init__(self, generation: Generation, stream: TextStream, spellings: Mapping[int, bytes], begun: Callable[[], None]):
        self.generation, self.stream, self.spellings = generation, stream, spellings
        self.begun = begun
        self.tokens = 0

    async def pieces(self) -> AsyncIterator[Piece]:
        """The answer in pieces, the last one with its end. Raises what the engine does."""
        waiting: list[Token] = []
        before = b""
        async for token in self.generation:
            if not self.tokens:
                self.begun()
            self.tokens += 1
            waiting.append(token)
            text = self.stream.put(token.id)
            if self.stream.stopped:
                self.generation.cancel()
                yield Piece(text, self._before_stop(waiting, before), before, "stop")
                return
            if text:
                yield Piece(text, waiting, before)
                before += self._bytes(waiting)
                waiting = []
        yield Piece(self.stream.finish(), waiting, before, self.generation.end)

    def _before_stop(self, tokens: Sequence[Token], before: bytes) -> list[Token]:
        """Those of the last tokens that have a part in the text, which ends before its stop text."""
        kept, end = [], len(self.stream.text)
        for token in tokens:
            if len(before.decode("utf-8", "ignore")) >= end:
                break
            kept.append(token)
            before += self._bytes([token])
        return kept

    def _bytes(self, tokens: Sequence[Token]) -> bytes:
        return b"".join(self.spellings.get(token.id, b"") for token in tokens)

    async def whole(self) -> Piece:
        """The whole answer as one piece."""
        pieces = [piece async for piece in self.pieces()]
        return Piece(self.stream.text, [token for piece in pieces for token in piece.tokens], b"", pieces[-1].end)


async def merged(choices: Sequence[Choice]) -> AsyncIterator[tuple[int, Piece]]:
    """The pieces of all choices, each with its choice's number, in the order in which they come."""
    queue: asyncio.Queue[tuple[int, Piece] | BaseException | None] = asyncio.Queue()

    async def run(number: int, choice: Choice) -> None:
        try:
            async for piece in choice.pieces():
                queue.put_nowait((number, piece))
            queue.put_nowait(None)
        except Exception as failure:
            queue.put_nowait(failure)

    tasks = [asyncio.create_task(run(number, choice)) for number, choice in enumerate(choices)]
    try:
        left = len(tasks)
        while left:
            item = await queue.get()
            if item is None:
                left -= 1
            elif isinstance(item, BaseException):
                raise item
            else:
                yield item
    finally:
        for task in tasks:
            task.cancel()
