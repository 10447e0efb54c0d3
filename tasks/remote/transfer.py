"""One file over HTTP, whole and verified, whatever the network does on the way.

What has arrived stays in a partial file, with a note of the state it belongs to (its ETag or Last-Modified). Another attempt, or another
process after a kill, asks for the rest of that state only (`Range` with `If-Range`, RFC 9110 section 13.1.5); where the server has another state by
now, or knows no ranges, the file starts again. A failure that may pass is tried again, later each time, or when the server says so.
"""

from __future__ import annotations

import contextlib
import email.utils
import importlib.metadata
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from tasks.remote import partial

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

SLOWEST = 60.0  # seconds between two attempts, at most
PATIENCE = 600.0  # seconds of `Retry-After` that are waited; a server that asks for more is asked another day
ADVANCE = 64 << 10  # bytes an attempt must bring for the count of failures to start again
TRICKLE = 1000  # bytes/s below which a transfer counts as stalled, over as long as silence is borne
ANSWER = 64 << 20  # bytes of a listing, at most
PASSING = {408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524}  # statuses that another attempt may mend


@dataclass(frozen=True)
class RetryPolicy:
    """The patience of a client, in seconds. `retries` are attempts in a row that bring nothing new."""

    retries: int = 8
    backoff: float = 1.0  # before the second attempt; doubles from there
    connect: float = 10.0
    silence: float = 30.0  # without a byte, a transfer is stalled


@dataclass(frozen=True)
class RemoteFile:
    """A file upstream."""

    path: str  # relative, the name it is kept under
    url: str
    size: int | None = None  # bytes, where upstream lists them
    checksum: str = ""  # algorithm:hexadecimal; `git` is the hash of a git blob
    state: str = ""  # of what the URL served when it was looked up, as `state_of` spells it


class Unavailable(ValueError):
    """Upstream does not give what was asked. Says what, where, why and what to do."""


class Unreachable(Unavailable):
    """Nobody answers, so there is no use in asking for the next file."""


class Stopped(RuntimeError):
    """Somebody else's failure ended this transfer."""


class _Again(Exception):
    """Another attempt may mend it. `wait`: seconds the server asked for."""

    def __init__(self, what: str, wait: float | None = None, *, reached: bool = True):
        super().__init__(what)
        self.wait, self.reached = wait, reached


class Remote:
    """An HTTP client for several threads that says who it is, waits when it is told to, and tries again."""

    def __init__(self, rules: RetryPolicy, log: Callable[[str], None] = lambda text: None):
        import httpx

        self.rules, self.log = rules, log
        self.stop = threading.Event()  # set: every transfer ends with `Stopped`
        self._not_before: dict[str, float] = {}  # by host: a server that asks one connection to wait means all of them
        agent = f"Hanlin/{importlib.metadata.version('hanlin')} (Chinese corpus pipeline) httpx/{httpx.__version__}"
        self._http = httpx.Client(
            headers={"User-Agent": agent, "Accept-Encoding": "identity"},  # lengths and ranges then count the file's own bytes
            follow_redirects=True,
            timeout=httpx.Timeout(rules.silence, connect=rules.connect),
        )

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop.set()
        self._http.close()

    def text(self, url: str, headers: dict[str, str] | None = None) -> tuple[str, httpx.Headers]:
        """A small answer and its headers. Raises `Unavailable`; a status that will not pass is in its `status`."""

        def attempt() -> tuple[str, httpx.Headers]:
            body = bytearray()
            with self._answer("GET", url, headers or {}) as response:
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > ANSWER:
                        raise Unavailable(f"{url}: the answer is longer than {ANSWER >> 20} MB; is this the right address?")
            return body.decode("utf-8", "replace"), response.headers

        return self._persist(url, attempt)

    def state(self, url: str) -> str:
        """The state of what a URL serves now, as `state_of` spells it, without its bytes."""

        def attempt() -> str:
            with contextlib.suppress(StatusRefused), self._answer("HEAD", url, {}) as response:
                return state_of(response.headers)
            with self._answer("GET", url, {}) as response:  # some servers refuse HEAD; the body is never read
                return state_of(response.headers)

        return self._persist(url, attempt)

    def fetch(
        self,
        file: RemoteFile,
        part: Path,
        headers: dict[str, str] | None = None,
        at: Callable[[int, int | None], None] = lambda have, total: None,
    ) -> dict[str, Any]:
        """Bring a file to `part`, going on where an earlier attempt left off, and verify it. `at` is told of (bytes there, bytes in all or None).

        Returns size, sha256 and state. Raises `Unavailable` (`Unreachable` where nobody answers), or OSError for the disk.
        """
        best = spoiled = 0
        mark = partial.partial_size(part)

        def advanced() -> bool:
            nonlocal best, mark
            best = max(best, partial.partial_size(part))
            if best < mark + ADVANCE:
                return False
            mark = best
            return True

        def attempt() -> dict[str, Any]:
            nonlocal spoiled
            self._transfer(file, part, headers or {}, at)
            sums = partial.sums(part, file.checksum)
            if file.checksum and sums[0] != file.checksum:
                spoiled += 1
                partial.forget(part)
                if spoiled > 1:
                    raise Unavailable(
                        f"{file.url}: the file hashes to {sums[0]} where {file.checksum} was expected, twice in a row; the file or its "
                        "checksum was changed: correct the checksum in the recipe, or wait until upstream has mended it"
                    )
                raise _Again(f"hashes to {sums[0]} where {file.checksum} was expected; starting again")
            return {"size": part.stat().st_size, "sha256": sums[1], "state": partial.read_note(part).get("state", "")}

        return self._persist(file.url, attempt, advanced, lambda: partial.partial_size(part))

    # -- one request --------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _answer(self, method: str, url: str, headers: dict[str, str]) -> Iterator[httpx.Response]:
        """An open response with a good status. Everything that goes wrong is `_Again` or `Unavailable`, while it is read too."""
        import httpx

        self._hold(url)
        try:
            with self._http.stream(method, url, headers=headers) as response:
                status = response.status_code
                if status in PASSING:
                    wait = _retry_after(response.headers.get("retry-after"))
                    raise _Again(f"the server answers {status} {response.reason_phrase}", wait)
                if status >= 400 and not (status == 416 and "Range" in headers):
                    raise StatusRefused(url, status, response.reason_phrase)
                yield response
        except httpx.ConnectTimeout:
            raise _Again(f"no connection within {self.rules.connect:g} s", reached=False) from None
        except httpx.TimeoutException:
            raise _Again(f"stalled: not a byte for {self.rules.silence:g} s") from None
        except httpx.ConnectError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise Unreachable(f"{url}: {error}; if a proxy stands between, name its certificate in SSL_CERT_FILE") from None
            raise _Again(f"no connection ({error})", reached=False) from None
        except httpx.TransportError as error:
            raise _Again(f"broken off ({error or type(error).__name__})") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unavailable(f"{url}: {error}; check the address") from None

    def _transfer(self, file: RemoteFile, part: Path, headers: dict[str, str], at: Callable[[int, int | None], None]) -> None:
        """One attempt: what is missing of the file goes to the end of `part`. Returns once it is as long as it should be."""
        note, have = partial.read_note(part), partial.partial_size(part)
        if note.get("url") != file.url:  # what another mirror sent is judged by its checksum alone
            note = {"length": note.get("length")}
        sealed = note.get("seal", "")
        if not (sealed or file.checksum) or (file.size is not None and have > file.size):
            partial.forget(part)
            have, note = 0, {}
        length = file.size if file.size is not None else note.get("length")
        if have and have == length:
            return
        ranged = {"Range": f"bytes={have}-"} | ({"If-Range": sealed} if sealed else {}) if have else {}
        with self._answer("GET", file.url, headers | ranged) as response:
            if response.status_code != 200 and not (have and _continues(response, have, note)):
                partial.forget(part)
                raise _Again(f"the answer ({response.status_code}) does not go on where the {have:,} bytes end; starting again")
            if have and response.status_code == 200:
                self.log(f"{file.path}: the server starts it again ({have:,} bytes were there)")
                have = 0
            total = _total(response, have)
            self._check(file, response, total)
            if not have:
                partial.forget(part)
            about = {"state": state_of(response.headers), "seal": _seal(response.headers), "length": total}
            partial.write_note(part, {"url": file.url, **about})
            self._receive(response, part, have, total, at)
        if total is not None and partial.partial_size(part) != total:
            raise _Again(f"ends after {partial.partial_size(part):,} of {total:,} bytes")
        if file.size is not None and partial.partial_size(part) != file.size:
            raise _Again(f"has {partial.partial_size(part):,} bytes where upstream lists {file.size:,}")

    def _receive(
        self, response: httpx.Response, part: Path, have: int, total: int | None, at: Callable[[int, int | None], None]
    ) -> None:
        since, received = time.monotonic(), 0
        with part.open("ab") as out:
            at(have, total)
            for chunk in response.iter_raw():
                if self.stop.is_set():
                    raise Stopped
                out.write(chunk)
                out.flush()  # what a kill must not lose
                have, received = have + len(chunk), received + len(chunk)
                at(have, total)
                if (seconds := time.monotonic() - since) >= self.rules.silence:
                    if received < TRICKLE * seconds:
                        raise _Again(f"stalled: {received:,} bytes in {seconds:.0f} s")
                    since, received = time.monotonic(), 0
            os.fsync(out.fileno())

    def _check(self, file: RemoteFile, response: httpx.Response, total: int | None) -> None:
        """Refuse by its headers an answer that cannot be the file."""
        packed = response.headers.get("content-encoding", "identity").lower()
        if packed not in ("identity", "") and PurePosixPath(file.path).suffix not in (".gz", ".tgz"):
            raise Unavailable(
                f"{file.url}: sent compressed ({packed}) although it was asked for as it is; fetch it by hand and use path:"
            )
        web = response.headers.get("content-type", "").startswith("text/html")
        if web and not file.checksum and PurePosixPath(file.path).suffix not in (".html", ".htm"):
            raise Unavailable(f"{file.url}: gives a web page, not a file; use the address that the download itself has")
        if file.size is not None and total is not None and total != file.size:
            raise _Again(f"the server announces {total:,} bytes where upstream lists {file.size:,}")

    # -- patience -----------------------------------------------------------------------------------------------------

    def _hold(self, url: str) -> None:
        while (seconds := self._not_before.get(urlsplit(url).netloc, 0.0) - time.monotonic()) > 0 and not self.stop.is_set():
            self.stop.wait(seconds)
        if self.stop.is_set():
            raise Stopped

    def _persist(
        self,
        url: str,
        attempt: Callable[[], T],
        advanced: Callable[[], bool] = lambda: False,
        have: Callable[[], int] = lambda: 0,
    ) -> T:
        """Attempt it until it is done, or until it has failed too often in a row without bringing anything new."""
        failures = 0
        while True:
            try:
                return attempt()
            except _Again as trouble:
                failures = 1 if advanced() else failures + 1
                note = f"; {have():,} bytes are kept, and the next run goes on from there" if have() else ""
                if trouble.wait is not None and trouble.wait > PATIENCE:
                    raise Unavailable(
                        f"{url}: {trouble} and asks to come back in {trouble.wait / 60:,.0f} min; run again then{note}"
                    ) from None
                if failures > self.rules.retries:
                    kind = Unavailable if trouble.reached else Unreachable
                    raise kind(
                        f"{url}: {trouble}; gave up after {failures} attempts{note}. Check the network, or run again later"
                    ) from None
                delay = min(SLOWEST, self.rules.backoff * 2 ** (failures - 1)) * random.uniform(0.5, 1.0)
                if trouble.wait is not None:
                    delay += trouble.wait
                    self._not_before[urlsplit(url).netloc] = time.monotonic() + delay
                self.log(f"{_short(url)}: {trouble}; attempt {failures + 1} in {delay:.1f} s")
                if self.stop.wait(delay):
                    raise Stopped from None


class StatusRefused(Unavailable):
    """A status that waiting does not mend."""

    def __init__(self, url: str, status: int, reason: str):
        then = {
            401: "it wants a token (HF_TOKEN for the hub)",
            403: "not everybody may read it (HF_TOKEN for the hub, once its terms are accepted there)",
            404: "there is no such thing; check the name",
            410: "it was taken away",
        }.get(status, "check the address")
        super().__init__(f"{url}: the server answers {status} {reason}: {then}")
        self.url, self.status = url, status


def state_of(headers: Any) -> str:
    """The state of what a URL serves: its ETag, else its date and size, else its size; empty where the server says nothing."""
    if etag := headers.get("etag"):
        return f"etag {etag.removeprefix('W/')}"
    size = headers.get("content-range", "").rpartition("/")[2] or headers.get("content-length", "")
    return " ".join(
        [*(["modified", headers["last-modified"]] if "last-modified" in headers else []), *(["size", size] if size else [])]
    )


def _seal(headers: Any) -> str:
    """The validator for `If-Range`: a strong ETag, else a date; empty where neither is given (a weak ETag promises no equal bytes)."""
    etag = headers.get("etag", "")
    return etag if etag and not etag.startswith("W/") else headers.get("last-modified", "") if not etag else ""


def _continues(response: Any, have: int, note: dict[str, Any]) -> bool:
    """True for a 206 that goes on exactly where the partial file ends, in the same state of the file."""
    begin = response.headers.get("content-range", "").removeprefix("bytes ").partition("-")[0]
    if response.status_code != 206 or begin != str(have):
        return False
    total = response.headers["content-range"].rpartition("/")[2]
    same_length = total == "*" or note.get("length") in (None, int(total))
    etag = response.headers.get("etag")
    return same_length and (
        etag is None or not note.get("state", "").startswith("etag ") or state_of(response.headers) == note["state"]
    )


def _total(response: Any, have: int) -> int | None:
    ranged = response.headers.get("content-range", "").rpartition("/")[2]
    if have and ranged.isdigit():
        return int(ranged)
    length = response.headers.get("content-length", "")
    return have + int(length) if length.isdigit() else None


def _retry_after(value: str | None) -> float | None:
    """Seconds, or an HTTP date. None where it says neither."""
    if not value:
        return None
    if value.strip().isdigit():
        return float(value)
    with contextlib.suppress(ValueError):
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    return None


def _short(url: str) -> str:
    return PurePosixPath(urlsplit(url).path).name or url
