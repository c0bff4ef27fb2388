"""python -m wan2gp_svi.demo: what SVI is for."""

import sys

from .command import main

sys.exit(main())
