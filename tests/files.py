"""Small files as people upload them, and what they are told of bad ones."""

import io
import re
import zipfile
from collections.abc import Mapping

import pytest
from PIL import Image

from demo.errors import DataError
from demo.finetune.data.read import read_table


def packed(members: Mapping[str, bytes | str], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip."""
    room = io.BytesIO()
    with zipfile.ZipFile(room, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return room.getvalue()


def png(colour: str = "red") -> bytes:
    """A picture of 4 x 3 pixels in one colour."""
    room = io.BytesIO()
    Image.new("RGB", (4, 3), colour).save(room, "PNG")
    return room.getvalue()


def refusal(data: bytes) -> str:
    """Why a file is refused, in a sentence for its owner."""
    with pytest.raises(DataError) as caught:
        read_table(data)
    message = str(caught.value)
    assert not re.search(r"0x[0-9a-f]|/tmp|Traceback|\bError\b", message)
    assert (message[0].isupper() or message[0] == "“") and message.endswith((".", '"'))
    return message
