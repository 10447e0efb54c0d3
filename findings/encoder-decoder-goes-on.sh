#!/usr/bin/env bash
# An encoder-decoder that goes on generating from its own cache reads everything once more.
#
# Expected: generate(x, decoder_input_ids=so_far, past_key_values=cache) goes on where the last call stopped and reads one
#   token a step.
# Happens:  without decoder_attention_mask, which the first call did not need, the decoder reads all tokens so far a second time,
#   behind their own copies in the cache and at later positions. The text that follows is another one, without an error or a
#   warning. With decoder_attention_mask=ones it is the text of one long call.
# Versions: transformers 5.23.0, torch 2.13.0 (a tiny T5 with random weights; no download).
# Matters:  generating in slices (to stream, to drop finished rows from a batch, to stop in time) changes what comes after the
#   first slice, and answers that are shorter than a slice look right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0
"$work/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0 tokenizers==0.23.3 huggingface_hub==2.4.0 numpy==2.4.6
cd "$work"
HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 "$work/venv/bin/python" - <<'PY'
import torch
import transformers
from transformers import T5Config, T5ForConditionalGeneration

print("transformers", transformers.__version__, "torch", torch.__version__)
torch.manual_seed(2)
model = T5ForConditionalGeneration(T5Config(
    vocab_size=100, d_model=32, d_ff=64, d_kv=8, num_heads=4, num_layers=2, num_decoder_layers=2,
    decoder_start_token_id=0, pad_token_id=0, eos_token_id=None, initializer_factor=2.0, tie_word_embeddings=False)).eval()
for name, weight in model.named_parameters():  # a random model says more than one word only with large weights
    if "relative_attention_bias" in name:
        torch.nn.init.normal_(weight, std=3)
    elif name in ("shared.weight", "lm_head.weight"):
        torch.nn.init.normal_(weight)
question = torch.randint(1, 100, (1, 7))

read = []
model.decoder.register_forward_pre_hook(
    lambda module, args, named: read.append(named["input_ids"].shape[1]), with_kwargs=True)


def generate(tokens, **options):
    read.clear()
    out = model.generate(question, max_new_tokens=tokens, do_sample=False, return_dict_in_generate=True, **options)
    return out.sequences, out.past_key_values, list(read)


whole, _, _ = generate(12)
first, cache, _ = generate(6)
bare, _, bare_read = generate(6, decoder_input_ids=first, past_key_values=cache)
first, cache, _ = generate(6)
masked, _, masked_read = generate(6, decoder_input_ids=first, past_key_values=cache, decoder_attention_mask=torch.ones_like(first))

print("in one call          ", whole[0, 7:].tolist())
print("going on             ", bare[0, 7:].tolist(), "tokens read a step:", bare_read)
print("going on, with a mask", masked[0, 7:].tolist(), "tokens read a step:", masked_read)
assert bare_read == [7, 1, 1, 1, 1, 1] and masked_read == [1] * 6, (bare_read, masked_read)
assert torch.equal(masked, whole) and not torch.equal(bare, whole)
PY
