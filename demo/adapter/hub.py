"""Adapters on the Hugging Face Hub: pushed with a model card, pulled and checked.

    python -m demo.adapter.hub push NAME ORGANISATION/REPOSITORY
    python -m demo.adapter.hub pull ORGANISATION/REPOSITORY --out NAME

Whoever pushes logs in with `hf auth login` or sets HF_TOKEN. A repository that was pushed so holds
`adapter.safetensors` and a card. One of PEFT's is pulled as well: `adapter_config.json` and its
weights become an adapter of ours, for the base that `--llama` names.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from demo.adapter.foreign import CONFIG, WEIGHTS
from demo.adapter.intake import check_file
from demo.adapter.library import publish
from demo.adapter.passport import Passport, read_passport
from demo.errors import CheckpointError, DemoError, FetchError, InputError
from demo.settings import Settings

if TYPE_CHECKING:
    from huggingface_hub import HfApi

ADAPTER, CARD = "adapter.safetensors", "README.md"
MAX_BYTES = 2 * 2**30  # of a file that is pulled
LOGIN = "log in with 'hf auth login' or set HF_TOKEN"
SECONDS = 20.0  # that the Hub may take to say what a repository holds
REPOSITORY = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}", re.ASCII)
LICENSES = ("apache-2.0", "mit", "cc-by-4.0", "cc-by-sa-4.0", "cc0-1.0", "openrail")  # the Hub's


def push(
    api: HfApi, path: Path, repository: str, *, private: bool = False, login: str = LOGIN
) -> str:
    """Put an adapter and its card into a repository, made when there is none → its address.

    Args:
        api: of the Hub, logged in.
        path: of the adapter's file.
        repository: "organisation/name".
        private: whether a new repository is its owner's alone.
        login: says how to become somebody there, for messages.

    Raises:
        CheckpointError: the file is no adapter.
        InputError: the repository's name cannot be.
        FetchError: the Hub refuses or cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd

    _check_name(repository)
    passport = read_passport(path)
    card = model_card(passport).encode()
    files = [CommitOperationAdd(ADAPTER, str(path)), CommitOperationAdd(CARD, card)]
    message = f"Adapter {passport.name}"
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        return api.create_commit(repository, files, commit_message=message).commit_url
    # The library's errors are many and share no root that OSError and ValueError would not also be.
    except Exception as error:
        raise FetchError(
            f"'{passport.name}' could not be put into {repository}: {_reason(error, login)}."
        ) from error


def pull(api: HfApi, repository: str, name: str, folder: Path, llama: str | None) -> str:
    """Fetch a repository's adapter, check it, and put it among the others → the name it has there.

    Args:
        api: of the Hub.
        repository: "organisation/name".
        name: that the adapter is to have.
        folder: of the adapters.
        llama: the base that PEFT's is for, as in app.py.

    Raises:
        CheckpointError: what it holds is no adapter that is known here, or damaged.
        InputError: the repository's name cannot be.
        FetchError: the Hub refuses or cannot be reached.
    """
    with tempfile.TemporaryDirectory(prefix="adapter-") as room:
        file = fetch(api, repository, Path(room), largest=MAX_BYTES)
        if file.suffix == ".zip":
            return _publish_foreign(file, folder, name, llama)
        return _publish(file, folder, name)


def fetch(api: HfApi, repository: str, room: Path, *, largest: int, login: str = LOGIN) -> Path:
    """Fetch a repository's adapter, unchecked → its file, or a zip of PEFT's folder.

    Args:
        api: of the Hub.
        repository: "organisation/name".
        room: an empty folder.
        largest: bytes that a file may have.
        login: says how to become somebody there, for messages.

    Raises:
        CheckpointError: it holds no adapter that is known here, or one that is too large.
        InputError: the repository's name cannot be.
        FetchError: the Hub refuses or cannot be reached.
    """
    _check_name(repository)
    try:
        found = api.model_info(repository, files_metadata=True, timeout=SECONDS).siblings or []
        sizes = {file.rfilename: file.size or 0 for file in found}
        wanted = [ADAPTER] if ADAPTER in sizes else [n for n in (CONFIG, *WEIGHTS) if n in sizes]
        _check_sizes(repository, {name: sizes[name] for name in wanted}, largest)
        for name in wanted:
            api.hf_hub_download(repository, name, local_dir=room)
    except DemoError:
        raise
    except Exception as error:  # as above
        raise FetchError(f"{repository} could not be fetched: {_reason(error, login)}.") from error
    own = repository.rpartition("/")[2].lstrip(".") or "adapter"
    if wanted == [ADAPTER]:
        return (room / ADAPTER).rename(room / f"{own}.safetensors")
    if CONFIG not in wanted:
        raise CheckpointError(
            f"{repository} holds neither {ADAPTER} nor PEFT's {CONFIG}, so no adapter that is "
            "known here. Please check the id."
        )
    packed = room / f"{own}.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for name in wanted:
            archive.write(room / name, name)
    return packed


def model_card(passport: Passport) -> str:
    """Write the card of an adapter: what the Hub lists it by, and what a person reads."""
    from huggingface_hub import ModelCardData

    known = passport.license.lower()
    data = ModelCardData(
        license=known if known in LICENSES else "other" if known else None,
        base_model=passport.base if REPOSITORY.fullmatch(passport.base) else None,
        pipeline_tag="image-text-to-text" if passport.spec.visual else "text-generation",
        tags=["llama-adapter", "zero-init-attention", "adapter"],
    )
    spec = passport.spec
    facts = {
        "base": passport.base,
        "vision tower": passport.tower,
        "numbers trained": f"{spec.parameters:,}",
        "prompts": f"{spec.prompts} in each of the last {spec.layers} layers"
        if spec.layers
        else "",
        "taught from": f"{passport.data}, {passport.examples:,} rows" if passport.data else "",
        "licence": passport.license,
        "sha256 of the base": passport.base_fingerprint,
    } | {name.replace("_", " "): f"{value:g}" for name, value in passport.metrics.items()}
    rows = "\n".join(f"| {name} | {value} |" for name, value in facts.items() if value)
    return (
        f"---\n{data.to_yaml()}\n---\n\n# {passport.name}\n\n{passport.description}\n\n"
        "An adapter with zero-init attention (LLaMA-Adapter, arXiv 2303.16199) for "
        "LLaMA-Adapter Studio:\n\n"
        f"    python -m demo.adapter.hub pull THIS/REPOSITORY --out {passport.name}\n\n"
        f"| | |\n|---|---|\n{rows}\n"
    )


def _check_name(repository: str) -> None:
    if not REPOSITORY.fullmatch(repository):
        raise InputError(
            f"'{repository[:80]}' is no repository. Please write it as organisation/name."
        )


def _check_sizes(repository: str, sizes: dict[str, int], largest: int) -> None:
    large = [name for name, size in sizes.items() if size > largest]
    if large:
        raise CheckpointError(
            f"{large[0]} in {repository} is larger than {largest / 2**20:,.0f} MB, the most that "
            "is fetched here. Please check the id."
        )


def _publish(file: Path, folder: Path, name: str) -> str:
    check_file(file, file.with_name("tensors"))
    return publish(file, folder, name)


def _publish_foreign(packed: Path, folder: Path, name: str, llama: str | None) -> str:
    # Imported here: what is ours is pulled without torch and without a base.
    from demo.adapter.adapter import save_adapter
    from demo.adapter.released import read_released
    from demo.llama.base import open_base

    check_file(packed, packed.with_name("tensors"))
    base = open_base(llama, Settings().cache, lambda message, share: None)
    adapter, passport = read_released(packed, base, name)
    ready = packed.with_name("ready.safetensors")
    save_adapter(adapter, passport, ready)
    return publish(ready, folder, name)


def _reason(error: Exception, login: str) -> str:
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return f"its owner asks you to accept a licence there first; then {login}"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"there is no such repository, or it is not yours; {login}"
    if isinstance(error, errors.LocalTokenNotFoundError):
        return f"nobody is logged in; {login}"
    code = getattr(getattr(error, "response", None), "status_code", None)
    if code in (401, 403):
        return f"it is not yours to write to; {login}"
    return "the Hub did not answer; check the network and try again"


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the flags."""
    parser = argparse.ArgumentParser(prog="python -m demo.adapter.hub", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    ways = parser.add_subparsers(dest="way", required=True)
    pushing = ways.add_parser("push", help="put an adapter on the Hub")
    pushing.add_argument("name", metavar="NAME", help="of the adapter")
    pushing.add_argument("repository", metavar="ORGANISATION/REPOSITORY")
    pushing.add_argument("--private", action="store_true", help="a new repository is yours alone")
    pulling = ways.add_parser("pull", help="fetch an adapter from the Hub")
    pulling.add_argument("repository", metavar="ORGANISATION/REPOSITORY")
    pulling.add_argument("--out", metavar="NAME", help="of the adapter, else the repository's")
    pulling.add_argument("--llama", help="the LLaMA that PEFT's is for, as in app.py")
    for way in (pushing, pulling):
        way.add_argument("--adapters", type=Path, default=Settings.adapters, metavar="FOLDER")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Do what the command line asks for and return the exit code."""
    from huggingface_hub import HfApi

    args, api = parse(arguments), HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    try:
        if args.way == "push":
            path = args.adapters / f"{args.name}.safetensors"
            if not path.is_file():
                raise InputError(f"There is no adapter '{args.name}' in {args.adapters}.")
            print(push(api, path, args.repository, private=args.private))
        else:
            name = args.out or args.repository.rpartition("/")[2]
            print(pull(api, args.repository, name, args.adapters, args.llama))
    except (DemoError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
