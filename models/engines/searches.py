"""Searches over several rows of a batch for one answer: beam search and contrastive search."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from models.engines.drawing import penalised, told
from models.engines.engine import Token
from models.engines.settings import DecodingSettings

CANDIDATES = 4  # of contrastive search, where the settings say no top_k
NEVER = -1e9  # transformers' score of what cannot be


@dataclass
class Turn:
    """The outcome of a step: the token that each row reads next, the row whose past it goes on from, and the tokens that are now certain."""

    next: list[int] = field(default_factory=list)
    sources: list[int] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)
    end: bool = False


class Search(Protocol):
    """A search for one answer."""

    width: int  # rows that it takes

    def begin(self, logits: Tensor, hidden: Tensor) -> Turn:
        """The first turn, behind the prompt: logits (vocabulary) and the representations of its tokens (length, hidden size)."""
        ...

    def go_on(self, logits: Tensor, hidden: Tensor) -> Turn:
        """The turn after its rows read their tokens: logits (width, vocabulary) and representations (width, hidden size)."""
        ...


@dataclass
class Beam:
    """A beginning of an answer and its score."""

    score: float
    tokens: list[Token] = field(default_factory=list)


class BeamSearch:
    """Beam search as transformers 5 has it with `early_stopping=False`: the likeliest of the answers found, their log-probability divided by
    their length to the power of the length penalty. All tokens become certain at its end."""

    def __init__(self, settings: DecodingSettings, limit: int, stops: Collection[int], prompt: Sequence[int]):
        self.settings, self.limit, self.stops = settings, limit, stops
        self.width = settings.beams
        self.kept = max(2, 1 + len(stops)) * self.width  # candidates of which enough go on even if all stops are among them
        self.read = frozenset(prompt)
        self.running = [Beam(0.0)] + [Beam(NEVER) for _ in range(self.width - 1)]
        self.finished: list[Beam] = []

    def begin(self, logits: Tensor, hidden: Tensor) -> Turn:
        return self.go_on(logits.expand(self.width, -1), hidden)

    def go_on(self, logits: Tensor, hidden: Tensor) -> Turn:
        logs = logits.float().log_softmax(1)
        scores = torch.stack([self._scores(beam, row) for beam, row in zip(self.running, logs, strict=True)])
        best = scores.flatten().topk(min(self.kept, scores.numel()))
        size, length = logits.shape[1], len(self.running[0].tokens) + 1
        going: list[tuple[int, Beam]] = []
        for place, (score, index) in enumerate(zip(best.values.tolist(), best.indices.tolist(), strict=True)):
            row, token = divmod(index, size)
            ended = token in self.stops or length >= self.limit
            if (ended and place >= self.width) or (not ended and len(going) == self.width):
                continue
            tokens = [*self.running[row].tokens, told(token, logits[row].float(), self.settings.alternatives)]
            if ended:
                self.finished.append(Beam(score / length**self.settings.length_penalty, tokens))
            else:
                going.append((row, Beam(score, tokens)))
        self.finished = sorted(self.finished, key=lambda beam: -beam.score)[: self.width]
        if not going or self._is_decided(going[0][1], length):
            return Turn(tokens=self.finished[0].tokens, end=True)
        self.running = [beam for _, beam in going]
        return Turn([beam.tokens[-1].id for beam in self.running], [row for row, _ in going])

    def _scores(self, beam: Beam, logs: Tensor) -> Tensor:
        written = Counter(token.id for token in beam.tokens)
        return penalised(logs, self.settings, self.read, written) + beam.score

    def _is_decided(self, best: Beam, length: int) -> bool:
        """True where no running beam would be better than the worst finished one if it ended now."""
        if len(self.finished) < self.width:
            return False
        return best.score / length**self.settings.length_penalty <= self.finished[-1].score


class ContrastiveSearch:
    """Contrastive search (Su et al. 2022, https://arxiv.org/abs/2202.06417): of the k likeliest tokens the one with the highest

        (1 − α) p(v | x) − α max_j cos(h_v, h_j)                    equation 5

    where h are the last representations of the candidate v and of all tokens before it. The step that finds the representations of the
    candidates also finds what would follow each.
    """

    def __init__(self, settings: DecodingSettings, limit: int, stops: Collection[int], prompt: Sequence[int]):
        self.settings, self.limit, self.stops = settings, limit, stops
        self.width = settings.top_k or CANDIDATES
        self.read = frozenset(prompt)
        self.written: Counter[int] = Counter()
        self.context: Tensor
        self.candidates: list[Token] = []
        self.shares: Tensor

    def begin(self, logits: Tensor, hidden: Tensor) -> Turn:
        self.context = torch.nn.functional.normalize(hidden.float(), dim=1)
        return self._propose(logits, 0)

    def go_on(self, logits: Tensor, hidden: Tensor) -> Turn:
        hidden = torch.nn.functional.normalize(hidden.float(), dim=1)
        alike = (hidden @ self.context.T).amax(1)
        alpha = self.settings.contrastive_alpha
        row = int(((1 - alpha) * self.shares - alpha * alike).argmax())
        token = self.candidates[row]
        self.written[token.id] += 1
        if token.id in self.stops or self.written.total() >= self.limit:
            return Turn(tokens=[token], end=True)
        self.context = torch.cat([self.context, hidden[row : row + 1]])
        turn = self._propose(logits[row], row)
        turn.tokens = [token]
        return turn

    def _propose(self, logits: Tensor, row: int) -> Turn:
        shares = penalised(logits.float(), self.settings, self.read, self.written).softmax(0)
        self.shares, tokens = shares.topk(self.width)
        self.candidates = [told(token, logits.float(), self.settings.alternatives) for token in tokens.tolist()]
        return Turn(tokens.tolist(), [row] * self.width)
