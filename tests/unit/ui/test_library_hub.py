"""The tab "Library" and the Hub: in whose name, what comes of it, and what is said."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
import torch
from gradio.helpers import special_args

from demo.adapter import hub as hub_module
from demo.adapter.adapter import load_adapter
from demo.adapter.export import export_peft
from demo.adapter.library import owner_of, set_owner
from demo.errors import InputError
from demo.llama.base import Base
from demo.runtime import Runtime
from demo.settings import Settings
from demo.ui.chinese import CHINESE
from demo.ui.files import Uploads
from demo.ui.library import handlers as handlers_module
from demo.ui.library.account import NEEDED, HubAccount
from demo.ui.library.handlers import LibraryHandlers
from demo.ui.library.tab import build_library
from demo.ui.page import build_page
from demo.ui.strings import ENGLISH, Strings
from tests.hub import SmallHub, small_hub
from tests.small import save_small, small_language

pytestmark = pytest.mark.compiles
ME, OTHER = "m" * 43, "o" * 43
HOME, SPACE, STRANGERS = HubAccount(home=True), HubAccount(sign_in=True), HubAccount()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallHub]:
    """A Hub, on a machine that is logged in."""
    with small_hub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.endpoint)
        monkeypatch.setenv("HF_TOKEN", "hf_home")
        yield running


@pytest.fixture
def runtime(base: Base, tmp_path: Path) -> Iterator[Runtime]:
    """A loaded one, with an adapter of everybody's and one of mine."""
    folder = tmp_path / "adapters"
    folder.mkdir()
    save_small(folder, base, "shipped", 1)
    set_owner(folder, "mine", owner_of(ME))
    save_small(folder, base, "mine", 2)
    runtime = Runtime(Settings(adapters=folder, runs=tmp_path / "runs", keep_chats=False))
    engine, _ = small_language(base, 1)
    runtime._language.set_result(engine)
    runtime._tower.set_exception(InputError("no tower"))
    yield runtime
    runtime.close()


class Tab:
    """The handlers of a tab, and what each says at last."""

    def __init__(self, runtime: Runtime, uploads: Uploads, account: HubAccount, words: Strings):
        with gr.Blocks():
            self.view = build_library(words.library)
        self.handlers = LibraryHandlers(runtime, self.view, uploads, words, account)

    def put(self, name: str, repository: str, owner: str = ME, token: str = "") -> str:
        signed = gr.OAuthToken(token, "", 0) if token else None
        *_, last = self.handlers.put(owner, name, repository, True, signed)
        return last[self.view.message]

    def fetch(self, repository: str, owner: str = ME, token: str = "") -> str:
        signed = gr.OAuthToken(token, "", 0) if token else None
        *_, last = self.handlers.fetch(owner, "", "all", repository, signed)
        return last[self.view.message]


@pytest.fixture
def tab(runtime: Runtime, uploads: Uploads) -> Any:
    def make(account: HubAccount, words: Strings = ENGLISH) -> Tab:
        return Tab(runtime, uploads, account, words)

    return make


def test_what_is_put_there_is_fetched_for_its_visitor_alone(
    runtime: Runtime, hub: SmallHub, tab: Any
) -> None:
    here = tab(HOME)
    assert "“mine” is on the Hub as me/shop." in here.put("mine", " me/shop ")
    assert set(hub.files["me/shop"]) == {hub_module.ADAPTER, hub_module.CARD}
    assert b"# mine" in hub.files["me/shop"][hub_module.CARD]
    assert {who for _, who in hub.asked} == {"Bearer hf_home"}
    assert "“mine-2” is in your library." in here.fetch("me/shop", OTHER)
    assert runtime.library.find("mine-2", owner_of(OTHER)).owner == owner_of(OTHER)
    for name, owner in (("mine-2", ME), ("mine", OTHER)):
        with pytest.raises(InputError):
            runtime.library.find(name, owner_of(owner))
    assert "no adapter ‘mine’" in here.put("mine", "me/x", OTHER).replace("&#39;", "’").replace(
        "’mine’", "‘mine’"
    )
    assert "me/x" not in hub.files


def test_a_repository_of_pefts_is_fetched(
    runtime: Runtime, hub: SmallHub, tab: Any, base: Base, tmp_path: Path
) -> None:
    given, passport = load_adapter(runtime.library.find("shipped").path)
    with torch.no_grad():
        given.gate.copy_(given.gate[:, :1])  # as PEFT has them
    export_peft(given, passport, base.config.layers, tmp_path / "peft")
    hub.files["you/theirs"] = {p.name: p.read_bytes() for p in (tmp_path / "peft").iterdir()}
    assert "“theirs” is in your library." in tab(HOME).fetch("you/theirs")
    entry = runtime.library.find("theirs", owner_of(ME))
    assert entry.owner == owner_of(ME) and entry.passport.origin.kind.startswith("PEFT")
    assert torch.equal(load_adapter(entry.path)[0].prompts, given.prompts)


def test_on_a_space_a_visitor_is_who_they_signed_in_as(hub: SmallHub, tab: Any) -> None:
    here = tab(SPACE)
    assert "Please sign in with Hugging Face first" in here.put("mine", "me/shop")
    assert hub.asked == []
    assert "is on the Hub" in here.put("mine", "me/shop", token="hf_visitor")
    assert {who for _, who in hub.asked} == {"Bearer hf_visitor"}
    hub.asked.clear()
    assert "is in your library" in here.fetch("me/shop")
    assert hub.asked and {who for _, who in hub.asked} == {""}  # not this machine's account
    assert "sign in with an account that may" in here.fetch("me/none")


def test_strangers_do_not_use_this_machines_account(hub: SmallHub, tab: Any) -> None:
    here = tab(STRANGERS)
    assert "This page has no account on the Hub" in here.put("mine", "me/shop")
    assert hub.files == {} and hub.asked == []
    hub.files["me/bad"] = {hub_module.ADAPTER: b"no adapter at all"}
    assert "bad" in here.fetch("me/bad")
    assert {who for _, who in hub.asked} == {""}


def test_at_home_without_a_token_it_says_how_to_get_one(
    hub: SmallHub, tab: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no token"))
    for words, said in ((ENGLISH, "Get a token that may write"), (CHINESE, "取得可写的令牌")):
        assert said in tab(HOME, words).put("mine", "me/shop")


def test_what_the_hub_refuses_is_said_in_our_words(
    runtime: Runtime, hub: SmallHub, tab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tab(HOME), tab(HOME, CHINESE)
    before = {entry.passport.name for entry in runtime.library.entries()}
    assert "Please write it as organisation/name." in here.fetch("../../etc/passwd")
    assert "there is no such repository, or it is not yours" in here.fetch("me/none")
    assert "没有这样的仓库" in there.fetch("me/none")
    hub.files["me/odd"] = {"model.safetensors": b"x"}
    assert "so no adapter that is known here" in here.fetch("me/odd")
    assert "没有这里认识的适配器" in there.fetch("me/odd")
    hub.files["me/bad"] = {hub_module.ADAPTER: b"no adapter at all"}
    assert "bad.safetensors" in here.fetch("me/bad")
    monkeypatch.setattr(handlers_module, "LARGEST_BYTES", 3)
    assert "the most that is fetched here" in here.fetch("me/bad")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    assert "the Hub did not answer" in here.put("mine", "me/shop")
    assert "Hub 没有回应" in there.put("mine", "me/shop")
    assert {entry.passport.name for entry in runtime.library.entries()} == before


def test_whose_account_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = "demo.ui.library.account.find_spec"
    monkeypatch.setattr(installed, lambda name: name in NEEDED)
    space = {"SPACE_ID": "me/space", "OAUTH_CLIENT_ID": "x"}
    assert HubAccount.of({}, local=True) == HOME
    assert HubAccount.of({}, local=False) == STRANGERS
    assert HubAccount.of(space, local=True) == SPACE
    assert HubAccount.of({"SPACE_ID": "me/space"}, local=True) == STRANGERS
    monkeypatch.setattr(installed, lambda name: None)
    assert HubAccount.of(space, local=True) == STRANGERS


def test_gradio_hands_over_whom_a_visitor_signed_in_as(
    tmp_path: Path, tab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"SYSTEM": "spaces", "SPACE_ID": "me/space"}.items():
        monkeypatch.setenv(name, value)
    for name in ("CLIENT_ID", "CLIENT_SECRET", "SCOPES"):
        monkeypatch.setattr(f"gradio.oauth.OAUTH_{name}", "x")
    monkeypatch.setattr("gradio.oauth.OPENID_PROVIDER_URL", "http://127.0.0.1:9")
    runtime = Runtime(Settings(adapters=tmp_path, runs=tmp_path / "runs", keep_chats=False))
    assert build_page(runtime, account=SPACE).expects_oauth
    assert not build_page(runtime, account=HOME).expects_oauth
    info = {"access_token": "hf_visitor", "scope": "", "expires_at": 2**40}
    request = SimpleNamespace(scope={"session": {"oauth_info": info}}, request=None)
    handlers = tab(SPACE).handlers
    for method, count in ((handlers.put, 4), (handlers.fetch, 4)):
        inputs, *_ = special_args(method, ["x"] * count, request)
        assert inputs[count].token == "hf_visitor"
        inputs, *_ = special_args(method, ["x"] * count, SimpleNamespace(scope={}, request=None))
        assert inputs[count] is None
