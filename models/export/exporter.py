"""The writing of an export and its comparison with the model: `python -m models.export.exporter job.json`.

The job file: `model` (a folder, or a file of torch), `scratch`, `out` (a folder), `to` (a format, whose module is `models.export.<to>`),
`precision`. A format's module has `write(source, out, precision, note)`, which returns facts for people and for its own reader, and
`reader(source, out, facts)`. It is found by its name, and no other module imports it, so that its code counts for what it writes and for
nothing else.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from models.events import emit, main
from models.export import pth
from models.export.comparison import compare
from models.export.formats import problems
from models.export.source import Source

PARTS = 5  # of an export's work, for its progress
EXACT = ("f32", "float32", "same")  # precisions in which nothing is rounded
ROUNDING = 1e-2  # nats by which log-probabilities may then differ
FAR = 1.0  # nats (mean KL) from which a rounded model is another one


def export(job: dict[str, Any]) -> dict[str, Any]:
    """The child's work. `ValueError` where the export is not the model."""
    model, out = Path(job["model"]), Path(job["out"])
    if model.is_file():
        model = pth.unpack(model, Path(job["scratch"]) / "unpacked")
    if wrong := problems(model, job["to"], job["precision"]):
        raise ValueError("; ".join(wrong))
    source = Source(model)
    source.model  # noqa: B018  refused before anything is written, where it is not whole
    out.mkdir(parents=True, exist_ok=True)
    format = importlib.import_module(f"models.export.{job['to']}")
    done = 0

    def progress(part: str) -> None:
        nonlocal done
        emit("progress", done=done, total=PARTS, unit=part)
        done += 1

    progress("writing")
    facts = format.write(source, out, job["precision"], lambda text: emit("log", text=text))
    for path in out.rglob("*"):
        if path.is_file():
            path.chmod(0o644)
    reader = format.reader(source, out, facts)
    try:
        figures = compare(source, reader, progress)
    finally:
        reader.close()
    if found := differences(figures, job["precision"]):
        raise ValueError(f"{figures['reader']} reads the export otherwise than the model is: {'; '.join(found)}. It is not kept")
    files = {str(path.relative_to(out)): path.stat().st_size for path in sorted(out.rglob("*")) if path.is_file()}
    return {**facts, "sizes": files, "comparison": figures}


def differences(figures: dict[str, Any], precision: str) -> list[str]:
    """The reasons for which an export is not the model, in words: other token ids, or other probabilities than rounding could make."""
    problems = []
    ids, distance = figures["ids"], figures["log_probabilities"]
    if ids and ids["equal"] < ids["of"]:
        problems.append(f"other token ids in {ids['of'] - ids['equal']} of {ids['of']} texts")
    if distance and precision in EXACT and distance["largest_difference"] > ROUNDING:
        problems.append(f"log-probabilities that differ by {distance['largest_difference']:.2g} nats")
    if distance and (distance["mean_kl"] or 0) > FAR:
        problems.append(f"a mean KL divergence of {distance['mean_kl']:.2g} nats")
    return problems


if __name__ == "__main__":
    main(export)
