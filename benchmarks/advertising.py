"""Advertising: what the filter cuts from real files, for a person to read one by one.

    HANLIN_REAL_DATA=... python -m benchmarks.advertising --draw 200 --seed 1
    HANLIN_REAL_DATA=... python -m benchmarks.advertising --draw 200 --seed 1 --wrong 17 42

Prints that many different cuts, drawn by the seed, each with what stands around it. The numbers of those that say something of the text's
matter, as the person found, go into `--wrong`; the precision is the share of the others.
"""

from __future__ import annotations

import argparse
import os
import random
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bench import close
from benchmarks.real_rows import real_rows
from tasks.filters.checks import cut_boilerplate, mask_personal_data, view_of
from tasks.filters.thresholds import FilterRules
from tasks.text.ledger import Excerpt, Ledger

BAR = 0.97


class _Every(Ledger):
    """A ledger with an excerpt of every cut, not one of a row."""

    def _show(self, *about: object) -> None:
        shown, self.excerpts = self.excerpts, []
        super()._show(*about)  # type: ignore[arg-type]
        self.excerpts = [*shown, *self.excerpts]


def cuts(folder: Path) -> Iterator[Excerpt]:
    """Every cut from every row of the folder's files, by the filter's own rules."""
    rules = FilterRules(max_boilerplate=1.0)
    for _, kind, row in real_rows(folder):
        if kind in ("documents", "conversations", "preferences"):
            ledger = _Every()
            masked, _, _ = mask_personal_data(view_of(kind, row), rules)
            cut_boilerplate(view_of(kind, masked), rules, ledger)
            yield from (each for each in ledger.excerpts if each.rule == "advertising")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draw", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--wrong", type=int, nargs="*", default=[])
    arguments = parser.parse_args()
    every = {cut.cut.strip(): cut for cut in cuts(Path(os.environ["HANLIN_REAL_DATA"]))}
    drawn = random.Random(arguments.seed).sample(sorted(every), min(arguments.draw, len(every)))
    for number, text in enumerate(drawn):
        cut = every[text]
        before, after = (" ".join(part.split()) for part in (cut.before, cut.after))
        print(f"{number:>4} {cut.detail:<6} …{before} [[ {' '.join(text.split())} ]] {after}…")
    precision = 1 - len(set(arguments.wrong)) / max(1, len(drawn))
    close(
        "advertising",
        precision,
        f"of {len(drawn)} cuts are advertising",
        f">= {BAR}",
        precision >= BAR,
        different=len(every),
        seed=arguments.seed,
        wrong=arguments.wrong,
    )


if __name__ == "__main__":
    main()
