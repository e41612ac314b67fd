"""Files that one visitor may download: copies in a place that nobody else can guess."""

import hashlib
import shutil
from pathlib import Path

from gradio.utils import get_upload_folder

FOLDER = "thumbnails"  # as demo/ui/uploads.py: no file here is ever taken for an upload


def offer(owner: str, key: str, file: Path, name: str) -> Path:
    """A copy of `file` as it is now, called after `name`. `key` is what it is known by here."""
    safe = "".join(c if c.isalnum() and c.isascii() else "-" for c in name).strip("-")
    # A run that was taken up again has another file.
    version = f"{key}-{file.stat().st_mtime_ns}"
    path = _folder_of(owner) / version / f"{safe[:60] or 'adapter'}{file.suffix}"
    if not path.exists():
        withdraw(owner, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, path)
    return path


def withdraw(owner: str, key: str) -> None:
    """What was offered under `key` is gone."""
    for folder in _folder_of(owner).glob(f"{key}-*"):
        shutil.rmtree(folder, ignore_errors=True)


def _folder_of(owner: str) -> Path:
    # The path is sent to the browser, the owner never is.
    name = hashlib.sha256(owner.encode()).hexdigest()[:32]
    return Path(get_upload_folder()).resolve() / FOLDER / name
