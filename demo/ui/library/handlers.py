"""What happens in the tab "Library": one method an event, each a plain function of its inputs.

Whose an adapter is follows from a secret that the browser keeps (`owner`); what others brought or
taught does not exist for a visitor.
"""

import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from demo.adapter.library import LibraryEntry, owner_of
from demo.errors import DemoError, InputError
from demo.runtime import Runtime
from demo.ui.files import Uploads, offer, withdraw
from demo.ui.html import ComponentUpdates
from demo.ui.library import cards
from demo.ui.library.account import HubAccount
from demo.ui.library.tab import LibraryView
from demo.ui.limits import LARGEST_BYTES
from demo.ui.strings import Strings

if TYPE_CHECKING:
    from huggingface_hub import HfApi

logger = logging.getLogger(__name__)
LONGEST_SEARCH = 200
NOBODY = HubAccount()


class LibraryHandlers:
    """The events of the tab, for all visitors."""

    def __init__(
        self,
        runtime: Runtime,
        view: LibraryView,
        uploads: Uploads,
        strings: Strings,
        account: HubAccount = NOBODY,
    ) -> None:
        self._runtime, self._view, self._uploads = runtime, view, uploads
        self._strings, self._words, self._account = strings, strings.library, account

    def look(self, owner: Any, search: Any, show: Any, chosen: Any) -> ComponentUpdates:
        """List adapters. Inputs: owner, search, show, chosen. Outputs: list, message."""
        return self._guarded(lambda: self._listed(owner, search, show, chosen))

    def choose(self, owner: Any, search: Any, show: Any, chosen: Any) -> ComponentUpdates:
        """Show one adapter. Inputs: as `look`. Outputs: the whole tab."""

        def open_card() -> ComponentUpdates:
            return self._listed(owner, search, show, chosen) | self._opened(owner, chosen)

        return self._guarded(open_card)

    def close(self, owner: Any, search: Any, show: Any) -> ComponentUpdates:
        """Close what is open. Inputs: owner, search, show. Outputs: the whole tab."""
        return self._guarded(lambda: self._listed(owner, search, show, "") | self._closed())

    def upload(self, owner: Any, search: Any, show: Any, file: Any) -> Iterator[ComponentUpdates]:
        """Bring an adapter. Inputs: owner, search, show, raw file. Outputs: the whole tab."""
        yield {self._view.message: cards.message(f"{self._words.checking} …")}

        def bring() -> ComponentUpdates:
            path = file.get("path") if isinstance(file, dict) else None
            if not isinstance(path, str):
                raise InputError(self._words.not_a_file)
            upload = self._uploads.check(path)
            try:
                name = self._runtime.bring(upload, _owner(owner))
            finally:
                upload.unlink(missing_ok=True)
            told = {self._view.message: cards.message(self._words.brought.format(name=name))}
            shown = self._listed(owner, search, show, name) | self._opened(owner, name)
            return shown | told

        yield self._guarded(bring)

    def fetch(
        self,
        owner: Any,
        search: Any,
        show: Any,
        repository: Any,
        signed: gr.OAuthToken | None = None,
    ) -> Iterator[ComponentUpdates]:
        """Bring an adapter from the Hub. Inputs: as the parameters. Outputs: the whole tab."""
        yield {self._view.message: cards.message(f"{self._words.hub_fetching} …")}

        def bring() -> ComponentUpdates:
            from demo.adapter import hub

            api = _hub(self._account.token(signed.token if signed else None))
            with tempfile.TemporaryDirectory(prefix="adapter-") as room:
                file = hub.fetch(
                    api,
                    str(repository or "").strip(),
                    Path(room),
                    largest=LARGEST_BYTES,
                    login=self._account.login(self._words),
                )
                name = self._runtime.bring(file, _owner(owner))
            told = {self._view.message: cards.message(self._words.brought.format(name=name))}
            return self._listed(owner, search, show, name) | self._opened(owner, name) | told

        yield self._guarded(bring)

    def put(
        self,
        owner: Any,
        chosen: Any,
        repository: Any,
        private: Any,
        signed: gr.OAuthToken | None = None,
    ) -> Iterator[ComponentUpdates]:
        """Put an adapter on the Hub. Inputs: as the parameters. Outputs: message."""
        yield {self._view.message: cards.message(f"{self._words.hub_putting} …")}

        def give() -> ComponentUpdates:
            from demo.adapter import hub

            entry = self._runtime.library.find(str(chosen or ""), _owner(owner))
            target, given = str(repository or "").strip(), signed.token if signed else None
            hub.push(
                _hub(self._account.token_to_write(given, self._words)),
                entry.path,
                target,
                private=bool(private),
                login=self._account.login(self._words),
            )
            text = self._words.hub_there.format(name=entry.passport.name, repository=target)
            return {self._view.message: cards.message(text)}

        yield self._guarded(give)

    def save(
        self, owner: Any, search: Any, show: Any, chosen: Any, name: Any, description: Any
    ) -> ComponentUpdates:
        """Rename and describe. Inputs: as the parameters. Outputs: the whole tab."""

        def change() -> ComponentUpdates:
            given = str(name or ""), str(description or "")
            new = self._runtime.shelf.change(str(chosen or ""), _owner(owner), *given)
            told = {self._view.message: cards.message(self._words.saved.format(name=new))}
            return self._listed(owner, search, show, new) | self._opened(owner, new) | told

        return self._guarded(change)

    def teach_more(
        self, teach: Callable[[Any, str], ComponentUpdates], owner: Any, chosen: Any
    ) -> ComponentUpdates:
        """Open the tab that teaches with an adapter to be taught more.

        Args:
            teach: what that tab does with a secret and a name.
            owner: raw.
            chosen: raw.
        """

        def begin() -> ComponentUpdates:
            if not (name := str(chosen or "")):
                raise InputError(self._words.choose_first)
            return teach(owner, name) | {self._view.message: ""}

        return self._guarded(begin)

    def ask_to_delete(self, chosen: Any) -> ComponentUpdates:
        """Ask before deleting. Inputs: chosen. Outputs: the whole tab."""
        text = self._words.delete_sure.format(name=str(chosen)[:60])
        view = self._view
        return {view.sure: gr.Row(visible=True), view.sure_text: cards.quiet(text)}

    def keep(self) -> ComponentUpdates:
        """Delete nothing. Outputs: the whole tab."""
        return {self._view.sure: gr.Row(visible=False)}

    def delete(self, owner: Any, search: Any, show: Any, chosen: Any) -> ComponentUpdates:
        """Delete for good. Inputs: as the parameters. Outputs: the whole tab."""

        def remove() -> ComponentUpdates:
            name = str(chosen or "")
            self._runtime.shelf.delete(name, _owner(owner))
            withdraw(str(owner), _key(name))
            told = {self._view.message: cards.message(self._words.deleted.format(name=name))}
            return self._listed(owner, search, show, "") | self._closed() | told

        return self._guarded(remove)

    def _listed(self, owner: Any, search: Any, show: Any, chosen: Any) -> ComponentUpdates:
        whose, fit = _owner(owner), self._runtime.fit()
        asked = cards.Filter(str(search or "")[:LONGEST_SEARCH], str(show or "all"))
        offered = self._runtime.library.offered(whose)
        found = [entry for entry in offered if asked.takes(entry, whose, fit)]
        name = str(chosen or "")
        shown = cards.cards(found, len(offered), whose, fit, self._words, name)
        return {self._view.list: shown, self._view.message: ""}

    def _opened(self, owner: Any, chosen: Any) -> ComponentUpdates:
        name = str(chosen or "")
        if not name:
            raise InputError(self._words.choose_first)
        whose, view = _owner(owner), self._view
        entry = self._runtime.library.find(name, whose)
        own = bool(whose) and entry.owner == whose
        return {
            view.chosen: name,
            view.detail: gr.Column(visible=True),
            view.facts: cards.facts(entry, self._words),
            view.download: gr.DownloadButton(value=self._offered(owner, entry)),
            view.own: gr.Column(visible=own),
            view.name: name,
            view.description: entry.passport.description,
            view.sure: gr.Row(visible=False),
        }

    def _closed(self) -> ComponentUpdates:
        return {self._view.detail: gr.Column(visible=False), self._view.chosen: ""}

    def _offered(self, owner: Any, entry: LibraryEntry) -> str:
        name = entry.passport.name
        return str(offer(str(owner), _key(name), entry.path, name))

    def _guarded(self, action: Callable[[], ComponentUpdates]) -> ComponentUpdates:
        """Do it, or say why not."""
        try:
            return action()
        except DemoError as error:
            text = self._words.said(str(error))
        except Exception:
            logger.exception("the library failed")
            text = self._strings.unexpected
        return {self._view.message: cards.message(text, bad=True)}


def _hub(token: str | None) -> "HfApi":
    from huggingface_hub import HfApi

    # Without a token of its own it would take this machine's.
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=token or False)


def _owner(secret: Any) -> str:
    return owner_of(secret) if isinstance(secret, str) and secret else ""


def _key(name: str) -> str:
    return f"library-{Path(name).name[:60]}"
