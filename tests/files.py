"""Small files as people upload them."""

import io
import zipfile
from collections.abc import Mapping

from PIL import Image


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
