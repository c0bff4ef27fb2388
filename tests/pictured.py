"""What WanGP's page shows of SVI, as values: docs/wangp.png, docs/tab.png and docs/storyboard.png
are pictures of it."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, patch

from wan2gp_svi.runs.record import About
from wan2gp_svi.runs.state import State
from wan2gp_svi.runs.store import Store
from wan2gp_svi.wangp.form import custom_settings
from wan2gp_svi.wangp.profiles import profiles
from wan2gp_svi.wangp.tab import desk, new_video, tab, view

DIGESTS = Path(__file__).parents[1] / "docs/pictures.json"


def digests() -> dict[str, str]:
    """For each picture a hash that changes with what it shows."""
    shown = {"wangp.png": _form(), "tab.png": [*_components(), *_words()],
             "storyboard.png": [*_components(), *_cards()]}
    return {name: hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]
            for name, values in shown.items()}


def _form() -> list[Any]:
    return [custom_settings(), [one.settings for one in profiles() if one.name == new_video.FIRST]]


def _components() -> list[str]:
    """The tab's components in their order, with the arguments of each."""
    gradio = MagicMock()
    with ExitStack() as stack:
        for name, module in list(sys.modules.items()):
            if name.startswith(tab.__package__) and hasattr(module, "gr"):
                stack.enter_context(patch.object(module, "gr", gradio))
        options = SimpleNamespace(listen=False, share=False, server_name="localhost")
        tab.Tab(MagicMock(), {"args": options}, MagicMock()).create()
    drawn = (call for call in gradio.mock_calls
             if re.fullmatch(r"[A-Z]\w+(\(\)\.__(enter|exit)__)?", call[0]))
    return [re.sub(r" id='\d+'", "", repr(call)) for call in drawn]


def _cards() -> list[str]:
    """What the storyboard says of clips."""
    text = "[2]\nprompt = a boat\nseed = 7\nend image = loop\n[3]\nnew shot = yes"
    staged = desk.Staged(text, clips=2, starts=True, prompts=("a kite", "a kite"),
                         notes=("2 clips", "a note"), chosen=1)
    return [desk.note(staged), desk.note(None),
            *(card for card, in desk.cards(staged, None, lambda path: None))]


def _words() -> list[str]:
    """What the tab says of a run in each state, without its name and size."""
    texts = []
    with tempfile.TemporaryDirectory() as folder:
        for ended in ("", State.FINISHED, State.STOPPED):
            run = Store(Path(folder)).new(About(
                variant="shot", title="SVI-Shot", clips=2, seed=1, fps=16.0, asked=["a boat"],
                prompts=["a boat"], repeat=1, decides={}, ended=ended), {})
            shown = view.look(run)
            summary = view.summary(shown).replace(run.name, "")
            card = view.card(shown).replace(run.name, "").replace(run.changed[:10], "")
            texts += [re.sub(r"[\d.]+ \w*B\b|\d\d:\d\d|svi-[\da-f]+", "", text)
                      for text in (summary, card)]
            texts += [view.clips_table(shown)]
    return texts
