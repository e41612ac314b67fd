"""The Hub's road through its own library, to a small server that keeps what is pushed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import HfApi

from demo.adapter import hub
from demo.adapter.adapter import Adapter, load_adapter, save_adapter
from demo.adapter.config import AdapterSpec
from demo.adapter.export import export_peft
from demo.adapter.passport import Passport
from demo.errors import CheckpointError, FetchError, InputError
from demo.llama.base import Base
from tests.hub import SHA, Files, SmallHub, small_hub


@pytest.fixture
def small() -> Iterator[SmallHub]:
    with small_hub() as running:
        yield running


@pytest.fixture
def files(small: SmallHub) -> Files:
    return small.files


@pytest.fixture
def endpoint(small: SmallHub) -> str:
    return small.endpoint


def saved(base: Base, folder: Path, name: str = "mine", **fields: Any) -> Adapter:
    torch.manual_seed(1)
    spec = AdapterSpec.for_base(base.config, layers=2, prompts=3)
    adapter = Adapter(spec)
    torch.nn.init.constant_(adapter.gate, 0.5)
    passport = Passport(name, "Knows the shop.", base.name, base.fingerprint, spec, **fields)
    folder.mkdir(exist_ok=True)
    save_adapter(adapter, passport, folder / f"{name}.safetensors")
    return adapter


def test_what_is_pushed_can_be_pulled(
    endpoint: str, files: Files, base: Base, tmp_path: Path
) -> None:
    given = saved(base, tmp_path / "mine", license="MIT", data="shop.csv", examples=15)
    api = HfApi(endpoint=endpoint, token="hf_x")
    path = tmp_path / "mine" / "mine.safetensors"
    assert hub.push(api, path, "me/shop").endswith(f"me/shop/commit/{SHA}")
    assert set(files["me/shop"]) == {hub.ADAPTER, hub.CARD}
    card = files["me/shop"][hub.CARD].decode()
    assert "license: mit" in card and "Knows the shop." in card and "shop.csv, 15 rows" in card
    assert hub.pull(api, "me/shop", "shop", tmp_path / "yours", None) == "shop"
    again, passport = load_adapter(tmp_path / "yours" / "shop.safetensors")
    assert passport.name == "shop" and torch.equal(again.prompts, given.prompts)


def test_a_repository_of_pefts_becomes_one_of_ours(
    endpoint: str,
    files: Files,
    base: Base,
    tiny_llama_folder: Any,
    tmp_path: Path,
    monkeypatch: Any,
) -> None:
    given = saved(base, tmp_path / "mine")
    folder = tmp_path / "peft"
    export_peft(given, load_adapter(tmp_path / "mine/mine.safetensors")[1], 3, folder)
    files["you/theirs"] = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setenv("LLAMA_ADAPTER_CACHE", str(tmp_path / "cache"))
    api, llama = HfApi(endpoint=endpoint), str(tiny_llama_folder())
    assert hub.pull(api, "you/theirs", "theirs", tmp_path / "yours", llama) == "theirs"
    again, passport = load_adapter(tmp_path / "yours" / "theirs.safetensors")
    assert passport.origin and torch.equal(again.prompts, given.prompts)


def test_what_cannot_be_is_said(
    endpoint: str, files: Files, base: Base, tmp_path: Path, monkeypatch: Any
) -> None:
    api = HfApi(endpoint=endpoint, token=False)
    with pytest.raises(FetchError, match="there is no such repository"):
        hub.pull(api, "me/none", "x", tmp_path, None)
    with pytest.raises(InputError, match="organisation/name"):
        hub.pull(api, "../../x", "x", tmp_path, None)
    files["me/odd"] = {"model.safetensors": b"x"}
    with pytest.raises(CheckpointError, match="neither adapter.safetensors nor PEFT's"):
        hub.pull(api, "me/odd", "x", tmp_path, None)
    files["me/bad"] = {hub.ADAPTER: b"no adapter at all"}
    with pytest.raises(CheckpointError):
        hub.pull(api, "me/bad", "x", tmp_path / "yours", None)
    monkeypatch.setattr(hub, "MAX_BYTES", 3)
    with pytest.raises(CheckpointError, match="larger than"):
        hub.pull(api, "me/bad", "x", tmp_path / "yours", None)
    assert not (tmp_path / "yours").exists()
    saved(base, tmp_path / "mine")
    with pytest.raises(FetchError, match=r"could not be put into me/shop.*log in"):
        hub.push(api, tmp_path / "mine" / "mine.safetensors", "me/shop")
