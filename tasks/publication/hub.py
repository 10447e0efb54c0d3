"""A publication on the Hugging Face hub, or on a server that speaks its API (HF_ENDPOINT)."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from typing import Any

from tasks.publication.bundle import MARK, PAGE, Bundle, marked

NAME = re.compile(r"(?:[A-Za-z0-9][\w.-]{0,95}/)?[A-Za-z0-9][\w.-]{0,95}")
LARGEST = 50_000_000_000  # bytes of a file, https://huggingface.co/docs/hub/storage-limits


def check(made: Bundle | None, name: str) -> None:
    """Raise `ValueError` for what the hub would refuse: a name, the size of a file, no token."""
    from huggingface_hub import get_token

    if not NAME.fullmatch(name) or "--" in name or ".." in name:
        raise ValueError(
            f"hub:{name} is no name of a repository; write hub:OWNER/NAME, of letters, digits, dots and dashes, such as hub:me/my-model"
        )
    for path, size in made.sizes().items() if made else ():
        if size > LARGEST:
            raise ValueError(
                f"{path} has {size / 1e9:,.0f} GB, and the hub takes files of at most {LARGEST / 1e9:,.0f} GB; `hanlin export MODEL --to "
                "safetensors` writes weights in several files"
            )
    if not get_token():
        raise ValueError(
            "no token of the hub: make one that may write at https://huggingface.co/settings/tokens, and set HF_TOKEN or run `hf auth login`"
        )


def upload(made: Bundle, name: str, *, private: bool, message: str) -> str:
    """Create the repository if need be, upload the files and commit them; returns the address. What was uploaded before is not sent again.

    Raises `ValueError` in words where the hub refuses, cannot be reached, or has something else under this name.
    """
    from huggingface_hub import HfApi

    check(made, name)
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, library_name="hanlin")
    with _in_words(name, api.endpoint):
        place = api.create_repo(name, private=private or None, exist_ok=True, repo_type=made.kind)
        there = api.list_repo_files(place.repo_id, repo_type=made.kind)
    before = _ours(api, place.repo_id, there, made.kind)
    stale = sorted(set(before) & set(there) - set(made.files))
    with _in_words(name, api.endpoint):
        try:
            _commit(api, place.repo_id, made, stale, message)
        except Exception as failure:
            if not ("xet-write-token" in str(failure) and "404" in str(failure)):
                raise
            with _without_xet():
                _commit(api, place.repo_id, made, stale, message)
    return str(place)


def _commit(api: Any, name: str, made: Bundle, stale: list[str], message: str) -> None:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    operations: list[Any] = [
        CommitOperationAdd(path, what if isinstance(what, bytes) else str(what)) for path, what in sorted(made.files.items())
    ]
    operations += [CommitOperationDelete(path) for path in stale]
    api.create_commit(name, operations, commit_message=message, repo_type=made.kind)


@contextlib.contextmanager
def _without_xet() -> Iterator[None]:
    """Upload by LFS: where hf_xet is installed, the hub's client takes Xet without asking whether the server has it."""
    from huggingface_hub import constants

    before, constants.HF_HUB_DISABLE_XET = constants.HF_HUB_DISABLE_XET, True
    try:
        yield
    finally:
        constants.HF_HUB_DISABLE_XET = before


def _ours(api: Any, name: str, there: list[str], kind: str) -> list[str]:
    """The files of the earlier publication in a repository. Raises `ValueError` where it holds something else."""
    if not set(there) - {".gitattributes", PAGE}:
        return []
    if MARK in there:
        from huggingface_hub.utils import build_hf_headers, get_session

        prefix = "datasets/" if kind == "dataset" else ""
        with _in_words(name, api.endpoint):
            answer = get_session().get(
                f"{api.endpoint}/{prefix}{name}/resolve/main/{MARK}", headers=build_hf_headers(), follow_redirects=True
            )
            answer.raise_for_status()
        if files := marked(answer.text):
            return files
    raise ValueError(
        f"{name} is taken: the repository holds {len(there)} files that Hanlin did not publish ({', '.join(there[:3])} …), which stay as they "
        "are; choose another name"
    )


@contextlib.contextmanager
def _in_words(name: str, endpoint: str) -> Iterator[None]:
    """Turn the errors of the hub's client into one sentence each, with what to do."""
    import httpx2
    from huggingface_hub.errors import OfflineModeIsEnabled

    try:
        yield
    except OfflineModeIsEnabled:
        raise ValueError("HF_HUB_OFFLINE is set, so nothing is uploaded; unset it, or publish to a folder") from None
    except (httpx2.HTTPError, RuntimeError, ValueError, OSError) as failure:
        raise ValueError(_told(failure, name, endpoint)) from failure


def _told(failure: BaseException, name: str, endpoint: str) -> str:
    """An error of the hub's client in words."""
    import httpx2

    causes: list[BaseException] = []
    cause: BaseException | None = failure
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    again = "; run the same command again, and it goes on: what arrived is not sent twice"
    for cause in causes:
        if isinstance(cause, httpx2.TransportError):
            return f"{endpoint} cannot be reached ({type(cause).__name__}: {cause}){again}"
        status = getattr(getattr(cause, "response", None), "status_code", None)
        if status is None:
            continue
        said = " ".join(str(getattr(cause, "server_message", None) or "").split())
        said = f": {said}" if said else ""
        words = {
            401: f"{endpoint} does not know the token{said}; make one that may write at {endpoint}/settings/tokens, and set HF_TOKEN",
            403: f"the token may not write to {name}{said}; it needs the right to write, and the owner in hub:OWNER/NAME must be you or yours",
            404: f"{endpoint} has no {name} that this token may see{said}; check the name",
            409: f"{name} is taken, or somebody else writes to it at this moment{said}; choose another name, or try again",
            413: f"{endpoint} refuses a file as too large{said}; `hanlin export MODEL --to safetensors` writes weights in several files",
            429: f"{endpoint} asks for patience{said}; wait some minutes{again}",
        }
        if status >= 500:
            return f"{endpoint} failed with status {status}{said}{again}"
        return words.get(status, f"{endpoint} refused with status {status}{said}")
    return f"{name} was not published: {' '.join(str(failure).split())}"
