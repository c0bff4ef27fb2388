"""The storyboards that WanGP's form had before its settings were replaced, for a click to bring the
last one back.

WanGP names used here: its state of a page, which this keeps one entry in.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from .form import AUTO

_KEY = "svi_storyboards"
_JUST_NOW = 60  # seconds
_MOST = 20  # that are kept


@dataclass(frozen=True)
class Board:
    """The text of a storyboard, the frames of the video that it was for, and the form's model."""

    text: str = ""
    frames: int = 0
    model: str = ""


@dataclass
class Boards:
    """What is known of a page's form.

    `now`      the last storyboard that was seen in it
    `lost`     those that a click brings back, the last one first
    `emptied`  when the form was first seen without one, None while it has one
    `untold`   nobody has told the user of the loss yet
    """

    now: Board = Board()
    lost: list[Board] = field(default_factory=list)
    emptied: float | None = None
    untold: bool = False

    def see(self, text: Any, frames: int, model: str, filled: bool) -> None:
        """Looks at the form; `filled`: WanGP has just filled it."""
        board = Board(text_of(text), frames, model)
        if board.text:
            if filled:  # such as that of a model that is chosen again
                self.lost = [one for one in self.lost if one.text != board.text]
            self.now, self.emptied = board, None
            return
        now = time.monotonic()
        self.emptied = now if self.emptied is None else self.emptied
        if filled:
            if self.now.text and now - self.emptied < _JUST_NOW:  # else the user has emptied it
                self._lose(self.now, model)
            self.now = Board()

    def replaced(self, text: str, frames: int) -> None:
        """The form had this before WanGP filled it, and may have another one now."""
        if text.strip() and self.now.text not in ("", text.strip()):
            self.lost = [Board(text.strip(), frames), *self._others(text.strip())]

    def _lose(self, board: Board, model: str) -> None:
        others = self._others(board.text)
        if board.model == model:
            self.lost, self.untold = [board, *others], True
        else:  # the form of its own model still has it
            self.lost = [*others, board]

    def _others(self, text: str) -> list[Board]:
        return [one for one in self.lost if one.text != text][:_MOST]

    @property
    def last(self) -> Board:
        """The one that a click brings back."""
        return self.lost[0] if self.lost else Board()

    def bring_back(self) -> Board:
        """The last one, which is in the form again; one that it replaces is kept behind the others,
        so that each click brings back another one."""
        board, *others = self.lost
        self.lost = [*others, *([self.now] if self.now.text else [])]
        self.now = board
        return board

    def tell(self) -> bool:
        """Whether there is a loss to tell of; once."""
        untold, self.untold = self.untold, False
        return untold


def of_page(state: dict[str, Any]) -> Boards:
    """What is known of the form of a page, by its state."""
    boards: Boards = state.setdefault(_KEY, Boards())
    return boards


def text_of(setting: Any) -> str:
    """The text of a storyboard in the setting; "" if it has none."""
    text = str(setting or "").strip()
    return "" if text.lower() == AUTO else text
