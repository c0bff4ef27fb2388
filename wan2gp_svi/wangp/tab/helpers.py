"""What all parts of the tab use: events, errors in words, tables, and text that can be copied."""

import contextlib
import inspect
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from html import escape
from typing import Any, TypeVar

from ...drift import DriftError
from ...files import explain
from ...install import Refused
from ...runs.record import StoreError
from ...storyboard import StoryboardError
from ...text import sentence
from .. import visitors
from ..check.telling import for_page
from ..form import SettingsError

try:
    import gradio as gr
except ImportError:  # outside of WanGP
    gr = None

#: what belongs to a page, such as its list of runs, is kept by the WanGP that made the page
STALE = ("this page is out of date, for example because WanGP was started again: reload the page "
         "in your browser")
Row = TypeVar("Row")
_EXPECTED = (StoreError, SettingsError, StoryboardError, Refused, DriftError, OSError)


def on(event: Callable[..., Any], work: Callable[..., Any], inputs: Sequence[Any] | None,
       outputs: Sequence[Any] | None, progress: str = "hidden", **options: Any) -> Any:
    """Has an event of gradio call `work`; an error is shown and leaves the page as it is. Returns
    what comes after."""
    return event(guarded(work, bool(outputs)), inputs, outputs, show_progress=progress, **options)


def guarded(work: Callable[..., Any], updates: bool = True) -> Callable[..., Any]:
    """`work` that shows an error as a sentence, and then updates nothing; `updates`: whether it has
    components to update."""
    @wraps(work)
    def once(*arguments: Any) -> Any:
        with _errors_shown():
            return work(*arguments)
        return gr.skip() if updates else None

    @wraps(work)
    def each(*arguments: Any) -> Iterator[Any]:
        with _errors_shown():
            yield from work(*arguments)
            return
        yield gr.skip()

    return each if inspect.isgeneratorfunction(work) else once


@contextlib.contextmanager
def _errors_shown() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if not isinstance(error, _EXPECTED):
            traceback.print_exc()
        warn(error)


def warn(error: Exception) -> None:
    """Shows an error as a sentence, with what the user wrote as it was written."""
    gr.Warning(escape(for_page(in_words(error)), quote=False), duration=20)


def in_words(error: Exception) -> str:
    """An error as a sentence; an unexpected one asks for a report."""
    text = str(error).strip() or type(error).__name__
    if isinstance(error, OSError):
        return f"A file could not be read or written: {explain(error)}."
    if isinstance(error, _EXPECTED):
        text = sentence(text)
        return text if text.endswith(".") else f"{text}."
    return (f"This is a bug in SVI ({type(error).__name__}: {error}). Please report it, together "
            "with what the doctor says.")


def scroll_to(id: str, block: str) -> str:
    """JavaScript that brings a part of the page into sight once it is drawn; `block`: which part of
    the window it gets."""
    return (f"() => {{setTimeout(() => document.getElementById({id!r})?.scrollIntoView("
            f"{{block: {block!r}, behavior: 'smooth'}}), 200)}}")


def text_to_copy(lines: int = 12, **options: Any) -> Any:
    """A text box with a button that copies it, in gradio 5 and 6."""
    new = "buttons" in inspect.signature(gr.Textbox).parameters
    button: dict[str, Any] = {"buttons": ["copy"]} if new else {"show_copy_button": True}
    return gr.Textbox(lines=lines, interactive=False, **button, **options)


def tell_if_off(wgp: Mapping[str, Any]) -> None:
    """A line that says why the controls beside it are off, if they are."""
    if visitors.is_off(wgp):
        gr.Markdown(visitors.HERE)


def to_form(plugin: Any) -> Any:
    """Opens WanGP's form, which is on the first tab: `video_gen`, later `media_gen`."""
    return gr.Tabs(selected=plugin.main_tabs.children[0].id)


def picked(rows: Sequence[Row], index: Any) -> Row:
    """The row of a list that was clicked. Raises StoreError: the list of a page that is left open
    while WanGP is started again is empty here."""
    if not isinstance(index, int) or not 0 <= index < len(rows):
        raise StoreError(STALE)
    return rows[index]


_LONG = ("Prompt", "File")  # columns whose words may be longer than a phone is wide


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An HTML table that scrolls if it is long."""
    def row(tag: str, cells: Sequence[str]) -> str:
        style = "text-align:left;padding:4px 8px;vertical-align:top"
        long = ";overflow-wrap:anywhere;min-width:14ch"
        return "<tr>{}</tr>".format("".join(
            f"<{tag} style='{style}{long * (header in _LONG)}'>{escape(cell)}</{tag}>"
            for header, cell in zip(headers, cells, strict=True)))

    body = "".join(row("td", cells) for cells in rows)
    return ("<div style='max-height:max(320px,60vh);overflow:auto'><table style='width:100%'>"
            f"<thead>{row('th', headers)}</thead><tbody>{body}</tbody></table></div>")


def progress_bar(share: float, line: str) -> str:
    """How far something is, as HTML: a part of 1, and a line about it."""
    return (f"<progress value='{share:.3f}' max='1' style='width:100%'></progress>"
            f"<div>{escape(line)}</div>")
