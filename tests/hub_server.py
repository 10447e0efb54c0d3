"""A local server that speaks the part of the hub's API by which files are uploaded, as huggingface_hub 2.4 calls it (without Xet)."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import yaml

TOKEN = "hf_local"
REGULAR = 2_000  # bytes, from which a file goes to large storage


class Hub:
    """Repositories, large files, and the requests that came. `refuse` is (part of a path, status, words) of what is refused."""

    def __init__(self) -> None:
        self.repos: dict[tuple[str, str], dict[str, bytes]] = {}
        self.private: set[str] = set()
        self.large: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.commits: list[dict[str, Any]] = []
        self.refuse: tuple[str, int, str] | None = None
        self.owner = "somebody"
        self.url = ""

    def answer(self, method: str, path: str, body: bytes, headers: Any) -> tuple[int, Any]:
        self.requests.append(f"{method} {path}")
        if self.refuse and self.refuse[0] in f"{method} {path}":
            return self.refuse[1], {"error": self.refuse[2]}
        if path.startswith("/large/"):
            return self._large(path.removeprefix("/large/"), body)
        if headers.get("authorization") != f"Bearer {TOKEN}":
            return 401, {"error": "Invalid user token."}
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path == "/api/validate-yaml":
            header = json.loads(body)["content"].split("---\n")[1]
            return (200, {}) if isinstance(yaml.safe_load(header), dict) else (400, {"errors": [{"message": "no mapping"}]})
        if match := re.fullmatch(r"/api/(model|dataset)s/([^/]+/[^/]+)/(tree|preupload|commit)/main.*", path):
            kind, name, what = match.groups()
            if (kind, name) not in self.repos:
                return 404, {"error": "Repository not found"}
            status, told = getattr(self, f"_{what}")(self.repos[kind, name], body)
            if what == "commit":
                prefix = "datasets/" if kind == "dataset" else ""
                told = {
                    "commitOid": f"{len(self.commits):040x}",
                    "commitUrl": f"{self.url}/{prefix}{name}/commit/{len(self.commits):040x}",
                }
            return status, told
        if match := re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)\.git/info/lfs/objects/batch", path):
            return self._batch(json.loads(body))
        if match := re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/main/(.*)", path):
            return 200, self.repos["dataset" if match[1] else "model", match[2]][match[3]]
        return 404, {"error": f"nothing at {method} {path}"}

    def _create(self, asked: dict[str, Any]) -> tuple[int, Any]:
        owner = asked.get("organization") or self.owner
        if owner != self.owner:
            return 403, {"error": f"You don't have the rights to create a model under the namespace {owner}"}
        kind, name = asked.get("type", "model"), f"{owner}/{asked['name']}"
        url = f"{self.url}/{'datasets/' if kind == 'dataset' else ''}{name}"
        if (kind, name) in self.repos:
            return 409, {"error": "You already created this repo", "url": url}
        self.repos[kind, name] = {".gitattributes": b"*.safetensors filter=lfs\n"}
        if asked.get("visibility") == "private":
            self.private.add(name)
        return 200, {"url": url}

    def _tree(self, files: dict[str, bytes], body: bytes) -> tuple[int, Any]:
        return 200, [{"type": "file", "path": path, "size": len(data), "oid": oid(data)} for path, data in files.items()]

    def _preupload(self, files: dict[str, bytes], body: bytes) -> tuple[int, Any]:
        modes = []
        for file in json.loads(body)["files"]:
            mode = "lfs" if file["size"] > REGULAR else "regular"
            there = files.get(file["path"])
            modes.append(
                {
                    "path": file["path"],
                    "uploadMode": mode,
                    "shouldIgnore": False,
                    "oid": oid(there) if there is not None else None,
                }
            )
        return 200, {"files": modes}

    def _batch(self, asked: dict[str, Any]) -> tuple[int, Any]:
        objects = []
        for one in asked["objects"]:
            entry = {"oid": one["oid"], "size": one["size"]}
            if one["oid"] not in self.large:
                entry["actions"] = {"upload": {"href": f"{self.url}/large/{one['oid']}"}}
            objects.append(entry)
        return 200, {"transfer": "basic", "objects": objects}

    def _large(self, name: str, body: bytes) -> tuple[int, Any]:
        assert hashlib.sha256(body).hexdigest() == name
        self.large[name] = body
        return 200, {}

    def _commit(self, files: dict[str, bytes], body: bytes) -> tuple[int, Any]:
        lines = [json.loads(line) for line in body.splitlines()]
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.large[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        self.commits.append(lines[0]["value"])
        return 200, {}


def oid(data: bytes) -> str:
    """Git's name of a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


@contextmanager
def hub() -> Iterator[Hub]:
    """The server at work, on a port of this machine."""
    state = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def respond(self) -> None:
            body = self.body()
            status, answer = state.answer(self.command, urlsplit(self.path).path, body, self.headers)
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            if status >= 400 and isinstance(answer, dict):
                self.send_header("x-error-message", answer.get("error", ""))
            self.end_headers()
            self.wfile.write(data)

        def body(self) -> bytes:
            if self.headers.get("transfer-encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("content-length", 0)))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        do_GET = do_POST = do_PUT = respond  # noqa: N815

        def log_message(self, *words: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
