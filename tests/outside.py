"""Little models as other people's come: their own tokenizer, with none of our special tokens, and no chat template."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests import tiny

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

TEXT = [tiny.ANSWER.format(place, water, water) + tiny.QUESTION.format(place) for place, water in tiny.PLACES.items()]


def tokenizer(vocab_size: int = 420, more: tuple[str, ...] = (), **parts: Any) -> PreTrainedTokenizerFast:
    """One of bytes, without padding; `more` are special tokens, `parts` are others than the usual ones (`normalizer`, `pre_tokenizer`)."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    for name, part in parts.items():
        setattr(made, name, part)
    special = ["<unk>", "<s>", "</s>", *more]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    made.train_from_iterator(TEXT, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def base(folder: Path, *, shards: bool = False, vocab_size: int = 420) -> Path:
    """A Llama's weights in bfloat16, in several files where `shards`."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    made = tokenizer(vocab_size)
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=len(made) + 4,  # padded to a round number, as many are
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder, max_shard_size="100KB" if shards else "5GB")
    made.save_pretrained(folder)
    return folder


def text2text(folder: Path, kind: str = "t5", *, own: bool = True, **described: Any) -> Path:
    """A T5, mT5 or UMT5 with a head of its `own`, or one that it shares; what `described` gives stands in its config.json, and what is None
    there does not."""
    import json

    import torch
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    made = tokenizer(more=("<pad>",))
    made.pad_token = "<pad>"
    torch.manual_seed(4)
    config = AutoConfig.for_model(
        kind, vocab_size=len(made), d_model=32, d_ff=48, d_kv=16, num_heads=2, num_layers=1,
        pad_token_id=3, eos_token_id=2, decoder_start_token_id=3, dropout_rate=0.0,
    )  # fmt: skip
    model = AutoModelForSeq2SeqLM.from_config(config)
    if own:
        model.lm_head.weight = torch.nn.Parameter(torch.randn(len(made), 32) * 0.3)
        model.all_tied_weights_keys.pop("lm_head.weight")
    model.save_pretrained(folder)
    path = folder / "config.json"
    told = json.loads(path.read_text("utf-8")) | described
    path.write_text(json.dumps({name: value for name, value in told.items() if value is not None}), "utf-8")
    made.save_pretrained(folder)
    return folder
