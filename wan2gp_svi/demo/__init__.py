"""The demo model, the world that it shows, and the demo: one video with SVI and without."""
