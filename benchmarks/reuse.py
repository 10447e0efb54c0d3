"""Exactly what a change touches runs again: a parameter, a resource, a comment, a version, each on a finished run of the tiny recipe."""

from __future__ import annotations

import re
import shutil

from benchmarks.bench import ROOT, STAGES_AFTER_SFT, Hanlin, built, close, playground


def main() -> None:
    with playground() as folder:
        code = folder / "code"
        for package in ("flows", "tasks", "models"):
            shutil.copytree(ROOT / package, code / package, ignore=shutil.ignore_patterns("__pycache__"))
        hanlin = Hanlin(folder / "store", code)
        first = built(hanlin.run("tiny"))
        found = {
            "nothing": (built(hanlin.run("tiny")), []),
            "sft.learning_rate": (built(hanlin.run("tiny", "sft.learning_rate=0.0007")), STAGES_AFTER_SFT),
            "resources": (
                built(
                    hanlin.run(
                        "tiny", "resources.workers=3", "resources.micro_batch=4", "resources.device=cpu", "resources.threads=1"
                    )
                ),
                [],
            ),
        }
        dedup = code / "tasks" / "dedup.py"
        text = dedup.read_text("utf-8")
        dedup.write_text(text.replace("\ndef ", "\n# a remark\ndef ", 1), "utf-8")
        found["a comment in dedup.py"] = (built(hanlin.run("tiny")), [])
        bumped = re.sub(r'(@stage\(\s*"dedup",\s*version=)(\d+)', lambda m: f"{m[1]}{int(m[2]) + 1}", text)
        assert bumped != text
        dedup.write_text(bumped, "utf-8")
        found["version of dedup"] = (built(hanlin.run("tiny")), ["dedup"])
    wrong = {change: ran for change, (ran, expected) in found.items() if ran != expected}
    for change, (ran, expected) in found.items():
        print(f"{'ok ' if ran == expected else 'BAD'} {change:<24} ran again: {', '.join(ran) or 'nothing'}")
    close(
        "reuse",
        len(found) - len(wrong),
        "of 5 changes",
        "each runs again exactly what it touches",
        not wrong,
        first=len(first),
        wrong=wrong,
    )


if __name__ == "__main__":
    main()
