"""LoRA files: what is downloaded, and a button that downloads the rest."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ... import location
from ...install import Refused, loras
from ...install.loras import Download, Progress
from ...text import gigabytes
from ...variants import VARIANTS
from .. import visitors
from .helpers import gr, on, progress_bar, table, tell_if_off


def create(wgp: Mapping[str, Any]) -> None:
    """`wgp` are the variables of wgp.py."""
    with gr.Accordion("LoRA files", open=False) as part:
        listed = gr.HTML()
        tell_if_off(wgp)
        gr.HTML("<style>#svi_variant input {text-overflow: ellipsis}</style>", padding=False)
        with gr.Row(equal_height=True):
            titles = [(f"{variant.title}: {variant.about}", id) for id, variant in VARIANTS.items()]
            variant = gr.Dropdown(titles, value=next(iter(VARIANTS)), label="Variant", scale=3,
                                  elem_id="svi_variant")
            usable = not visitors.is_off(wgp)
            button = gr.Button("Download (2.5 GB)", scale=1, min_width=120, interactive=usable,
                               elem_id="svi_download")
            stop = gr.Button("Cancel", scale=1, min_width=120, interactive=False,
                             elem_id="svi_cancel")
        progress = gr.HTML()

    def show() -> tuple[str, Any]:
        """The table, and whether there is a download to cancel."""
        cells = rows(location.HOME, folders(wgp))
        return (table(["Variant", "Model", "File", "State", "Size"], cells),
                gr.update(interactive=usable and _running.locked()))

    def load(id: str) -> Iterator[tuple[str, Any, Any]]:
        visitors.check(wgp)
        wanted = loras.downloads(location.HOME, [id], folders(wgp)[VARIANTS[id].wan])
        yield from told(download(wanted), show)

    on(part.expand, show, None, [listed, stop])
    on(button.click, load, [variant], [progress, listed, stop])
    on(stop.click, cancel, None, None)


def folders(wgp: Mapping[str, Any]) -> dict[str, str | None]:
    """Where this WanGP says it looks for LoRA files, by generation of Wan; None if it does not."""
    found: dict[str, str | None] = {}
    for wan, model in (("2.1", "i2v"), ("2.2", "i2v_2_2")):
        try:
            found[wan] = str(Path(wgp["get_lora_dir"](model)).resolve())
        except Exception:  # a WanGP without such a function, or without these models
            found[wan] = None
    return found


def rows(wangp: Path, folders: Mapping[str, str | None]) -> list[list[str]]:
    """The cells of the table: one row for each file of each variant."""
    cells = []
    for variant in VARIANTS.values():
        for file in loras.downloads(wangp, [variant.id], folders.get(variant.wan)):
            here = file.arrived()
            state = ("downloaded" if file.target.is_file() else "incomplete" if here else
                     "not downloaded")
            size = gigabytes(here) if here else "-"
            cells.append([variant.title, f"Wan {variant.wan}", file.target.name, state, size])
    return cells


_running = threading.Lock()  # two downloads of one file would write into each other
_cancelled = threading.Event()


def download(wanted: Iterable[Download], fetch: Callable[..., None] = loras.fetch,
             every: float = 0.5) -> Iterator[Progress | None]:
    """Downloads what is missing, even if the page is closed, and yields how far it is, None until
    it begins. Raises Refused."""
    if not _running.acquire(blocking=False):
        raise Refused("a download is under way already: cancel it, or wait until it is done")
    _cancelled.clear()
    reports: list[Progress] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            fetch(wanted, reports.append, _cancelled.is_set)
        except BaseException as error:
            errors.append(error)
        finally:
            _running.release()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while thread.is_alive():
        yield replace(reports[-1], here=reports[-1].file.arrived()) if reports else None
        thread.join(every)
    if errors:
        raise errors[0]
    yield reports[-1] if reports else None


def told(steps: Iterable[Progress | None], show: Callable[[], tuple[str, Any]]
         ) -> Iterator[tuple[str, Any, Any]]:
    """The bar of a download, and at its end what `show` returns; until then it can be cancelled.
    One that fails leaves no bar."""
    now = None
    try:
        for now in steps:
            yield bar(now), gr.skip(), gr.update(interactive=True)
    except Exception:
        yield "", *show()
        raise
    yield bar(now), *show()


def cancel() -> None:
    """Ends the download that is under way within seconds. Raises Refused if there is none."""
    if not _running.locked():
        raise Refused("no download is under way")
    _cancelled.set()


def bar(progress: Progress | None) -> str:
    """How far a download is, as HTML."""
    if progress is None:
        share, line = 0.0, "asking the server"
    else:
        here, size = gigabytes(progress.here), gigabytes(progress.size)
        share = min(1.0, progress.here / progress.size)
        line = (f"{progress.file.target} is complete ({size})" if progress.complete else
                f"{progress.file.target.name}: {here} of {size}")
    return progress_bar(share, line)
