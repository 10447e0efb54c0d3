#!/usr/bin/env bash
# A SentencePiece model trained on counted Chinese words can no longer write a space.
#
# Expected: input_format="tsv" (a word and its count a line) is the same training without the text, and with byte_fallback
#   every text comes back as it was.
# Happens:  a list of words has no spaces, so the sign for a space (U+2581) is no piece. Encoding replaces a space by the sign
#   first and then falls back to the sign's three bytes; decoding joins the bytes but does not turn the sign back into a space.
#   "你好 世界" comes back as "你好▁世界", and its space costs three tokens. A line for the sign, with a count, is dropped in
#   silence (it is white space at an edge); required_chars="▁" helps. Everything looks right as long as add_dummy_prefix is on,
#   as it is by default: the prefix brings the sign in. For Chinese it is usually switched off.
# Versions: sentencepiece 0.2.3.
# Matters:  counting words first is the way to train on more Chinese than memory holds.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet sentencepiece==0.2.3
cd "$work"
"$work/venv/bin/python" - <<'PY'
import io
import pathlib

import sentencepiece

print("sentencepiece", sentencepiece.__version__)
counts = {"你好": 50, "世界": 40, "你": 30, "好": 20, "世": 10, "界": 10, "模型": 8, "a": 7, "b": 6}


def lines(table):
    return "".join(f"{word}\t{count}\n" for word, count in table.items())


pathlib.Path("words.tsv").write_text(lines(counts))
pathlib.Path("words_and_sign.tsv").write_text(lines({**counts, "\u2581": 500}))
pathlib.Path("text.txt").write_text("".join(f"{word} {word}\n" * count for word, count in counts.items()))


def train(path, **options):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        input=path, model_writer=model, model_type="bpe", vocab_size=275, byte_fallback=True, character_coverage=1.0,
        hard_vocab_limit=False, minloglevel=9, **options)
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


text = "你好 世界"
back = {}
for name, path, options in (
        ("counts, no prefix", "words.tsv", dict(input_format="tsv", add_dummy_prefix=False)),
        ("counts and the sign, no prefix", "words_and_sign.tsv", dict(input_format="tsv", add_dummy_prefix=False)),
        ("counts, sign as required_chars", "words.tsv", dict(input_format="tsv", add_dummy_prefix=False, required_chars="\u2581")),
        ("counts, with prefix", "words.tsv", dict(input_format="tsv")),
        ("text, no prefix", "text.txt", dict(add_dummy_prefix=False))):
    model = train(path, **options)
    back[name] = model.decode(model.encode(text))
    print(f"{name:31} {model.encode(text, out_type=str)} -> {back[name]!r}")
broken = {"counts, no prefix", "counts and the sign, no prefix"}
assert all(back[name] == ("你好\u2581世界" if name in broken else text) for name in back), back
PY
