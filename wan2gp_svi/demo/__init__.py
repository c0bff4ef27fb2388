"""The demo model: a small trained Wan, the world that it shows, and the video with SVI and without."""
