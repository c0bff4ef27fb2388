"""python -m wan2gp_svi.install: restores the hooks of an installed package."""

import sys

from wan2gp_svi.install.cli import main

sys.exit(main())
