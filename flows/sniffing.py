"""The command `hanlin sniff`: what raw files are, what their reader keeps of them, and a first recipe for a folder."""

from __future__ import annotations

import glob
import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.console import command, table

if TYPE_CHECKING:
    from tasks.formats.trial import Trial

SHORT = "pretrain.tokens=100k"  # minutes on a CPU
OFFICE = {  # end of a name → the file, and what to do with it
    **dict.fromkeys((".xlsx", ".xls", ".ods", ".et"), "a spreadsheet; save each sheet as a CSV file"),
    **dict.fromkeys((".docx", ".doc", ".odt", ".wps", ".pdf"), "a document of pages; save it as plain text"),
}
PACKED = (".gz", ".bz2", ".xz", ".zst")
FEW, PIECE = 100, 2000  # documents of a source that are few, and the characters of the pieces that they are then cut into
ASKED_AGAIN = 300  # dialogues from which their prompts are answered by the model itself, for DPO

Files = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="FILE…", help="Raw files, plain or compressed, or folders of them; without one, all formats are listed"
    ),
]
WritesRecipe = Annotated[
    bool,
    typer.Option(
        "--recipe", help="Print a recipe with a source for each kind of file of a folder, to be written to a file of your own"
    ),
]


def sniff(files: Files = None, as_recipe: WritesRecipe = False) -> None:
    """Recognise raw files: read their first rows, say what the reader keeps and drops of them, and name the `format` for a source.

    Without a file, list the formats.
    """
    if not files:
        if as_recipe:
            raise ValueError("--recipe needs the folder of the raw files: hanlin sniff FOLDER --recipe")
        _list_formats()
        return
    if as_recipe and (len(files) > 1 or not files[0].is_dir()):
        raise ValueError("--recipe is for one folder: hanlin sniff FOLDER --recipe")
    tried = {path: _tried(path) for argument in files for path in _below(argument)}
    if not tried:
        raise ValueError(f"no file in {', '.join(map(str, files))}")
    if as_recipe:
        print(recipe_text(files[0], tried), end="")
        return
    root = files[0] if len(files) == 1 and files[0].is_dir() else None
    table([{"file": str(path.relative_to(root)) if root else path.name, **_described(one)} for path, one in tried.items()])


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Folder of raw files, of any formats that `hanlin sniff` knows")
    ],
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="FILE", help="The recipe to write; without it, a .yaml file here, named as the folder"),
    ] = None,
) -> None:
    """Write a recipe for a folder of raw files, with a source for each kind of file, to be run or changed by hand."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; `hanlin init FOLDER` takes the one that holds the raw files")
    file = to or Path(f"{_slug(folder.absolute().name, 'mine')}.yaml")
    if file.suffix not in (".yaml", ".yml"):
        raise ValueError(f"--to {file}: a recipe is a .yaml file; call it {file.with_suffix('.yaml')}")
    if not file.parent.is_dir():
        raise ValueError(f"--to {file}: there is no folder {file.parent}; make it first, or give another name")
    if file.exists():
        raise ValueError(f"{file} is there already; give another name by --to, or remove it first")
    tried = {path: _tried(path) for path in _below(folder)}
    if not tried:
        raise ValueError(f"no file in {folder}")
    text = recipe_text(folder, tried, str(file))
    file.write_text(text, "utf-8")
    print("".join(line + "\n" for line in text.splitlines() if line.startswith("#")), end="")
    print(f"\nwritten: {file}\nnext:    {command()} plan {file}    what a run would do\n         {command()} run {file}")


def _below(path: Path) -> list[Path]:
    """A file, or the files of a folder and of those in it, without hidden ones."""
    if not path.is_dir():
        return [path]
    below = (found for found in sorted(path.rglob("*")) if found.is_file())
    return [found for found in below if not any(part.startswith(".") for part in found.relative_to(path).parts)]


def _tried(path: Path) -> Trial:
    from tasks.data.rows import BrokenFile
    from tasks.formats.sniff import Sniffed
    from tasks.formats.trial import Trial, trial

    if path.is_file() and path.suffix.lower() in OFFICE:
        return Trial(Sniffed(OFFICE[path.suffix.lower()]))
    try:
        return trial(path)
    except BrokenFile as error:
        if not path.exists():
            raise
        return Trial(Sniffed(error.what))


def _described(tried: Trial) -> dict[str, str]:
    """A file as cells of a table."""
    read = tried.kept + tried.dropped.total()
    dropped = ", ".join(f"{reason} {count:,}" for reason, count in tried.dropped.most_common())
    return {
        "holds": tried.sniffed.what,
        "encoding": tried.encoding,
        "rows": tried.rows,
        "kept": f"{tried.kept:,} of {'' if tried.whole else 'the first '}{read:,}" if tried.format else "",
        "dropped": tried.fault or dropped or ("none" if tried.format else ""),
        "format": ", ".join(tried.formats) or "none",
    }


def _list_formats() -> None:
    from tasks.formats import registry

    offers = [registry.offers()[name][0] for name in registry.formats()]
    table([{"format": o.format, **_reads(o.format), "of": o.package} for o in offers])


def _reads(format: str) -> dict[str, str]:
    """A format's rows and files, in words; where its reader cannot be used, the reason."""
    from tasks.formats import registry

    try:
        reader = registry.reader(format)
    except registry.BadReader as error:
        return {"rows": "none", "files": str(error)}
    return {"rows": reader.kind, "files": reader.description}


# -- the first recipe ---------------------------------------------------------------------------------------------------


def recipe_text(folder: Path, tried: dict[Path, Trial], file: str = "THIS.yaml") -> str:
    """A recipe for a folder as YAML: a source for the files of each format in each folder, used for what its rows can be used for."""
    import yaml

    from flows import recipe as recipes

    folder = folder.absolute()
    files = {path.absolute(): one for path, one in tried.items()}
    sources = _sources(folder, files)
    data: dict[str, Any] = {"name": _slug(folder.name, "mine"), "raw": str(folder), "sources": sources}
    pieces = _few_and_long(folder, files, sources)
    if pieces:
        data["filter"] = {"sources": {name: {"max_document": PIECE} for name in pieces}}
    if any("extract" in source["use"] for source in sources.values()):  # the shortest default context has room for no more
        data["extraction"] = {"scores": {"max_new_tokens": 96}}
    if not sources:
        raise ValueError(f"{folder}: no reader keeps a row of its files; `hanlin sniff {folder}` says why")
    flows: tuple[recipes.Flow, ...] = ("pipeline", "corpus")
    problems = {flow: recipes.check(data, flow) for flow in flows}
    lines = [f"# sources of {folder}, as `hanlin sniff` found them; give each the uses that you want"]
    if not problems["pipeline"]:
        lines.append(f"# hanlin run {file}")
        if any("pretrain" in source["use"] for source in sources.values()):
            lines.append(
                f"# its model and training are those that stand by default; shorter, for a first look: hanlin run {file} {SHORT}"
            )
    elif not problems["corpus"]:
        lines += [f"# hanlin run {file} --flow corpus", "# the whole pipeline needs more:"]
        lines += [f"#   {problem}" for problem in problems["pipeline"]]
    else:
        lines += ["# not yet a recipe that runs:", *(f"#   {problem}" for problem in problems["corpus"])]
    if pieces:
        lines.append(
            f"# {', '.join(pieces)}: long texts are cut at chapters and paragraphs into pieces of at most {PIECE:,} characters (max_document): "
            "rules keep or drop a piece, not a book"
        )
    cut = [path for path, one in tried.items() if _is_data(path) and one.kept and one.fault]
    if cut:
        lines.append(
            "# files that are cut, of which the rows before the cut are kept (tolerate_truncation); better get them again:"
        )
        lines += [f"#   {path.absolute().relative_to(folder)}: {tried[path].fault.split(';')[0]}" for path in cut]
    unread = [path for path, one in tried.items() if _is_data(path) and not one.kept and one.format != "cmedqa"]
    if unread:
        lines.append("# files of which no row is kept:")
        lines += [
            f"#   {path.absolute().relative_to(folder)}: {'; '.join(filter(None, (tried[path].sniffed.what, tried[path].fault)))}"
            for path in unread
        ]
    return "\n".join(lines) + "\n" + yaml.safe_dump(data, allow_unicode=True, sort_keys=False, width=1000)


def _sources(folder: Path, tried: dict[Path, Trial]) -> dict[str, Any]:
    from tasks.formats import registry

    groups: dict[tuple[Path, str, str], list[Path]] = defaultdict(list)
    for path, one in tried.items():
        format = one.format if _is_data(path) and (one.kept or one.format == "cmedqa") else ""
        groups[path.parent, _ending(path), format].append(path)
    kinds = {name: registry.reader(name).kind for _, _, name in groups if name}
    dialogues = [one for one in tried.values() if one.format and kinds.get(one.format) == "conversations"]
    enough = sum(one.kept for one in dialogues) >= ASKED_AGAIN or not all(one.whole or one.fault for one in dialogues)
    sources: dict[str, Any] = {}
    for (parent, suffix, format), paths in groups.items():
        if not format:
            continue
        alone = suffix and all(key == (parent, suffix, format) for key in groups if key[:2] == (parent, suffix))
        clashes = [path for path in tried if path.parent == parent and path.name.endswith(suffix) and path not in paths]
        inside = glob.escape(str(parent.relative_to(folder)))
        inside = "" if inside == "." else f"{inside}/"
        patterns = (
            [f"{inside}*{suffix}"] if alone and len(paths) > 1 and not clashes else [inside + glob.escape(p.name) for p in paths]
        )
        for pattern, path in zip(patterns, paths, strict=False):
            wanted = path.name.split(".")[0] if len(patterns) == len(paths) else parent.name
            name = _free(_slug(wanted, format), sources)
            sources[name] = {"format": format, "path": pattern, "use": _uses(kinds[format], set(kinds.values()), enough)}
            if any(tried[one].fault for one in (paths if len(patterns) < len(paths) else [path])):
                sources[name]["tolerate_truncation"] = True
    return sources


def _few_and_long(folder: Path, tried: dict[Path, Trial], sources: dict[str, Any]) -> list[str]:
    """The sources of plain text with few documents, and long ones among them: one rule would keep or drop much of a corpus at once."""
    from flows.paths import matching_files
    from tasks.formats import registry

    found = []
    for name, source in sources.items():
        paths = [path for path in matching_files(folder, source["path"]) if path in tried]
        few = all(tried[path].whole for path in paths) and sum(tried[path].kept for path in paths) < FEW
        if few and registry.reader(source["format"]).cuts and any(_may_be_long(path, tried[path].kept) for path in paths):
            found.append(name)
    return found


def _may_be_long(path: Path, documents: int) -> bool:
    """True of a file whose documents have more than `PIECE` characters on average, at three bytes each, or that is compressed."""
    return path.suffix.lower() in (*PACKED, ".parquet") or path.stat().st_size > 3 * PIECE * documents


def _is_data(path: Path) -> bool:
    """False for what people write beside data."""
    return not re.match(r"(?:readme|licen[cs]e|notice|changelog|citation)\b", path.name, re.IGNORECASE)


def _ending(path: Path) -> str:
    """The end of a name, with that below a compression's: .json.gz."""
    return "".join(path.suffixes[-2:]) if path.suffix.lower() in PACKED else path.suffix


def _uses(kind: str, kinds: set[str], enough: bool) -> list[str]:
    """The uses of rows of a kind. Dialogues are pretrained on where there are no documents, and asked again where there are no pairs and
    `enough` of them: of few, hardly a pair is left for DPO."""
    if kind == "conversations":
        again = enough and "preferences" not in kinds
        return [*(["pretrain"] if "documents" not in kinds else []), "sft", *(["prompts"] if again else [])]
    return {"documents": ["pretrain"], "preferences": ["pairs"], "questions": ["evaluate"], "triples": ["extract"]}[kind]


def _slug(text: str, otherwise: str) -> str:
    """A text as a name of a recipe or source: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:36].strip("-") or otherwise


def _free(name: str, taken: dict[str, Any]) -> str:
    return next(free for number in range(1, len(taken) + 2) if (free := name if number == 1 else f"{name}-{number}") not in taken)
