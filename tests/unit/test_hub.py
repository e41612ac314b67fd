"""A model by its Hub id, with a Hub that answers and one that does not."""

from pathlib import Path
from typing import Any

import pytest

from demo.errors import FetchError
from demo.llama import hub
from demo.llama.base import open_base
from demo.llama.convert import Progress


def test_a_hub_id_that_cannot_be_fetched(
    tmp_path: Path, no_progress: Progress, monkeypatch: pytest.MonkeyPatch
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
    tiny: Path, tiny_cache: Path, no_progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    asked: dict[str, Any] = {}

    def fetched(repository: str, allow_patterns: list[str]) -> str:
        asked.update(repository=repository, patterns=allow_patterns)
        return str(tiny)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetched)
    assert open_base("some/llama", tiny_cache, no_progress).name == "some/llama"
    assert asked == {"repository": "some/llama", "patterns": hub.PATTERNS}
    assert not any("bin" in pattern or "pt" in pattern for pattern in hub.PATTERNS)
