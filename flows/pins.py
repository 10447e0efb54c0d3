"""Which state of each downloaded source a run means: stated in the recipe, looked up once, or, without a network, the newest that is in the store."""

from __future__ import annotations

import logging
import os
import threading
import time

from tasks import download
from tasks.artifacts.store import Record, Store
from tasks.remote.asked import Asked, Pin
from tasks.remote.transfer import Remote, Rules, Unavailable
from tasks.remote.upstream import pin

LOOK = Rules(retries=1, backoff=0.3, connect=3.0, silence=5.0)
DEADLINE = 15.0  # seconds for all look-ups of a plan together; they run side by side (resolving a host's name has no time-out of its own)


class Pins:
    """The pins of a recipe's downloads, by the field that asks for each (`sources.zhwiki`, `base`). The first that is needed looks all of them up,
    so that a run sees one state of the world."""

    def __init__(self, asked: dict[str, Asked], rules: Rules = LOOK, deadline: float = DEADLINE):
        self._asked, self._rules, self._deadline = asked, rules, deadline
        self._found: dict[str, Pin] = {}
        self._failed: dict[str, str] = {}

    def __call__(self, name: str, store: Store) -> Pin:
        """The pin of a source. ValueError names every source that can neither be looked up nor be taken from the store."""
        if (known := self._asked[name].pinned()) is not None:
            return known
        if not self._found and not self._failed:
            self._look_up()
            for failed, why in list(self._failed.items()):
                if (record := newest(store, self._asked[failed])) is not None:
                    self._found[failed] = pin_of(record)
                    logging.getLogger(f"hanlin.{failed}").warning(
                        "%s; going on with the newest in the store: %s, of %s",
                        why, show(self._found[failed]), time.strftime("%Y-%m-%d", time.localtime(record.made["finished"])),
                    )  # fmt: skip
        if name not in self._found:
            lost = [f"{n}: {why}" for n, why in self._failed.items() if n not in self._found]
            raise ValueError(
                "\n".join(lost)
                + "\nthe store has no earlier copy to go on with; connect to the network, or give files you have as path: instead"
            )
        return self._found[name]

    def _look_up(self) -> None:
        moving = {name: asked for name, asked in self._asked.items() if asked.pinned() is None}
        if offline():
            self._failed = dict.fromkeys(moving, "HANLIN_OFFLINE is set, so nothing was looked up")
            return
        found: dict[str, Pin] = {}
        failed: dict[str, str] = {}

        def look(name: str, asked: Asked, remote: Remote) -> None:
            try:
                with remote:
                    found[name] = pin(remote, asked)
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
        self._found = dict(found)
        self._failed = {
            name: failed.get(name, f"no answer about {asked} within {self._deadline:g} s")
            for name, asked in moving.items()
            if name not in self._found
        }


def offline() -> bool:
    """HANLIN_OFFLINE: plan with what the store has, without asking the network."""
    return os.environ.get("HANLIN_OFFLINE", "") not in ("", "0")


def newest(store: Store, asked: Asked) -> Record | None:
    """The newest whole artifact of a request, in whatever state it was then."""
    params = download.Params(asked=asked.moving()).model_dump(mode="json")
    mine = [r for r in store.records() if r.identity["stage"] == download.run.name and r.identity["params"] == params]
    return next((record for record in reversed(mine) if store.find(record.key) is not None), None)


def pin_of(record: Record) -> Pin:
    """The state of the world that a download was made from."""
    return dict(record.identity["inputs"]["upstream"])


def show(pin: Pin) -> str:
    """A pin for people: a date, a commit, or what each URL served."""
    return next(iter(pin.values())) if len(pin) == 1 else f"{len(pin)} files"
