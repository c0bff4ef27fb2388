"""The check of a request before it runs: in WanGP, and of settings in a file."""
