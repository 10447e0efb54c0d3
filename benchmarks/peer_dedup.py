"""Deduplication by datasketch, as its documentation shows it. Runs in the environment of `peers.txt`, and so imports nothing of ours.

python benchmarks/peer_dedup.py texts.parquet kept.json PROCESSES
"""

import json
import multiprocessing
import sys

import pyarrow.parquet as pq
from datasketch import MinHash, MinHashLSH

PERMUTATIONS = 128


def signed(text: str) -> MinHash:
    made = MinHash(num_perm=PERMUTATIONS)
    made.update_batch({text[place : place + 5].encode() for place in range(max(1, len(text) - 4))})
    return made


def main(source: str, target: str, processes: int) -> None:
    texts = pq.read_table(source, columns=["text"]).column("text").to_pylist()
    index, kept = MinHashLSH(threshold=0.8, num_perm=PERMUTATIONS), []
    with multiprocessing.Pool(processes) as pool:
        for number, made in enumerate(pool.imap(signed, texts, chunksize=200)):
            if not index.query(made):
                index.insert(number, made)
                kept.append(number)
    with open(target, "w") as out:  # noqa: PTH123
        json.dump(kept, out)
    print(json.dumps({"kept": len(kept)}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
