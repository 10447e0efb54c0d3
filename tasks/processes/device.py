"""Locks on the devices of this machine: a file a device, held by whatever process runs a child there.

Two trainers on one GPU both run out of memory, hours in. Prefect's limit of one job a device keeps order among the runs of one server;
this is the last guard, and it knows every run of the machine. The kernel drops a lock with the last process that holds it.

`HANLIN_DEVICES` lists the devices that are given out, such as `cuda:0,cuda:1`, or `cpu` to make the processors one. Without it: every GPU
that is visible, and no limit on the processors.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.artifacts.stage import Resources

POLL = 0.5  # seconds between looks for a free device


@dataclass(frozen=True)
class DeviceHold:
    """The devices held for a child: the environment that shows it them, and the locks, which it holds on to as long as it lives."""

    env: dict[str, str]
    locks: tuple[int, ...] = ()


def devices() -> list[str]:
    """The devices of this machine that are given out, as `cuda:0`, `mps` or `cpu`."""
    if "HANLIN_DEVICES" in os.environ:
        return [name.strip() for name in os.environ["HANLIN_DEVICES"].split(",") if name.strip()]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [f"cuda:{number}" for number, name in enumerate(filter(None, visible.split(",")))]
    return [
        f"cuda:{number}" for number, _ in enumerate(p for p in Path("/dev").glob("nvidia*") if re.fullmatch(r"nvidia\d+", p.name))
    ]


def candidates(resources: Resources) -> tuple[list[str], int]:
    """The devices that a child could run on, and the number of them that it takes here."""
    there = devices()
    kinds = [resources.device] if resources.device != "auto" else ["cuda", "mps", "cpu"]
    for kind in kinds:
        if fitting := [name for name in there if name.partition(":")[0] == kind]:
            return fitting, min(resources.processes // resources.machines, len(fitting))
    return [], 0


def limit(resources: Resources) -> tuple[str, int]:
    """The name of the limit that a child's devices are under on a Prefect server, and the number of places it takes; empty where there is none."""
    fitting, count = candidates(resources)
    return (limit_name(fitting[0].partition(":")[0]), count) if fitting else ("", 0)


def limit_name(kind: str) -> str:
    return f"device:{socket.gethostname()}:{kind}"


@contextlib.contextmanager
def hold(resources: Resources, log: Callable[[str], None] = lambda text: None) -> Iterator[DeviceHold]:
    """Hold as many free devices as a child takes, waiting until there are."""
    fitting, count = candidates(resources)
    if not count:
        yield DeviceHold({})
        return
    locks = _wait(fitting, count, log)
    try:
        yield DeviceHold(_shown(list(locks)), tuple(locks.values()))
    finally:
        for lock in locks.values():
            os.close(lock)


def _wait(fitting: list[str], count: int, log: Callable[[str], None]) -> dict[str, int]:
    """Device → descriptor of its lock. All or none, so that two that wait for several never wait for one another."""
    announced = False
    while True:
        locks: dict[str, int] = {}
        for name in fitting:
            if len(locks) < count and (lock := _try(name)) is not None:
                locks[name] = lock
        if len(locks) == count:
            return locks
        for lock in locks.values():
            os.close(lock)
        if not announced:
            log(
                f"waiting for {'a device' if count == 1 else f'{count} devices'}: {', '.join(fitting)} taken by {_holders(fitting)}"
            )
            announced = True
        time.sleep(POLL)


def _path(name: str) -> Path:
    """Of all users of the machine; HANLIN_LOCKS names another folder, such as one that containers share."""
    folder = Path(os.environ.get("HANLIN_LOCKS") or Path(tempfile.gettempdir()) / "hanlin-devices")
    if not folder.exists():
        with contextlib.suppress(FileExistsError):
            folder.mkdir(parents=True)
            folder.chmod(0o1777)
    return folder / f"{name.replace(':', '-')}.lock"


def _try(name: str) -> int | None:
    path = _path(name)
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    with contextlib.suppress(OSError):
        os.fchmod(lock, 0o666)  # whatever the umask of the first user was
    os.pwrite(lock, f"{os.getpid()}\n".ljust(16).encode(), 0)  # one write, one size: whoever reads it reads a number
    return lock


def _holders(fitting: list[str]) -> str:
    holders = []
    for name in fitting:
        with contextlib.suppress(OSError):
            holders.append(f"process {_path(name).read_text('utf-8').strip()}")
    return ", ".join(dict.fromkeys(holders)) or "others"


def _shown(names: list[str]) -> dict[str, str]:
    """Only the held GPUs are visible to the child, in the order of the bus, as the numbers mean it."""
    numbers = [int(name.partition(":")[2] or 0) for name in names if name.startswith("cuda")]
    if not numbers:
        return {}
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    chosen = [visible[number] if number < len(visible) else str(number) for number in numbers]
    return {"CUDA_VISIBLE_DEVICES": ",".join(chosen), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
