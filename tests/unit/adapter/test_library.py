"""A folder of adapters that anybody may have put files into."""

import json
import os
import struct
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import save_file

from demo.adapter import library as library_module
from demo.adapter.config import AdapterSpec, VisualSpec
from demo.adapter.library import Compatibility, Library, set_owner
from demo.adapter.passport import Passport
from demo.errors import InputError
from demo.llama.base import Base
from tests.small import save_small


def put(folder: Path, file: str, name: str) -> None:
    """A file whose passport says that name; tensors are not read here."""
    passport = Passport(name, "", "base", "print", AdapterSpec(2, 3, 36, 6))
    tensors = {"gate": np.zeros(1, np.float32)}
    save_file(tensors, folder / f"{file}.safetensors", {"passport": passport.to_json()})


@pytest.mark.parametrize("odd", ["[" * 200_000, '{"a":' * 50_000, "x" * 100_000, "[]", "5"])
@pytest.mark.matrix("M2")
def test_an_odd_passport_hides_no_other_adapter(tmp_path: Path, odd: str) -> None:
    put(tmp_path, "good", "good")
    header = json.dumps({"__metadata__": {"passport": odd}}).encode()
    (tmp_path / "odd.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    assert [entry.passport.name for entry in Library(tmp_path).entries()] == ["good"]


@pytest.mark.matrix("M2")
def test_a_pipe_in_the_folder_holds_nobody_up(tmp_path: Path) -> None:
    put(tmp_path, "good", "good")
    for name in ("a.safetensors", "good.owner"):
        getattr(os, "mkfifo", os.mkdir)(tmp_path / name)  # Windows has no pipes of this kind
    entries: list[str | None] = []
    listing = Thread(
        target=lambda: entries.extend(entry.owner for entry in Library(tmp_path).entries()),
        daemon=True,
    )
    listing.start()
    listing.join(60)
    assert entries == [""]  # nobody's, not everybody's


@pytest.mark.matrix("M2")
def test_names_that_mean_something_else_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for file, name in (("a", "auto"), ("b", "none"), ("c", "sees"), ("d", "sees")):
        put(tmp_path, file, name)
    library = Library(tmp_path)
    for _ in range(2):
        assert [entry.path.name for entry in library.entries()] == ["c.safetensors"]
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 3 and "the name 'sees' is c.safetensors's" in said[2]


def test_a_visitor_is_shown_what_sees_through_the_tower_in_use(tmp_path: Path) -> None:
    put(tmp_path, "words", "words")
    put(tmp_path, "mine", "mine")
    set_owner(tmp_path, "mine", "me")
    spec = AdapterSpec(2, 3, 36, 6, VisualSpec(8, 4))
    for name in ("seer", "blind"):
        passport = Passport(name, "", "base", "print", spec, tower="tower", tower_fingerprint=name)
        tensors = {"gate": np.zeros(1, np.float32)}
        save_file(tensors, tmp_path / f"{name}.safetensors", {"passport": passport.to_json()})
    library, tower = Library(tmp_path), SimpleNamespace(fingerprint="seer")

    def shown(owner: str = "", tower: SimpleNamespace | None = None) -> list[str]:
        return [card["name"] for card in library.cards(owner, tower)]  # type: ignore[arg-type]

    assert shown() == ["blind", "seer", "words"]  # which of them see is not known yet
    assert shown(tower=tower) == ["seer", "words"]
    assert shown("me", tower) == ["mine", "seer", "words"]


def test_nothing_is_opened_while_nothing_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every request asks what there is, and there may be thousands."""
    for n in range(3):
        put(tmp_path, f"a{n}", f"a{n}")
    set_owner(tmp_path, "a1", "me")
    (tmp_path / "nowhere.safetensors").symlink_to(tmp_path / "gone")
    library = Library(tmp_path)
    assert [entry.owner for entry in library.entries()] == [None, "me", None]
    opened: list[str] = []
    read = library_module.read_passport
    monkeypatch.setattr(
        library_module, "read_passport", lambda path: (opened.append(path.name), read(path))[1]
    )
    monkeypatch.setattr(library_module, "owners", lambda folder: opened.append("") or {"a1": "me"})
    for _ in range(5):
        assert library.find("a1", "me").owner == "me"
    assert opened == []
    put(tmp_path, "a3", "a3")
    assert [entry.passport.name for entry in library.entries()] == ["a0", "a1", "a2", "a3"]
    assert "a3.safetensors" in opened and "a0.safetensors" not in opened
    (tmp_path / "a0.safetensors").unlink()
    assert len(library.entries()) == 3


def test_one_is_found_among_thousands_without_a_look_at_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(3):
        put(tmp_path, f"a{n}", f"a{n}")
    set_owner(tmp_path, "a1", "me")
    library, looks, look = Library(tmp_path), [], library_module._listed
    monkeypatch.setattr(
        library_module, "_listed", lambda folder: (looks.append(folder), look(folder))[1]
    )

    def looked(name: str, owner: str = "") -> int:
        before = len(looks)
        library.find(name, owner)
        return len(looks) - before

    assert looked("a0") == looked("a0") == 1  # files have just come, and more may at the same tick
    os.utime(tmp_path, (1, 1))
    assert looked("a0") == 1 and looked("a0") == looked("a1", "me") == looked("a2") == 0
    put(tmp_path, "a3", "a3")
    assert looked("a3") == 1
    os.utime(tmp_path, (1, 1))
    library.entries()
    os.utime(tmp_path / "a0.safetensors", (5, 5))  # written where it is
    assert looked("a0") == 1 and library.find("a0").stamp[0] == 5 * 10**9
    (tmp_path / "a1.owner").write_text("you")
    with pytest.raises(InputError):
        library.find("a1", "me")
    assert library.find("a1", "you").owner == "you"
    (tmp_path / "a2.safetensors").unlink()
    with pytest.raises(InputError):
        library.find("a2")


def test_adapters_in_memory_are_bounded_in_bytes(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("first", "second", "third")
    for seed, name in enumerate(names):
        save_small(tmp_path, base, name, seed)
    library = Library(tmp_path)
    fit = Compatibility(base.name, base.fingerprint, base.config, None, None)
    size = library.find("first").stamp[1]
    monkeypatch.setattr(library_module, "LOADED_BYTES", int(2.5 * size))
    first, second = (library.load(library.find(name), fit) for name in names[:2])
    assert library.load(library.find("first"), fit) is first
    library.load(library.find("third"), fit)  # in the place of the second, which waited longest
    assert library.load(library.find("first"), fit) is first
    assert library.load(library.find("second"), fit) is not second
