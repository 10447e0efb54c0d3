"""Source digests: by which code an artifact was made, blind to comments, layout and docstrings.

A stage's digest covers its own module and every module below `tasks/` and `models/` that it reaches: by an import, wherever it stands; by the
name of a child process (`runner.run("models.score", …)`); by a page's template; and by a parameter that chooses a module (a format its reader).
How artifacts are stored and processes started is left out: it does not change what they hold.

`accepted.json` says what each stage's digests are today, and which earlier ones mean the same, with the reason.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.util
import json
import os
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]  # the folder that holds `tasks` and `models`
ACCEPTED = Path(__file__).with_name("accepted.json")
# what was found in sources, by their text: to parse all of them takes seconds. Beside what Python keeps of them, and of its version
PARSED = Path(importlib.util.cache_from_source(str(Path(__file__).with_name("parsed.py")))).with_suffix(".json")
MOST = 4000  # sources in it; of more than that, many are of times past
OURS = ("tasks", "models")
INFRASTRUCTURE = (
    "artifacts",
    "processes.runner",
    "processes.supervisor",
    "processes.device",
    "processes.fork_server",
    "processes.launcher",
    "processes.warm",
    "processes.workers",
)
_TEMPLATE = re.compile(r"[\w-]+\.html\.j2")


Sources = dict[str, tuple[str, tuple[str, ...]]]  # module or template → digest of its source, and the names in it


def source_digest(modules: Iterable[str], root: Path = ROOT, read: Sources | None = None) -> str:
    """The hash of `modules`, of all modules of ours that they reach, and of their templates; `root` holds `tasks/` and `models/`."""
    return hashlib.sha256(json.dumps(sources(modules, root, read), sort_keys=True).encode()).hexdigest()


def sources(modules: Iterable[str], root: Path = ROOT, read: Sources | None = None) -> dict[str, str]:
    """Module or template → digest of its source, for `modules` and all that they reach. A module of another package reaches its own package.

    `read` keeps what was read, for whoever asks about many stages at one time.
    """
    read = {} if read is None else read
    digests: dict[str, str] = {}
    before = len(_known())
    waiting, seen = list(modules), set[str]()
    roots = {*OURS, *(name.split(".")[0] for name in waiting)}
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if _infrastructure(name):
            continue
        if name not in read:
            read[name] = _source(name, root)
        digest, names = read[name]
        if digest:
            digests[name] = digest
            waiting += [each for each in names if each.endswith(".j2") or each.split(".")[0] in roots]
    if len(_known()) > before:
        _keep()
    return digests


def _source(name: str, root: Path) -> tuple[str, tuple[str, ...]]:
    """The digest of a module or template, and the names in it; both empty for a name that is neither."""
    path = _file_of(name, root)
    if path is None:
        return "", ()
    text = path.read_text("utf-8")
    if path.suffix == ".j2":
        return hashlib.sha256(text.encode()).hexdigest(), tuple(_TEMPLATE.findall(text))
    return _parsed(text, name if path.name == "__init__.py" else name.rpartition(".")[0])


def same_meaning(stage: str, version: int, digest: str) -> str:
    """The reason for which artifacts made by the code of `digest` are those of today's code; empty where nobody has given one for this version."""
    known = accepted().get(stage, {})
    return str(known.get("same", {}).get(digest, "")) if known.get("version") == version else ""


@cache
def accepted() -> dict[str, dict[str, Any]]:
    """Stage → `{version, today: {variant: digest}, same: {earlier digest: reason}}`."""
    return json.loads(ACCEPTED.read_text("utf-8")) if ACCEPTED.exists() else {}


@cache
def _infrastructure(name: str) -> bool:
    return name in OURS or any(name == f"tasks.{part}" or name.startswith(f"tasks.{part}.") for part in INFRASTRUCTURE)


def _parsed(text: str, package: str) -> tuple[str, tuple[str, ...]]:
    """The findings of `_parse` in a source, from memory where it has been asked before."""
    known, key = _known(), hashlib.sha256(f"{package}\n{text}".encode()).hexdigest()
    if key not in known:
        known[key] = _parse(text, package)
    digest, names = known[key]
    return digest, tuple(names)


@cache
def _known() -> dict[str, tuple[str, tuple[str, ...]]]:
    """The hash of a source and of its package's name → the findings of `_parse`, of this process and of earlier ones."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        kept = json.loads(PARSED.read_text("utf-8"))
        if kept["by"] == _this_code() and len(kept["sources"]) <= MOST:
            return kept["sources"]
    return {}


def _this_code() -> str:
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()


def _keep() -> None:
    """Keep for other processes what is known; where the folder cannot be written, they find it out themselves."""
    draft = PARSED.with_name(f"{PARSED.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        PARSED.parent.mkdir(exist_ok=True)
        draft.write_text(json.dumps({"by": _this_code(), "sources": _known()}), "utf-8")
        draft.replace(PARSED)


def _parse(text: str, package: str) -> tuple[str, tuple[str, ...]]:
    """The digest of a module's syntax tree, and what it names: modules (and what may be one), packages around them, templates."""
    tree = ast.parse(text)
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            home = ".".join(filter(None, [package.rsplit(".", node.level - 1)[0] if node.level else "", node.module or ""]))
            names += [home, *(f"{home}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if re.fullmatch(r"models(\.\w+)+", node.value):
                names.append(node.value)  # a module that is run as a child process, or imported by its name
            elif _TEMPLATE.fullmatch(node.value):
                names.append(node.value)
    around = {".".join(name.split(".")[:length]) for name in names for length in range(1, name.count(".") + 1)}
    digest = hashlib.sha256(ast.dump(_without_docstrings(tree)).encode()).hexdigest()
    return digest, tuple(sorted({*names, *(around if package else ())}))


def _file_of(name: str, root: Path) -> Path | None:
    """The file of a module or template, found without importing anything: `find_spec` would import its parents, and torch with them."""
    if name.endswith(".j2"):
        return root / "tasks" / "pages" / name
    below = Path(*name.split("."))
    for home in [root] if below.parts[0] in OURS else _homes(below.parts[0]):
        for path in (home / below.with_suffix(".py"), home / below / "__init__.py"):
            if path.is_file():
                return path
    return None  # what is imported from a module is usually no module itself


def _homes(package: str) -> list[Path]:
    """The folders that hold a package of somebody else, installed as it may be: also one whose source stands in its author's work tree."""
    try:
        spec = importlib.util.find_spec(package)  # of a package that is in no other one: nothing is imported
    except ValueError:  # __main__
        return []
    if spec is None:
        return []
    return [Path(folder).parent for folder in spec.submodule_search_locations or () if folder] or [Path(spec.origin or "").parent]


def _without_docstrings(tree: ast.AST) -> ast.AST:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
            and isinstance(body[0].value.value, str)
        ):
            node.body = body[1:] or [ast.Pass()]
    return tree
