"""The cache of decoding: one matrix a head and layer, however long the text."""

from __future__ import annotations

from typing import Any, NoReturn

from torch import Tensor
from transformers import Cache
from transformers.cache_utils import CacheLayerMixin


class RetentionState(CacheLayerMixin):
    """One layer's state (B, H, d, e), float32, and the tokens that went into it, padding included."""

    supports_early_init = False

    def __init__(self) -> None:
        super().__init__()
        self.state: Tensor | None = None
        self.seen = 0

    def put(self, state: Tensor, tokens: int) -> None:
        """Keep the state after so many more tokens."""
        self.state, self.seen, self.is_initialized = state, self.seen + tokens, True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing to make ready: no state means that nothing was read."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError("retention keeps no keys and values; use put")

    def get_seq_length(self) -> int:
        """Tokens that were read."""
        return self.seen

    def get_max_length(self) -> int:
        return -1  # none

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.seen + query_length, 0

    @property
    def batch_size(self) -> int:
        return -1 if self.state is None else self.state.shape[0]

    def reset(self) -> None:
        self.state, self.seen, self.is_initialized = None, 0, False

    def reorder_cache(self, beam_idx: Tensor) -> None:
        self.batch_select_indices(beam_idx)

    def batch_select_indices(self, indices: Tensor) -> None:
        if self.state is not None:
            self.state = self.state[indices.to(self.state.device)]

    def batch_repeat_interleave(self, repeats: int) -> None:
        if self.state is not None:
            self.state = self.state.repeat_interleave(repeats, dim=0)

    def crop(self, tokens_to_remove: int) -> None:
        """Tokens that went into a sum cannot be taken out again: so assisted decoding is not to be had."""
        if tokens_to_remove:
            raise ValueError(
                "a RetNet cannot forget its last tokens; read the text again from its beginning, or keep a copy of the cache"
            )


class RetNetCache(Cache):
    """The states of all layers, for `past_key_values`."""

    def __init__(self, layers: int) -> None:
        super().__init__(layers=[RetentionState() for _ in range(layers)])
