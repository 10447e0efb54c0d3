"""One file of torch (`torch.save`), as older programs keep models: the state with its configuration and its tokenizer's files, and back.

    {"state": {name: tensor}, "config": {…}, "generation_config": {…}, "tokenizer": {file name: text}}

It is read with `weights_only=True`, so nothing in it is run. A file that holds a state alone is read with config.json and the tokenizer's files
beside it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from models import tokenizer_files
from models.export import hf
from models.export.comparison import Transformers
from models.export.formats import BESIDE
from models.export.source import Source

NAME = "model.pth"


def write(source: Source, out: Path, precision: str, note: Callable[[str], None]) -> dict[str, Any]:
    """Write `model.pth`; returns a line that uses it."""
    dtype = None if precision == "same" else getattr(torch, precision)
    hf.write_generation(source, out)
    hf.write_tokenizer(source, out)
    about: dict[str, Any] = {
        "config": source.described,
        "generation_config": json.loads((out / "generation_config.json").read_text("utf-8")),
        "tokenizer": {name: (out / name).read_text("utf-8") for name in tokenizer_files.FILES if (out / name).exists()},
    }
    for path in list(out.iterdir()):
        path.unlink()
    torch.save(about | {"state": {name: source.stored(name, dtype) for name in source.shapes}}, out / NAME)
    return {"file": NAME, "use": f'torch.load("{NAME}", weights_only=True)["state"], or hanlin export {NAME} --to hf'}


def reader(source: Source, out: Path, facts: dict[str, Any]) -> Transformers:
    """transformers with what comes back out of the file."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="hanlin-") as folder:
        back = Source(unpack(out / NAME, Path(folder)))
        back.tokenizer  # noqa: B018  before the folder is gone
        return Transformers(back.model, back.tokenizer, source.context)


def unpack(path: Path, out: Path) -> Path:
    """Write a file of torch as a folder that transformers loads; returns the folder. `ValueError` where it holds no model."""
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as failure:  # of pickle, of zip and of torch
        raise ValueError(
            f"{path} is no file of torch that can be read without running code in it ({' '.join(str(failure).split())[:160]}); write its state_dict "
            "with torch.save, or take the model as safetensors"
        ) from failure
    state = held.get("state", held) if isinstance(held, dict) else {}
    tensors = {name: value.contiguous() for name, value in state.items() if isinstance(value, torch.Tensor)}
    if not tensors or len(tensors) < len(state):
        raise ValueError(f"{path} holds no state (names and tensors); write one with torch.save(model.state_dict(), FILE)")
    out.mkdir(parents=True, exist_ok=True)
    texts = _texts(path, held if "state" in held else {})
    for name, text in texts.items():
        (out / name).write_text(text, "utf-8")
    shared: dict[int, str] = {}
    kept = {name: one for name, one in tensors.items() if shared.setdefault(one.data_ptr(), name) == name or one.numel() == 0}
    save_file(kept, out / "model.safetensors", metadata={"format": "pt"})
    return out


def _texts(path: Path, held: dict[str, Any]) -> dict[str, str]:
    """The configuration and the tokenizer's files, from the file or beside it. `ValueError` where they are in neither."""
    if "config" in held:
        described = {f"{name}.json": json.dumps(held[name], ensure_ascii=False) for name in ("config", "generation_config")}
        return described | {name: text for name, text in held.get("tokenizer", {}).items() if name in tokenizer_files.FILES}
    texts = {name: (path.parent / name).read_text("utf-8") for name in BESIDE if (path.parent / name).exists()}
    if not {"config.json", "tokenizer.json"} <= texts.keys():
        raise ValueError(
            f"{path} holds weights alone; put the model's config.json and tokenizer.json (and tokenizer_config.json) beside it: its shapes and its "
            "tokens are in these"
        )
    return texts
