"""The notifications that `prefect.yaml` declares: blocks that say where to, and automations that say when. All ship switched off.

Prefect has a block for Slack and one for any webhook, but none for plain mail; `Mail` is ours. The server must know it, so `flows/web.py`
imports this module.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from prefect.blocks.core import Block
from prefect.blocks.notifications import AppriseNotificationBlock, CustomWebhookNotificationBlock, SlackWebhook
from prefect.client.orchestration import PrefectClient
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound
from pydantic import Field, SecretStr

from flows.profile import TAG


class Mail(AppriseNotificationBlock):
    """Sends notifications as mail, by an SMTP server."""

    _block_type_name = "Mail"
    _block_type_slug = "mail"

    url: SecretStr = Field(
        title="Address",
        description="mailtos://user:password@server?from=sender&to=recipient; mailto:// for a server without TLS; a port follows the server's "
        "name, as in server:587",
    )


KINDS: dict[str, type[Block]] = {
    "custom-webhook": CustomWebhookNotificationBlock,
    "slack-webhook": SlackWebhook,
    "mail": Mail,
}


async def apply(client: PrefectClient, declaration: dict[str, Any]) -> list[AutomationCore]:
    """Make sure that the server has the blocks, and return an automation for each notification and block."""
    blocks = {block["name"].removeprefix("hanlin-"): await _block(client, block) for block in declaration["blocks"]}
    return [_automation(told, channel, block) for told in declaration["notifications"] for channel, block in blocks.items()]


async def _block(client: PrefectClient, declared: dict[str, Any]) -> UUID:
    """The number of a block, made if it is not there; what an operator wrote into one stays."""
    kind, name = KINDS[declared["type"]], declared["name"]
    await kind.aregister_type_and_schema(client=client)
    try:
        return (await client.read_block_document_by_name(name, declared["type"])).id
    except ObjectNotFound:
        return await kind.model_validate(declared["values"]).asave(name, client=client)


def _automation(told: dict[str, Any], channel: str, block: UUID) -> AutomationCore:
    return AutomationCore.model_validate(
        {
            "name": f"{told['name']}-{channel}",
            "description": told["description"],
            "enabled": False,
            "trigger": {
                "type": "event",
                "posture": "Reactive",
                "expect": told["expect"],
                "match": {"prefect.resource.id": "prefect.flow-run.*"},
                "match_related": {"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{TAG}"},
                "threshold": 1,
            },
            "actions": [
                {"type": "send-notification", "block_document_id": block, "subject": told["subject"], "body": told["body"]},
            ],
        }
    )
