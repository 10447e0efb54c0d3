"""Random initialisation in the shape of another model: `python -m models.random_weights job.json`, with `model`, `out` and `seed` in the
job file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, set_seed
from transformers.utils import logging

from models import heads
from models.events import main
from models.loading import config_of, described


def reinitialise(job: dict[str, Any]) -> dict[str, Any]:
    """The child's work: write a new model of the shape of `model`, with its tokenizer."""
    source, out = Path(job["model"]), Path(job["out"])
    logging.disable_progress_bar()
    config = config_of(source)
    set_seed(job["seed"])
    model = (AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM).from_config(config).float()
    heads.renew(model, described(source))
    model.save_pretrained(out)
    for path in out.iterdir():
        path.chmod(0o644)  # safetensors writes for the owner alone
    for path in source.iterdir():
        if path.suffix in (".json", ".jinja") and not (out / path.name).exists() and "safetensors" not in path.name:
            shutil.copyfile(path, out / path.name)
    return {
        "parameters": model.num_parameters(),
        "architecture": json.loads((out / "config.json").read_text())["architectures"][0],
    }


if __name__ == "__main__":
    main(reinitialise)
