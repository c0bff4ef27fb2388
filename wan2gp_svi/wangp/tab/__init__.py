"""The "SVI" tab of WanGP: its components, the values that it shows, and what its buttons do."""
