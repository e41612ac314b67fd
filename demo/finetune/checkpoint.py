"""A run's state in one file, so that it can go on after anything: written whole or not at all.

Tensors are safetensors', the rest is one JSON text in its header. Nothing is unpickled.
"""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save

from demo.errors import CheckpointError
from demo.files import replace_file
from demo.finetune.state import State


def save_checkpoint(state: State, path: Path) -> None:
    """Replaces what was kept before.

    Raises:
        OSError: the disk is full or cannot be written to; what was kept before is still there.
    """
    tensors = {name: x.detach().cpu().contiguous() for name, x in state.tensors().items()}
    data = save(tensors, metadata={"state": json.dumps(state.facts())})
    with replace_file(path) as unfinished:
        unfinished.write_bytes(data)


def load_checkpoint(state: State, path: Path) -> None:
    """Takes up what was kept.

    Raises:
        CheckpointError: the file is damaged, or of other settings or data.
        OSError: it cannot be read.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            facts = json.loads((file.metadata() or {})["state"])
        tensors = load(path.read_bytes())
    except (SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(
            "What was kept of this training is damaged. Start it anew."
        ) from error
    state.load(tensors, facts)
