"""The editable table of rows: more of them, those of the chat, those kept, and their pictures.

What is typed lies in the browser until it is used. Every method gives {component: new value}.
"""

import json
import logging
from typing import Any

import gradio as gr

from demo.errors import DemoError, InputError
from demo.runtime import Runtime
from demo.teaching import typed_table
from demo.ui.files import Uploads
from demo.ui.html import ComponentUpdates
from demo.ui.strings import Strings
from demo.ui.teach import html
from demo.ui.teach.kept import KeptWork
from demo.ui.teach.run_handlers import checked_secret
from demo.ui.teach.tab import EMPTY_ROWS, MORE_ROWS, TeachView
from demo.vision.image import Picture

logger = logging.getLogger(__name__)
AT_ONCE = 50  # pictures of one choice


class TableHandlers:
    """The events of the table, for all visitors."""

    def __init__(
        self, runtime: Runtime, view: TeachView, uploads: Uploads, strings: Strings
    ) -> None:
        self._runtime, self._data, self._uploads = runtime, view.data, uploads
        self._strings, self._words = strings, strings.teach

    def more_rows(self, table: Any) -> ComponentUpdates:
        """Add empty rows. Inputs: raw table. Outputs: table, chosen."""
        try:
            rows = typed_table.typed_rows(table, more=MORE_ROWS)
        except InputError as error:
            return self._problem(error)
        return {self._data.table: [*rows, *typed_table.empty_rows(MORE_ROWS)]}

    def from_chat(self, owner: Any, session: str, table: Any) -> ComponentUpdates:
        """Add rows from my chat. Inputs: owner, session, raw table. Outputs: table, chosen."""
        turns = self._runtime.conversations.of(session).turns
        wanted = [turn for turn in turns if turn.reply and (turn.liked or turn.corrected)]
        taken = [turn for turn in wanted if isinstance(turn.picture, Picture | None)]
        if not wanted:
            return {self._data.chosen: html.problem(self._words.chat_none)}
        try:
            visitor = checked_secret(owner)
            rows = [[turn.text, turn.reply, self._cell(visitor, turn.picture)] for turn in taken]
            there = typed_table.filled(typed_table.typed_rows(table, more=len(rows)))
        except Exception as error:
            return self._problem(error)
        new = [row for row in rows if row not in there]
        said = [self._words.chat_added.format(count=len(new))]
        if len(rows) < len(wanted):
            said.append(self._words.chat_videos.format(count=len(wanted) - len(rows)))
        return {
            self._data.table: [*there, *new] or typed_table.empty_rows(1),
            self._data.chosen: html.quiet(" ".join(said)),
        }

    def add_pictures(self, owner: Any, sent: Any) -> ComponentUpdates:
        """Take pictures that were sent for cells. Inputs: owner, sent. Outputs: put, chosen.

        `sent` and what comes of it are JSON: {"row", "paths", "names", "missing", "at"} and {"row",
        "cells", "at"}; the page puts the cells into the table, from that row on.
        """
        cells: list[str] = []
        shown: ComponentUpdates = {}
        row, at, files, whole = _sent(sent)
        try:
            if self._runtime.teaching.off:
                raise InputError(self._runtime.teaching.off)
            visitor = checked_secret(owner)
            for path, name in files:
                opened = self._uploads.open(path)
                if not isinstance(opened, Picture):
                    raise InputError(self._words.picture_video)
                cells.append(self._cell(visitor, opened, name))
            if not whole:
                raise InputError(self._words.picture_unsent)
        except Exception as error:
            shown = self._problem(error)
        return shown | {self._data.put: json.dumps({"row": row, "cells": cells, "at": at})}

    def restore_rows(self, restored: bool, kept: Any) -> ComponentUpdates:
        """Put typed rows back. Inputs: restored, kept. Outputs: table."""
        rows = [list(row) for row in KeptWork.read(kept).rows]
        if restored or not rows:
            return {self._data.table: gr.skip()}  # gradio empties everything for nothing at all
        return {self._data.table: [*rows, *typed_table.empty_rows(EMPTY_ROWS - len(rows))]}

    def _cell(self, visitor: str, picture: Any, name: str = "") -> str:
        if picture is None:
            return ""
        key = self._runtime.teaching.row_pictures.keep(visitor, picture)
        return typed_table.picture_cell(key, picture, name or self._words.map_picture)

    def _problem(self, error: Exception) -> ComponentUpdates:
        """Say what went wrong; what visitors cannot mend, such as a full disk, is logged."""
        said = self._words.said(str(error))
        if not isinstance(error, DemoError):
            logger.error("a row or its picture failed", exc_info=error)
            said = self._strings.unexpected
        return {self._data.chosen: html.problem(said)}


def _sent(value: Any) -> tuple[int, Any, list[tuple[str, str]], bool]:
    """Read what the page says it has sent.

    Returns:
        The first row, the page's mark, (path, name) of each file, and whether that is all.
    """
    nothing = 0, 0, list[tuple[str, str]](), False
    try:
        said = json.loads(value)
        row, paths, names = said["row"], said["paths"], said["names"]
    except (ValueError, TypeError, KeyError):
        return nothing
    if not isinstance(row, int) or not isinstance(paths, list) or not isinstance(names, list):
        return nothing
    if len(paths) != len(names):
        return nothing
    files = [(str(path), str(name)) for path, name in zip(paths, names, strict=True)]
    whole = bool(files) and len(files) <= AT_ONCE and not said.get("missing")
    return row, said.get("at"), files[:AT_ONCE], whole
