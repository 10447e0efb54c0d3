"""Tests of the installed package: every package of the tree, and every file in it that code reads."""

from __future__ import annotations

import tomllib
from pathlib import Path

from setuptools import find_packages

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PACKAGES = find_packages(str(ROOT), include=PROJECT["tool"]["setuptools"]["packages"]["find"]["include"])
DATA = PROJECT["tool"]["setuptools"]["package-data"]


def test_every_package_is_installed():
    there = {path.parent.relative_to(ROOT) for top in ("flows", "tasks", "models") for path in (ROOT / top).rglob("__init__.py")}
    assert {str(path).replace("/", ".") for path in there} == set(PACKAGES)


def test_every_file_beside_the_code_is_installed():
    missing = []
    for package in PACKAGES:
        folder = ROOT / package.replace(".", "/")
        given = {path for pattern in DATA.get(package, []) for path in folder.glob(pattern)}
        files = {
            path for path in folder.rglob("*") if path.is_file() and path.suffix != ".py" and path.parent.name != "__pycache__"
        }
        inner = {
            path
            for path in files
            for other in PACKAGES
            if other.startswith(f"{package}.") and path.is_relative_to(ROOT / other.replace(".", "/"))
        }
        missing += [str(path.relative_to(ROOT)) for path in files - given - inner]
    assert not missing, f"not in package-data of pyproject.toml: {sorted(missing)}"


def test_what_is_pinned_is_what_is_allowed():
    """constraints.txt has one exact version of everything that pyproject.toml asks for, inside its range."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines())
    pinned = {canonicalize_name(name): version for name, version in pins.items()}
    extras = PROJECT["project"]["optional-dependencies"]
    asked = [Requirement(text) for group in (PROJECT["project"]["dependencies"], *extras.values()) for text in group]
    wrong = [
        str(need)
        for need in asked
        if need.name != "hanlin" and not need.specifier.contains(pinned.get(canonicalize_name(need.name), "0"))
    ]
    assert not wrong, f"constraints.txt has no version, or another, of {wrong}"
