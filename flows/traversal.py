"""The one loop over the nodes of a run, for the flow, the plan and the benchmarks: each node with its inputs resolved, as the request to build it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from flows.graph import Node
from flows.inputs import Records
from tasks.artifacts.build import BuildRequest
from tasks.artifacts.store import Store


@dataclass(frozen=True)
class ResolvedNode:
    """A node as its turn comes, and `request`, by which its artifact is built.

    Where the artifact of a node that it needs is not known yet, `pending` has the names of those nodes by role, and the request lacks the
    inputs of the role.
    """

    node: Node
    request: BuildRequest
    pending: dict[str, list[str]]

    @property
    def key(self) -> str | None:
        """The recipe key of the artifact; None while an input is pending."""
        return None if self.pending else self.request.key

    @property
    def waits_for(self) -> list[str]:
        """The nodes whose artifacts are not known yet, in the order of the roles."""
        return list(dict.fromkeys(name for names in self.pending.values() for name in names))


def resolved_nodes(nodes: Iterable[Node], store: Store, records: Records) -> Iterator[ResolvedNode]:
    """The nodes in order, each resolved against `records` (node name → record) when its turn comes.

    The caller adds the record of a node's artifact to `records` before it asks for the next node; a node left out of it makes those that
    need it pending. Raises `ValueError` where an input can never be had, such as a file that is not there.
    """
    for node in nodes:
        pending = {
            role: unknown
            for role, source in node.inputs.items()
            if (unknown := [name for name in source.needs if name not in records])
        }
        inputs = {role: source.resolve(store, records) for role, source in node.inputs.items() if role not in pending}
        yield ResolvedNode(node, BuildRequest(node.name, node.stage, node.params, inputs), pending)
