"""What is kept of a data set: its checked rows, and the facts that an adapter was taught.

A checked data set is one file, so that nothing has to read its rows again. It holds the rows as
they were before some were held out: whoever loads it may split them anew, and gets what `check`
would have given. One file of safetensors, by name:

    ids, labels     (N,) int32, the tokens of all different texts, one text after the other
    lengths         (texts,) int32, tokens of each text
    text            (rows,) int32, which text a row has
    picture         (rows,) int32, its picture, -1 for none
    facts           (bytes,) uint8, the rest as JSON in UTF-8

Pictures stay where they are, in a zip or with the program; the file says under which names.

Facts are kept beside their adapter, a row a line, so that it can be taught more later.
"""

import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save

from demo.atomic_file import replace_file
from demo.errors import CheckpointError, DataError
from demo.finetune.data.column_files import ColumnPictures
from demo.finetune.data.conversation import Exchange, TrainingConversation
from demo.finetune.data.dataset import CheckSettings, Dataset, split_rows
from demo.finetune.data.examples import (
    CheckedRows,
    EncodedRow,
    Example,
    encode,
    template_fingerprint,
)
from demo.finetune.data.paraphrase import normalised_question
from demo.finetune.data.pictures import FolderPictures, SeenPicture, ZipPictures
from demo.finetune.data.report import RowNote
from demo.finetune.data.samples import EasyVQAPictures
from demo.llama.tokenizer.tokenizer import Tokenizer

VERSION = "1"  # of the format; a file of another one is refused
DAMAGED = "What was checked of this data is damaged. Please choose the data again."
OTHER = (
    "This data was checked by another version of the program or for another model. Please choose "
    "the data again."
)


def save_dataset(path: Path, dataset: Dataset, tokenizer: Tokenizer) -> None:
    """Keep the checked rows of a data set; the file appears whole or not at all.

    Args:
        path: where; what stands there is replaced.
        dataset: what `check` gave.
        tokenizer: what its rows were encoded with.

    Raises:
        OSError: the disk is full or cannot be written to.
    """
    checked = dataset.checked
    texts: dict[tuple[tuple[int, ...], tuple[int, ...]], int] = {}  # many questions repeat theirs
    places = [
        texts.setdefault((row.example.ids, row.example.labels), len(texts)) for row in checked.rows
    ]
    pictures = [-1 if (p := row.example.picture) is None else p for row in checked.rows]
    facts = json.dumps(_facts(checked, tokenizer), ensure_ascii=False).encode()
    tensors: dict[str, np.ndarray] = {
        "ids": np.array([token for ids, _ in texts for token in ids], np.int32),
        "labels": np.array([token for _, labels in texts for token in labels], np.int32),
        "lengths": np.array([len(ids) for ids, _ in texts], np.int32),
        "text": np.array(places, np.int32),
        "picture": np.array(pictures, np.int32),
        "facts": np.frombuffer(facts, np.uint8),
    }
    data = save(tensors, {"version": VERSION, "sha256": _digest(tensors)})
    with replace_file(path) as unfinished:
        unfinished.write_bytes(data)


def load_dataset(
    path: Path, tokenizer: Tokenizer, settings: CheckSettings, files: Sequence[Path] = ()
) -> Dataset:
    """Load what `save_dataset` kept, and split it as `check` would with these settings.

    Args:
        path: the file.
        tokenizer: must encode as the one that the rows were checked with.
        settings: the window must be that of the check; share and seed may be others.
        files: the data itself, which pictures are read from: the zip that was checked, or a copy,
            and then that of the rows held out, if those came in a second one. A sample needs none.

    Raises:
        DataError: the file is damaged, or was written for another model, window or version; or no
            row is left to learn.
        OSError: the file cannot be read.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
        tensors = load(path.read_bytes())
        if metadata["version"] != VERSION:
            raise DataError(OTHER)
        if metadata["sha256"] != _digest(tensors):
            raise DataError(DAMAGED)
        facts = json.loads(tensors["facts"].tobytes())
        if [facts["template"], facts["window"], facts.get("cut", False)] != [
            template_fingerprint(tokenizer),
            settings.window,
            settings.cut,
        ]:
            raise DataError(OTHER)
        checked = _checked_rows(facts, tensors, files)
    except (SafetensorError, zipfile.BadZipFile, LookupError, ValueError, TypeError) as error:
        raise DataError(DAMAGED) from error
    return split_rows(checked, settings)


def _digest(tensors: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(tensors.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def _facts(checked: CheckedRows, tokenizer: Tokenizer) -> dict[str, Any]:
    source = {id(pictures): number for number, pictures in enumerate(checked.sources)}
    return {
        "template": template_fingerprint(tokenizer),
        "window": checked.window,
        "cut": checked.cut,
        "name": checked.name,
        "counted": checked.counted,
        "notes": checked.notes,
        "refused": [astuple(note) for note in checked.refused],
        "unused_pictures": checked.unused_pictures,
        "unused_columns": checked.unused_columns,
        "sources": [_source_facts(pictures) for pictures in checked.sources],
        "pictures": [
            [seen.name, seen.digest, source[id(seen.source)]] for seen in checked.pictures
        ],
        "rows": [_row_facts(row) for row in checked.rows],
    }


def _row_facts(row: EncodedRow) -> list[Any]:
    talk = row.conversation
    exchanges = [astuple(exchange) for exchange in talk.exchanges]
    said = [exchanges, talk.system, talk.picture, talk.split, talk.repairs]
    return [row.row, row.where, row.table, *said]


def _source_facts(pictures: Mapping[str, bytes]) -> dict[str, Any]:
    """Where a table's pictures are."""
    if isinstance(pictures, ZipPictures):
        return {"kind": "zip", "members": pictures.members}
    if isinstance(pictures, ColumnPictures):
        return {"kind": "columns", "places": pictures.places}
    if isinstance(pictures, FolderPictures):
        return {"kind": "folder", "folder": str(pictures.folder)}
    if isinstance(pictures, EasyVQAPictures):
        return {"kind": "easy-vqa"}
    if not pictures:
        return {"kind": "none"}
    raise ValueError("pictures that are neither in a zip nor come with the program")


def _source(facts: Mapping[str, Any], file: Path | None) -> Mapping[str, bytes]:
    if facts["kind"] == "folder":
        return FolderPictures(Path(facts["folder"]))
    if facts["kind"] in ("zip", "columns"):
        if file is None:
            raise ValueError("the file with the pictures is not given")
        if facts["kind"] == "zip":
            return ZipPictures(file, facts["members"])
        return ColumnPictures(file, {k: tuple(place) for k, place in facts["places"].items()})
    return EasyVQAPictures() if facts["kind"] == "easy-vqa" else {}


def _checked_rows(
    facts: Mapping[str, Any], tensors: Mapping[str, np.ndarray], files: Sequence[Path]
) -> CheckedRows:
    padded = [*files, *[None] * len(facts["sources"])]
    sources = tuple(map(_source, facts["sources"], padded))
    ends = np.cumsum(tensors["lengths"])[:-1]
    texts = [
        Example(tuple(ids.tolist()), tuple(labels.tolist()))
        for ids, labels in zip(
            np.split(tensors["ids"], ends), np.split(tensors["labels"], ends), strict=True
        )
    ]
    places = zip(facts["rows"], tensors["text"].tolist(), tensors["picture"].tolist(), strict=True)
    return CheckedRows(
        name=facts["name"],
        counted=facts["counted"],
        window=facts["window"],
        cut=facts.get("cut", False),
        rows=tuple(
            _row(row, texts[text] if picture < 0 else replace(texts[text], picture=picture))
            for row, text, picture in places
        ),
        refused=tuple(RowNote(*note) for note in facts["refused"]),
        pictures=tuple(
            SeenPicture(name, digest, sources[source]) for name, digest, source in facts["pictures"]
        ),
        sources=sources,
        unused_pictures=tuple(facts["unused_pictures"]),
        notes=tuple(facts["notes"]),
        unused_columns=tuple(facts.get("unused_columns", ())),  # files of before have none
    )


def _row(facts: Sequence[Any], example: Example) -> EncodedRow:
    number, where, table, exchanges, system, picture, split, repairs = facts
    conversation = TrainingConversation(
        tuple(Exchange(*exchange) for exchange in exchanges),
        system,
        picture,
        split,
        tuple(repairs),
    )
    return EncodedRow(number, conversation, example, where, table)


def save_facts(path: Path, rows: Sequence[EncodedRow]) -> None:
    """Keep the facts that were taught, a row a line.

    Raises:
        OSError: it cannot be written.
    """
    lines = [
        json.dumps([said.question, said.reply, row.conversation.system], ensure_ascii=False)
        for row in rows
        if len(row.conversation.exchanges) == 1
        for said in row.conversation.exchanges
    ]
    with replace_file(path) as unfinished:
        unfinished.write_text("\n".join(lines), "utf-8")


def load_facts(
    path: Path, new: Sequence[EncodedRow], tokenizer: Tokenizer
) -> tuple[EncodedRow, ...]:
    """Return what `save_facts` kept but for questions that are now answered otherwise.

    Args:
        path: of the file; where there is none, nothing was kept.
        new: rows that are taught now; their questions are left out.
        tokenizer: of the base.

    Raises:
        CheckpointError: the file is damaged.
    """
    if not path.exists():
        return ()
    asked = {normalised_question(row.conversation.exchanges[0].question) for row in new}
    try:
        raw = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        talks = [
            TrainingConversation((Exchange(question, reply),), system)
            for question, reply, system in raw
        ]
    except ValueError as error:
        raise CheckpointError(
            "What this adapter was taught before is damaged. Start a new one."
        ) from error
    return tuple(
        EncodedRow(
            number, talk, encode(tokenizer, talk.exchanges, system=talk.system), "taught before"
        )
        for number, talk in enumerate(talks, 1)
        if normalised_question(talk.exchanges[0].question) not in asked
    )
