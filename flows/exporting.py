"""The command `hanlin export`: a model in the format of another program, compared with the model and copied to where it is wanted."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.console import store, table

if TYPE_CHECKING:
    from tasks.artifacts.build import Built, Input
    from tasks.artifacts.store import Store

ModelName = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="A tag, a stage (for its newest result), the beginning of a key, a model folder, or a .pth file"
    ),
]


def export(
    model: ModelName,
    to: Annotated[
        str, typer.Option(metavar="FORMAT", help="The format to write: hf, safetensors, gguf, ctranslate2, pth or llama2c")
    ],
    precision: Annotated[
        str,
        typer.Option(
            "--quantise",
            "--quantize",
            "--dtype",
            metavar="PRECISION",
            help="Number type of the weights, such as q8_0 or bfloat16; without it, the one that loses nothing. Any other word lists the choices",
        ),
    ] = "",
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Copy the files to this folder too, which is made where it is missing")
    ] = None,
    refresh: Annotated[bool, typer.Option("--refresh", help="Write the files again, even if the store has them")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as one line of JSON on standard output, for scripts")
    ] = False,
) -> None:
    """Write a model in another program's format, have that program read it, and compare the two.

    The result is kept in the store with the figures of the comparison; a second call reuses it.
    """
    from flows.terminal import Terminal

    check_folder(out)
    home, source = store(), model
    found = resolved(home, model)
    terminal = Terminal(sys.stderr)
    logging.getLogger("hanlin").addHandler(terminal)
    logging.getLogger("hanlin").setLevel(logging.INFO)
    built = exported(home, found, to, precision, refresh=refresh, progress=lambda now: terminal.watch("export", now))
    terminal.end()
    folder = home.object(built.record.key) / "model"
    if out:
        copy(folder, out)
    told = {"key": built.record.key, "reused": built.reused, "folder": str(out or folder), **built.record.stats}
    if as_json:
        print(json.dumps(told, ensure_ascii=False))
        return
    print(f"{source} as {to}, {'reused' if built.reused else 'written'}: {built.record.key[:12]} in the store")
    show(told)


def resolved(home: Store, model: str) -> Input:
    """The input of an export: an artifact of the store by its name, a folder with a model's files, or a file of torch. `ValueError` where
    there is no model."""
    from models.export.formats import BESIDE
    from tasks import base
    from tasks.artifacts.build import Input, text_digest

    folder = Path(model).absolute()
    digest = home.digests(Path("/"), f"outside-{text_digest(str(folder))[:16]}")
    if folder.is_file():
        if not _of_torch(folder):
            raise ValueError(
                f"{folder} is no file of torch.save; name a .pth or .pt file, a folder with config.json and model.safetensors, or an artifact"
            )
        beside = [folder, *(path for name in BESIDE if (path := folder.with_name(name)).is_file())]
        return Input(folder, [[path.name, digest(path)] for path in beside])
    if not folder.is_dir():
        if len(Path(model).parts) > 1 or model.endswith((".pth", ".pt")):
            raise ValueError(
                f"there is no folder or file {folder}; correct the path, or name an artifact (`hanlin artifacts list`)"
            )
        record = home.resolve(model)
        if not (home.object(record.key) / "model" / "config.json").exists():
            raise ValueError(
                f"{model} is {record.stage} {record.key[:12]}, which holds no model; name an artifact of pretrain, sft or dpo, or a folder with "
                "config.json and model.safetensors"
            )
        return Input(home.object(record.key), record.digest, (record.key,))
    if (folder / "model" / "config.json").exists():
        folder /= "model"
    if (folder / "adapter_config.json").exists() and not (folder / "config.json").exists():
        raise ValueError(
            f"{folder} holds an adapter, and an export is of a whole model; name the artifact of its training, whose model has the adapter in "
            "it, or merge the two with peft (merge_and_unload) and save_pretrained"
        )
    if wrong := base.problems(folder):
        raise ValueError("; ".join(wrong))
    return Input(folder, [[path.name, digest(path)] for path in base.chosen(folder)])


def exported(home: Store, model: Input, to: str, precision: str = "", *, refresh: bool = False, **options: Any) -> Built:
    """The export of a model, from the store or new. `ValueError`, before any work, for one that cannot be; `options` are the build's."""
    from models.export.formats import problems, unwritable
    from tasks import export as stage
    from tasks.artifacts.build import BuildOptions, BuildRequest, StageFailed, build

    assert isinstance(model.value, Path)
    if wrong := problems(model.value, to, precision) if model.value.is_dir() else unwritable(to, precision):
        raise ValueError("; ".join(wrong))
    request = BuildRequest("export", stage.run, stage.Params(to=to, precision=precision), {"model": model})
    try:
        return build(home, request, BuildOptions(refresh=refresh, **options))
    except StageFailed as failure:
        raise ValueError(str(failure)) from failure


def _of_torch(path: Path) -> bool:
    """True where a file begins as torch.save begins one: a zip, or a pickle of an older torch."""
    with path.open("rb") as file:
        return file.read(4)[:2] in (b"PK", b"\x80\x02")


def check_folder(out: Path | None) -> None:
    """Raise `ValueError`, before any work, where no files could be written to a folder."""
    if not out:
        return
    there = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    if not there.is_dir():
        raise ValueError(f"--out {out}: {there} is a file; name a folder")
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as failure:
        raise ValueError(
            f"--out {out}: {there} cannot be written to ({failure.strerror or failure}); name another folder, or leave --out "
            "out: the files are in the store then"
        ) from failure


def copy(folder: Path, out: Path) -> None:
    """Copy an export's files, so that they can be written to. `ValueError` where the folder holds others."""
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    others = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()) if out.exists() else []
    if strangers := [name for name in others if name not in names]:
        raise ValueError(
            f"--out {out} holds other files ({', '.join(strangers[:3])}); name a new folder (the export is in {folder})"
        )
    try:
        for name in sorted(names):
            target = out / name
            draft = target.with_name(f".{target.name}.part")
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(folder / name, draft)
                os.replace(draft, target)
            finally:
                draft.unlink(missing_ok=True)
    except OSError as failure:
        raise ValueError(
            f"--out {out}: {failure.strerror or failure}; the files are in {folder}, from which they can be copied"
        ) from failure


def show(told: dict[str, Any]) -> None:
    """Print the files, the comparison, and a line that uses them."""
    table([{"file": name, "MB": f"{size / 1e6:,.2f}"} for name, size in told["sizes"].items()])
    print(f"in {told['folder']}\n")
    figures = told["comparison"]
    print(f"as {figures['reader']} reads it, against the model:")
    table(comparison_rows(figures))
    print(f"\nuse   {usage(told['use'], told['folder'])}")


def usage(use: str, folder: str) -> str:
    """The line that uses an export, for its folder: Python names it, and commands are run in it."""
    return use.replace("FOLDER", repr(folder)) if "FOLDER" in use else f"{use}   (in {folder})"


def comparison_rows(figures: dict[str, Any]) -> list[dict[str, str]]:
    """The comparison as rows of a table."""
    names = {
        "ids": "token ids of awkward texts",
        "template": "conversations rendered",
        "greedy": "greedy answers",
    }
    shown = []
    for name, title in names.items():
        found = figures[name]
        shown.append(
            {"compared": title, "result": f"{found['equal']} of {found['of']} equal" if found else "not asked: it has none"}
        )
    if distance := figures["log_probabilities"]:
        kl = "" if distance["mean_kl"] is None else f", mean KL {distance['mean_kl']:.2g} nats"
        text = f"largest difference {distance['largest_difference']:.2g}{kl}, {distance['positions']} positions"
    else:
        text = "not asked: it has none"
    return [*shown, {"compared": "log-probabilities", "result": text}]
