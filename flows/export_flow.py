"""The flow export: `hanlin export` as a run that a worker makes, with its record and its figures in the UI."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.execution import reports_mistakes
from flows.exporting import comparison_rows, exported, resolved
from flows.live import Reporter
from flows.run_names import keeps_typed_name
from tasks.artifacts.store import Store, store_folder


def _title(parameters: dict[str, Any]) -> str:
    return f"export {parameters['model']} to {parameters['to']}"


@flow(name="export", flow_run_name=keeps_typed_name(_title), persist_result=False, validate_parameters=False)
@reports_mistakes
def export(model: str = "prod", to: str = "gguf", precision: str = "") -> State[Any]:
    """Writes a model in another program's format, has that program read it, and compares the two. The files are in the store.

    Args:
        model: A tag, a stage (for its newest result), the beginning of a key, or a model folder that the worker sees.
        to: The format: hf, safetensors, gguf, ctranslate2, pth or llama2c.
        precision: Number type of the weights, such as q8_0 or bfloat16; empty: the one of the format that loses nothing.
    """
    store = Store(store_folder())
    with Reporter("export") as reporter:
        built = exported(store, resolved(store, model), to, precision, progress=reporter)
    record = built.record
    folder = store.object(record.key) / "model"
    about = f"# {model} as {to}\n`{folder}`, read by {record.stats['comparison']['reader']}"
    create_table_artifact(comparison_rows(record.stats["comparison"]), key="export", description=about)
    return Completed(message=f"{'reused' if built.reused else 'wrote'} {record.key[:12]}: {folder}", data=record.ref)
