"""A trained model in the format of another program, read back by that program and compared with the model.

`model/` holds the files. The statistics, which the record keeps, say what was written and how the comparison came out
(`models/export/comparison.py`); what is another model than the one that was trained is not published.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from models.export.formats import FORMATS, module, problems
from tasks.artifacts.stage import Choice, Identity, Job, Stats, stage


class Params(Identity):
    to: str = Field(description=f"Format: {', '.join(FORMATS)}")
    precision: str = Field(default="", description="Type of the numbers, of those that the format has; empty: its first")

    @model_validator(mode="before")
    @classmethod
    def _chosen(cls, given: Any) -> Any:
        """The format's own precision where none is named, so that both are one artifact."""
        if isinstance(given, dict) and given.get("to") in FORMATS and not given.get("precision"):
            return given | {"precision": FORMATS[given["to"]].precisions[0]}
        return given


@stage(
    "export",
    version=1,
    title="Model in another program's format",
    params=Params,
    group="result",
    tools=("transformers",),
    choice=Choice("to", lambda: {name: module(name) for name in FORMATS}),
)
def run(job: Job, params: Params, *, model: Path) -> Stats:
    """Write `model/` and compare it. `model` is the artifact of a training stage, a folder with a model's files, or one file of
    torch. `ValueError` for a model
    that the format cannot hold."""
    from tasks.processes import runner

    if model.is_dir() and (wrong := problems(model, params.to, params.precision)):
        raise ValueError("; ".join(wrong))
    job_file = job.scratch / "export.json"
    places = {"model": str(model), "out": str(job.out / "model"), "scratch": str(job.scratch)}
    settings = {**places, "to": params.to, "precision": params.precision}
    job_file.write_text(json.dumps(settings), "utf-8")
    return runner.run("models.export.exporter", job_file, job=job)
