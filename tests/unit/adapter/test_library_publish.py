"""What was taught is put among the other adapters: its name, and whose it is."""

import os
from pathlib import Path

import pytest

from demo.adapter.adapter import Adapter, save_adapter
from demo.adapter.config import AdapterSpec
from demo.adapter.library import Library, clear_up, owner_file, owners, publish, set_owner
from demo.adapter.passport import Passport


@pytest.fixture
def taught(tmp_path: Path) -> Path:
    path = tmp_path / "run" / "adapter.safetensors"
    adapter = Adapter(AdapterSpec(layers=2, prompts=3, width=8, heads=2))
    save_adapter(adapter, Passport("mirror", "", "base", "print", adapter.spec), path)
    return path


def offered(folder: Path, owner: str = "") -> list[str]:
    return [entry.passport.name for entry in Library(folder).offered(owner)]


def test_it_is_its_owners_alone(taught: Path, tmp_path: Path) -> None:
    folder = tmp_path / "adapters"
    assert publish(taught, folder, "Mine!", owner="me") == "mine"
    assert publish(taught, folder, "Everybody's") == "everybody-s"
    assert offered(folder, "me") == ["everybody-s", "mine"]
    assert offered(folder, "you") == offered(folder) == ["everybody-s"]
    assert publish(taught, folder, "mine", owner="me", again=True) == "mine"
    assert publish(taught, folder, "mine", owner="you") == "mine-2"
    owner_file(folder, "mine").unlink()  # whoever runs the program shares it so
    assert offered(folder) == ["everybody-s", "mine"]


def test_an_owner_without_an_adapter_keeps_its_name(taught: Path, tmp_path: Path) -> None:
    set_owner(tmp_path, "gone", "you")
    assert publish(taught, tmp_path, "gone", owner="me") == "gone-2"
    assert owners(tmp_path) == {"gone": "you", "gone-2": "me"}


@pytest.mark.matrix("D13")
def test_what_kills_have_left_goes_and_every_adapter_keeps_its_owner(
    taught: Path, tmp_path: Path
) -> None:
    publish(taught, tmp_path, "mine", owner="me")
    (tmp_path / "mine.safetensors").rename(tmp_path / "file.safetensors")  # its name is inside
    set_owner(tmp_path, "never-came", "me")
    part = tmp_path / ".new.safetensors.01234567.part"
    part.touch()
    clear_up(tmp_path)
    assert part.exists() and set(owners(tmp_path)) == {"mine", "never-came"}  # just begun
    for path in (part, *tmp_path.glob("*.owner")):
        os.utime(path, (1, 1))
    (tmp_path / "damaged.safetensors").write_text("who knows its name?")
    clear_up(tmp_path)
    assert not part.exists() and set(owners(tmp_path)) == {"mine", "never-came"}
    (tmp_path / "damaged.safetensors").unlink()
    clear_up(tmp_path)
    assert owners(tmp_path) == {"mine": "me"}
    assert offered(tmp_path, "me") == ["mine"] and offered(tmp_path) == []


def test_an_owner_that_cannot_be_read_is_nobody(taught: Path, tmp_path: Path) -> None:
    publish(taught, tmp_path, "mine", owner="me")
    for content in (b"", b"\xff"):
        owner_file(tmp_path, "mine").write_bytes(content)
        assert offered(tmp_path) == offered(tmp_path, "me") == []
