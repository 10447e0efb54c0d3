"""A real HTTP server on 127.0.0.1 that serves bytes from memory and misbehaves as it is told, one fault a request.

It also plays the two upstreams: `dump(...)` lays out a Wikimedia dump, `dataset(...)` a dataset of the hub and `model(...)` a model of it.
"""

from __future__ import annotations

import hashlib
import html
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit


@dataclass
class Fault:
    """What goes wrong with one request. `after` bytes of the body are sent before it does."""

    status: int = 0  # answer with this instead of the file
    retry_after: str = ""
    after: int | None = None  # then break the connection, or stall for `stall` seconds
    stall: float = 0.0
    drip: float = 0.0  # seconds between single bytes
    length: int = 0  # added to the Content-Length that is announced
    ignore_range: bool = False
    any_range: bool = False  # answers If-Range as if nothing had changed
    flip: bool = False  # one byte of the body is another
    redirect: str = ""
    new: bytes | None = None  # the file has this content from now on
    page: bool = False  # a web page where a file should be


@dataclass
class Resource:
    body: bytes
    etag: str | None = ""  # None: the server tells none; "": made from the body
    modified: str = ""
    type: str = "application/octet-stream"
    faults: list[Fault] = field(default_factory=list)  # used up one a GET
    head: int = 0  # the status that HEAD is answered with, where it is not allowed
    sized: bool = True  # tells Content-Length (else the connection's end is the body's end)

    @property
    def tag(self) -> str | None:
        return f'"{hashlib.md5(self.body).hexdigest()}"' if self.etag == "" else self.etag


@dataclass
class Seen:
    """One request, and how many bytes of body went out."""

    method: str
    path: str
    headers: dict[str, str]
    at: float
    sent: int = 0


class Server:
    def __init__(self) -> None:
        self.files: dict[str, Resource] = {}
        self.seen: list[Seen] = []
        self.open = self.most = 0
        self.lock = threading.Lock()
        self.gone = threading.Event()
        outer = self

        class Handler(_Handler):
            server_of = outer

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def put(self, path: str, body: bytes, *faults: Fault, **about: Any) -> str:
        """Serve a file; returns its URL."""
        self.files[path] = Resource(body, faults=list(faults), **about)
        return self.url + path

    def sent(self, ending: str = "") -> int:
        """Bytes of body sent for paths with this ending."""
        return sum(seen.sent for seen in self.seen if seen.method == "GET" and seen.path.endswith(ending))

    def gets(self, ending: str = "") -> list[Seen]:
        return [seen for seen in self.seen if seen.method == "GET" and seen.path.endswith(ending)]

    def close(self) -> None:
        """Disappear: nothing listens any more, and what is open is cut."""
        self.gone.set()
        self._http.shutdown()
        self._http.server_close()

    # -- the upstreams ------------------------------------------------------------------------------------------------

    def dump(
        self, wiki: str, date: str, files: dict[str, bytes], status: str = "done", job: str = "articlesmultistreamdump"
    ) -> None:
        """A dump with one job. `files`: what follows `<wiki>-<date>-` → content."""
        home = f"/{wiki}/{date}"
        listed = {}
        for ending, body in files.items():
            name = f"{wiki}-{date}-{ending}"
            self.put(f"{home}/{name}", body)
            sums = {"sha1": hashlib.sha1(body).hexdigest(), "md5": hashlib.md5(body).hexdigest()}
            listed[name] = {"size": len(body), "url": f"{home}/{name}", **sums}
        jobs = {job: {"status": status, "files": listed, "updated": f"{date} 10:00:00"}, "xmlpagelogsdump": {"status": "waiting"}}
        told = {"version": "0.8", "jobs": jobs}
        self.put(f"{home}/dumpstatus.json", json.dumps(told).encode(), type="application/json")
        sums = "".join(f"{about['sha1']}  {name}\n" for name, about in listed.items())
        self.put(f"{home}/{wiki}-{date}-sha1sums.txt", sums.encode(), type="text/plain")
        self.put(f"/{wiki}/latest/{wiki}-latest-sha1sums.txt", sums.encode(), type="text/plain")
        dates = sorted({path.split("/")[2] for path in self.files if path.startswith(f"/{wiki}/2")})
        rows = "".join(f'<a href="{html.escape(date)}/">{date}/</a>   01-Nov-2026 08:00   -\n' for date in dates)
        page = f'<html><body><h1>Index of /{wiki}/</h1><pre><a href="../">../</a>\n{rows}<a href="latest/">latest/</a></pre></body></html>'
        self.put(f"/{wiki}/", page.encode(), type="text/html")

    def dataset(self, name: str, commit: str, files: dict[str, bytes], lfs: tuple[str, ...] = (), branch: str = "main") -> None:
        """A dataset at a commit, which a branch points at from now on."""
        self._repository(f"datasets/{name}", f"/datasets/{name}", commit, files, lfs, branch)

    def model(self, name: str, commit: str, files: dict[str, bytes], lfs: tuple[str, ...] = (), branch: str = "main") -> None:
        """The same for a model."""
        self._repository(f"models/{name}", f"/{name}", commit, files, lfs, branch)

    def _repository(self, place: str, home: str, commit: str, files: dict[str, bytes], lfs: tuple[str, ...], branch: str) -> None:
        entries: list[dict[str, Any]] = [{"type": "directory", "oid": "0" * 40, "size": 0, "path": "data"}]
        for path, body in files.items():
            git = hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
            entry: dict[str, Any] = {"type": "file", "oid": git, "size": len(body), "path": path}
            address = f"{home}/resolve/{commit}/{path}"
            if path in lfs:
                oid = hashlib.sha256(body).hexdigest()
                entry |= {"oid": "1" * 40, "lfs": {"oid": oid, "size": len(body), "pointerSize": 130}}
                self.put(f"/cdn/{oid}", body)
                self.put(address, b"", *[Fault(redirect=f"/cdn/{oid}")] * 50)
            else:
                self.put(address, body)
            entries.append(entry)
        self.put(f"/api/{place}/revision/{branch}", json.dumps({"id": place.partition("/")[2], "sha": commit}).encode())
        half = len(entries) // 2
        tree = f"/api/{place}/tree/{commit}?recursive=true"
        self.put(tree, json.dumps(entries[:half]).encode(), type=f"link:{tree}&cursor=2")
        self.put(f"{tree}&cursor=2", json.dumps(entries[half:]).encode())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of: Server

    def log_message(self, *arguments: object) -> None:
        pass

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (TimeoutError, ConnectionError, ValueError):  # the client left
            self.close_connection = True

    def do_HEAD(self) -> None:
        self._serve(body=False)

    def do_GET(self) -> None:
        outer = self.server_of
        with outer.lock:
            outer.open += 1
            outer.most = max(outer.most, outer.open)
        try:
            self._serve(body=True)
        finally:
            with outer.lock:
                outer.open -= 1

    def _serve(self, body: bool) -> None:
        outer = self.server_of
        split = urlsplit(self.path)
        path = unquote(split.path) + (f"?{split.query}" if split.query else "")
        seen = Seen(self.command, path, {k.lower(): v for k, v in self.headers.items()}, time.monotonic())
        outer.seen.append(seen)
        found = outer.files.get(path)
        if found is None:
            self._plain(404, b"not found")
            return
        if not body and found.head:
            self._plain(found.head, b"")
            return
        with outer.lock:
            fault = found.faults.pop(0) if body and found.faults else Fault()
        if fault.new is not None:
            found.body = fault.new
        if fault.status or fault.redirect:
            extra = (
                {"Retry-After": fault.retry_after}
                if fault.retry_after
                else {"Location": fault.redirect}
                if fault.redirect
                else {}
            )
            self._plain(fault.status or 302, b"no", extra)
            return
        if fault.page:
            self._plain(200, b"<html>please log in</html>", {"Content-Type": "text/html"})
            return
        self._send(found, fault, seen, body)

    def _send(self, found: Resource, fault: Fault, seen: Seen, body: bool) -> None:
        begin = 0
        wanted = self.headers.get("Range", "")
        condition = self.headers.get("If-Range")
        same = condition is None or condition in (found.tag, found.modified) or fault.any_range
        if wanted.startswith("bytes=") and same and not fault.ignore_range:
            begin = int(wanted[6:].split("-")[0])
        data = found.body[begin:]
        if begin and not data:
            self._plain(416, b"", {"Content-Range": f"bytes */{len(found.body)}"})
            return
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(found.body) - 1}/{len(found.body)}")
        if found.type.startswith("link:"):  # as the hub: an absolute link, to itself and not to its mirror
            self.send_header("Link", f'<https://huggingface.co{found.type[5:]}>; rel="next"')
        else:
            self.send_header("Content-Type", found.type)
        if found.tag:
            self.send_header("ETag", found.tag)
        if found.modified:
            self.send_header("Last-Modified", found.modified)
        if found.sized:
            self.send_header("Content-Length", str(len(data) + fault.length))
        else:
            self.send_header("Connection", "close")
        self.end_headers()
        if body:
            if fault.flip:
                data = data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]
            self._write(data, fault, seen)

    def _write(self, data: bytes, fault: Fault, seen: Seen) -> None:
        end = len(data) if fault.after is None else min(fault.after, len(data))
        step = 1 if fault.drip else 16 << 10
        for at in range(0, end, step):
            if self.server_of.gone.is_set():
                self._cut()
                return
            piece = data[at : min(at + step, end)]
            self.wfile.write(piece)
            seen.sent += len(piece)
            if fault.drip:
                time.sleep(fault.drip)
        if fault.stall:
            self.server_of.gone.wait(fault.stall)
        if end < len(data) or fault.length > 0:
            self._cut()

    def _cut(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        with suppress(OSError):  # the client was first
            self.connection.shutdown(socket.SHUT_RDWR)

    def _plain(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@contextmanager
def serving() -> Iterator[Server]:
    server = Server()
    try:
        yield server
    finally:
        server.close()
