#!/usr/bin/env bash
# A T5 that transformers 5 saves once more loses its head in transformers 4; mT5 and UMT5 are read otherwise by the two at once.
#
# Expected: a checkpoint with a head of its own (T5 1.1, mT5, UMT5: tie_word_embeddings false, lm_head.weight in the file) gives
#   the same logits in both, also after from_pretrained + save_pretrained.
# Happens:  transformers 5 sets tie_word_embeddings to true for all three, whatever is asked. It keeps the head in memory, since
#   the weights differ, and writes true beside it; transformers 4 believes that and ties the head away, without a word. Besides, 5
#   never divides by the square root of d_model for mT5, and always does for UMT5; 4 does where the configuration says tied.
# Versions: transformers 4.57.6 (tokenizers 0.22.2, huggingface_hub 0.36.2) and 5.23.0, torch 2.13.0; tiny random models.
# Matters:  a fine-tuned T5 1.1 answers nonsense in every program that still has transformers 4.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/five"
"$work/five/bin/pip" install --quiet torch==2.13.0
"$work/five/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0 tokenizers==0.23.3 huggingface_hub==2.4.0 numpy==2.4.6 requests==2.32.5
"$work/five/bin/pip" install --quiet --no-deps --target "$work/four" transformers==4.57.6 tokenizers==0.22.2 huggingface_hub==0.36.2
cd "$work"
cat > read.py <<'PY'
import sys

import torch
import transformers
from transformers import AutoConfig, AutoModelForSeq2SeqLM

what, *folders = sys.argv[1:]
ids, labels = torch.arange(2, 22)[None], torch.arange(20, 35)[None]
sizes = dict(vocab_size=60, d_model=32, d_ff=64, d_kv=16, num_heads=2, num_layers=1, decoder_start_token_id=0, pad_token_id=0)
for folder in folders:
    kind, tied = folder.split("-")[0], "shared" in folder
    if what == "make":
        torch.manual_seed(0)
        model = AutoModelForSeq2SeqLM.from_config(AutoConfig.for_model(kind, tie_word_embeddings=tied, **sizes))
        if not tied:
            torch.nn.init.normal_(model.lm_head.weight, std=0.3)
        model.save_pretrained(folder)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    with torch.no_grad():
        logits = model(input_ids=ids, labels=labels).logits
    if what == "make":
        torch.save(logits, f"{folder}.pt")
    if what == "again":
        model.save_pretrained(f"{folder}-again")
    if what != "make":
        off = (logits - torch.load(f"{folder.removesuffix('-again')}.pt")).abs().max().item()
        print(f"{transformers.__version__:8} {folder:18} logits off by {off:.1e}")
        print("OTHER" if off > 1e-3 else "same", folder, file=sys.stderr)
PY
export HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1
all="t5-own mt5-own umt5-own t5-shared mt5-shared umt5-shared"
PYTHONPATH="$work/four" "$work/five/bin/python" read.py make $all 2>/dev/null
"$work/five/bin/python" read.py again $all 2> five.txt
PYTHONPATH="$work/four" "$work/five/bin/python" read.py check $(printf '%s-again ' $all) 2> four.txt
found=$(grep -h "^OTHER" five.txt four.txt | sort | tr '\n' ' ')
echo "$found"
test "$found" = "OTHER mt5-own-again OTHER mt5-shared OTHER t5-own-again OTHER umt5-own OTHER umt5-own-again "
