"""What visitors do to a library: bring, rename, describe and delete adapters of their own."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from demo.adapter import shelf as shelf_module
from demo.adapter.adapter import load_adapter
from demo.adapter.gates import gates_of_file
from demo.adapter.library import Compatibility, Library, owner_file, set_owner
from demo.adapter.shelf import Shelf, fits
from demo.errors import CheckpointError, InputError
from tests.small import save_small

ME, OTHER = "m" * 32, "o" * 32


@pytest.fixture
def fit(base) -> Compatibility:
    return Compatibility(base.name, base.fingerprint, base.config, None, None)


@pytest.fixture
def folder(base, tmp_path) -> Path:
    """A library of one adapter of everybody's, and one of mine."""
    folder = tmp_path / "adapters"
    folder.mkdir()
    save_small(folder, base, "shipped", 1)
    set_owner(folder, "mine", ME)
    save_small(folder, base, "mine", 2)
    return folder


def test_a_file_is_brought_for_its_owner_alone(base, fit, folder, tmp_path):
    save_small(tmp_path, base, "mine", 3)
    library = Library(folder)
    name = Shelf(library).add(tmp_path / "mine.safetensors", ME, fit, base, None)
    assert name == "mine-2"
    assert library.find(name, ME).owner == ME
    with pytest.raises(InputError, match="no adapter 'mine-2'"):
        library.find(name, OTHER)
    first, second = (
        load_adapter(path)[0]
        for path in (tmp_path / "mine.safetensors", folder / "mine-2.safetensors")
    )
    assert torch.equal(first.prompts, second.prompts)


def test_a_released_file_is_brought(base, fit, folder, tmp_path):
    gate = torch.randn(1, base.config.heads, 1, 1)
    tensors = {f"layers.{n}.attention.gate": gate for n in range(3)}
    tensors["adapter_query.weight"] = torch.randn(30, base.config.width)
    torch.save(tensors, tmp_path / "Llama Adapter.pth")
    name = Shelf(Library(folder)).add(tmp_path / "Llama Adapter.pth", ME, fit, base, None)
    assert name == "llama-adapter"
    adapter, passport = load_adapter(folder / f"{name}.safetensors")
    assert passport.origin.kind == "LLaMA-Adapter V1, text"
    assert passport.origin.file == "Llama Adapter.pth"
    assert torch.equal(adapter.gate[1], gate.flatten())


class RunsCode:
    """A pickle that would make a folder when it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("ran-code",)


def test_a_pickle_that_is_a_program_is_refused_and_not_run(base, fit, folder, tmp_path):
    torch.save({"adapter_query.weight": RunsCode()}, tmp_path / "bad.pth")
    with pytest.raises(CheckpointError, match="bad.pth is not a plain PyTorch file of tensors"):
        Shelf(Library(folder)).add(tmp_path / "bad.pth", ME, fit, base, None)
    assert not list(Path().glob("**/ran-code"))
    assert {path.stem for path in folder.glob("*.safetensors")} == {"shipped", "mine"}


def test_one_may_have_so_many(base, fit, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(shelf_module, "MAX_OWN", 1)
    with pytest.raises(InputError, match="as many as one may have here"):
        Shelf(Library(folder)).add(tmp_path / "any", ME, fit, base, None)


def test_ones_own_is_renamed_and_described(base, folder):
    library = Library(folder)
    shelf = Shelf(library)
    before = load_adapter(folder / "mine.safetensors")[0]
    assert shelf.change("mine", ME, "Shipped", "talks like\na pirate") == "shipped-2"
    entry = library.find("shipped-2", ME)
    assert (entry.passport.description, entry.owner) == ("talks like a pirate", ME)
    assert torch.equal(load_adapter(entry.path)[0].prompts, before.prompts)
    assert not (folder / "mine.safetensors").exists() and not owner_file(folder, "mine").exists()
    assert shelf.change("shipped-2", ME, "shipped-2", "") == "shipped-2"  # the name stays
    with pytest.raises(InputError, match="at most 500 characters"):
        shelf.change("shipped-2", ME, "x", "y" * 501)


def test_ones_own_is_deleted(folder):
    library = Library(folder)
    Shelf(library).delete("mine", ME)
    assert [entry.passport.name for entry in library.offered(ME)] == ["shipped"]
    assert not owner_file(folder, "mine").exists()


@pytest.mark.parametrize("owner", [OTHER, "", ME])
def test_nobody_changes_what_is_not_theirs(folder, owner):
    shelf, name = Shelf(Library(folder)), "shipped" if owner == ME else "mine"
    message = "is everybody's" if owner == ME else "There is no adapter 'mine'"
    with pytest.raises(InputError, match=message):
        shelf.delete(name, owner)
    with pytest.raises(InputError, match=message):
        shelf.change(name, owner, "x", "")
    assert (folder / "mine.safetensors").exists() and (folder / "shipped.safetensors").exists()


def test_what_fits_is_told(base, fit, folder):
    entry = Library(folder).find("shipped")
    assert fits(entry, fit)
    assert not fits(entry, Compatibility("other", "other print", base.config, None, None))


def test_gates_are_read_without_the_rest(folder):
    entry = Library(folder).find("shipped")
    found = gates_of_file(entry.path, entry.stamp)
    adapter = load_adapter(entry.path)[0]
    expected = adapter.opening().abs().mean(1)
    assert torch.allclose(torch.tensor(found), expected, atol=1e-4)
    with pytest.raises(CheckpointError, match="cannot be read"):
        gates_of_file(folder / "gone.safetensors", (0, 0))
