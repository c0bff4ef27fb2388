"""The demo model as a model of WanGP: what is written for it, how it is loaded, and WanGP without a GPU."""
