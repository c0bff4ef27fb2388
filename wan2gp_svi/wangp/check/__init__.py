"""What speaks for and against a request before it runs: in WanGP, and for settings in a file on the command line."""
