"""What an installation wrote: wan2gp_svi/state.json in WanGP.

A file with the recorded hash is ours; with any other, it is the user's and stays. If the state is
lost, only files of older releases are forgotten.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from wan2gp_svi.files import read_json
from wan2gp_svi.install.patches import is_inside
from wan2gp_svi.install.shipped import MODELS, PACKAGE, STATE


@dataclass(frozen=True)
class State:
    """The release, the sha256 of each file of ours by its path, WanGP's files with hooks, and the
    folder in WanGP's plugins that SVI was installed from, if any."""

    release: str = ""
    files: dict[str, str] = field(default_factory=dict)
    hooked: tuple[str, ...] = ()
    plugin: str = ""

    def text(self) -> bytes:
        """The state as it is stored."""
        text = json.dumps(asdict(self), indent=2, sort_keys=True, ensure_ascii=False)
        return f"{text}\n".encode()


def load(wangp: Path) -> State | None:
    """The state of an installation; None if it is missing or unreadable."""
    try:
        stored = read_json(wangp / STATE)
        # a newer release may store more
        state = State(stored["release"], stored["files"], tuple(stored["hooked"]),
                      stored.get("plugin", ""))  # 1.1.0 and before have none
        texts = [*state.files.values(), *state.hooked, state.release, state.plugin]
        # whatever the file says, nothing outside our own folders is ours
        foreign = [name for name in state.files
                   if name.split("/")[0] not in (PACKAGE, "profiles") and name not in MODELS]
        foreign += [name for name in (*state.files, *state.hooked) if not is_inside(name)]
        if state.plugin and (not is_inside(state.plugin) or "/" in state.plugin):
            foreign.append(state.plugin)
    except (TypeError, AttributeError, KeyError):
        return None
    return None if foreign or not all(isinstance(text, str) for text in texts) else state


def sha256(data: bytes) -> str:
    """The hash of a file's content."""
    return hashlib.sha256(data).hexdigest()
