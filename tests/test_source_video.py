"""The video that is continued, before WanGP reads it."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter, deque
from functools import lru_cache
from pathlib import Path
from types import ModuleType, SimpleNamespace

import av
import numpy as np
import pytest
import sounds
import torch
import videos
from loop import SIDE, WanGP, of_pieces, settings

from wan2gp_svi import chain
from wan2gp_svi.runs import video
from wan2gp_svi.variants import VARIANTS
from wan2gp_svi.wangp import handler, resuming, sound, source_video
from wan2gp_svi.wangp.check.findings import check
from wan2gp_svi.wangp.recorder import Recording


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
    assert text.startswith("the video 189.mp4 lasts 3 min 09 s, and WanGP reads only the first "
                           "3 min 08 s")
    assert "it has 1 frames a second, and the clips 16. Set Force FPS" in text
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
    assert f"run {run.name} made the video" in said and "extend the run in the tab SVI" in said
    assert source_video.run_of(continued(video), wgp.folder).name == run.name
    other = video.with_name("other.mp4")
    other.write_bytes(video.read_bytes())
    assert "extend-instead" in found(continued(other), wgp.folder), "a page copies what is added"
    assert "extend-instead" in found(continued(video) | {"image_prompt_type": "L"}, wgp.folder)
    kept = mp4.MP4(other)
    kept["\xa9nam"] = "the best of it"
    kept.save()
    assert "extend-instead" not in found(continued(other), wgp.folder), "it may be cut"
    wgp.store.remove(run)
    assert "extend-instead" not in found(continued(video), wgp.folder)


def test_the_last_video_is_that_of_wangps_list_or_else_the_newest(tmp_path: Path):
    assert source_video.last(["a.mp4", "b.mp4"], tmp_path) == "b.mp4"
    assert source_video.last([], tmp_path) is source_video.last([], tmp_path / "none") is None
    for age, name in enumerate(("new.mkv", "old.mp4", "newest.png")):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (9 - age, 9 - age))
    assert source_video.last([], tmp_path) == str(tmp_path / "new.mkv")


def test_a_last_video_that_is_too_long_is_to_be_added(wgp: WanGP, long: Path):
    asked = settings("shot", 2, image_prompt_type="L", video_source=str(long))
    what = "the last video Länge.mp4 lasts 3 min 20 s, and WanGP reads only the first 3 min 08 s."
    assert found(asked, wgp.folder)["source-length"].startswith(f"{what} Choose to continue a video"
                                                                ", and add this one")
    assert not wgp.generate(asked) and what.lower() in wgp.error.lower(), "as WanGP finds it itself"


def test_wangp_looks_at_a_video_again_once_it_has_grown(wgp: WanGP, monkeypatch):
    """WanGP remembers by its path how long a video is: it would continue a run after clip 1."""
    lengths = []
    wangps = ModuleType("shared.utils.utils")
    wangps._get_video_info_cached = lru_cache(lambda path: len(videos.read(Path(path))))
    monkeypatch.setitem(sys.modules, "shared.utils.utils", wangps)
    grow = Recording.grow

    def look(self: Recording, *others: object) -> None:
        grow(self, *others)
        if self._video is not None:
            lengths.append(wangps._get_video_info_cached(str(self._video.path)))

    monkeypatch.setattr(Recording, "grow", look)
    assert wgp.generate(settings("shot", 3)) and wgp.run.video is not None
    assert max(lengths) == lengths[-1] == len(videos.read(wgp.run.video)) == 241
    assert min(lengths) < 241, "or nothing had to be forgotten"
    wangps._get_video_info_cached(str(wgp.run.video))
    handler.prepare("i2v", {}, continued(wgp.run.video))
    assert not wangps._get_video_info_cached.cache_info().currsize, "another program may add to it"


@pytest.fixture(scope="module")
def long(tmp_path_factory) -> Path:
    """3200 frames with a sound, of which WanGP would read 3000."""
    folder = tmp_path_factory.mktemp("long")
    path = videos.write(folder / "silent.mp4", videos.noise(3200, side=SIDE))
    sounds.write(folder / "tone.wav", sounds.speech(25 * 200))
    videos.ffmpeg("-i", path, "-i", folder / "tone.wav", "-c:v", "copy", "-c:a", "aac",
                  folder / "Länge.mp4")
    return folder / "Länge.mp4"


@pytest.mark.parametrize("id", ["shot", "2.0", "2.0-pro"])
def test_of_a_long_video_the_end_is_continued_and_all_of_it_is_in_the_result(
        wgp: WanGP, long: Path, id: str, monkeypatch):
    asked_for = []
    monkeypatch.setitem(sys.modules, "shared.utils.video_metadata", SimpleNamespace(
        read_metadata_from_video=asked_for.append))
    asked = settings(id, 2, image_prompt_type="V", video_source=str(long))
    assert "source-length" not in found(asked, wgp.folder)
    monkeypatch.setattr(handler, "running_outputs", lambda: wgp.folder)
    assert handler.prepare(asked["model_type"], {}, asked) == ""
    end = Path(asked["video_source"])
    assert source_video.seconds(end) == 81 / 16 and not sound.is_heard(end)
    before = videos.listed(long)
    assert np.array_equal(videos.read(end), videos.read(long, "-ss", (3200 - 81) / 16))
    starts = []
    wgp.pipe.before = lambda window: starts.append(wgp.pipe.svi.clip.motion_frames) or True
    assert wgp.generate({**asked, "stop_after": 1}), wgp.error
    assert set(asked_for) == {str(long)}, "the end has no metadata"
    overlap = VARIANTS[id].overlap
    shown = torch.from_numpy(videos.read(end)[-overlap:].copy()).movedim(-1, 0)
    assert torch.equal(starts[0].add(1).mul(127.5).round(), shown.float())
    wgp.forget()
    assert wgp.generate(asked), wgp.error  # the run goes on where it was stopped
    result = wgp.run.video
    after = videos.listed(result)
    new = chain.length(2, overlap) - overlap
    assert len(after) == 3200 + new == len({time for time, *_ in after})
    assert [hash for *_, hash in after[:3200]] == [hash for *_, hash in before]
    assert {length for _, length, _ in after} == {after[0][1]}, "each frame is shown as long"
    assert np.array_equal(videos.read(result)[3200:], of_pieces(wgp.run))
    assert sound.is_heard(result) and abs(sound.find(str(result)).frames / 25 - 200) < 0.1
    # and a redo has the beginning, too
    again = resuming.redone(wgp.run, 2, "other", 5)
    assert handler.prepare(again["model_type"], {}, again) == ""
    assert again["video_source"] == str(end)
    assert wgp.generate(again), wgp.error
    assert len(videos.listed(wgp.run.video)) == 3200 + new


def test_memory_is_the_same_however_long_the_video_is(
        long: Path, tmp_path: Path, monkeypatch):
    recent, held, real = deque(maxlen=10), Counter(), av.open

    class Watched:
        def __init__(self, container):
            self.container = container

        def __getattr__(self, name):
            return getattr(self.container, name)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.container.close()

        def demux(self, track):
            for packet in self.container.demux(track):
                recent.append(packet)
                yield packet
                if len(recent) == recent.maxlen:
                    held[sys.getrefcount(recent[0])] += 1

    monkeypatch.setattr(av, "open", lambda path, mode="r", **options: real(
        path, mode, **options) if mode == "w" else Watched(real(path, mode, **options)))
    video.join([long], tmp_path / "a.mp4")
    assert held[2] > 3200 > 10 * (sum(held.values()) - held[2]), "packets stay in memory"


@pytest.mark.parametrize(("changes", "said"), [
    ({"resolution": "832x480"}, "it is 16x16, and the clips 832x480. Choose 16x16"),
    ({"force_fps": "25"}, "it has 16 frames a second, and the clips 25. Set Force FPS"),
    ({"temporal_upsampling": "rife2"}, "Turn upsampling off"),
    ({"audio_source": "a.wav"}, "no room for another soundtrack")])
def test_what_cannot_be_joined_by_copying_says_what_to_do(long, tmp_path, changes, said):
    assert said in found(continued(long, **changes), tmp_path)["source-length"]


@pytest.mark.parametrize(("codec", "suffix", "config", "said"), [
    (videos.X265, ".mp4", {}, "it is H.265 (yuv420p), and WanGP writes H.264 (yuv420p)"),
    (videos.X265, ".mp4", {"video_output_codec": "libx265_28"}, ""),
    (videos.X264, ".mkv", {}, ""),
    (videos.X265, ".mkv", {}, "it is H.265 (yuv420p)"),
    (videos.X264, ".avi", {}, "it is no MP4, MOV or MKV. Convert it to H.264 in MP4"),
    (videos.LOSSLESS, ".mp4", {}, "it is H.264 (yuv444p)"),
    (videos.X264, ".mp4", {"video_output_codec": "libx264_lossless"}, "cannot be joined to it")])
def test_what_is_joined_by_copying_is_of_one_kind(
        tmp_path, monkeypatch, codec, suffix, config, said):
    monkeypatch.setattr(source_video, "MOST", 30)
    path = videos.write(tmp_path / f"a{suffix}", videos.noise(40, side=SIDE), codec)
    why = [str(one) for one in source_video.obstacles(continued(path), 16, config)]
    assert bool(why) is bool(said) and said in "".join(why)


@pytest.mark.parametrize(("force", "said"), [
    ("source", ""), ("auto", ""), ("12", ""), ("", "the clips 16"), ("25", "the clips 25")])
def test_the_rate_of_the_clips_is_the_one_that_is_forced(tmp_path, monkeypatch, force, said):
    monkeypatch.setattr(source_video, "MOST", 30)
    path = videos.write(tmp_path / "a.mp4", videos.noise(40, side=SIDE), fps=12)
    inputs = continued(path, force_fps=force)
    why = [str(one) for one in source_video.obstacles(inputs, source_video.rate(inputs, 16))]
    assert bool(why) is bool(said) and said in "".join(why)


def test_a_size_that_wangp_does_not_make_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(source_video, "MOST", 30)
    path = videos.write(tmp_path / "a.mp4", videos.noise(40, side=24))
    why, = source_video.obstacles(continued(path, resolution="24x24"), 16)
    assert "it is 24x24, and WanGP makes multiples of 16" in str(why)


def test_the_end_is_found_and_has_its_colours_where_keyframes_are_rare(
        wgp: WanGP, tmp_path, monkeypatch):
    monkeypatch.setattr(source_video, "MOST", 100)
    codec = (*videos.X264, "-g", "9999", "-color_range", "tv", "-colorspace", "bt709",
             "-color_primaries", "bt709", "-color_trc", "bt709")
    path = videos.write(tmp_path / "a.mp4", videos.noise(600, side=SIDE), codec)
    end = Path(source_video.shortened(continued(path), 16, wgp.folder)["video_source"])
    last = [hash for *_, hash in videos.listed(path)][-81:]
    assert [hash for *_, hash in videos.listed(end)] == last
    assert "bt709" in videos.about(end)


def test_a_video_that_changes_in_its_place_is_read_again(tmp_path):
    path = videos.write(tmp_path / "a.mp4", videos.noise(20, side=SIDE), fps=10)
    other = videos.write(tmp_path / "b.mp4", videos.noise(20, 1, SIDE), fps=5)
    assert source_video.seconds(path) == 2
    size = max(path.stat().st_size, other.stat().st_size) + 100
    for number, one in enumerate((path, other)):  # of one length: a player passes over "free"
        content = one.read_bytes()
        left = size - len(content)
        path.write_bytes(content + left.to_bytes(4, "big") + b"free" + bytes(left - 8))
        os.utime(path, ns=(number, number))
        assert source_video.seconds(path) == 2 * (1 + number)


def test_frames_of_several_lengths_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(source_video, "MOST", 30)
    path = videos.write(tmp_path / "a.mp4", videos.noise(64, side=SIDE), fps=16)
    videos.ffmpeg("-i", path, "-vf", "setpts='if(mod(N,2),N+0.5,N)/16/TB'", "-fps_mode", "vfr",
                  "-enc_time_base", "1/16000", *videos.X264, tmp_path / "b.mp4")
    why, = source_video.obstacles(continued(tmp_path / "b.mp4"), 16)
    assert "frames are not equally long" in str(why)


def test_an_end_whose_video_is_gone_or_changed_says_so(wgp: WanGP, tmp_path, monkeypatch):
    monkeypatch.setattr(source_video, "MOST", 100)
    path = videos.write(tmp_path / "a.mp4", videos.noise(120, side=SIDE))
    asked = continued(path)
    asked |= source_video.shortened(asked, 16, wgp.folder)
    assert source_video.whole(asked["video_source"], wgp.folder) == path
    assert source_video.whole(path, wgp.folder) is None
    path.write_bytes(path.read_bytes() + b"x")
    assert not wgp.generate(asked) and "is gone, or has changed" in wgp.error
    path.unlink()
    assert not wgp.generate(asked) and "Put it back, or choose it again" in wgp.error


def test_clips_of_another_size_or_rate_are_refused_before_the_first_is_made(
        wgp: WanGP, tmp_path, monkeypatch):
    monkeypatch.setattr(source_video, "MOST", 100)
    path = videos.write(tmp_path / "a.mp4", videos.noise(120, side=SIDE), fps=12)
    asked = continued(path)
    asked |= source_video.shortened(asked, 16, wgp.folder)
    assert not wgp.generate(asked) and wgp.made == []
    assert "with 12 frames a second, but WanGP makes 16x16 with 16" in wgp.error
