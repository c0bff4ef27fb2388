"""python -m wan2gp_svi.install: from an installed package, puts the hooks back after an update of WanGP."""

import sys

from wan2gp_svi.install.cli import main

sys.exit(main())
