#!/usr/bin/env bash
# rjieba, jieba in Rust, cuts like jieba by default and otherwise in its full mode.
#
# Expected: the fast package gives jieba's words, so one may stand in for the other.
# Happens:  the default cut of a Chinese sentence agrees, with HMM and without. Full mode (cut_all) does not: rjieba also gives
#   every single character of a known word (北 and 京 beside 北京), where jieba gives the words alone, and an empty string on each
#   side of a space. With HMM the two also differ on plain ASCII: jieba cuts x86_64 and he-llo at the sign, rjieba does not.
# Versions: jieba 0.42.1, rjieba 0.2.2.
# Matters:  an index or a vocabulary that was made with one and is asked with the other misses words, and counts differ.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet setuptools==80.9.0 jieba==0.42.1 rjieba==0.2.2
cd "$work"
TMPDIR="$work" "$work/venv/bin/python" -W ignore - <<'PY'
import importlib.metadata

import jieba
import rjieba

jieba.setLogLevel(60)
print("jieba", importlib.metadata.version("jieba"), "rjieba", importlib.metadata.version("rjieba"))

sentence = "我来到北京清华大学，他来到了网易杭研大厦。"
for hmm in (False, True):
    print("default, HMM", hmm, "equal:", jieba.lcut(sentence, HMM=hmm) == list(rjieba.cut(sentence, hmm)))
    assert jieba.lcut(sentence, HMM=hmm) == list(rjieba.cut(sentence, hmm))

full = jieba.lcut("我来到北京", cut_all=True), list(rjieba.cut_all("我来到北京"))
print("full mode:", *full)
assert full == (["我", "来到", "北京"], ["我", "来", "来到", "到", "北", "北京", "京"]), full

spaced = jieba.lcut("北京 清华", cut_all=True), list(rjieba.cut_all("北京 清华"))
print("full mode, a space:", *spaced)
assert spaced[0].count("") == 2 and spaced[1].count("") == 0, spaced

for word in ("x86_64", "he-llo"):
    print(word, "with HMM:", jieba.lcut(word), list(rjieba.cut(word, True)))
    assert len(jieba.lcut(word)) == 3 and list(rjieba.cut(word, True)) == [word]
PY
