#!/usr/bin/env bash
# DuckDB finds two Chinese texts without one character in common to be the same.
#
# Expected: jaccard(a, b) compares the sets of characters, and 0 means nothing in common; GLOB's ? is one character, as LIKE's _.
# Happens:  jaccard, jaro_similarity and jaro_winkler_similarity work on bytes. Han characters share a handful of first bytes and
#   64 others, so two texts of 200 characters with none in common get jaccard 0.99 and Jaro 0.7, and the jaccard of any two
#   Chinese texts rises with their length. One changed character is 1, 2 or 3 edits in levenshtein, by how alike its bytes are.
#   GLOB wants ??? for 好, while length, reverse, substring, lpad, translate, trim and LIKE beside it count characters.
# Versions: duckdb 2.0.0. For levenshtein and hamming duckdb issue 25113 says it.
# Matters:  fuzzy deduplication in SQL with thresholds that work for English joins every long Chinese text with every other.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet duckdb==2.0.0
cd "$work"
"$work/venv/bin/python" - <<'PY'
import duckdb

print("duckdb", duckdb.__version__)
con = duckdb.connect()


def one(sql, *values):
    return con.execute(f"select {sql}", list(values)).fetchall()[0][0]


# The commonest characters, in the order of GB 2312's first level, each once.
common = [bytes((row, cell)).decode("gb2312") for row in range(0xB0, 0xC0) for cell in range(0xA1, 0xFF)]
scores = {}
for n in (5, 20, 50, 100, 200):
    left, right = "".join(common[:n]), "".join(common[500:500 + n])
    assert not set(left) & set(right)
    scores[n] = one("jaccard($1, $2)", left, right), one("jaro_similarity($1, $2)", left, right)
    print(f"{n:3} characters each, none in common: jaccard {scores[n][0]:.3f}  jaro {scores[n][1]:.3f}")
print("control, Latin: jaccard('abc', 'xyz') =", one("jaccard('abc', 'xyz')"))
assert scores[200][0] > 0.98 and scores[5][0] < scores[50][0] < scores[200][0]
assert scores[200][1] > 0.6
assert one("jaccard('abc', 'xyz')") == 0

edits = {pair: one("levenshtein($1, $2)", *pair) for pair in ("一丁", "好妈", "你我", "好门")}
print("levenshtein between single characters:", edits)
assert set(edits.values()) == {1, 2, 3}, edits

globs = one("'好' GLOB '?'"), one("'好' GLOB '???'"), one("'好' LIKE '_'"), one("length('好')")
print("'好' GLOB '?', GLOB '???', LIKE '_', length:", globs)
assert globs == (False, True, True, 1)
PY
