"""The Modelfile of Ollama: where the weights are, the chat template in Go's language, and the parameters of an answer
(https://docs.ollama.com/modelfile)."""

from __future__ import annotations

from models import template
from models.export.source import Source


def text(source: Source, weights: str) -> str:
    """The Modelfile beside a GGUF file."""
    tokenizer = source.tokenizer
    lines = [f"FROM ./{weights}"]
    if (name := template.name_of(tokenizer)) != template.OWN:
        lines.append(f'TEMPLATE """{go_template(template.TEMPLATES[name], template.stop_of(tokenizer))}"""')
    stops = tokenizer.convert_ids_to_tokens(template.stops(tokenizer))
    lines += [f'PARAMETER stop "{stop}"' for stop in stops]
    lines += [f"PARAMETER num_ctx {source.context}", "PARAMETER temperature 0.7", "PARAMETER top_p 0.95"]
    return "\n".join(lines) + "\n"


def go_template(chat: template.Template, stop: str) -> str:
    """A chat template in Go's language. It neither strips a turn nor breaks a special token in it: Go's templates in Ollama have no such
    functions."""
    turns = {
        "system": chat.system[0] + "{{ .Content }}" + chat.system[1],
        "user": chat.user[0] + "{{ .Content }}" + chat.user[1],
        "assistant": chat.assistant + "{{ .Content }}" + stop + chat.between,
    }
    body = "".join(
        f'{{{{ {"else if" if number else "if"} eq .Role "{role}" }}}}{turn}' for number, (role, turn) in enumerate(turns.items())
    )
    preamble = "{{ if not .System }}" + chat.preamble + "{{ end }}" if chat.preamble else ""
    return preamble + "{{ range .Messages }}" + body + "{{ end }}{{ end }}" + chat.assistant
