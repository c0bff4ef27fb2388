"""Runs on disk: the finished clips of a video, how the run stands, and the video that its pieces make."""
