"""`make run` on this machine: the first run, the second with and without a Prefect server, `hanlin plan` and `hanlin --help`.

Times are wall-clock on 2 cores after installation; the store and Prefect's database are new.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request

from benchmarks.bench import ROOT, close, playground, prefect_server, timed

BARS = {"first": 300.0, "second, no server": 20.0, "second, server": 10.0, "plan": 3.0, "help": 0.5}


def main() -> None:
    hanlin = str(ROOT / ".venv" / "bin" / "hanlin")
    with playground() as folder:
        env = os.environ | {"HANLIN_STORE": str(folder / "store"), "PREFECT_HOME": str(folder / "prefect")}

        def call(*command: str, **more: str) -> float:
            seconds, done = timed(
                subprocess.run, command, cwd=ROOT, env=env | more, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            if done.returncode:
                sys.exit(f"{' '.join(command)} failed:\n{done.stdout}")
            print(f"{seconds:7.2f} s  {' '.join(command)}", flush=True)
            return seconds

        call("make", "venv")  # installation is not what is measured
        took = {"first": call("make", "run"), "second, no server": call("make", "run")}
        with prefect_server(folder / "prefect") as url:
            took["second, server"] = call("make", "run", PREFECT_API_URL=url)
            request = urllib.request.Request(f"{url}/flow_runs/filter", b"{}", {"Content-Type": "application/json"})
            runs = json.load(urllib.request.urlopen(request))
        took["plan"] = min(call(hanlin, "plan", "sample") for _ in range(3))
        took["help"] = min(call(hanlin, "--help") for _ in range(3))
    states = [run["state"]["name"] for run in runs]
    print(f"flow runs that the server shows: {states}")
    missed = {name: round(seconds, 2) for name, seconds in took.items() if seconds > BARS[name]}
    ok = not missed and states == ["Completed"] * 3
    close(
        "make_run",
        round(took["first"], 1),
        "s",
        f"at most {BARS}",
        ok,
        took={k: round(v, 2) for k, v in took.items()},
        missed=missed,
        flow_runs=states,
    )


if __name__ == "__main__":
    main()
