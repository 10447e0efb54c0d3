"""The mistakes of an operator, each answered with one clear message, the right exit code, nothing lost, nothing half-published.

The full and the read-only disk are small tmpfs mounts, which need root; without it those two are reported as not tried.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

from benchmarks.bench import ROOT, Hanlin, close, playground

FIVE = [
    "pretrain.learning_rat=0.1",
    "dedup.threshold=1.5",
    "sources.zhwiki.format=wikipedia",
    "sft.epochs=many",
    "resources.device=abacus",
]

TYPOS = {  # what is typed → what is said, before any server starts
    "a typo in --until": (["--until", "spilt"], "no stage 'spilt' in recipe bad-input; did you mean split?"),
    "a typo in --refresh": (["--refresh", "dedpu"], "no stage 'dedpu' in recipe bad-input; did you mean dedup?"),
    "a typo in --accept": (["--accept", "fliter"], "no stage 'fliter' in recipe bad-input; did you mean filter?"),
    "a typo in --drift": (["--drift", "rebiuld"], "did you mean rebuild?"),
    "a typo in --flow": (["--flow", "corpsu"], "flows: pipeline, corpus, finetune"),
    "a typo in an override": (["pretrain.tokns=2M"], "did you mean 'tokens'?"),
    "an override that is no number": (["pretrain.tokens=2X"], "pretrain.tokens"),
    "a device that is not there": (
        ["resources.device=mps" if sys.platform == "linux" else "resources.device=cuda"],
        "resources.device",
    ),
}


class Scene:
    """Raw files of the sample corpus on disk, a recipe that reads them, and a store."""

    def __init__(self, folder: Path):
        self.folder, self.raw = folder, folder / "raw"
        subprocess.run(
            [sys.executable, "-m", "tasks.sample", str(self.raw), "--size", "300KB"],
            cwd=ROOT,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        data = yaml.safe_load((ROOT / "flows" / "recipes" / "tiny.yaml").read_text("utf-8"))
        data |= {"name": "bad-input", "raw": str(self.raw)}
        data.pop("sample", None)
        self.recipe = folder / "recipe.yaml"
        self.recipe.write_text(yaml.safe_dump(data, allow_unicode=True), "utf-8")
        self.hanlin = Hanlin(folder / "store")

    def file(self, pattern: str) -> Path:
        return sorted(self.raw.glob(pattern))[0]

    def run(self, *arguments: str, until: str = "dedup", store: Path | None = None) -> tuple[int, str]:
        hanlin = Hanlin(store, PREFECT_HOME=str(self.folder / "prefect")) if store else self.hanlin
        done = hanlin("run", str(self.recipe), "--until", until, *arguments, code=None)
        return done.returncode, done.stdout + done.stderr

    def refusal(self, *arguments: str) -> tuple[int, str, float]:
        """Exit code, what was said, and the processor's seconds of a run that ends before it begins."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = self.hanlin("run", str(self.recipe), *arguments, code=None)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return done.returncode, done.stdout + done.stderr, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def unpublished(self, store: Path) -> bool:
        """Every object has a record, and every record its whole object."""
        objects = {path.name for path in (store / "objects").glob("[0-9a-f]*")}
        return objects == {path.stem for path in (store / "records").glob("*.json")}


@contextlib.contextmanager
def harmed(path: Path, content: bytes | None) -> Iterator[None]:
    """The file with other content, or gone, for a while."""
    backup = path.with_name(f"{path.name}.whole")
    shutil.move(path, backup)
    if content is not None:
        path.write_bytes(content)
    yield
    path.unlink(missing_ok=True)
    shutil.move(backup, path)


@contextlib.contextmanager
def tmpfs(folder: Path, options: str) -> Iterator[Path | None]:
    """A small file system of its own, or None where this user may not mount."""
    folder.mkdir()
    mounted = (
        os.geteuid() == 0
        and subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True).returncode == 0
    )
    try:
        yield folder if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


def main() -> None:
    results: dict[str, bool | None] = {}

    def note(what: str, code: int, said: str, wanted: list[str], codes: tuple[int, ...] = (1, 2)) -> None:
        missing = [text for text in wanted if text not in said]
        results[what] = code in codes and not missing and "Traceback" not in said
        print(
            f"{'ok ' if results[what] else 'BAD'} {what}: exit {code}"
            + (f"; not said: {missing}\n{said}" if not results[what] else ""),
            flush=True,
        )

    with playground() as folder:
        scene = Scene(folder)
        code, said = scene.run(*FIVE)
        note(
            "a recipe with five mistakes",
            code,
            said,
            ["5 problems", *(mistake.split("=")[0] for mistake in FIVE), "did you mean 'learning_rate'"],
        )
        seconds = {}
        for what, (arguments, wanted) in TYPOS.items():
            code, said, seconds[what] = scene.refusal(*arguments)
            note(what, code, said, [wanted], codes=(2,))
            results[what] = results[what] and said.count(wanted) == 1 and "Prefect at" not in said
        print(f"refusals took {max(seconds.values()):.1f} s of a processor at most")
        wiki, zhihu, belle = scene.file("wiki/*.bz2"), scene.file("zhihu/*.parquet"), scene.file("belle/*.json")
        with harmed(zhihu, None):
            note("a missing file", *scene.run(), ["zhihu", "no file"])
        whole = wiki.read_bytes()
        with harmed(wiki, whole[: len(whole) // 2]):
            note("a truncated bz2", *scene.run(), [wiki.name, "run the same command again"])
        with harmed(zhihu, zhihu.read_bytes()[:-100]):
            note("a parquet without its footer", *scene.run(), [zhihu.name])
        with harmed(belle, b""):
            note("an empty file", *scene.run(), [belle.name, "empty"])
        cut = belle.read_bytes()[:-40]
        with harmed(belle, cut):
            note("a JSON line cut in half", *scene.run(), ["stages reused"], codes=(0,))
        results["nothing half-published"] = scene.unpublished(scene.hanlin.store)

        with tmpfs(folder / "small", "size=2m") as small:
            if small:
                note("a full disk", *scene.run(until="report", store=small / "store"), ["the disk is full", "HANLIN_STORE"])
                results["nothing half-published on the full disk"] = scene.unpublished(small / "store")
                subprocess.run(["mount", "-o", "remount,size=2g", str(small)], check=True)
                note("going on after space was made", *scene.run(store=small / "store"), ["stages reused"], codes=(0,))
            else:
                results["a full disk"] = None
        with tmpfs(folder / "readonly", "size=2m,ro") as readonly:
            if readonly:
                note("a read-only store", *scene.run(store=readonly / "store"), ["cannot be written", "HANLIN_STORE"])
            else:
                results["a read-only store"] = None
    failed = [what for what, good in results.items() if good is False]
    untried = [what for what, good in results.items() if good is None]
    close(
        "bad_input",
        sum(good is True for good in results.values()),
        f"of {len(results)}",
        "a clear message each",
        not failed,
        failed=failed,
        untried=untried,
        refusal_seconds=round(max(seconds.values()), 1),
    )


if __name__ == "__main__":
    main()
