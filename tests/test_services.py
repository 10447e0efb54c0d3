"""By night: what the Dockerfile says, done in a clean environment, and the services of compose.yaml started from it by hand on a real PostgreSQL.

Nothing is built, since no engine is needed; the same commands, environment, health checks and signals are used. `TORCH_INDEX` is passed on.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.dockerfile import Replay, last, words
from tests.test_docker import SECRETS, STAGES, compose
from tests.waiting import PATIENCE, port, until

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.nightly
SOMEBODY = 1000 if os.geteuid() == 0 else os.geteuid()  # who services run as; as root we start them as somebody without rights


def reachable_python() -> Path:
    """One that somebody without rights may start."""
    found = shutil.which("python3.11", path="/usr/local/bin:/usr/bin") or shutil.which("python3", path="/usr/local/bin:/usr/bin")
    if found is None:
        pytest.skip("no Python in /usr/bin that every user may start")
    return Path(found)


@pytest.fixture(scope="module")
def image() -> Iterator[Replay]:
    """The target cpu below a folder."""
    with tempfile.TemporaryDirectory(prefix="hanlin-image-") as folder:
        root = Path(folder)
        root.chmod(0o755)
        replay = Replay(ROOT, root, reachable_python(), {"TORCH_INDEX": os.environ.get("TORCH_INDEX", ""), "COMMIT": "c0ffee"})
        replay.build(STAGES, "cpu")
        assert replay.left_out == ["useradd"]
        for name in ("store", "prefect", "home/hanlin", "tmp"):
            os.chown(root / name, SOMEBODY, -1)
        yield replay


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """An empty PostgreSQL with a password, as compose.yaml's; host and port."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin")) or [
        Path(path).parent for path in [shutil.which("initdb") or ""] if path
    ]
    if not found:
        pytest.skip("no PostgreSQL here (Debian's package postgresql)")
    with tempfile.TemporaryDirectory(prefix="hanlin-postgres-") as folder, contextlib.ExitStack() as stack:
        os.chown(folder, SOMEBODY, -1)
        here: dict[str, Any] = {"cwd": folder, "user": SOMEBODY, "check": True, "stdout": subprocess.DEVNULL}
        Path(folder, "password").write_text(SECRETS["POSTGRES_PASSWORD"], "utf-8")
        data, free = f"{folder}/data", stack.enter_context(port())
        initdb = ["initdb", "--pgdata", data, "--username", "hanlin", "--pwfile", f"{folder}/password", "--auth", "scram-sha-256"]
        control = [f"{found[-1]}/pg_ctl", "--pgdata", data, "--wait"]
        subprocess.run([f"{found[-1]}/{initdb[0]}", *initdb[1:]], **here)
        options = f"-p {free} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
        subprocess.run([*control, "--options", options, "--log", f"{folder}/log", "start"], **here)
        try:
            createdb = [f"{found[-1]}/createdb", "--host", "127.0.0.1", "--port", str(free), "--username", "hanlin", "hanlin"]
            subprocess.run(createdb, env={"PGPASSWORD": SECRETS["POSTGRES_PASSWORD"]}, **here)
            yield f"127.0.0.1:{free}"
        finally:
            subprocess.run([*control, "--mode", "fast", "stop"], **here)


class Service:
    """A service of compose.yaml, started as its image would."""

    def __init__(self, name: str, image: Replay, moved: dict[str, str], *more: str):
        given = compose(profiles="server,cpu")["services"][name]
        self.image, self.log = image, image.root / f"{name}.log"
        env = {key: image.inside(value or "") for key, value in given["environment"].items()}
        for old, new in moved.items():
            env = {key: value.replace(old, new) for key, value in env.items()}
        given_port = moved["server:4200"].rpartition(":")[2]
        self.env = image.env | env | {"PREFECT_SERVER_API_PORT": given_port, "HANLIN_STORE": image.inside("/store")}
        command = [*words(last(STAGES, "cpu", "ENTRYPOINT")), *given["command"], *more]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=image.path("/home/hanlin"), env=self.env, user=SOMEBODY, stdout=log, stderr=subprocess.STDOUT
            )

    def health(self) -> subprocess.CompletedProcess[str]:
        command = words(last(STAGES, "cpu", "HEALTHCHECK"))
        return subprocess.run(command, env=self.env, user=SOMEBODY, capture_output=True, text=True, timeout=PATIENCE, check=False)

    def wait(self) -> None:
        """Until it is healthy, as `depends_on: condition: service_healthy` would."""
        until(
            lambda: self.health().returncode == 0,
            during=self.process,
            seen=lambda: f"{self.health().stdout}\n{self.said()}",
            every=1,
        )

    def stop(self) -> int:
        """As `docker stop` does; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def said(self) -> str:
        return self.log.read_text("utf-8", errors="replace")[-5000:]


@pytest.fixture(scope="module")
def services(image: Replay, database: str) -> Iterator[dict[str, Service]]:
    running: dict[str, Service] = {}
    with contextlib.ExitStack() as stack:
        free = stack.enter_context(port())
        moved = {"@database/": f"@{database}/", "server:4200": f"127.0.0.1:{free}"}
        for name, more in (("server", ["--host", "127.0.0.1", "--port", str(free)]), ("worker-cpu", [])):
            running[name] = Service(name, image, moved, *more)
            stack.callback(running[name].process.kill)
            if name == "server":
                worker = Service("worker-cpu", image, moved | {"server:4200": "127.0.0.1:9"})  # a server that is not there
                assert "127.0.0.1:9" in worker.health().stdout and worker.health().returncode == 1
                worker.process.kill()
                worker.process.wait()
            running[name].wait()
        yield running


def ask(service: Service, path: str, body: dict[str, Any] | None = None, password: str = SECRETS["HANLIN_PASSWORD"]) -> Any:
    url = f"http://127.0.0.1:{service.env['PREFECT_SERVER_API_PORT']}/api/{path}"
    request = urllib.request.Request(
        url, json.dumps(body).encode() if body is not None else None, {"Content-Type": "application/json"}
    )
    request.add_header("Authorization", "Basic " + base64.b64encode(f"hanlin:{password}".encode()).decode())
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def test_a_run_on_postgres_through_the_worker(services):
    server = services["server"]
    worker = services["worker-cpu"]

    def found() -> list[dict[str, Any]]:
        return [one for one in ask(server, "deployments/filter", {}) if one["name"] == "pipeline"]

    (deployment,) = until(found, during=server.process, seen=server.said, every=1)  # a moment after the server is healthy
    changes = {"parameters": {"recipe": "tiny", "changes": ["resources.threads=1"]}}
    run = ask(server, f"deployments/{deployment['id']}/create_flow_run", changes)

    def ended() -> dict[str, Any] | None:
        state = ask(server, f"flow_runs/{run['id']}")["state"]
        return state if state["type"] in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"} else None

    state = until(ended, 6 * PATIENCE, during=worker.process, seen=worker.said, every=2)
    assert state is not None and state["type"] == "COMPLETED", f"{state}\n{worker.said()}"
    records = [json.loads(path.read_bytes()) for path in (services["server"].image.path("/store") / "records").glob("*.json")]
    assert {"pretrain", "dpo", "report"} <= {record["stage"] for record in records}
    assert {record["made"]["commit"] for record in records} == {"c0ffee"}


def test_without_the_password_the_server_answers_nobody(services):
    with pytest.raises(urllib.error.HTTPError, match="401"):
        ask(services["server"], "deployments/filter", {}, password="guess")


def test_the_image_has_a_fast_command_line(image):
    """No import of it needs what only the checkout has."""
    done = subprocess.run(
        ["hanlin", "recipes"], cwd=image.path("/tmp"), env=image.env, user=SOMEBODY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "tiny" in done.stdout, done.stderr


def test_services_stop_when_they_are_told(services):
    for name in ("worker-cpu", "server"):
        assert services[name].stop() == 0, services[name].said()
