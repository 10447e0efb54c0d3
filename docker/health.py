#!/opt/hanlin/bin/python
"""The health check of a container: exit code 0 where it does its work, else 1, and a line that says why.

A server answers at its health address. A worker (PREFECT_API_URL names the server) is heard by the server: a worker that hangs still has a
process, but sends no heartbeat.
"""

import base64
import json
import os
import socket
import sys
import urllib.request

from flows import profile

PATIENCE = 20  # seconds for an answer; the image's health check waits 30 for all of this


def main() -> int:
    elsewhere = os.environ.get("PREFECT_API_URL")
    api = (elsewhere or f"http://127.0.0.1:{os.environ.get('PREFECT_SERVER_API_PORT', '4200')}/api").rstrip("/")
    try:
        if not elsewhere:
            ask(f"{api}/health")
        elif (name := socket.gethostname()) not in (there := online(api)):
            print(f"the server at {api} does not hear the worker {name}; it hears {', '.join(there) or 'none'}")
            return 1
    except OSError as failure:
        print(f"{api}: {failure}")
        return 1
    print("well")
    return 0


def online(api: str) -> list[str]:
    workers = json.loads(ask(f"{api}/work_pools/{profile.POOL}/workers/filter", b"{}"))
    return [worker["name"] for worker in workers if worker["status"] == "ONLINE"]


def ask(url: str, body: bytes | None = None) -> bytes:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    if both := profile.auth():
        request.add_header("Authorization", f"Basic {base64.b64encode(both.encode()).decode()}")
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return answer.read()


if __name__ == "__main__":
    sys.exit(main())
