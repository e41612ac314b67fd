"""Small faults that a row should not be refused for, and a record of what was done."""

import re
import unicodedata

# Control characters but tab and line feed; marks that say nothing; half of what pastes bring.
INVISIBLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u2060\ufeff]")


class Cleaner:
    """Cleans the texts of one row and remembers, in words, what it changed."""

    def __init__(self) -> None:
        self._notes: dict[str, None] = {}

    @property
    def notes(self) -> tuple[str, ...]:
        """What was changed, each kind once."""
        return tuple(self._notes)

    def note(self, what: str) -> None:
        """Record a change that was made elsewhere."""
        self._notes[what] = None

    def text(self, text: str, what: str) -> str:
        """`text` trimmed, with plain line ends and without invisible characters.

        Args:
            what: what the text is, for the record: "question", "turn 3".
        """
        plain = text.replace("\r\n", "\n").replace("\r", "\n")
        if plain != text:
            self.note(f"{what}: line ends of Windows or old Macs replaced")
        visible = INVISIBLE.sub("", plain)
        if visible != plain:
            self.note(f"{what}: invisible characters removed")
        trimmed = visible.strip()
        if trimmed != visible and trimmed:
            self.note(f"{what}: spaces at its ends removed")
        # One letter, one spelling: a decomposed é is three tokens that the model has seldom met.
        composed = unicodedata.normalize("NFC", trimmed)
        if composed != trimmed:
            self.note(f"{what}: letters and their accents joined")
        return composed
