"""The demo model in WanGP: the files it needs there, how WanGP loads it, and WanGP on a CPU."""
