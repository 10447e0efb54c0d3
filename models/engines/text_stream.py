"""The text of an answer while its tokens come: whole characters only, and nothing that may yet turn out to be a stop text."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Sequence
from weakref import WeakKeyDictionary

from transformers import PreTrainedTokenizerBase

from models.bpe import byte_alphabet
from models.vocabulary import is_byte_level

BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")  # a token of a SentencePiece-like vocabulary that stands for a byte


class TextStream:
    """The text of one answer, token by token, the work for each the same however long the answer is.

    A character of several bytes may be spread over tokens and is held back until it is whole; bytes that never become one are left out, so
    U+FFFD comes only where the model wrote that character. With `stop` texts, the answer ends before the first of them, and what may be the
    beginning of one is held back.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop: Sequence[str] = ()):
        self.stopped = False  # a stop text has come
        self._spelling = _spelling_of(tokenizer)
        self._stop = tuple(text for text in stop if text)
        self._bytes = codecs.getincrementaldecoder("utf-8")("ignore")
        self._last: int | None = None
        self._given: list[str] = []
        self._held = ""  # may be the beginning of a stop text

    @property
    def text(self) -> str:
        """The text given out so far."""
        return "".join(self._given)

    def put(self, token: int) -> str:
        """Take a token, and return the text that is now certain. Special tokens have none, and after a stop text nothing has."""
        if self.stopped or token in self._spelling.special:
            return ""
        piece = self._spelling.piece(token, self._last)
        self._last = token
        if isinstance(piece, bytes):
            return self._release(self._bytes.decode(piece))
        self._bytes.reset()  # what stood there never became a character
        return self._release(piece)

    def finish(self) -> str:
        """The rest of the text, once no more tokens come: what looked like the beginning of a stop text, and was none."""
        rest, self._held = self._held, ""
        self._bytes.reset()
        if rest:
            self._given.append(rest)
        return rest

    def _release(self, new: str) -> str:
        text = self._held + new
        places = [place for stop in self._stop if (place := text.find(stop)) >= 0]
        if places:
            self.stopped = True
            text, self._held = text[: min(places)], ""
        else:
            held = max((_overlap(text, stop) for stop in self._stop), default=0)
            text, self._held = text[: len(text) - held], text[len(text) - held :]
        if text:
            self._given.append(text)
        return text


def _overlap(text: str, stop: str) -> int:
    """The length of the longest end of `text` that is a beginning of `stop`."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if stop.startswith(text[-size:])), 0)


class _Spelling:
    """The bytes or the text of a tokenizer's tokens, each looked up once."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        self.special = frozenset(number for number, token in tokenizer.added_tokens_decoder.items() if token.special)
        # not the tokenizer itself, which is the key of `SPELLINGS` and would keep itself alive
        self._decode, self._name = tokenizer.backend_tokenizer.decode, tokenizer.backend_tokenizer.id_to_token
        decoder = tokenizer.backend_tokenizer.decoder
        self._bytes: dict[str, int] | None = None
        if decoder is not None and is_byte_level({"decoder": json.loads(decoder.__getstate__())}):
            self._bytes = {character: byte for byte, character in enumerate(byte_alphabet())}
        self._known: dict[int, bytes | str] = {}

    def piece(self, token: int, before: int | None) -> bytes | str:
        """The bytes of a token, or its text where only that is known: what it adds behind the token before it."""
        if (known := self._known.get(token)) is not None:
            return known
        name = self._name(token) or ""  # a model may have more tokens than its tokenizer
        if self._bytes is not None:
            whole = all(character in self._bytes for character in name)
            piece = bytes(self._bytes[character] for character in name) if whole else name.encode("utf-8")
        elif found := BYTE.fullmatch(name):
            piece = bytes.fromhex(found[1])
        else:
            already = [] if before is None else [before]
            return self._text([*already, token])[len(self._text(already)) :]
        self._known[token] = piece
        return piece

    def _text(self, ids: list[int]) -> str:
        return self._decode(ids, skip_special_tokens=True)


SPELLINGS: WeakKeyDictionary[PreTrainedTokenizerBase, _Spelling] = WeakKeyDictionary()


def _spelling_of(tokenizer: PreTrainedTokenizerBase) -> _Spelling:
    if tokenizer not in SPELLINGS:
        SPELLINGS[tokenizer] = _Spelling(tokenizer)
    return SPELLINGS[tokenizer]
