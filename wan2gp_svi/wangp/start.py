"""What SVI wraps and offers when WanGP starts. If any of it fails, the log says so."""

import contextlib
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from .. import location
from . import loading, own_tab
from .handler import extend
from .log import say, watch, without
from .plan import SMALL
from .recorder import Frames

_STARTED = "svi_started"  # on WanGP's handler of the Wan models


def start(save_video: Callable[..., Any]) -> Callable[..., Any]:
    """Extends WanGP's Wan handler -> a `save_video` that takes SVI's clips too. Never raises."""
    watch()
    if _is_first():
        _extend_wangp()

    @wraps(save_video)
    def save(tensor: Any = None, save_file: Any = None, *arguments: Any, **options: Any) -> Any:
        if isinstance(tensor, Frames) and not arguments:
            return tensor.save(save_file, save_video, **options)
        return save_video(tensor, save_file, *arguments, **options)

    return save


def _is_first() -> bool:
    """Whether this is the first start in this program. Until February 2026, WanGP runs its wgp.py
    twice: as the program, and once more for a plugin that imports it."""
    with contextlib.suppress(Exception):  # which is said where it is needed
        from models.wan.wan_handler import family_handler

        if hasattr(family_handler, _STARTED):
            return False
        setattr(family_handler, _STARTED, True)
    return True


def _extend_wangp() -> None:
    try:
        from models.wan.wan_handler import family_handler
        from shared.utils import prompt_parser

        extend(family_handler, text_modes=hasattr(prompt_parser, "split_prompt_units"))
    except Exception as error:
        say(f"SVI is off: it could not extend this WanGP ({type(error).__name__}: {error}). WanGP "
            "itself is not affected. Please report this line.")

    with without("counting the layers of LoRA files"):
        from mmgp import offload

        loading.watch(offload)
    _accept_earlier_videos()
    if Path("finetunes", f"{SMALL}.json").is_file():
        with without("the demo model"):
            from ..demo.in_wangp import loader

            loader.offer()
    with without("the SVI tab"):
        from shared.utils import plugins

        from .tab import tab

        own_tab.offer(plugins, say, tab.add)

    from ..selftest.passed import changed_since

    if changed := changed_since(location.HOME):
        say(changed)


def _accept_earlier_videos() -> None:
    """Videos of SVI before 1.1 have a setting "svi", and WanGP refuses names it does not know."""
    with contextlib.suppress(ImportError, AttributeError, TypeError):  # not there before WanGP 13
        from shared.utils import setting_names

        setting_names.NON_SETTING_KEYS = setting_names.NON_SETTING_KEYS | {"svi"}
