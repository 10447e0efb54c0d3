"""The image and the services, as far as they can be tried without an engine: a linter, Compose itself, and by night the commands."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.dockerfile import below, last, parse, words
from tests.test_readme import parsed

ROOT = Path(__file__).parent.parent
DOCKER = ROOT / "docker"
STAGES = parse((DOCKER / "Dockerfile").read_text("utf-8"))
BIN = Path(sys.executable).parent  # the linter and Compose are wheels: their commands lie beside this Python's
SECRETS = {"HANLIN_PASSWORD": "secret", "POSTGRES_PASSWORD": "word"}


def compose(*files: str, profiles: str, env: dict[str, str] = SECRETS, code: int = 0) -> Any:
    """What Compose makes of our files; its message where it refuses them."""
    named = [word for file in files or ("compose.yaml",) for word in ("--file", file)]
    done = subprocess.run(
        [BIN / "docker-compose", *named, "--env-file", os.devnull, "config", "--format", "json"],
        cwd=DOCKER,
        env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "COMPOSE_PROFILES": profiles, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stderr if code else json.loads(done.stdout)


def test_the_dockerfile_passes_the_linter():
    done = subprocess.run([BIN / "hadolint", DOCKER / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_an_image_runs_as_somebody_without_rights_and_says_how_it_is(target):
    assert last(STAGES, target, "USER") == "${UID}"
    assert words(last(STAGES, target, "HEALTHCHECK")) == ["hanlin-health"]
    assert words(last(STAGES, target, "ENTRYPOINT")) == ["hanlin"]
    assert parsed(words(last(STAGES, target, "CMD"))).command.name == "up"


def test_both_images_are_made_in_the_same_way():
    """But for what compiles for a GPU, and where the packages come from."""
    cpu, cuda = (
        [step for step in STAGES[name].steps if "apt-get" not in step[1] and "--from=packages" not in step[1]]
        for name in ("cpu", "cuda")
    )
    assert cpu == cuda


def test_base_images_are_pinned():
    text = (DOCKER / "Dockerfile").read_text("utf-8")
    outside = [stage.base for stage in STAGES.values() if stage.base not in STAGES]
    assert set(outside) == {"${PYTHON}"} and re.search(
        r"^ARG PYTHON=python:3\.11\.\d+-slim-bookworm@sha256:[0-9a-f]{64}$", text, re.M
    )
    for service in compose(profiles="server,cpu,gpu,serve")["services"].values():
        assert re.search(r"@sha256:[0-9a-f]{64}$", service["image"]) or service["build"]["target"] in STAGES


def test_an_image_is_made_from_the_package_and_nothing_else():
    sources = [
        source
        for stage in [*below(STAGES, "wheel"), STAGES["cpu"], STAGES["cuda"]]
        for kind, text in stage.steps
        if kind == "COPY" and "--from" not in text
        for source in [word for word in text.split() if not word.startswith("--")][:-1]
    ]
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    allowed = [line[1:] for line in lines if line.startswith("!")]
    assert "*" in lines and all((ROOT / source).exists() for source in sources)
    assert {"docker/*.py" if source.startswith("docker/") else source for source in sources} == set(allowed)


def test_one_machine():
    services = compose(profiles="server,cpu")["services"]
    assert set(services) == {"database", "server", "worker-cpu"}
    assert services["server"]["ports"][0]["host_ip"] == "127.0.0.1"
    assert services["server"]["depends_on"]["database"]["condition"] == "service_healthy"
    assert services["worker-cpu"]["depends_on"]["server"]["condition"] == "service_healthy"
    for name, service in services.items():
        assert service["restart"] == "unless-stopped"
        assert name == "database" or (service["cap_drop"] == ["ALL"] and service["read_only"])


@pytest.mark.parametrize("name", ["server", "worker-cpu", "worker-gpu"])
def test_services_start_commands_that_there_are(name):
    service = compose(profiles="server,cpu,gpu")["services"][name]
    assert parsed(service["command"]).command.name == ("up" if name == "server" else "worker")


def test_a_server_of_models():
    assert last(STAGES, "serve", "USER") == "${UID}" and words(last(STAGES, "serve", "ENTRYPOINT")) == ["hanlin"]
    image = parsed(words(last(STAGES, "serve", "CMD")))
    services = compose(profiles="serve", env=SECRETS | {"HANLIN_TOKEN": "long", "HANLIN_MODEL": "sft"})["services"]
    service = parsed(services["serve"]["command"])
    assert set(services) == {"serve"} and services["serve"]["environment"] == {"HANLIN_TOKEN": "long"}
    assert image.command.name == service.command.name == "serve"
    assert (image.params["models"], service.params["models"]) == (["prod"], ["sft"])
    assert image.params["host"] == service.params["host"] == "0.0.0.0"
    assert image.params["port"] == service.params["port"] == services["serve"]["ports"][0]["target"] == 8000
    assert services["serve"]["ports"][0]["host_ip"] == "127.0.0.1" and services["serve"]["read_only"]


def test_another_machine_runs_workers_alone():
    services = compose(profiles="gpu", env=SECRETS | {"HANLIN_SERVER": "http://there:4200/api"})["services"]
    assert set(services) == {"worker-gpu"}
    worker = services["worker-gpu"]
    assert worker["environment"]["PREFECT_API_URL"] == "http://there:4200/api"
    assert worker["deploy"]["resources"]["reservations"]["devices"][0]["driver"] == "nvidia"


def test_a_shared_store_is_a_volume_of_another_machine():
    given = SECRETS | {"NFS_SERVER": "files", "NFS_PATH": "/hanlin"}
    store = compose("compose.yaml", "compose.nfs.yaml", profiles="gpu", env=given)["volumes"]["store"]
    assert (
        store["driver_opts"]["type"] == "nfs"
        and "addr=files" in store["driver_opts"]["o"]
        and store["driver_opts"]["device"] == ":/hanlin"
    )


@pytest.mark.parametrize("name", SECRETS)
def test_without_a_password_nothing_starts(name):
    said = compose(profiles="server,cpu", env={key: value for key, value in SECRETS.items() if key != name}, code=1)
    assert name in said and "set it in .env" in said


def test_every_setting_is_explained():
    used = {name for path in DOCKER.glob("compose*.yaml") for name in re.findall(r"\$\{(\w+)", path.read_text("utf-8"))}
    assert used <= set(re.findall(r"^#? ?(\w+)=", (DOCKER / ".env.example").read_text("utf-8"), re.M))
