"""The video that is continued, before WanGP reads it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import videos
from loop import WanGP, settings

from wan2gp_svi.wangp import source_video
from wan2gp_svi.wangp.check.findings import check


@pytest.fixture
def wgp(tmp_path: Path) -> WanGP:
    return WanGP(tmp_path / "Meine Videos ü")


def continued(video: object, **changes: object) -> dict:
    return settings("shot", 2, image_prompt_type="V", video_source=str(video), **changes)


def found(asked: dict, outputs: Path) -> dict[str, str]:
    checked = check("i2v", {}, asked, None, outputs)
    return {finding.id: finding.text for finding in checked.findings}


def test_a_video_that_wangp_does_not_read_to_its_end_is_refused(tmp_path: Path):
    """At 16 frames a second, whatever its own rate is."""
    for seconds, refused in ((187, False), (189, True)):
        path = videos.write(tmp_path / f"{seconds}.mp4",
                            np.zeros((seconds, 16, 16, 3), np.uint8), fps=1)
        text = found(continued(path), tmp_path).get("source-length", "")
        assert bool(text) is refused
    assert text.startswith("the video 189.mp4 lasts 3 min 09 s, but WanGP reads only its first "
                           "3 min 08 s")
    assert "source-length" not in found(continued(path, keep_frames_video_source="-100"), tmp_path)
    assert "source-length" not in found(continued(path) | {"image_prompt_type": "S"}, tmp_path)


@pytest.mark.parametrize("content", [b"", b"no video", None])
def test_what_is_no_video_is_left_to_wangp(tmp_path: Path, content: bytes | None):
    path = tmp_path / "a.mp4"
    if content is not None:
        path.write_bytes(content)
    assert not {"source-length", "extend-instead"} & found(continued(path), tmp_path).keys()


def test_a_run_is_extended_rather_than_its_video_continued(wgp: WanGP):
    mp4 = pytest.importorskip("mutagen.mp4")

    def tag(path: str, configs: dict) -> None:  # as WanGP does
        file = mp4.MP4(path)
        file["\xa9cmt"] = json.dumps({"model_type": "i2v", **configs}, default=str)
        file.save()

    wgp.tag = tag
    assert wgp.generate(settings("shot", 2))
    run, video = wgp.run, wgp.run.video
    assert video is not None
    said = found(continued(video), wgp.folder)["extend-instead"]
    assert f"run {run.name} made the video" in said and f'"SVI run" {run.name}' in said
    assert source_video.run_of(continued(video), wgp.folder).name == run.name
    other = video.with_name("other.mp4")
    other.write_bytes(video.read_bytes())
    assert "extend-instead" not in found(continued(other), wgp.folder), "it may be cut"
    wgp.store.remove(run)
    assert "extend-instead" not in found(continued(video), wgp.folder)
