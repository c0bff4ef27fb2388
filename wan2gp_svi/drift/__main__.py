"""python -m wan2gp_svi.drift VIDEO: how a video holds up."""

import sys

from . import main

sys.exit(main())
