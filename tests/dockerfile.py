"""Reads a Dockerfile and runs what it says in a folder, where no engine is there to build it: paths of the image become paths below the folder."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

OWN = (
    "/opt/hanlin",
    "/build",
    "/wheels",
    "/store",
    "/prefect",
    "/raw",
    "/home/hanlin",
)  # folders that the image makes for itself
OUTSIDE = ("useradd", "apt-get")  # commands that would change the machine


@dataclass
class Stage:
    """What stands between one FROM and the next."""

    name: str
    base: str  # another stage, or an image
    steps: list[tuple[str, str]] = field(default_factory=list)  # instruction, its text in one line


def parse(text: str) -> dict[str, Stage]:
    """Stages by name. Comments and line breaks are gone."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    stages: dict[str, Stage] = {}
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        instruction, rest = line.split(maxsplit=1)
        if instruction == "FROM":
            base, _, name = rest.split()
            stages[name] = Stage(name, base)
        elif stages:
            list(stages.values())[-1].steps.append((instruction, rest))
    return stages


def below(stages: Mapping[str, Stage], name: str) -> list[Stage]:
    """The stages that a stage stands on, the lowest first, itself last."""
    stage = stages[name]
    return [*(below(stages, stage.base) if stage.base in stages else []), stage]


def last(stages: Mapping[str, Stage], name: str, instruction: str) -> str:
    """What an instruction was last given in a stage or below it."""
    return [text for stage in below(stages, name) for kind, text in stage.steps if kind == instruction][-1]


def words(text: str) -> list[str]:
    """`["hanlin", "up"]`, from ENTRYPOINT, CMD or the CMD of HEALTHCHECK."""
    return json.loads(text[text.index("[") :])


class Replay:
    """An image's files below a folder. All stages share it, since none makes what another makes."""

    def __init__(self, context: Path, root: Path, python: Path, arguments: Mapping[str, str]):
        self.context, self.root, self.arguments = context, root, dict(arguments)
        self.done: dict[str, tuple[dict[str, str], Path]] = {}  # stage → the environment and the folder that it ended in
        self.left_out: list[str] = []
        self.here = root
        self.machine = {
            "PATH": f"{root}/bin:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(root / "home/hanlin"),
            "TMPDIR": str(root / "tmp"),
            **{name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_"))},
        }
        for folder in (*OWN[3:], "/bin", "/tmp"):
            self.path(folder).mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            (root / "bin/python").symlink_to(python)
        self.env = dict(self.machine)

    def path(self, text: str) -> Path:
        """A path of the image."""
        return Path(self.inside(text)) if text.startswith("/") else self.here / text

    def inside(self, text: str) -> str:
        """A text with the image's own folders below ours."""
        return re.sub(rf"(?<![\w./-])({'|'.join(OWN)}|/bin|/tmp)(?=[/:\s\"']|$)", rf"{self.root}\1", text)

    def build(self, stages: Mapping[str, Stage], name: str) -> None:
        """Run a stage, and before it all that it stands on and takes from. Leaves us in its environment and folder."""
        stage = stages[name]
        if name in self.done:
            self.env, self.here = dict(self.done[name][0]), self.done[name][1]
            return
        if stage.base in stages:
            self.build(stages, stage.base)
        else:
            self.env, self.here = dict(self.machine), self.root
        for kind, text in stage.steps:
            for needed in re.findall(r"(?:--|,)from=(\w[\w-]*)", text):
                ours = self.env, self.here
                self.build(stages, needed)
                self.env, self.here = ours
            self._step(kind, text)
        self.done[name] = dict(self.env), self.here

    def _step(self, kind: str, text: str) -> None:
        if kind == "ARG":
            name, _, value = text.partition("=")
            self.env[name] = self.arguments.get(name, value.strip('"'))
        elif kind == "ENV":
            for word in shlex.split(text):
                name, _, value = word.partition("=")
                self.env[name] = re.sub(r"\$\{?(\w+)\}?", lambda match: self.env.get(match[1], ""), self.inside(value))
        elif kind == "WORKDIR":
            self.here = self.path(text)
            self.here.mkdir(parents=True, exist_ok=True)
        elif kind == "COPY":
            self._copy(shlex.split(text))
        elif kind == "RUN":
            command = re.sub(r"--mount=\S+\s+", "", text)
            if command.startswith(OUTSIDE):
                self.left_out.append(command.split()[0])
                return
            done = subprocess.run(
                ["/bin/sh", "-c", self.inside(command)], cwd=self.here, env=self.env, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"RUN {command}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"

    def _copy(self, text: list[str]) -> None:
        options = dict(word[2:].split("=") for word in text if word.startswith("--"))
        *sources, target = [word for word in text if not word.startswith("--")]
        for source in sources:
            if "from" in options:
                assert self.path(source) == self.path(target), "another stage's folder is ours already"
                continue
            path, to = self.context / source, self.path(target)
            if path.is_dir():
                shutil.copytree(path, to, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
                continue
            to = to / path.name if target.endswith("/") else to
            text_of = path.read_text("utf-8")
            to.write_text(self.inside(text_of) if text_of.startswith("#!") else text_of, "utf-8")
            to.chmod(int(options.get("chmod", "644"), 8))
