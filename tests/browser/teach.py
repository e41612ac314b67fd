"""The tab "Teach" as a person uses it, in words instead of selectors."""

from pathlib import Path

from playwright.sync_api import Locator, Page, expect

ROWS = 12
COMPILED = 300.0  # seconds in which the first training of a machine is surely compiled and over
WORDS = (
    "sun",
    "moon",
    "star",
    "tree",
    "leaf",
    "root",
    "wave",
    "sand",
    "boat",
    "bird",
    "nest",
    "egg",
)


class Teach:
    """One visitor's tab, opened."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.report = page.locator("#report")
        self.chosen = page.locator("#chosen")
        self.needs = page.locator("#needs")
        self.state = page.locator("#live .run-state")
        self.result = page.locator("#result")
        self.problem = page.locator("#run-problem")
        self.start = page.get_by_role("button", name="Start teaching")
        self.open()

    def open(self) -> None:
        """Comes to the tab."""
        self.page.get_by_role("tab", name="Teach").click()
        expect(self.page.get_by_role("heading", name="Teach it something")).to_be_visible()

    def source(self, name: str) -> None:
        """Open Samples, File or Type."""
        self.page.locator("#sources").get_by_role("tab", name=name).click()

    def upload(self, path: Path) -> None:
        """Chooses a file."""
        self.source("File")
        self.page.locator("#teach-file input[type=file]").set_input_files(path)

    def paste(self, text: str) -> None:
        """Put a table into the field for pasting, and that into the table."""
        self.source("Type")
        field = self.page.locator("#paste-text textarea")
        if not field.is_visible():
            self.page.get_by_role("button", name="Paste many rows at once").click()
        field.fill(text)
        self.page.get_by_role("button", name="Put into the table").click()

    def take(self, text: str) -> None:
        """Pastes questions and replies, and uses them."""
        self.paste(text)
        # The field is emptied with the rows' arrival; the sentence may be an earlier paste's.
        expect(self.page.locator("#paste-text textarea")).to_have_value("")
        expect(self.chosen).to_contain_text("Put into the table: ")
        self.page.get_by_role("button", name="Use these rows").click()

    def smallest(self, *, steps: int) -> None:
        """Choose settings that teach a little, at once: something better than nothing."""
        self.page.get_by_role("button", name="Advanced").click()
        for name, value in (("prompts", 4), ("layers", 8), ("steps", steps), ("batch", 4)):
            self.set(name, value)

    def set(self, name: str, value: float) -> None:
        """One of the fields behind "Advanced", which are shown."""
        field = self.page.locator(f"#field-{name} input")
        field.fill(str(value))
        field.press("Tab")
        expect(self.page.locator("#measure")).to_be_visible()

    def button(self, name: str) -> Locator:
        """Find a button of step 4."""
        return self.page.locator("#run-actions").get_by_role("button", name=name)

    def over(self, state: str, seconds: float = COMPILED) -> None:
        """Wait until the run is in this last state."""
        expect(self.page.locator(f".run-state.{state}")).to_be_visible(timeout=1000 * seconds)


def rows(count: int = ROWS) -> str:
    """Write a table as CSV."""
    lines = [f"What is {word} spelled backwards?,{word[::-1]}" for word in WORDS[:count]]
    return "question,answer\n" + "\n".join(lines) + "\n"
