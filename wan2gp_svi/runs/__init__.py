"""Runs on disk: their finished clips, how they stand, and the video that their pieces make."""
