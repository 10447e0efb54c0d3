"""The files of a publication: a model's or a corpus's own, with the card, the licence, the lineage, and nothing that tells of this machine.

What a stage keeps for itself (logs, optimizer states, dropped rows, cuts) is left out. A publication names its files in `lineage.json`, by which
a later one knows that a folder or a repository is its own.
"""

from __future__ import annotations

import getpass
import json
import re
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.artifacts.store import Record, Store
from tasks.publication import lineage as lineages
from tasks.publication.card import PAGE, card, data_files, kind_of
from tasks.publication.facts import facts
from tasks.publication.licences import OTHER, Verdict

MARK = "lineage.json"
SAMPLING = {"do_sample": True, "temperature": 0.7, "top_p": 0.9}  # of a chat, as `hanlin chat` draws
PLACES = (
    "_name_or_path",
    "name_or_path",
    "base_model_name_or_path",
)  # fields of JSON files in which transformers and peft keep paths
PATH = re.compile(
    r"(?<![\w.:/])(?:/(?:home|Users|root|mnt|media|tmp|var|opt|srv|work|data|scratch)/[\w.~-]+(?:/[\w.~-]+)*|[A-Za-z]:\\\\?[\w.~-]+\\)"
)
TEXT = {".json", ".md", ".txt", ".jinja", ".py", ".yaml", ".yml", ".jsonl", ""}
COMMON = Path("/usr/share/common-licenses")  # where Debian keeps the texts of licences
TEXTS = {"Apache-2.0": "Apache-2.0", "GPL-2.0-only": "GPL-2", "GPL-3.0-only": "GPL-3", "GFDL-1.3-or-later": "GFDL-1.3", "LGPL-3.0-only": "LGPL-3",
         "MPL-2.0": "MPL-2.0", "CC0-1.0": "CC0-1.0"}  # fmt: skip


@dataclass
class Bundle:
    """Files by their path in the publication: bytes, or the place of a file that is published as it is."""

    kind: str  # model or dataset
    licence: Verdict
    files: dict[str, bytes | Path] = field(default_factory=dict)

    def sizes(self) -> dict[str, int]:
        """Bytes of each file, by path."""
        return {path: len(what) if isinstance(what, bytes) else what.stat().st_size for path, what in sorted(self.files.items())}


def bundle(store: Store, record: Record, name: str) -> Bundle:
    """All that is published of an artifact under the name of a repository. Raises `ValueError` where its files are gone or damaged, where it is
    neither a model nor rows, and where a file would tell of this machine."""
    kind = kind_of(record)
    if record.collected or (problem := next(store.problems(record), "")):
        raise ValueError(
            f"{record.stage} {record.key[:12]} cannot be published: "
            + ("its files were collected" if record.collected else problem)
            + "; the recipe and the data that made it make it again"
        )
    known = facts(store, record)
    made = Bundle(kind, known.verdict)
    made.files |= _model(store, record, chat=known.chat) if kind == "model" else _rows(store, record)
    if not made.files:
        raise ValueError(
            f"{record.stage} {record.key[:12]} has no file to publish; it has {', '.join(f['path'] for f in record.files)}"
        )
    made.files[PAGE] = card(store, record, name).encode()
    made.files["LICENSE"] = _licence_text(known.verdict).encode()
    told = lineages.to_json(known.lineage) | {"published": sorted([*made.files, MARK])}
    made.files[MARK] = (json.dumps(told, ensure_ascii=False, indent=1) + "\n").encode()
    if leaks := list(found_leaks(made.files, own_words(store))):
        raise ValueError(
            "\n".join([f"{record.stage} {record.key[:12]} is not published, since it would tell of this machine:", *leaks])
        )
    return made


def marked(text: str) -> list[str]:
    """The files that a publication named in its `lineage.json`; none where that is not one of ours."""
    try:
        told = json.loads(text)
    except ValueError:
        return []
    return list(told.get("published", ())) if isinstance(told, dict) else []


# -- what goes in -----------------------------------------------------------------------------------------------------


def _model(store: Store, record: Record, *, chat: bool) -> dict[str, bytes | Path]:
    """A model's own folder at the top, adapters in theirs; JSON without places on this machine."""
    home, files = store.object(record.key), dict[str, bytes | Path]()
    for path in (home / file["path"] for file in record.files):
        inside = path.relative_to(home)
        top = inside.parts[0]
        if top not in ("model", "adapter"):
            continue
        name = str(Path(*inside.parts[1:])) if top == "model" else str(inside)
        files[name] = _without_places(path) if path.suffix == ".json" and path.name != "tokenizer.json" else path
    config = files.get("config.json")
    about = json.loads(config) if isinstance(config, bytes) else {}
    if about.get("model_type") == "retnet" and not about.get("auto_map"):
        raise ValueError(
            f"{record.stage} {record.key[:12]} is a RetNet, which transformers has not: `hanlin export {record.key[:12]} --to hf` writes its code "
            "beside it; publish that: `hanlin publish export --to …`"
        )
    if chat and isinstance(files.get("generation_config.json"), bytes):
        files["generation_config.json"] = _with_sampling(files["generation_config.json"])
    return files


def _rows(store: Store, record: Record) -> dict[str, bytes | Path]:
    """The rows' own folders. What was dropped or cut is other people's text that nobody chose to publish."""
    home = store.object(record.key)
    folders = tuple(f"{folder}/" for folder in data_files(record))
    return {file["path"]: home / file["path"] for file in record.files if file["path"].startswith(folders)}


def _without_places(path: Path) -> bytes | Path:
    """A JSON file without the paths from which a model was once loaded."""
    about = json.loads(path.read_text("utf-8"))

    def cleaned(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                name: cleaned(inner)
                for name, inner in value.items()
                if not (name in PLACES and "/" in str(inner) and not _of_hub(str(inner)))
            }
        return [cleaned(inner) for inner in value] if isinstance(value, list) else value

    return (json.dumps(cleaned(about), ensure_ascii=False, indent=2) + "\n").encode()


def _of_hub(name: str) -> bool:
    return bool(re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name)) and not Path(name).exists()


def _with_sampling(text: bytes | Path) -> bytes:
    """A generation_config.json by which transformers draws as `hanlin chat` does."""
    assert isinstance(text, bytes)
    config = json.loads(text)
    config.pop("_from_model_config", None)
    return (json.dumps({**SAMPLING, **config}, indent=2, sort_keys=True) + "\n").encode()


def _licence_text(verdict: Verdict) -> str:
    if verdict.licence == OTHER:
        why = "\n".join(f"- {reason.en}" for reason in verdict.reasons)
        return f"There is no one licence for these files:\n\n{why}\n\n{PAGE} lists the licence of every source.\n"
    text = COMMON / TEXTS.get(verdict.licence, "-")
    whole = f"\n{text.read_text('utf-8')}" if text.is_file() else ""
    return f"{verdict.licence}\n\nThe text of the licence: {verdict.link or 'see ' + PAGE}\n{whole}"


# -- what must not --------------------------------------------------------------------------------------------------------


def own_words(store: Store) -> list[str]:
    """Words that tell of this machine and its user: the store's folder, the home folder, the host, the user where the name is not a common one."""
    words = [str(store.root), str(Path.home()), socket.gethostname(), getpass.getuser()]
    return [word for word in dict.fromkeys(words) if len(word) > 4 and word not in ("localhost", "ubuntu", "hanlin", "/root")]


def found_leaks(files: dict[str, bytes | Path], words: list[str]) -> Iterator[str]:
    """A line for each file in which an absolute path, or a word that tells of this machine, stands."""
    own = re.compile("|".join(rf"(?<!\w){re.escape(word)}(?!\w)" for word in words) or r"(?!)")
    for path, what in files.items():
        text = _text_of(path, what)
        match = own.search(text) or (PATH.search(text) if not path.endswith("tokenizer.json") else None)
        if match:
            yield f"  - {path} holds {match[0]!r}"


def _text_of(path: str, what: bytes | Path) -> str:
    """The text of a file that people read; of weights the description before them; nothing of other files."""
    if path.endswith(".safetensors") and isinstance(what, Path):
        with what.open("rb") as file:
            start = file.read(8)
            size = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            return file.read(size).decode("utf-8", "replace") if size < 100_000_000 else ""
    if Path(path).suffix not in TEXT:
        return ""
    return (what if isinstance(what, bytes) else what.read_bytes()).decode("utf-8", "replace")
