"""The storyboards that WanGP's form had before its settings were replaced, for a click to bring the
last one back.

WanGP names used here: its state of a page, which this keeps one entry in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .form import AUTO

_KEY = "svi_storyboards"
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

    `lost`    those that a click brings back, the last one first
    `model`   of the form, since WanGP filled it last; "" for one without SVI's settings, None until
              the form was looked at
    `going`   what the form has while WanGP fills it
    `left`    what it had when another model was chosen, which WanGP keeps, by model
    `untold`  nobody has told the user yet that the form is empty
    """

    lost: list[Board] = field(default_factory=list)
    model: str | None = None
    going: list[Board] = field(default_factory=list)
    left: dict[str, Board] = field(default_factory=dict)
    untold: bool = False

    def filling(self, text: Any, frames: int) -> None:
        """WanGP is about to fill the form, which still has this."""
        if self.model:
            self.going.append(Board(text_of(text), frames, self.model))

    def filled(self, text: Any, model: str) -> None:
        """WanGP has filled the form, which has this now."""
        text = text_of(text) if model else ""
        back = self.left.pop(model, None)
        for board in (*([back] if back else []), *self.going):
            if board.text in ("", text):
                continue
            others = [one for one in self.lost if one.text != board.text][:_MOST]
            if board.model == model:
                self.lost, self.untold = [board, *others], self.untold or not text
            else:  # the form of that model still has it
                self.lost, self.left[board.model] = [*others, board], board
        # such as that of a model that is chosen again
        self.lost = [one for one in self.lost if one.text != text]
        self.model, self.going = model, []

    def last(self, text: str) -> Board:
        """The one that a click brings back into a form that has the `text`."""
        return next((one for one in self.lost if one.text != text), Board())

    def bring_back(self, now: Board) -> Board:
        """The last one, which is in the form again, or none; the one that it replaces is kept
        behind the others, so that each click brings back another one."""
        board = self.last(now.text)
        if not board.text:
            return board
        others = [one for one in self.lost if one.text not in (board.text, now.text)]
        self.lost = [*others, now] if now.text else others
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
