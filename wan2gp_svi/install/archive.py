"""git's filter as one file: a zip of the modules that it needs, and the patches.

`git_clone` puts it into .git, where no checkout can change it, and Python runs it in isolation. A
release always makes the same bytes.
"""

import io
import zipfile
from pathlib import Path

from wan2gp_svi.install.filter import FOLDER
from wan2gp_svi.install.patches import SERIES, listed, read

_HOME = Path(__file__).resolve().parents[1]  # the package
_MODULES = ("__init__.py", "install/__init__.py", "install/filter.py", "install/patches.py",
            "install/syntax.py", "wangp/__init__.py", "wangp/contract.py")
_MAIN = b"""\
import sys

from wan2gp_svi.install.filter import main

sys.exit(main(*sys.argv[1:]))
"""


def archive(patches: Path) -> bytes:
    """The archive with the patches of this folder. Raises PatchError if one cannot be read."""
    content = {"__main__.py": _MAIN}
    content |= {f"{_HOME.name}/{name}": (_HOME / name).read_bytes() for name in _MODULES}
    content |= {f"{FOLDER}/{name}": read(patches, name).encode("utf-8")
                for name in (SERIES, *listed(read(patches, SERIES)))}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:  # not compressed: zlib's versions differ
        for name, data in content.items():
            info = zipfile.ZipInfo(name)
            info.create_system = 3  # or it would be another number on Windows
            file.writestr(info, data)
    return out.getvalue()
