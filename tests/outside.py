"""A little Llama as other people's come: its own tokenizer, with none of our special tokens and no padding, and no chat template."""

from __future__ import annotations

from pathlib import Path

from tests import tiny

TEXT = [tiny.ANSWER.format(place, water, water) + tiny.QUESTION.format(place) for place, water in tiny.PLACES.items()]


def base(folder: Path, *, shards: bool = False, vocab_size: int = 420) -> Path:
    """Weights in bfloat16, in several files where `shards`."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    special = ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    made.train_from_iterator(TEXT, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=len(tokenizer) + 4,  # padded to a round number, as many are
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
    tokenizer.save_pretrained(folder)
    return folder
