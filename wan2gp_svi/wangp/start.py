"""What SVI wraps and offers when WanGP starts. Whatever fails here is told, and WanGP starts without it."""

import contextlib
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from .. import location
from .clip import say
from .handler import extend
from .plan import SMALL
from .recorder import Frames


def start(save_video: Callable[..., Any]) -> Callable[..., Any]:
    """Extends WanGP's Wan handler, and returns its `save_video` for SVI's clips as well. Whatever fails here must not
    keep WanGP from starting."""
    try:
        from models.wan.wan_handler import family_handler
        from shared.utils import prompt_parser

        extend(family_handler, text_modes=hasattr(prompt_parser, "split_prompt_units"))
    except Exception as error:
        say(f"is off: this WanGP could not be extended ({type(error).__name__}: {error}). WanGP itself is not "
            "affected. Please report this line.")

    with contextlib.suppress(ImportError, AttributeError, TypeError):  # not there before WanGP 13
        from shared.utils import setting_names

        # videos of SVI before 1.1 have this among their settings, and WanGP refuses names that it does not know
        setting_names.NON_SETTING_KEYS = setting_names.NON_SETTING_KEYS | {"svi"}

    if Path("finetunes", f"{SMALL}.json").is_file():
        try:
            from ..demo.in_wangp import loader

            loader.offer()
        except Exception as error:
            say(f"the small model cannot be loaded ({type(error).__name__}: {error}); all else works.")

    try:
        from shared.utils import plugins

        from .tab import tab

        tab.offer(plugins, say)
    except Exception as error:
        say(f"the SVI tab is not there ({type(error).__name__}: {error}); all else works.")

    from ..selftest.passed import changed_since

    if changed := changed_since(location.HOME):
        say(changed)

    @wraps(save_video)
    def save(tensor: Any = None, save_file: Any = None, *arguments: Any, **options: Any) -> Any:
        if isinstance(tensor, Frames) and not arguments:
            return tensor.save(save_file, save_video, **options)
        return save_video(tensor, save_file, *arguments, **options)

    return save
