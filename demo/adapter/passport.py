"""The passport of an adapter: what its file says of itself.

It is one JSON text under `passport` in the metadata of a safetensors header, so it is read without
the tensors (`adapter/file.py`) and without torch.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from demo.adapter.spec import AdapterSpec, VisualSpec
from demo.errors import CheckpointError

FORMAT = 1
MAX_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Passport:
    """Everything a program or a person must know of an adapter before using it."""

    name: str
    description: str
    base: str
    base_fingerprint: str
    spec: AdapterSpec
    tower: str | None = None
    tower_fingerprint: str | None = None
    preprocessing: dict[str, Any] | None = None  # size, mean, std, channel order
    template: str = ""  # fingerprint of the chat template it was taught with
    data: str = ""
    data_fingerprint: str = ""
    examples: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    license: str = ""
    format: int = FORMAT

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise CheckpointError(
                f"This adapter file has format {self.format!r}; this version reads {FORMAT}. "
                "Update the program or save the adapter anew."
            )
        for text in (self.name, self.base, self.base_fingerprint):
            if not (isinstance(text, str) and 0 < len(text) <= 200):
                raise CheckpointError(
                    "This adapter's passport lacks its name or its base. It cannot be used safely."
                )
        if (self.spec.visual is None) != (self.tower_fingerprint is None):
            raise CheckpointError(
                "This adapter's passport names a vision tower without a visual projection, or the "
                "other way round. It is damaged; get it again."
            )

    @property
    def modalities(self) -> tuple[str, ...]:
        """("text",) or ("text", "image")."""
        return ("text", "image") if self.spec.visual else ("text",)

    def to_json(self) -> str:
        """The text in the file's header."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Passport":
        """Raises CheckpointError when it is not a passport of this format."""
        try:
            raw = json.loads(text)
            spec = dict(raw.pop("spec"))
            visual = spec.pop("visual")
            shape = AdapterSpec(**spec, visual=VisualSpec(**visual) if visual else None)
            return cls(**raw, spec=shape)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CheckpointError(
                "This adapter's passport cannot be read. It is damaged or from another program; "
                "get the file again or teach the adapter anew."
            ) from error


def read_passport(path: Path) -> Passport:
    """The passport alone, from the header.

    Raises:
        CheckpointError: not a safetensors file, too large, or without a readable passport.
    """
    with opened(path) as file:
        text = (file.metadata() or {}).get("passport")
    if text is None:
        raise CheckpointError(
            f"'{path.name}' holds weights but no adapter passport. Adapters made by this program "
            "describe themselves; this file is something else."
        )
    return Passport.from_json(text)


def opened(path: Path, framework: str = "numpy") -> safe_open:
    """The file's header, and its tensors on demand.

    Raises:
        CheckpointError: too large, or not a whole safetensors file.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise CheckpointError(
                f"'{path.name}' is larger than {MAX_BYTES // 2**20} MB; no adapter is. "
                "Choose an adapter file, not a model."
            )
        return safe_open(path, framework=framework)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"'{path.name}' is not a whole safetensors file. Get the adapter again."
        ) from error
