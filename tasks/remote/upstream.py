"""Upstream: the pin of a request, and the files at a pin.

dumps.wikimedia.org     /<wiki>/ lists dates; /<wiki>/<date>/dumpstatus.json says which jobs are done, with sizes and SHA-1; mirrors without
                        it have <wiki>-<date>-sha1sums.txt. HANLIN_DUMPS_URL names a mirror.
the hub                 /api/datasets/<name>/revision/<revision> gives the commit, …/tree/<commit> the files with their hashes; a model's
                        are below /api/models.
                        HF_ENDPOINT names a mirror, HF_TOKEN opens what is not public.
"""

from __future__ import annotations

import contextvars
import difflib
import json
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any, TypeVar
from urllib.parse import quote

from tasks.remote.request import Dump, Hub, Model, Pin, Repository, Request, Urls
from tasks.remote.transfer import Remote, RemoteFile, StatusRefused, Stopped, Unavailable

T = TypeVar("T")

WIKIS = (  # to suggest a name from
    "zhwiki zh_yuewiki zh_classicalwiki zh_min_nanwiki wuuwiki zhwiktionary zhwikisource zhwikinews zhwikiquote zhwikibooks zhwikivoyage "
    "enwiki jawiki"
).split()
PAGES = re.compile(r"\.xml(-p\d+p\d+)?\.(bz2|gz|xz|zst)$")  # a job's page files; its indexes end in .txt.bz2
PART = re.compile(r"-p\d+p\d+\.\w+$")
NO_DATA = ("README*", "LICENSE*", "*.md", "*.py", "dataset_infos.json")  # of a hub dataset
# of a hub model, all in its uppermost folder: transformers' names
DESCRIBES = (
    "config.json generation_config.json tokenizer.json tokenizer_config.json special_tokens_map.json chat_template.jinja".split()
)
SHARDS = ("model.safetensors.index.json", "model-?????-of-?????.safetensors")
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".msgpack", ".h5", ".gguf")
LOOK_BACK = 6  # dates to try: a dump takes days to be done, and older ones are taken away


def dumps_url() -> str:
    """The address of the dumps, or of the mirror that HANLIN_DUMPS_URL names."""
    return (os.environ.get("HANLIN_DUMPS_URL") or "https://dumps.wikimedia.org").rstrip("/")


def hub_url() -> str:
    """The address of the hub, or of the mirror that HF_ENDPOINT names."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def hub_headers(request: Request | Repository) -> dict[str, str]:
    """The token, for the hub alone; the client drops it where the hub sends it elsewhere."""
    token = os.environ.get("HF_TOKEN", "").strip()
    return {"Authorization": f"Bearer {token}"} if token and isinstance(request, Repository) else {}


def current_pin(remote: Remote, request: Request) -> Pin:
    """The state that the moving part of a request is in now. Raises `Unavailable`."""
    if (pin := request.pinned()) is not None:
        return pin
    if isinstance(request, Dump):
        return {"date": _newest(remote, request)}
    if isinstance(request, Repository):
        return {"commit": _commit(remote, request)}
    return _states(remote, request)


def list_files(remote: Remote, request: Request, at: Pin) -> list[RemoteFile]:
    """The files that are asked for at a pin, sorted by name; never none. Raises `Unavailable`."""
    if isinstance(request, Urls):
        files = [
            RemoteFile(link.file, link.url, checksum=state if (state := at[link.file]).startswith("sha256:") else "", state=state)
            for link in request.urls
        ]
        return sorted(files, key=lambda file: file.path)
    if isinstance(request, Dump):
        files = _dump_files(remote, request, at["date"])
    elif isinstance(request, Hub):
        files = _hub_files(remote, request, at["commit"])
    else:
        files = _model_files(remote, request, at["commit"])
    for file in files:
        parts = PurePosixPath(file.path).parts
        if not parts or file.path.startswith("/") or ".." in parts or "\\" in file.path:
            raise Unavailable(f"{file.url}: upstream lists a file named {file.path!r}, outside its folder; nothing was fetched")
    patterns = [] if isinstance(request, Model) else request.files
    chosen = [file for file in files if not patterns or any(fnmatchcase(file.path, pattern) for pattern in patterns)]
    if not chosen:
        names = [file.path for file in files]
        near = difflib.get_close_matches(patterns[0], names, 3, cutoff=0.3) if patterns else []
        there = ", ".join(near or names[:8]) or "no file of pages"
        raise Unavailable(
            f"{request} has no file named {' or '.join(patterns) or 'as pages are'}; it has {there}; correct files:"
        )
    return sorted(chosen, key=lambda file: file.path)


# -- Wikimedia dumps --------------------------------------------------------------------------------------------------


def _newest(remote: Remote, request: Dump) -> str:
    """The newest date whose job is done."""
    statuses = []
    for date in _dates(remote, request.dump)[:LOOK_BACK]:
        status, files = _job(remote, request, date)
        if status == "done" and files:
            return date
        statuses.append(f"{date}: {status}")
    raise Unavailable(
        f"{dumps_url()}/{request.dump}/: none of its dates has the job {request.job} done ({'; '.join(statuses)}); wait for the dump, or "
        "choose another job: or date:"
    )


def _dates(remote: Remote, wiki: str) -> list[str]:
    """The dates there are, newest first; of a mirror without listings the one that `latest` stands for."""
    home = f"{dumps_url()}/{wiki}"
    for url in (f"{home}/", f"{home}/latest/{wiki}-latest-sha1sums.txt", f"{home}/latest/{wiki}-latest-md5sums.txt"):
        dates = re.findall(rf"""(?:href=["'][^"']*?|{wiki}-)\b(20\d{{6}})\b""", _optional(remote, url) or "")
        if dates:
            return sorted(set(dates), reverse=True)
    near = difflib.get_close_matches(wiki, WIKIS, 1)
    hint = f"did you mean {near[0]}?" if near and near[0] != wiki else "see backup-index.html there for the names"
    raise Unavailable(f"{home}/: there is no wiki {wiki}, or no dump of it; {hint}")


def _job(remote: Remote, request: Dump, date: str) -> tuple[str, dict[str, dict[str, Any]]]:
    """A job's status and its page files: name → {size, sha1}."""
    base = f"{dumps_url()}/{request.dump}/{date}"
    status_file = _optional(remote, f"{base}/dumpstatus.json")
    if status_file is None:  # older dates and some mirrors: what is in the list of checksums was finished
        sums = _sums(remote, request.dump, date)
        mine = re.compile(rf"^{request.dump}-{date}-{_stem(request.job)}")
        files = {name: {"sha1": sha1} for name, sha1 in sums.items() if mine.match(name) and PAGES.search(name)}
        return "done" if files else "not there", _one_of_each(request.job, files)
    try:
        jobs = json.loads(status_file)["jobs"]
        job = jobs.get(request.job)
        if job is None:
            others = sorted(name for name in jobs if name.endswith(("dump", "dumprecombine")))
            return f"not among its jobs, which are {', '.join(others) or 'none yet'}", {}
        status, files = str(job["status"]), dict(job.get("files") or {})
    except (ValueError, LookupError, TypeError, AttributeError):
        raise Unavailable(f"{base}/dumpstatus.json: not what Wikimedia writes there; check HANLIN_DUMPS_URL") from None
    return status, _one_of_each(request.job, {name: about for name, about in files.items() if PAGES.search(name)})


def _stem(job: str) -> str:
    """The pattern of a job's file names after wiki and date."""
    about = {
        "articles": "pages-articles",
        "articlesmultistream": "pages-articles-multistream",
        "metacurrent": "pages-meta-current",
    }
    what = job.removesuffix("recombine").removesuffix("dump")
    return rf"{about.get(what, re.escape(what))}\d*\.xml"


def _one_of_each(job: str, files: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The same pages come as parts and as one file, and where both are listed one of the two has to do."""
    parts = {name: about for name, about in files.items() if PART.search(name)}
    whole = {name: about for name, about in files.items() if name not in parts}
    return (whole or parts) if job.endswith("recombine") else (parts or whole)


def _dump_files(remote: Remote, request: Dump, date: str) -> list[RemoteFile]:
    status, files = _job(remote, request, date)
    base = f"{dumps_url()}/{request.dump}/{date}"
    if status == "not there":
        there = _dates(remote, request.dump)
        raise Unavailable(
            f"{base}/: there is no such dump; dates there: {', '.join(there[:8]) or 'none'}; Wikimedia keeps "
            "the last few. Correct date:, write latest, or give a copy of your own as path:"
        )
    if status != "done":
        raise Unavailable(
            f"{base}/: the job {request.job} is {status}; wait for it, take an earlier date: or latest, or correct job:"
        )
    sums = _sums(remote, request.dump, date) if any("sha1" not in about for about in files.values()) else {}
    return [
        RemoteFile(
            name,
            f"{base}/{quote(name)}",
            about.get("size"),
            f"sha1:{sha1}" if (sha1 := about.get("sha1") or sums.get(name)) else "",
        )
        for name, about in files.items()
    ]


def _sums(remote: Remote, wiki: str, date: str) -> dict[str, str]:
    """name → SHA-1, as the dump's list of checksums states it; empty where there is none."""
    text = _optional(remote, f"{dumps_url()}/{wiki}/{date}/{wiki}-{date}-sha1sums.txt") or ""
    return {name: sha1 for sha1, name in re.findall(r"^([0-9a-f]{40})\s+\*?(\S+)$", text, re.MULTILINE)}


def _optional(remote: Remote, url: str) -> str | None:
    try:
        return remote.text(url)[0]
    except StatusRefused as refused:
        if refused.status in (404, 410):
            return None
        raise


# -- the hub ----------------------------------------------------------------------------------------------------------


def _hub(remote: Remote, request: Repository, url: str) -> tuple[Any, Any]:
    """A JSON answer of the hub's API, and its headers."""
    try:
        text, headers = remote.text(url, hub_headers(request))
        return json.loads(text), headers
    except StatusRefused as refused:
        if refused.status not in (401, 403, 404):
            raise
        token = (
            "HF_TOKEN is set, but may not be valid for it" if hub_headers(request) else "a private or gated one needs HF_TOKEN"
        )
        shelf, _, name = request.place.partition("/")
        raise Unavailable(
            f"{url}: no {shelf[:-1]} {name} at revision {request.revision} ({refused.status}); check both names at {hub_url()}/{shelf} ({token})"
        ) from None
    except ValueError as error:
        if isinstance(error, Unavailable):
            raise
        raise Unavailable(f"{url}: the answer is not JSON; check HF_ENDPOINT") from None


def _commit(remote: Remote, request: Repository) -> str:
    about, _ = _hub(remote, request, f"{hub_url()}/api/{request.place}/revision/{quote(request.revision, safe='')}")
    commit = about.get("sha") if isinstance(about, dict) else None
    if not isinstance(commit, str) or not commit:
        raise Unavailable(f"{hub_url()}: it names no commit for {request} at {request.revision}; check HF_ENDPOINT")
    return commit


def _hub_files(remote: Remote, request: Hub, commit: str) -> list[RemoteFile]:
    files = []
    for path, size, checksum in _entries(remote, request.model_copy(update={"revision": commit}), commit):
        hidden = any(part.startswith(".") for part in PurePosixPath(path).parts)
        dull = hidden or any(fnmatchcase(PurePosixPath(path).name, pattern) for pattern in NO_DATA)
        if request.files or not dull:
            files.append(RemoteFile(path, f"{hub_url()}/datasets/{request.hub}/resolve/{commit}/{quote(path)}", size, checksum))
    return files


def _model_files(remote: Remote, request: Model, commit: str) -> list[RemoteFile]:
    """The files that a model is read from, and no more: a repository may hold the same weights in several formats."""
    there = {
        path: (size, checksum)
        for path, size, checksum in _entries(remote, request.model_copy(update={"revision": commit}), commit)
    }
    shards = [path for path in there if any(fnmatchcase(path, pattern) for pattern in SHARDS)]
    weights = ["model.safetensors"] if "model.safetensors" in there else shards
    if not any(path.endswith(".safetensors") for path in weights):
        other = [path for path in there if path.endswith(PICKLED)]
        raise Unavailable(
            f"{request} at {request.revision} has no weights as safetensors"
            + (f", only {', '.join(other[:3])}, which Hanlin does not read: a pickle runs whatever is in it" if other else "")
            + "; choose a revision or a copy that has model.safetensors, or convert it yourself and give its folder as base.path"
        )
    names = [*(name for name in DESCRIBES if name in there), *weights]
    return [RemoteFile(path, f"{hub_url()}/{request.model}/resolve/{commit}/{quote(path)}", *there[path]) for path in names]


def _entries(remote: Remote, request: Repository, commit: str) -> Iterator[tuple[str, int | None, str]]:
    """(path, bytes, checksum) of every file at a commit. What git stores itself it names by a hash; of large files it stores the SHA-256."""
    url = f"{hub_url()}/api/{request.place}/tree/{commit}?recursive=true"
    while url:
        page, headers = _hub(remote, request, url)
        if not isinstance(page, list):
            raise Unavailable(f"{url}: the answer lists no files; check HF_ENDPOINT")
        for entry in page:
            if entry.get("type") == "file":
                large = entry.get("lfs") or {}
                checksum = f"sha256:{large['oid'].removeprefix('sha256:')}" if large else f"git:{entry['oid']}"
                yield entry["path"], large.get("size", entry.get("size")), checksum
        following = re.search(r'<([^>]+)>;\s*rel="next"', headers.get("link", ""))
        # a mirror repeats the hub's own links, which would lead away from it
        url = f"{hub_url()}/api/{following[1].partition('/api/')[2]}" if following else ""


# -- plain URLs -------------------------------------------------------------------------------------------------------


def _states(remote: Remote, request: Urls) -> Pin:
    def look(url: str, sha256: str) -> str:
        return f"sha256:{sha256.lower()}" if sha256 else remote.state(url)

    calls = [lambda link=link: look(link.url, link.sha256) for link in request.urls]
    states = in_threads(calls, 4)
    if wrong := [result for result in states if isinstance(result, Exception)]:
        raise wrong[0] if len(wrong) == 1 else Unavailable("\n".join(map(str, wrong)))
    for link, state in zip(request.urls, states, strict=True):
        if not state:
            remote.log(
                f"{link.url}: the server tells neither ETag nor date nor size, so a change goes unnoticed; give its sha256"
            )
    return {link.file: str(state) for link, state in zip(request.urls, states, strict=True)}


def in_threads(calls: Sequence[Callable[[], T]], count: int, tick: Callable[[], None] = lambda: None) -> list[T | Exception]:
    """Every call's result or error, in order, from `count` threads; `tick` is called here twice a second.

    Threads that are waited for at exit would hold up Ctrl-C for as long as a silent server is borne, so these are daemons.
    """
    results: dict[int, T | Exception] = {}
    waiting = iter(enumerate(calls))
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                number, task = next(waiting, (-1, None))
            if task is None:
                return
            try:
                results[number] = task()
            except Exception as error:
                results[number] = error

    # in the caller's context, which tells whose lines are logged
    contexts = [contextvars.copy_context() for _ in range(min(count, len(calls)))]
    threads = [threading.Thread(target=context.run, args=(work,), daemon=True) for context in contexts]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(0.5)
            tick()
    return [results[number] for number in range(len(calls))]


def failures(results: Iterable[Any]) -> list[Exception]:
    """The errors among results, without those of transfers that were only told to stop."""
    return [result for result in results if isinstance(result, Exception) and not isinstance(result, Stopped)]
