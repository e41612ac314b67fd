"""The table of what strangers may try: every row is a test, or several, that names it.

`@pytest.mark.matrix("A7")` on a test names its row; `python -m pytest -m matrix` ends with the
table, one line a row. Tests marked `nightly` run with `python -m tests.nightly` alone.
"""

import re
from collections import Counter
from pathlib import Path

import pytest

ROWS = {
    "A1": "malicious pickles are refused and nothing runs",
    "A2": "no refused file is tried a second time, unsafely",
    "A3": "files of the authors load, and give what they published",
    "A4": "other formats are refused by their content",
    "A5": "tensors that are not plain are refused before any arithmetic",
    "A6": "compressed weights are refused from their directory",
    "A7": "safetensors headers that cannot be are refused",
    "A8": "another shape, name or base is refused, the first difference named",
    "A9": "NaN, infinity and huge weights are refused",
    "A10": "no flipped bit of an adapter is loaded",
    "A11": "mutated adapters give a refusal or the adapter",
    "A12": "a file that changes while it is read harms nothing",
    "A13": "converted weights are the same, bit for bit",
    "B1": "picture bombs are refused from their headers",
    "B2": "one pixel, one line, and long and thin pictures",
    "B3": "cut pictures are refused or whole",
    "B4": "orientation is applied",
    "B5": "metadata is dropped",
    "B6": "every mode of colour becomes RGB, first frame, on white",
    "B7": "what is no picture is refused by content",
    "B8": "no error of a picture holds an address, a path or a class",
    "B9": "equal bytes of another size are another picture",
    "B10": "zips that lead out, lie, or unpack to much are refused",
    "B11": "tables that are too long, too deep or no tables are refused",
    "B12": "rows that cannot teach are counted and shown before anything starts",
    "C1": "no path of the server is opened",
    "C2": "no address is fetched",
    "C3": "bodies over the limit are refused before they are read",
    "C4": "odd multipart bodies are refused and leave nothing",
    "C5": "cut uploads are swept",
    "C6": "a visitor's uploads have a quota that others do not feel",
    "C7": "other sites read nothing; other names are not served",
    "C8": "markup is text wherever it comes from",
    "C9": "history, files and sessions of others cannot be had or forged",
    "C10": "nothing is public beyond what is listed",
    "C11": "an address asks so often, whatever it says it is",
    "C12": "endpoints answer anything without a fault of the server",
    "D1": "fifty at once all finish or are told",
    "D2": "a full queue says so at once",
    "D3": "after many that leave, the next is answered",
    "D4": "one who leaves frees the place",
    "D5": "calls that nobody listens to end",
    "D6": "slow readers and senders are dropped",
    "D7": "each reply in company is the solo reply",
    "D8": "an adapter replaced meanwhile changes no running reply",
    "D9": "chat has precedence over training",
    "D10": "one training at a time; a closed tab ends none",
    "D11": "memory that runs out ends in words, and the program lives",
    "D12": "a loss that is not finite ends the run, the last good weights kept",
    "D13": "killed while saving, the old or the new file is there",
    "D14": "full and read-only disks end in words and lose nothing",
    "D15": "a resumed run ends in the bytes of a straight one",
    "D16": "stopped, every stream has a last word and nothing stays",
    "D17": "a dead engine or child is told",
    "D18": "mixed use for long leaves memory, files and threads flat",
    "D19": "a clock that jumps expires nothing",
    "E1": "typed control tokens are text",
    "E2": "a prompt that is too long is refused with both numbers",
    "E3": "settings out of range are refused as documented",
    "E4": "a reply ends before what ends it",
    "E5": "what is streamed is the whole text, in unbroken characters",
    "E6": "half characters and NUL do no harm",
    "E7": "an untrained adapter is the base, bit for bit",
    "E8": "our LLaMA is transformers'",
    "E9": "the authors' adapters are theirs",
    "E10": "8 bits stay close to the published weights",
    "E11": "company, streaming and repetition change nothing",
    "H1": "many small uploads slow nobody",
    "H2": "a JPEG of many scans is refused before it is decoded",
    "H3": "a large table event is refused at once",
    "H4": "long form fields are refused",
    "H5": "a check of data is bounded in pixels and seconds, and holds nobody up",
    "H6": "a disk that fills up during a training costs no data",
    "H7": "visitors who send the same file get a copy each",
    "H8": "pictures of all chats are bounded in bytes",
    "H9": "uploads have a share a visitor; a full disk is said",
    "M1": "every thread ends in a state with words",
    "M2": "no adapter file hides the others",
    "M3": "adapters have a checksum and are never mapped",
    "M4": "listeners, rates, hosts, origins, headers, last words, leftovers, logs, direct calls",
}
OUTCOMES = ("passed", "failed", "error", "skipped")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that `python -m tests.nightly` sets."""
    parser.addoption("--nightly", action="store_true", help="run the tests marked nightly too")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long tests out, and let reports say which rows a test is of."""
    long = [item for item in items if item.get_closest_marker("nightly")]
    if long and not config.getoption("--nightly"):
        items[:] = [item for item in items if item not in long]
        config.hook.pytest_deselected(items=long)
    for item in items:
        for mark in item.iter_markers("matrix"):
            item.user_properties += [("matrix", row) for row in mark.args]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table where it was asked for."""
    if "matrix" not in terminalreporter.config.getoption("-m"):
        return
    counts: dict[str, Counter[str]] = {row: Counter() for row in ROWS}
    for outcome in OUTCOMES:
        for report in terminalreporter.stats.get(outcome, []):
            for key, row in getattr(report, "user_properties", []):
                if key == "matrix":
                    counts[row][outcome] += 1
    terminalreporter.section("matrix")
    for row, title in ROWS.items():
        found = ", ".join(f"{counts[row][o]} {o}" for o in OUTCOMES if counts[row][o])
        terminalreporter.line(f"{row:4} {found or 'not run here':24} {title}")


def named_rows(folder: Path) -> set[str]:
    """Rows that tests in a folder name."""
    found: set[str] = set()
    for path in folder.rglob("test_*.py"):
        for rows in re.findall(r"mark\.matrix\(([^)]*)\)", path.read_text("utf-8")):
            found |= set(re.findall(r'"(\w+)"', rows))
    return found
