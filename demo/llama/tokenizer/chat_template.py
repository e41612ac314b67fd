"""A model's chat template, filled in so that no message can pass for the template itself.

Ours, not transformers' `apply_chat_template`: that returns one string, in which a message and the
template can no longer be told apart.
"""

import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from jinja2 import Template, TemplateError
from jinja2.ext import LoopControlExtension
from jinja2.sandbox import ImmutableSandboxedEnvironment

from demo.errors import CheckpointError
from demo.llama.tokenizer.prompt_forms import PROMPTS, STOPS

# For a model without a template. The markers are Alpaca's, which the released LLaMA-Adapter
# checkpoints were trained with (arXiv 2303.16199, section 4.1).
PLAIN = """\
{{ bos_token }}
{%- for message in messages %}
{%- if message.role == 'system' %}{{ message.content }}{{ '\n\n' }}
{%- elif message.role == 'user' %}{{ '### Instruction:\n' + message.content + '\n\n' }}
{%- else %}{{ '### Response:\n' + message.content + eos_token + '\n\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '### Response:\n' }}{% endif %}"""

# Stands at both ends of a placeholder. Python counts it as white space and no template writes it,
# so where it is gone the template trims its messages, and so do we.
EDGE = "\x1f"
MOST_KEPT = 64  # orders of speakers whose rendering is kept, and turns of such a one


@dataclass(frozen=True)
class Message:
    """One turn of a conversation, as the model is to see it."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class PromptForm:
    """How whoever released an adapter wrote their prompts.

    Attributes:
        template: a name in `PROMPTS`.
        bos: the prompt begins with the model's begin token.

    Raises:
        CheckpointError: a template that this version does not know.
    """

    template: str
    bos: bool = True

    @property
    def stop(self) -> str:
        """The text at which a reply ends, beside the end token; "" for none."""
        return STOPS.get(self.template, "")

    def __post_init__(self) -> None:
        if self.template not in PROMPTS:
            raise CheckpointError(
                f"This adapter's prompts are written as {str(self.template)[:40]!r}; this version "
                "does not know that form. Update the program, or choose another adapter."
            )


@dataclass(frozen=True)
class TemplateSpan:
    """A piece of a rendered conversation; only the template's own may hold control tokens."""

    text: str
    trusted: bool


class ChatTemplate:
    """Renders conversations as transformers' `apply_chat_template` does.

    Args:
        source: the model's Jinja template, or None for a plain one.
        bos, eos: the texts of the begin and end tokens, empty where a model has none.

    Raises:
        CheckpointError: the template is not valid Jinja.
    """

    def __init__(self, source: str | None, *, bos: str, eos: str) -> None:
        self._template = _compile(source or PLAIN)
        self._tokens = {"bos_token": bos, "eos_token": eos}
        # A template sees who speaks and never what is said, so what it writes around that is kept.
        self._kept: dict[tuple[tuple[str, ...], bool], list[str]] = {}
        self._dated = "strftime_now" in (source or "")

    def render(self, messages: Sequence[Message], *, generate: bool) -> list[TemplateSpan]:
        """Render a conversation as spans, ready for the model's reply when `generate`.

        A system message goes into the first user turn where the template refuses or drops it.

        Raises:
            CheckpointError: the template refuses the conversation otherwise.
        """
        try:
            spans, seen = self._fill(messages, generate)
            if all(index in seen for index, m in enumerate(messages) if m.role == "system"):
                return spans
        except TemplateError as error:
            if not any(message.role == "system" for message in messages):
                raise _refused() from error
        try:
            return self._fill(_merge_system(messages), generate)[0]
        except TemplateError as error:
            raise _refused() from error

    def _fill(
        self, messages: Sequence[Message], generate: bool
    ) -> tuple[list[TemplateSpan], set[int]]:
        """Spans, and which messages the template has written."""
        form = tuple(message.role for message in messages), generate
        pieces = self._kept.get(form) or self._around(*form)
        if not self._dated and len(self._kept) < MOST_KEPT and len(messages) <= MOST_KEPT:
            self._kept[form] = pieces
        spans, seen = [TemplateSpan(pieces[0], trusted=True)], set()
        columns = (pieces[start::4] for start in range(1, 5))
        for left, index, right, after in zip(*columns, strict=True):
            content = messages[int(index)].content
            content = content if left else content.lstrip()
            content = content if right else content.rstrip()
            spans += [TemplateSpan(content, trusted=False), TemplateSpan(after, trusted=True)]
            seen.add(int(index))
        return spans, seen

    def _around(self, roles: Sequence[str], generate: bool) -> list[str]:
        """Render with a mark for each message: text, then left edge, number, right edge, text, …"""
        # Unguessable and new each time: nobody can type one.
        secret = secrets.token_hex(16)
        turns = [
            {"role": role, "content": f"{EDGE}{secret}x{index}x{EDGE}"}
            for index, role in enumerate(roles)
        ]
        try:
            text = self._template.render(
                messages=turns, add_generation_prompt=generate, **self._tokens
            )
        # A template is a program, and can fail as any program can.
        except Exception as error:
            raise TemplateError("the template failed") from error
        return re.split(f"({EDGE}?){secret}x(\\d+)x({EDGE}?)", text)


def _merge_system(messages: Sequence[Message]) -> list[Message]:
    """Put the system messages at the head of the first user turn, or make them that turn."""
    system = "\n\n".join(message.content for message in messages if message.role == "system")
    rest = [message for message in messages if message.role != "system"]
    if not rest or rest[0].role != "user":
        return [Message("user", system), *rest]
    return [replace(rest[0], content=f"{system}\n\n{rest[0].content}"), *rest[1:]]


def _compile(source: str) -> Template:
    """Compile in the environment that transformers gives to templates; they are untrusted code."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[LoopControlExtension]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    try:
        return environment.from_string(source)
    except TemplateError as error:
        raise CheckpointError(
            "The model's chat template cannot be read. Fetch the model again, or choose another."
        ) from error


def _to_json(value: Any, indent: int | None = None) -> str:
    # Jinja's own escapes HTML, which templates do not expect.
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise(message: str) -> None:
    raise TemplateError(message)


def _refused() -> CheckpointError:
    return CheckpointError(
        "The model's chat template does not take this conversation. "
        "Start a new chat without a system prompt; user and assistant must take turns."
    )
