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
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from pydantic.fields import FieldInfo

from demo.errors import DemoError, InputError
from demo.logs import set_up_logs
from demo.memory import PAGE_BYTES, bound_libraries, require
from demo.settings import Checked, KVBits, Settings
from demo.temporary_folder import run_folder

if TYPE_CHECKING:
    from demo.runtime import Runtime
    from demo.ui.door import DoorRules
    from demo.ui.library.account import HubAccount

PREFIX = "LLAMA_ADAPTER_"
EXIT_NOT_SERVED = 1
EXIT_WRONG_FLAG = 2
STOP_SECONDS = 1
SWEEP_SECONDS = 30.0  # what a cut upload left is gone within two minutes


@dataclass(frozen=True)
class Address(Checked):
    """Where the page is served and for whom; every field is a flag, as those of `Settings` are."""

    host: str = Field(
        default="127.0.0.1",
        title="ADDRESS",
        description="address to serve on; 0.0.0.0 is every one",
    )
    port: int = Field(default=7860, title="PORT", description="port to serve on", ge=1, le=65_535)
    share: bool = Field(
        default=False, title="YES|NO", description="also serve on a public gradio.live address"
    )
    auth: str | None = Field(
        default=None,
        title="USER:PASSWORD|FILE",
        description="ask for a password; a file has one pair a line",
    )
    root_path: str | None = Field(
        default=None,
        title="PATH",
        description="path under which a reverse proxy serves the page",
    )
    hosts: str | None = Field(
        default=None,
        title="NAME,NAME",
        description="names that the page is reached by; else this machine's own, or any with a "
        "--host that others reach",
    )
    origins: str | None = Field(
        default=None,
        title="URL,URL",
        description="other sites whose pages may use this one, e.g. https://example.org",
    )
    calls_a_minute: int = Field(
        default=300,
        title="N",
        description="requests that change something, of one address; 0 is any number",
        ge=0,
        le=1_000_000,
    )


# Addresses of the proxies before a Space: whom they name is believed, not whom a visitor names.
PROXIES = "127.0.0.0/8,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,::1,fc00::/7"


FLAGS: dict[str, FieldInfo] = {**Settings.__pydantic_fields__, **Address.__pydantic_fields__}


def variable(name: str) -> str:
    """Return the environment variable that sets the field `name`."""
    return PREFIX + name.upper()


def build_parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    """Make the command line; what `environment` sets is the default of its flag."""
    parser = argparse.ArgumentParser(
        prog="app.py",
        description="Chat with pictures on a frozen 8-bit LLaMA, in the browser.",
        epilog="Exit codes: 0 stopped by SIGINT or SIGTERM, 1 not served, 2 wrong flag.",
    )
    # A Space is reached from outside, and gradio has two variables of its own.
    place = {
        "host": environment.get("GRADIO_SERVER_NAME") or ("SPACE_ID" in environment and "0.0.0.0"),
        "port": environment.get("GRADIO_SERVER_PORT"),
    }
    kinds: dict[Any, Any] = {bool: _switch, int: int, KVBits: int, float: float, Path: Path}
    for name, field in FLAGS.items():
        default = place.get(name) or field.get_default(call_default_factory=True)
        note = "" if default in (None, False) else f" (default: {default})"
        flag = parser.add_argument(
            f"--{name.replace('_', '-')}",
            metavar=field.title,
            type=kinds.get(field.annotation, str),
            default=environment.get(variable(name)) or default,
            help=f"{field.description}{note} [{variable(name)}]",
        )
        if field.annotation is bool:  # `--share` alone says yes
            flag.nargs, flag.const = "?", True
    return parser


def read_auth(value: str | None) -> list[tuple[str, str]] | None:
    """Return the pairs of `--auth`.

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
    """Run the program until it is told to stop; return the exit code."""
    options = vars(build_parser(os.environ).parse_args(arguments))
    set_up_logs()
    bound_libraries()
    try:
        settings = Settings(**{name: options[name] for name in Settings.__pydantic_fields__})
        address = Address(**{name: options[name] for name in Address.__pydantic_fields__})
        auth = read_auth(address.auth)
    except DemoError as error:
        print(f"app.py: {error}", file=sys.stderr)
        return EXIT_WRONG_FLAG
    try:
        require(PAGE_BYTES)
    except DemoError as error:
        print(f"app.py: {error}", file=sys.stderr)
        return EXIT_NOT_SERVED
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    # What visitors upload lives in a folder of this run and is gone with it.
    with run_folder() as folder:
        os.environ["GRADIO_TEMP_DIR"] = str(folder / "uploads")
        # How long each event took is kept for a page that is switched off, 10,000 of them.
        os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "100")
        if "SPACE_ID" in os.environ:
            # Only the Space's own proxy reaches this port, and it says whose request it passes on:
            # else all visitors were one address, and shared one visitor's room for uploads.
            os.environ.setdefault("FORWARDED_ALLOW_IPS", PROXIES)
        return serve(settings, address, auth, stop)


def door_rules(address: Address) -> "DoorRules":
    """Return who may use the page, and how often."""
    from demo.ui.door import LOCAL_NAMES, DoorRules

    hosts = _listed(address.hosts)
    if not hosts and address.host in LOCAL_NAMES and not address.share:
        hosts = LOCAL_NAMES
    return DoorRules(hosts, _listed(address.origins), address.calls_a_minute, address.share)


def hub_account(address: Address) -> "HubAccount":
    """Return in whose name the Hub is spoken to; this machine's own is for nobody else."""
    from demo.ui.door import LOCAL_NAMES
    from demo.ui.library.account import HubAccount

    reached = address.share or address.hosts or address.origins or address.root_path
    return HubAccount.of(os.environ, local=address.host in LOCAL_NAMES and not reached)


def serve(
    settings: Settings,
    address: Address,
    auth: list[tuple[str, str]] | None,
    stop: threading.Event,
) -> int:
    """Serve the page until `stop` is set; return the exit code."""
    # Imported here, so that --help and a wrong flag do not wait for gradio.
    from demo.runtime import Runtime
    from demo.ui.files import sweep
    from demo.ui.page import build_page
    from demo.ui.server import allow_connections, launch_options, queue_options, quieten
    from demo.ui.streams import part
    from demo.ui.strings import ENGLISH

    quieten()
    allow_connections()
    runtime = Runtime(settings)
    page = build_page(runtime, account=hub_account(address))
    page.queue(**queue_options(settings))
    try:
        page.launch(
            server_name=address.host,
            server_port=address.port,
            share=address.share,
            auth=auth,
            root_path=address.root_path,
            prevent_thread_lock=True,
            quiet=True,
            **launch_options(settings, rules=door_rules(address)),
        )
    except OSError:
        print(
            f"app.py: port {address.port} on {address.host} cannot be used; it may be taken. "
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
        offset = time.time() - time.monotonic()
        while not stop.wait(SWEEP_SECONDS):
            try:
                sweep(Path(os.environ["GRADIO_TEMP_DIR"]), steady=offset + time.monotonic())
                runtime.chats.sweep()
            except Exception:  # a disk may be away for a while; the page is not to end for it
                logging.getLogger(__name__).exception("not swept")
    finally:
        runtime.end_replies()
        part(page, ENGLISH.stopping_now)
        runtime.close()
        # Streams that are cut now are reported as errors, one traceback each.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        page.close(verbose=False)
    return 0


def report(runtime: "Runtime", stop: threading.Event) -> None:
    """Print what is loading, until it is done or `stop` is set."""
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


def _listed(value: str | None) -> tuple[str, ...]:
    return tuple(part.strip().lower().rstrip("/") for part in (value or "").split(",") if part)


def _switch(value: str) -> bool:
    try:
        return TypeAdapter(bool).validate_python(value)
    except ValidationError:
        raise argparse.ArgumentTypeError(f"{value!r} is neither yes nor no") from None


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # all is closed; taking torch and numba apart would need seconds
