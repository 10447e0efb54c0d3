"""One flipped byte, or one deleted file, in any published artifact: `verify` names it, the next run rebuilds that artifact and nothing else."""

from __future__ import annotations

from pathlib import Path

from benchmarks.bench import Hanlin, built, close, playground

VICTIMS = ("filter", "tokenizer", "pretrain", "report")  # one of each kind: rows, a tokenizer, weights, a page


def main() -> None:
    wrong, tried = [], 0
    with playground() as folder:
        hanlin = Hanlin(folder / "store")
        artifacts = hanlin.run("tiny")["artifacts"]
        for harm in (flip, delete):
            for victim in VICTIMS:
                tried += 1
                home = hanlin.store / "objects" / artifacts[victim]["key"]
                path = max((p for p in home.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
                harm(path)
                told = hanlin("artifacts", "verify", code=1).stdout
                named = [line for line in told.splitlines() if line.startswith("DAMAGED")]
                again = built(hanlin.run("tiny"))
                healthy = hanlin("artifacts", "verify", code=None).returncode == 0
                good = len(named) == 1 and victim in named[0] and path.name in named[0] and again == [victim] and healthy
                print(f"{'ok ' if good else 'BAD'} {harm.__name__} {victim}/{path.name}: {named}; built again: {again}")
                wrong += [] if good else [f"{harm.__name__} {victim}"]
    close("damage", tried - len(wrong), f"of {tried} damages", "found, named, rebuilt alone", not wrong, wrong=wrong)


def flip(path: Path) -> None:
    """Change one byte in the middle."""
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))


def delete(path: Path) -> None:
    path.unlink()


if __name__ == "__main__":
    main()
