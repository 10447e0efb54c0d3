"""`kill -9` of the flow process at random moments over the whole pipeline, each followed by a restart.

Every run must end, and the digests of all artifacts up to the tokenizer and the loss curves must equal those of an uninterrupted run.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import random
import signal
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.bench import Hanlin, close, last_json, playground, timed

CURVES = ("pretrain", "sft", "dpo")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--kills", type=int, default=20)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--recipe", default="tiny")
    given = options.parse_args()
    with playground() as folder:
        straight = Hanlin(folder / "straight" / "store")
        seconds, outcome = timed(straight.run, given.recipe)
        expected = fingerprints(straight, outcome)
        print(f"uninterrupted: {seconds:.0f} s")

        chance = random.Random(given.seed)
        kills, stores, places = 0, 0, []
        different: set[str] = set()
        while kills < given.kills:
            killed = Hanlin(folder / f"killed{stores}" / "store")
            stores += 1
            while True:
                process = killed.start("run", given.recipe, "resources.checkpoint_steps=5", "--json")
                if kills < given.kills:
                    # a life ends at any moment of a whole run; what it leaves to the next is less, so deaths fall on all stages
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(chance.uniform(4, 0.7 * seconds))
                    if process.poll() is None:
                        process.send_signal(signal.SIGKILL)
                        process.wait()
                        kills += 1
                        places.append(working_on(killed.store))
                        print(f"kill {kills}: while {places[-1]}", flush=True)
                        continue
                out, err = process.communicate()
                if process.returncode != 0:
                    raise SystemExit(f"the restarted run failed:\n{err}")
                break
            same = fingerprints(killed, last_json(out))
            different |= {name for name in expected if expected[name] != same.get(name)}
            print(f"a run finished after {kills} kills; different so far: {sorted(different) or 'nothing'}", flush=True)
    close(
        "kill",
        kills,
        "kills survived",
        "20, artifacts to the tokenizer and loss curves equal",
        not different,
        different=sorted(different),
        runs_finished=stores,
        places=places,
    )


def fingerprints(hanlin: Hanlin, outcome: dict[str, Any]) -> dict[str, str]:
    """Digests of the artifacts up to the tokenizer, and of the loss curves."""
    found = {}
    for name, artifact in outcome["artifacts"].items():
        found[name] = artifact["digest"]
        if name == "tokenizer":
            break
    for name in CURVES:
        log = hanlin.store / "objects" / outcome["artifacts"][name]["key"] / "log.jsonl"
        found[f"losses of {name}"] = hashlib.sha256(log.read_bytes()).hexdigest()
    return found


def working_on(store: Path) -> str:
    """The stage whose work was under way, going by its scratch."""
    stages = [path.read_text("utf-8") for path in store.glob("work/*/stage")]
    return ", ".join(stages) or "between stages"


if __name__ == "__main__":
    main()
