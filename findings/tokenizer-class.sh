#!/usr/bin/env bash
# One word in tokenizer_config.json decides whether tokenizer.json is read or rebuilt.
#
# Expected: tokenizer.json is the whole tokenizer (normaliser, pre-tokenizer, vocabulary, merges), and AutoTokenizer loads it;
#   "tokenizer_class" only names the Python class around it.
# Happens:  with "Qwen2Tokenizer" or "GPT2Tokenizer" only vocabulary and merges are kept; normaliser and pre-tokenizer become the
#   class's own, without a word, and the ids are others. With "LlamaTokenizer" the same file is recognised as byte-level and
#   loaded as it is, with a warning. Without the entry, or with "PreTrainedTokenizerFast", it is loaded as it is.
# Versions: transformers 5.23.0, tokenizers 0.23.3, without torch.
# Matters:  "Qwen2Tokenizer" is written there so that other programs know the format; the model then reads ids that it was not
#   trained on.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet transformers==5.23.0 tokenizers==0.23.3 huggingface_hub==2.4.0 numpy==2.4.6
cd "$work"
HF_HUB_OFFLINE=1 "$work/venv/bin/python" - <<'PY'
import json
import pathlib

import tokenizers
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.trainers import BpeTrainer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

print("transformers", transformers.__version__, "tokenizers", tokenizers.__version__)
text = "今天天气很好，我们去公园。"
backend = Tokenizer(models.BPE())
backend.normalizer = normalizers.NFKC()
backend.pre_tokenizer = pre_tokenizers.Sequence([
    pre_tokenizers.Split(Regex(r"\p{Han}{1,2}|[^\p{Han}]+"), "isolated"),
    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
backend.decoder = decoders.ByteLevel()
backend.train_from_iterator([text] * 20, BpeTrainer(
    vocab_size=400, show_progress=False, special_tokens=["<|endoftext|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
own = backend.encode(text).ids

same = {}
for name in (None, "PreTrainedTokenizerFast", "LlamaTokenizer", "Qwen2Tokenizer", "GPT2Tokenizer"):
    folder = pathlib.Path(str(name))
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>").save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    config.pop("tokenizer_class", None)
    if name:
        config["tokenizer_class"] = name
    path.write_text(json.dumps(config))
    loaded = AutoTokenizer.from_pretrained(folder)
    ids = loaded(text)["input_ids"]
    same[name] = ids == own
    print(f"{name!s:24} loaded as {type(loaded).__name__:18} {len(ids):2} tokens, {'same' if same[name] else 'OTHER'} ids")
    print("   reads back", loaded.decode(ids))
assert same == {None: True, "PreTrainedTokenizerFast": True, "LlamaTokenizer": True, "Qwen2Tokenizer": False, "GPT2Tokenizer": False}, same
PY
