"""Source digests: by which code an artifact was made, blind to comments, layout and docstrings.

A stage's digest covers its own module and every module below `tasks/` and `models/` that it reaches: by an import, wherever it stands; by the
name of a child process (`runner.run("models.score", …)`); by a page's template; and by a parameter that chooses a module (a format its reader).
How artifacts are stored and processes started is left out: it does not change what they hold.

`accepted.json` says what each stage's digests are today, and which earlier ones mean the same, with the reason.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]  # the folder that holds `tasks` and `models`
ACCEPTED = Path(__file__).with_name("accepted.json")
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


@cache
def _parsed(text: str, package: str) -> tuple[str, tuple[str, ...]]:
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
