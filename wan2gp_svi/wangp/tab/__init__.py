"""The tab "SVI" in WanGP."""
