#!/usr/bin/env bash
# The mask of an assistant's tokens leaves out the end of a Chinese answer.
#
# Expected: apply_chat_template(..., return_assistant_tokens_mask=True) marks every token that {% generation %} wraps, so that the
#   loss is taken on the whole answer.
# Happens:  where the block ends with the answer itself, all but the first token of its last character stay unmarked. The end is
#   looked up by character, and of a character that is several tokens (any rarer Han character under byte-level BPE) the first
#   is found. No warning. English answers, and blocks that also wrap an end token, are right.
# Versions: transformers 5.23.0, tokenizers 0.23.3, without torch.
# Matters:  a model that is trained so gets no loss on the bytes that finish such a character.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet transformers==5.23.0 tokenizers==0.23.3 huggingface_hub==2.4.0 Jinja2==3.1.6 numpy==2.4.6
cd "$work"
HF_HUB_OFFLINE=1 "$work/venv/bin/python" - <<'PY'
import tokenizers
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

print("transformers", transformers.__version__, "tokenizers", tokenizers.__version__)

# A byte-level BPE that knows two characters whole and spells the others in bytes, as every byte-level vocabulary does.
vocab = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
merges = []
for character in "你好":
    a, b, c = (pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(character))[0][0]
    for left, right in ((a, b), (a + b, c)):
        if left + right not in vocab:
            vocab[left + right] = len(vocab)
            merges.append((left, right))
backend = Tokenizer(models.BPE(vocab=vocab, merges=merges))
backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
backend.decoder = decoders.ByteLevel()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, extra_special_tokens=["<|end|>"])

TURN = "{%% for m in messages %%}{{ m.role }}:{%% if m.role == 'assistant' %%}%s{%% else %%}{{ m.content }}<|end|>{%% endif %%}{%% endfor %%}"
ENDS_WITH_ANSWER = TURN % "{% generation %}{{ m.content }}{% endgeneration %}<|end|>"
ENDS_WITH_TOKEN = TURN % "{% generation %}{{ m.content }}<|end|>{% endgeneration %}"


def marked(answer, template):
    out = tokenizer.apply_chat_template(
        [{"role": "user", "content": "你好"}, {"role": "assistant", "content": answer}],
        chat_template=template, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
    return tokenizer.decode([i for i, m in zip(out["input_ids"], out["assistant_masks"]) if m])


for answer, template, expected in (
        ("good", ENDS_WITH_ANSWER, "good"),
        ("你好", ENDS_WITH_ANSWER, "你好"),            # its last character is one token
        ("今天晴", ENDS_WITH_ANSWER, "今天\ufffd"),     # its last character is three: two are lost
        ("今天晴", ENDS_WITH_TOKEN, "今天晴<|end|>")):
    got = marked(answer, template)
    print(f"answer {answer!r:10} tokens with loss {got!r}")
    assert got == expected, (answer, got, expected)
PY
