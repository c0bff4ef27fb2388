"""The storyboard that WanGP's form had before its settings were replaced, for one click to bring it
back.

WanGP names used here: its state of a page, which this keeps one entry in.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from .form import AUTO

_KEY = "svi_storyboards"
_JUST_NOW = 60  # seconds


@dataclass(frozen=True)
class Board:
    """The text of a storyboard, and the frames of the video that it was for."""

    text: str = ""
    frames: int = 0


@dataclass
class Boards:
    """What is known of a page's form.

    `now`      the last storyboard that was seen in it
    `lost`     the one that a click brings back
    `emptied`  when it was first seen without one, None while it has one
    `untold`   nobody has told the user of the loss yet
    """

    now: Board = Board()
    lost: Board = Board()
    emptied: float | None = None
    untold: bool = False

    def see(self, text: Any, frames: int, filled: bool) -> None:
        """Looks at the form; `filled`: WanGP has just filled it."""
        board = Board(text_of(text), frames)
        if board.text:
            if filled and board.text == self.lost.text:  # such as that of a model chosen again
                self.lost = Board()
            self.now, self.emptied = board, None
            return
        now = time.monotonic()
        self.emptied = now if self.emptied is None else self.emptied
        if filled:
            if self.now.text and now - self.emptied < _JUST_NOW:  # else the user has emptied it
                self.lost, self.untold = self.now, True
            self.now = Board()

    def bring_back(self) -> Board:
        """The lost one, which is in the form again; one that it replaces is lost instead."""
        self.now, self.lost = self.lost, self.now
        return self.now

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
