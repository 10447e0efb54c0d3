"""Tracing by tantivy: documents that hold all character 4-grams of a window of the answer, compared with it exactly. Runs in the environment of
`peers.txt`, and so imports nothing of ours.

python -m benchmarks.peer_trace --index HOME; python -m benchmarks.peer_trace --ask HOME
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path

import pyarrow.parquet as pq
import tantivy

GRAM, WINDOW = 4, 10  # characters
LOOKED_AT = 10  # documents of each window


def opened(home: Path) -> tantivy.Index:
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("row", stored=True, tokenizer_name="raw", index_option="basic")
    builder.add_text_field("text", stored=True, tokenizer_name="grams", index_option="basic")
    home.mkdir(exist_ok=True)
    index = tantivy.Index(builder.build(), str(home))
    index.register_tokenizer("grams", tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.ngram(GRAM, GRAM)).build())
    return index


def build(home: Path) -> None:
    writer = opened(home / "tantivy").writer(512_000_000, 1)
    for batch in pq.ParquetFile(home / "train.parquet").iter_batches(1000, columns=["id", "text"]):
        for row in batch.to_pylist():
            writer.add_document(tantivy.Document(row=row["id"], text=row["text"]))
    writer.commit()
    writer.wait_merging_threads()
    print("{}")


def spans(index: tantivy.Index, text: str) -> list[tuple[str, list[str]]]:
    """The longest span at each place of the text, with a row that holds it."""
    searcher, found, last = index.searcher(), [], 0
    for start in range(len(text) - WINDOW + 1):
        grams = [text[at : at + GRAM] for at in (*range(start, start + WINDOW - GRAM, GRAM - 1), start + WINDOW - GRAM)]
        terms = [(tantivy.Occur.Must, tantivy.Query.term_query(index.schema, "text", gram, "basic")) for gram in grams]
        best, row = 0, ""
        for _, address in searcher.search(tantivy.Query.boolean_query(terms), LOOKED_AT).hits:
            document = searcher.doc(address)
            whole, length = document["text"][0], WINDOW
            while length <= len(text) - start and text[start : start + length] in whole:
                length += 1
            if length - 1 > max(best, WINDOW - 1):
                best, row = length - 1, document["row"][0]
        if best and start + best > last:
            found.append((text[start : start + best], [row]))
            last = start + best
    return found


def ask(home: Path) -> None:
    plants = json.loads((home / "plants.json").read_text("utf-8"))
    right, seconds = 0, {"cold": [], "warm": []}
    for state, took in seconds.items():
        index = None
        for plant in plants:
            if state == "cold":
                index = None
                for path in (home / "tantivy").iterdir():
                    descriptor = os.open(path, os.O_RDONLY)
                    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                    os.close(descriptor)
            started = time.monotonic()
            index = index or opened(home / "tantivy")
            answer = spans(index, plant["answer"])
            took.append(time.monotonic() - started)
            right += state == "warm" and any(plant["sentence"] in span and rows == [plant["row"]] for span, rows in answer)
    times = {state: {"median": round(statistics.median(took), 4), "most": round(max(took), 4)} for state, took in seconds.items()}
    print(json.dumps({"right": right, **times}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--index", type=Path)
    parser.add_argument("--ask", type=Path)
    given = parser.parse_args()
    build(given.index) if given.index else ask(given.ask)
