"""The accounts of real files: every file of a folder read, cleaned and written as the stages do it, and the characters that each rule cut.

    python -m benchmarks.ledger FOLDER [--rules] [--cuts FILE]

A file is read by the format that fits it best. `difference` has to be 0 everywhere: read + added - kept - cut. What is kept is counted a second
time in the files that were written. `--rules` prints what each rule cut, added and changed; `--cuts` writes the excerpts.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks import extract, ingest
from tasks.data import writing
from tasks.data.rows import BrokenFile, read, texts
from tasks.formats import registry
from tasks.formats.sniff import sniff
from tasks.processes.reading import row_batches
from tasks.text.ledger import difference, summed_stats


def accounted(path: Path, draft: Path) -> dict[str, Any]:
    """The account of one file, with its format and rows. BrokenFile where it cannot be read to its end, KeyError where no format fits."""
    name = next(iter(sniff(path).formats), "")
    if not name:
        raise KeyError(path.name)
    reader = registry.reader(name)
    if name == "wiki":
        convert = functools.partial(extract._article, extract.Params(source="s"))
        rows = reader.read(path, tolerate_truncation=True)
    else:
        convert = ingest.conversion(ingest.Params(source="s", format=name))
        rows = reader.read(path)
    parts, kept, cuts = [], 0, list[dict[str, Any]]()
    for number, (batch, _) in enumerate(row_batches(rows, reader.kind)):
        home = draft / str(number)
        parts.append(writing.write_shard("s", reader.kind, convert, batch, home))
        kept += sum(len(text) for row in read([home / f"{reader.kind}.parquet"]) for text in texts(reader.kind, row))
        cuts += read([home / "ledger.parquet"])
    account = summed_stats(part["ledger"] for part in parts)
    assert account["kept"] == kept, (
        f"{path}: the ledger says that {account['kept']:,} characters are kept, the rows hold {kept:,}"
    )
    return account | {"format": name, "in": sum(part["in"] for part in parts), "cuts": cuts}


def paths(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".md")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rules", action="store_true", help="print the rules of each file")
    parser.add_argument("--cuts", type=Path, help="write the excerpts there, as JSON Lines")
    chosen = parser.parse_args(arguments)
    accounts: list[dict[str, Any]] = []
    wrong = 0
    cuts = chosen.cuts.open("w", encoding="utf-8") if chosen.cuts else None
    started = time.process_time()
    for path in paths(chosen.folder):
        try:
            with tempfile.TemporaryDirectory() as draft:
                account = accounted(path, Path(draft))
        except (BrokenFile, KeyError) as error:
            print(f"{path.relative_to(chosen.folder)}: not read: {str(error)[:160]}")
            continue
        accounts.append(account)
        left = difference(account)
        wrong += left != 0
        print(f"{path.relative_to(chosen.folder)} as {account['format']}: {_line(account)}")
        if chosen.rules:
            print("\n".join(_rules(account)))
        for cut in account["cuts"] if cuts else ():
            print(json.dumps(cut | {"source": path.name}, ensure_ascii=False), file=cuts)
    total = summed_stats(accounts)
    print(
        f"all {len(accounts)} files: {_line(total)}; {wrong} files do not add up; {time.process_time() - started:.0f} s of processor"
    )
    print("\n".join(_rules(total)))
    return 1 if wrong else 0


def _line(account: dict[str, Any]) -> str:
    cut, added, changed = (sum(rule[name] for rule in account["rules"].values()) for name in ("cut", "added", "changed"))
    return (
        f"read {account['read']:,} + added {added:,} = kept {account['kept']:,} + cut {cut:,}, "
        f"difference {difference(account)}; changed {changed:,}"
    )


def _rules(account: dict[str, Any]) -> Iterator[str]:
    for rule, counts in account["rules"].items():
        details = list(account["details"].get(rule, {}).items())[:5]
        named = "; ".join(f"{detail} {times:,}×" for detail, (times, _) in details)
        yield (
            f"    {rule}: {counts['rows']:,} rows, {counts['times']:,} times, cut {counts['cut']:,}, added {counts['added']:,}, "
            f"changed {counts['changed']:,}" + (f" ({named})" if named else "")
        )


if __name__ == "__main__":
    sys.exit(main())
