"""python -m wan2gp_svi.install: restores the hooks of an installed package."""

import sys

import wan2gp_svi.old_python  # noqa: F401  # ends if Python is too old
from wan2gp_svi.install.cli import main

sys.exit(main())
