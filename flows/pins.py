"""The pins of downloads: the state of each downloaded source that a run uses, from the recipe, looked up once, or the newest in the store."""

from __future__ import annotations

import logging
import os
import threading
import time

from tasks import download
from tasks.artifacts.store import Record, Store
from tasks.remote.request import Pin, Request
from tasks.remote.transfer import Remote, RetryPolicy, Unavailable
from tasks.remote.upstream import current_pin

LOOK = RetryPolicy(retries=1, backoff=0.3, connect=3.0, silence=5.0)
DEADLINE = 15.0  # seconds for all look-ups of a plan together; they run side by side (resolving a host's name has no time-out of its own)


class Pins:
    """The pins of a recipe's downloads, by the field that requests each (`sources.zhwiki`, `base`). The first one needed looks all of them up,
    so that a run sees one state of the world."""

    def __init__(self, requests: dict[str, Request], rules: RetryPolicy = LOOK, deadline: float = DEADLINE):
        self._requests, self._rules, self._deadline = requests, rules, deadline
        self._pins: dict[str, Pin] = {}
        self._failed: dict[str, str] = {}

    def __call__(self, name: str, store: Store) -> Pin:
        """The pin of a source. ValueError names every source that can neither be looked up nor be taken from the store."""
        if (pin := self._requests[name].pinned()) is not None:
            return pin
        if not self._pins and not self._failed:
            self._look_up()
            for failed, why in list(self._failed.items()):
                if (record := newest_download(store, self._requests[failed])) is not None:
                    self._pins[failed] = pin_of(record)
                    logging.getLogger(f"hanlin.{failed}").warning(
                        "%s; going on with the newest in the store: %s, of %s",
                        why, pin_text(self._pins[failed]), time.strftime("%Y-%m-%d", time.localtime(record.made["finished"])),
                    )  # fmt: skip
        if name not in self._pins:
            reasons = [f"{n}: {why}" for n, why in self._failed.items() if n not in self._pins]
            raise ValueError(
                "\n".join(reasons)
                + "\nthe store has no earlier copy to go on with; connect to the network, or give files you have as path: instead"
            )
        return self._pins[name]

    def _look_up(self) -> None:
        moving = {name: request for name, request in self._requests.items() if request.pinned() is None}
        if offline():
            self._failed = dict.fromkeys(moving, "HANLIN_OFFLINE is set, so nothing was looked up")
            return
        pins: dict[str, Pin] = {}
        failed: dict[str, str] = {}

        def look(name: str, request: Request, remote: Remote) -> None:
            try:
                with remote:
                    pins[name] = current_pin(remote, request)
            except Unavailable as error:
                failed[name] = str(error)

        # made before the clock starts: on a machine that has much else to do, certificates and code take seconds to load
        remotes = {name: Remote(self._rules, logging.getLogger(f"hanlin.{name}").debug) for name in moving}
        threads = [threading.Thread(target=look, args=(*item, remotes[item[0]]), daemon=True) for item in moving.items()]
        for thread in threads:
            thread.start()
        until = time.monotonic() + self._deadline
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        self._pins = dict(pins)
        self._failed = {
            name: failed.get(name, f"no answer about {request} within {self._deadline:g} s")
            for name, request in moving.items()
            if name not in self._pins
        }


def offline() -> bool:
    """True where HANLIN_OFFLINE is set: runs use the downloads in the store, and ask nothing of the network."""
    return os.environ.get("HANLIN_OFFLINE", "") not in ("", "0")


def newest_download(store: Store, request: Request) -> Record | None:
    """The newest whole artifact of a download, of whichever state."""
    params = download.Params(asked=request.moving()).model_dump(mode="json")
    records = [r for r in store.records() if r.identity["stage"] == download.run.name and r.identity["params"] == params]
    return next((record for record in reversed(records) if store.find(record.key) is not None), None)


def pin_of(record: Record) -> Pin:
    """The pin from which a download was made."""
    return dict(record.identity["inputs"]["upstream"])


def pin_text(pin: Pin) -> str:
    """A pin for people: a date, a commit, or the number of files."""
    return next(iter(pin.values())) if len(pin) == 1 else f"{len(pin)} files"
