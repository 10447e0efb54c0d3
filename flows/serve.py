"""The flow `serve`: a server of models that runs as long as its flow run does. `hanlin serve` starts the same one in a terminal.

Cancelling the run drains the server: the requests under way end, and the run with them.
"""

from __future__ import annotations

import logging
import os
import threading
from socket import socket
from typing import TYPE_CHECKING, Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import Field

from flows import serving
from flows.execution import reports_mistakes
from flows.run_names import flow_and_differences, keeps_typed_name

if TYPE_CHECKING:
    from models.serve.server import Server


@flow(name="serve", flow_run_name=keeps_typed_name(flow_and_differences), persist_result=False, validate_parameters=False)
@reports_mistakes
def serve(
    models: tuple[str, ...] = ("prod",),
    adapters: tuple[str, ...] = (),
    host: str = "127.0.0.1",
    port: Annotated[int, Field(ge=0, le=65535)] = 8000,
    engine: str = "own",
    device: str = "auto",
    slots: Annotated[int, Field(ge=1, le=4096)] = 32,
    queue: Annotated[int, Field(ge=0, le=100_000)] = 256,
    drain: Annotated[float, Field(ge=0, le=20)] = 15.0,
    memory: Annotated[float, Field(ge=0)] = 0.0,
) -> State[Any]:
    """Serves models over HTTP, as OpenAI's API has them, with a chat page, until the run is cancelled.

    The token that clients must send is HANLIN_TOKEN in the worker's environment.

    Args:
        models: Tags (followed when they move), stages (for their newest result), beginnings of keys, or model folders. NAME=MODEL gives one
            another name.
        adapters: NAME=ADAPTER, an adapter beside the first model under a name of its own; MODEL:NAME=ADAPTER puts it beside another one.
        host: Network address to listen at; another than this machine's own needs a token.
        port: Port of the API and the page; 0 is any free one.
        engine: The engine that runs the models.
        device: Where the models run, such as auto, cpu or cuda:1.
        slots: Answers that are made at once.
        queue: Answers that may wait beside them; more are refused.
        drain: Seconds that requests get to end when the run is cancelled; a worker gives a run 25 to end.
        memory: GB that the answers under way may take, beside the models; more wait. 0 is most of what is free once the models are loaded.
    """
    token = os.environ.get(serving.TOKEN, "")
    options = serving.Options(models, adapters, host, port, token, engine, device, slots, queue, drain, memory)
    log = logging.getLogger("hanlin.serve")
    serving.run(options, lambda lines: log.info("\n".join(lines)), _until_cancelled)
    return Completed(message="stopped")


def _until_cancelled(server: Server, door: socket) -> None:
    """Answer from a thread, since Prefect takes a signal for a cancel only where its own handler is there to receive it."""
    ended = threading.Event()  # a thread's `join` that an exception interrupts takes the thread for ended, on Python 3.11

    def answer() -> None:
        try:
            server.run([door])
        finally:
            ended.set()

    threading.Thread(target=answer, daemon=True).start()
    try:
        ended.wait()
    except BaseException:  # what Prefect's handler raises here
        server.drain()
        ended.wait()
        raise
