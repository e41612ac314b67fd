"""In whose name the Hub is spoken to for a visitor: their own, this machine's, or nobody's."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec

from demo.errors import InputError
from demo.ui.library.words import LibraryWords

NEEDED = ("authlib", "itsdangerous")  # by gradio to sign visitors in: its extra `oauth`


@dataclass(frozen=True)
class HubAccount:
    """What this program may use of the Hub's accounts.

    Attributes:
        sign_in: visitors sign in with their own, as a Space with `hf_oauth` lets them.
        home: this machine's own, by `hf auth login` or HF_TOKEN: whoever reaches the page sits at
            it. Where strangers reach the page it is nobody's.
    """

    sign_in: bool = False
    home: bool = False

    @classmethod
    def of(cls, environment: Mapping[str, str], *, local: bool) -> "HubAccount":
        """Find out what there is.

        Args:
            environment: variables of this process.
            local: whether the page is reached from this machine alone.
        """
        space = "SPACE_ID" in environment
        able = space and bool(environment.get("OAUTH_CLIENT_ID"))
        return cls(able and all(map(find_spec, NEEDED)), local and not space)

    def token(self, signed: str | None) -> str | None:
        """Give the token that a visitor's calls use, None for nobody's.

        Args:
            signed: of the account they signed in with.
        """
        if self.sign_in:
            return signed
        if not self.home:
            return None
        # Imported here: the page is served before the Hub's library is there.
        from huggingface_hub import get_token

        return get_token()

    def token_to_write(self, signed: str | None, words: LibraryWords) -> str:
        """Give the token for what only an account may do.

        Raises:
            InputError: there is none; the message says how to get one.
        """
        if token := self.token(signed):
            return token
        way = words.hub_sign_in_first if self.sign_in else words.hub_no_account
        raise InputError(words.hub_no_token if self.home else way)

    def login(self, words: LibraryWords) -> str:
        """Say how to become somebody, as the end of a sentence that says what went wrong."""
        return words.hub_login_space if self.sign_in else words.hub_login_home
