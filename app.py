"""The front door: flags and environment → settings → runtime → page.

Every flag has an environment variable, `LLAMA_ADAPTER_<FLAG>`, which a flag overrides. The page is
served at once and the model loads behind it.

Exit codes: 0 after SIGINT or SIGTERM, 1 when the page cannot be served, 2 for a wrong flag.
"""

import argparse
import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo.errors import DemoError, InputError
from demo.settings import Settings

if TYPE_CHECKING:
    from demo.runtime import Runtime

PREFIX = "LLAMA_ADAPTER_"
EXIT_NOT_SERVED = 1
EXIT_WRONG_FLAG = 2
LAST_PORT = 65_535
STOP_SECONDS = 1
SWEEP_SECONDS = 600.0


@dataclass(frozen=True)
class Flag:
    """A flag and its environment variable; `default` None leaves the choice to the program."""

    name: str
    metavar: str
    help: str
    kind: type = str
    default: Any = None

    @property
    def variable(self) -> str:
        """The environment variable that sets the same."""
        return PREFIX + self.name.upper().replace("-", "_")


def flags(environment: Mapping[str, str]) -> tuple[Flag, ...]:
    """All flags, with the defaults that hold in this environment."""
    on_space = "SPACE_ID" in environment
    host = environment.get("GRADIO_SERVER_NAME") or ("0.0.0.0" if on_space else "127.0.0.1")
    port = environment.get("GRADIO_SERVER_PORT") or 7860
    default = Settings()
    return (
        Flag("llama", "PATH|ID", "GGUF file, folder or Hub id of a LLaMA; else the embedded base"),
        Flag("clip", "MODEL:PRETRAINED", "open_clip tower, e.g. ViT-L-14:openai; else our own"),
        Flag("adapters", "FOLDER", "folder of adapters", Path, default.adapters),
        Flag("cache", "FOLDER", "folder for converted weights", Path, default.cache),
        Flag("device", "DEVICE", "auto, cpu or cuda", str, default.device),
        Flag("threads", "N", "CPU threads of the model", int, default.threads),
        Flag("context", "TOKENS", "tokens that a conversation may hold", int, default.context),
        Flag("slots", "N", "replies that are written at once", int, default.slots),
        Flag("queue", "N", "replies that may wait", int, default.queue),
        Flag("kv-mb", "MB", "memory for running and kept conversations", int, default.kv_mb),
        Flag("reply-seconds", "S", "time limit of a reply", float, default.reply_seconds),
        Flag("training", "ON|OFF", "whether visitors may teach adapters", _switch, True),
        Flag("runs", "FOLDER", "folder of what visitors teach", Path, default.runs),
        Flag("waiting-runs", "N", "trainings that may wait", int, default.waiting_runs),
        Flag("runs-mb", "MB", "room for all trainings; old ones go", int, default.runs_mb),
        Flag("host", "ADDRESS", "address to serve on; 0.0.0.0 is every one", str, host),
        Flag("port", "PORT", "port to serve on", int, port),
        Flag("share", "YES|NO", "also serve on a public gradio.live address", _switch, False),
        Flag("auth", "USER:PASSWORD|FILE", "ask for a password; a file has one pair a line"),
        Flag("root-path", "PATH", "path under which a reverse proxy serves the page"),
    )


def build_parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    """The command line; what `environment` sets is the default of its flag."""
    parser = argparse.ArgumentParser(
        prog="app.py",
        description="Chat with pictures on a frozen 8-bit LLaMA, in the browser.",
        epilog="Exit codes: 0 stopped by SIGINT or SIGTERM, 1 not served, 2 wrong flag.",
    )
    for flag in flags(environment):
        default = "" if flag.default in (None, False) else f" (default: {flag.default})"
        parser.add_argument(
            f"--{flag.name}",
            metavar=flag.metavar,
            type=flag.kind,
            default=environment.get(flag.variable) or flag.default,
            help=f"{flag.help}{default} [{flag.variable}]",
            **({"nargs": "?", "const": True} if flag.kind is _switch else {}),
        )
    return parser


def read_auth(value: str | None) -> list[tuple[str, str]] | None:
    """The pairs of `--auth`.

    Raises:
        InputError: neither `user:password` nor a file of such lines.
    """
    if not value:
        return None
    path = Path(value)
    lines = path.read_text(encoding="utf-8").split("\n") if path.is_file() else [value]
    pairs = [tuple(line.strip().split(":", 1)) for line in lines if line.strip()]
    if not pairs or any(len(pair) != 2 or not all(pair) for pair in pairs):
        raise InputError("--auth takes user:password, or a file with one user:password a line.")
    return [(user, password) for user, password in pairs]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program until it is told to stop; returns the exit code."""
    options = build_parser(os.environ).parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        settings = Settings(**{item.name: getattr(options, item.name) for item in fields(Settings)})
        auth = read_auth(options.auth)
        if not 1 <= options.port <= LAST_PORT:
            raise InputError(f"port is {options.port}; please use 1 to {LAST_PORT}.")
    except DemoError as error:
        print(f"app.py: {error}", file=sys.stderr)
        return EXIT_WRONG_FLAG
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    # What visitors upload lives in a folder of this run and is gone with it.
    with tempfile.TemporaryDirectory(prefix="llama-adapter-studio-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        # How long each event took is kept for a page that is switched off, 10,000 of them.
        os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "100")
        return serve(settings, options, auth, stop)


def serve(
    settings: Settings,
    options: argparse.Namespace,
    auth: list[tuple[str, str]] | None,
    stop: threading.Event,
) -> int:
    """Serves the page until `stop` is set."""
    # Imported here, so that --help and a wrong flag do not wait for gradio.
    from demo.runtime import Runtime
    from demo.ui.page import build_page
    from demo.ui.server import launch_options, queue_options
    from demo.ui.uploads import sweep

    runtime = Runtime(settings)
    page = build_page(runtime)
    page.queue(**queue_options(settings))
    try:
        page.launch(
            server_name=options.host,
            server_port=options.port,
            share=options.share,
            auth=auth,
            root_path=options.root_path,
            prevent_thread_lock=True,
            quiet=True,
            **launch_options(settings),
        )
    except OSError:
        print(
            f"app.py: port {options.port} on {options.host} cannot be used; it may be taken. "
            "Choose another one with --port.",
            file=sys.stderr,
        )
        return EXIT_NOT_SERVED
    # Every open page holds a connection; without a limit, stopping would wait for the last one.
    page.server.config.timeout_graceful_shutdown = STOP_SECONDS
    try:
        print(f"LLaMA-Adapter Studio: {page.local_url}", flush=True)
        if page.share_url:
            print(f"Public for a week: {page.share_url}", flush=True)
        runtime.start()
        report(runtime, stop)
        while not stop.wait(SWEEP_SECONDS):
            sweep(Path(os.environ["GRADIO_TEMP_DIR"]))
    finally:
        runtime.close()
        # Streams that are cut now are reported as errors, one traceback each.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        page.close(verbose=False)
    return 0


def report(runtime: "Runtime", stop: threading.Event) -> None:
    """Says on the terminal what is loading, until it is done or `stop` is set."""
    said = ""
    while not stop.wait(0.2):
        status = runtime.status()
        # In steps of ten per cent, so that a log holds some lines and not hundreds.
        share = "" if status.progress is None else f", {status.progress // 0.1 * 10:.0f} %"
        if (line := status.message + share) != said:
            print(line, flush=True)
            said = line
        if status.state in ("ready", "failed"):
            return


def _switch(value: str) -> bool:
    answers = {
        **dict.fromkeys(("1", "true", "yes", "on"), True),
        **dict.fromkeys(("0", "false", "no", "off"), False),
    }
    if value.lower() not in answers:
        raise argparse.ArgumentTypeError(f"{value!r} is neither yes nor no")
    return answers[value.lower()]


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # all is closed; taking torch and numba apart would need seconds
