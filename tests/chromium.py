"""A headless Chromium, spoken to by its own protocol over a web socket: no driver, no node."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.waiting import PATIENCE, until

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-extensions",
]


class Page:
    """The one page of a browser. `complaints` are errors of its scripts and what its policy forbade."""

    def __init__(self, folder: Path, *, language: str = "en-US"):
        program = next((found for name in NAMES if (found := shutil.which(name))), None)
        if program is None:
            pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")
        command = [
            program,
            *FLAGS,
            f"--lang={language}",
            f"--accept-lang={language}",
            "--remote-debugging-port=0",
            f"--user-data-dir={folder}",
        ]
        self.process = subprocess.Popen([*command, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        port = folder / "DevToolsActivePort"
        until(lambda: port.exists() and port.read_text().strip(), during=self.process)
        with urllib.request.urlopen(f"http://127.0.0.1:{port.read_text().splitlines()[0]}/json/list", timeout=PATIENCE) as listed:
            address = next(target["webSocketDebuggerUrl"] for target in json.load(listed) if target["type"] == "page")
        self.socket = connect(address, max_size=None)
        self.sent = 0
        self.complaints: list[str] = []
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")

    def close(self) -> None:
        self.socket.close()
        self.process.terminate()
        self.process.wait(PATIENCE)

    def send(self, method: str, **given: Any) -> dict[str, Any]:
        """The answer to a command of the protocol."""
        self.sent += 1
        self.socket.send(json.dumps({"id": self.sent, "method": method, "params": given}))
        while True:
            said = json.loads(self.socket.recv(PATIENCE))
            if said.get("id") == self.sent:
                assert "error" not in said, f"{method}: {said['error']}"
                return said["result"]
            if said.get("method") == "Runtime.exceptionThrown":
                self.complaints.append(said["params"]["exceptionDetails"]["exception"]["description"])
            elif said.get("method") == "Log.entryAdded" and said["params"]["entry"]["source"] == "security":
                self.complaints.append(said["params"]["entry"]["text"])

    def open(self, address: str) -> None:
        self.send("Page.navigate", url=address)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, script: str) -> Any:
        """The value of an expression in the page, as JSON."""
        answer = self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, f"{script}: {answer['exceptionDetails']}"
        return answer["result"].get("value")

    def wait(self, condition: str) -> None:
        until(lambda: self.run(condition), 60, seen=lambda: f"{condition}: {self.run('document.body.innerText')}")

    def type(self, text: str) -> None:
        self.send("Input.insertText", text=text)

    def press(self, key: str, code: int, **given: Any) -> None:
        """A key, by its name and its number on Windows."""
        text = {"text": "\r"} if key == "Enter" and code == 13 else {}
        self.send(
            "Input.dispatchKeyEvent",
            type="keyDown" if text else "rawKeyDown",
            key=key,
            code=key,
            windowsVirtualKeyCode=code,
            **text,
            **given,
        )
        self.send("Input.dispatchKeyEvent", type="keyUp", key=key, code=key, windowsVirtualKeyCode=code, **given)
