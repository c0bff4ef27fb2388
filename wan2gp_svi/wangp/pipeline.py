"""What SVI keeps on WanGP's pipeline, as `pipe.svi`, and its stand-in for `generate` there.

The stand-in sees each result before WanGP does: it writes the clip to disk before
anything else can happen to it, and hands out the clips that a run already has. When SVI fails,
WanGP gets no result, as after an abort, and moves on to its next job.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Any

from . import page
from .clip import Clip, frames_and_latents

#: methods of WanGP's VAE that SVI stands in for during `generate`; it decodes to 8 bit since 11.60
ENCODE, DECODES = "encode", ("decode", "decode_to_cpu_uint8")


class Ended(Exception):
    """SVI failed inside WanGP's `generate`, and the user has been told; `generate` catches it."""


class OnPipeline:
    """All that SVI keeps on WanGP's pipeline.

    `clip`     the clip that is made, or was made last; None while SVI is off
    `encoder`  the VAE's encoder in 32 bit, once it is loaded
    `dancing`  the hook on the transformer that adds the poses, during `generate`
    """

    def __init__(self) -> None:
        self.clip: Clip | None = None
        self.encoder: Any = None
        self.dancing: Any = None
        self._generates: Any = None  # what stands in for `generate` until WanGP calls it
        self._own: Any = None  # what stood there before, if it was on the object itself

    def expect_generate(self, pipe: Any, clip: Clip | None) -> None:
        """Stands in for the next call of `pipe.generate`. Without a clip that call returns None,
        which ends WanGP's loop."""
        self.withdraw(pipe)
        self._own = vars(pipe).get("generate")
        self._generates = pipe.generate = partial(self._generate, pipe, clip)

    def withdraw(self, pipe: Any) -> None:
        """Puts WanGP's own `generate` back if WanGP never called the stand-in."""
        if self._generates is None:
            return
        if vars(pipe).get("generate") is self._generates:
            del pipe.generate
            if self._own is not None:
                pipe.generate = self._own
        self._generates = self._own = None

    def _generate(self, pipe: Any, clip: Clip | None, *arguments: Any, **keywords: Any) -> Any:
        self.withdraw(pipe)
        if clip is None or clip.video.failure:
            return None
        video, recording = clip.video, clip.video.recording
        try:
            if recording is not None and recording.stopping():
                return None
            result = None if recording is None else recording.from_disk()
            if result is None:
                keywords = clip.keywords(keywords)
        except Exception as error:
            video.end("before generate", error)
            return None
        new = result is None
        if new:
            if callable(callback := keywords.get("callback")):
                keywords["callback"] = page.counting_down(callback, clip)
            try:
                result = pipe.generate(*arguments, **keywords)
            except Ended:
                return None
            except BaseException as error:  # WanGP's own, which it shows itself
                with contextlib.suppress(Exception):
                    if recording is not None:
                        recording.close(f"{type(error).__name__}: {error}")
                raise
            finally:
                for name in (ENCODE, *DECODES):
                    vars(pipe.vae).pop(name, None)
                if self.dancing is not None:
                    self.dancing = self.dancing.remove()
        try:
            if result is None or frames_and_latents(result)[0] is None:
                if recording is not None:
                    recording.aborted()
                return result
            return clip.finish(result, new)
        except Exception as error:
            video.end("after generate", error)
            return result


def on(pipe: Any) -> OnPipeline:
    """What SVI keeps on this pipeline."""
    found = getattr(pipe, "svi", None)
    if not isinstance(found, OnPipeline):
        found = pipe.svi = OnPipeline()
    return found


def current_clip(pipe: Any) -> Clip | None:
    """The clip on this pipeline; None while SVI is off."""
    return getattr(getattr(pipe, "svi", None), "clip", None)
