"""The drift report: its metrics against closed forms and libraries, its clips and seams, its files
and its words."""

import csv
import json
import math
import shutil
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from functools import cache
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

np = pytest.importorskip("numpy")
av = pytest.importorskip("av", reason="the drift report needs PyAV")
cv2 = pytest.importorskip("cv2", reason="the drift report needs OpenCV")
Image = pytest.importorskip("PIL.Image", reason="the drift report needs Pillow")
matplotlib = pytest.importorskip("matplotlib", reason="the drift report needs matplotlib")
pytest.importorskip("scipy", reason="the drift report needs SciPy")

from wan2gp_svi import chain, drift  # noqa: E402
from wan2gp_svi.__main__ import main  # noqa: E402
from wan2gp_svi.drift import (  # noqa: E402
    DriftError,
    Layout,
    analysis,
    layout,
    metrics,
    output,
    plot,
    trends,
    verdict,
    video,
)
from wan2gp_svi.drift.layout import of_settings  # noqa: E402
from wan2gp_svi.runs.store import FOLDER  # noqa: E402
from wan2gp_svi.variants import VARIANTS  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
random = np.random.default_rng(7)


def plain(colour, n=1, h=24, w=32):
    return np.full((n, h, w, 3), colour, np.uint8)


def noise(n=2, h=24, w=32):
    return random.integers(0, 256, (n, h, w, 3), dtype=np.uint8)


def measured(pictures):
    return metrics.measure(pictures, np.zeros(3))[0]


# ------------------------------------------------------------------------------------------ metrics


def test_a_grey_picture_has_brightness_and_nothing_else():
    grey = measured(plain(118))
    assert grey.luma == pytest.approx(118, abs=1e-4)
    nothing = set(metrics.NAMES) - {"luma", "lightness", "cast", "motion"}
    found = {name: getattr(grey, name) for name in nothing}
    assert found == pytest.approx(dict.fromkeys(nothing, 0), abs=1e-4)


def test_half_black_half_white():
    picture = plain(0)
    picture[:, :, 16:] = 255
    half = measured(picture)
    assert (half.luma, half.contrast) == pytest.approx((127.5, 127.5), abs=1e-3)
    assert (half.dark, half.bright) == (50, 50)


def test_clipping_ends_at_4_and_251():
    found = [measured(plain(level)) for level in (4, 5, 250, 251)]
    shares = [(each.dark, each.bright) for each in found]
    assert shares == [(100, 0), (0, 0), (0, 0), (0, 100)]


@pytest.mark.parametrize(("rgb", "luma", "lab"), [  # Lab values: Lindbloom's calculator, sRGB, D65
    ((255, 0, 0), 76.245, (53.2408, 80.0925, 67.2032)),
    ((0, 255, 0), 149.685, (87.7347, -86.1827, 83.1793)),
    ((0, 0, 255), 29.07, (32.2970, 79.1875, -107.8602)),
    ((255, 255, 255), 255, (100, 0, 0)),
    ((119, 119, 119), 119, (50.0344, 0, 0)),
])
def test_known_colours(rgb, luma, lab):
    found = measured(plain(rgb))
    assert found.luma == pytest.approx(luma, abs=1e-3)
    assert (found.lightness, found.a, found.b) == pytest.approx(lab, abs=0.03)
    assert found.saturation == pytest.approx(math.hypot(*lab[1:]), abs=0.03)


def test_cast_is_the_cie76_difference_to_the_reference():
    white, black = metrics.mean_lab(plain(255)), metrics.mean_lab(plain(0))[0]
    assert metrics.cast(white, black) == pytest.approx([100], abs=0.01)
    assert metrics.cast(np.array([[50.0, 3, 4]]), np.array([50.0, 0, 0])) == pytest.approx([5])


def test_colourfulness_is_hasler_and_suesstrunks():
    wanted = [0.3 * math.hypot(100, 100)]
    assert metrics.colourfulness(plain((200, 100, 50))) == pytest.approx(wanted, abs=1e-4)
    pictures = noise()
    r, g, b = np.moveaxis(pictures.astype(float), -1, 0)
    for found, rg, yb in zip(metrics.colourfulness(pictures), r - g, (r + g) / 2 - b, strict=True):
        expected = math.sqrt(rg.var() + yb.var()) + 0.3 * math.sqrt(rg.mean() ** 2 + yb.mean() ** 2)
        assert found == pytest.approx(expected, rel=1e-5)


def filtered(plane, kernel):
    """Correlation by the book; the picture is mirrored at its edges, as OpenCV does it."""
    padded = np.pad(plane.astype(float), 1, mode="reflect")
    h, w = plane.shape
    return sum(kernel[i][j] * padded[i : i + h, j : j + w] for i in range(3) for j in range(3))


def test_sharpness_and_tenengrad_by_the_book():
    y = metrics.luma_plane(noise())
    sobel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    laplace = [filtered(plane, [[0, 1, 0], [1, -4, 1], [0, 1, 0]]).var() for plane in y]
    edges = [(filtered(plane, sobel) ** 2 + filtered(plane, sobel.T) ** 2).mean() for plane in y]
    assert metrics.sharpness(y) == pytest.approx(laplace, rel=1e-4)
    assert metrics.tenengrad(y) == pytest.approx(edges, rel=1e-4)


def test_blur_lowers_sharpness_and_tenengrad():
    y = metrics.luma_plane(noise(1))
    soft = cv2.GaussianBlur(y[0], (0, 0), 1)[None]
    assert metrics.sharpness(soft) < 0.2 * metrics.sharpness(y)
    assert metrics.tenengrad(soft) < 0.5 * metrics.tenengrad(y)


@pytest.mark.parametrize("sigma", [1.5, 6])
def test_grain_is_the_sigma_of_noise_whatever_the_picture(sigma):
    slope = np.linspace(20, 220, 400)[None, None, :] + np.zeros((1, 300, 400))
    slope[:, 100:] -= 15  # an edge, and a slope
    y = (slope + random.normal(0, sigma, slope.shape)).astype(np.float32)
    assert metrics.grain(y) == pytest.approx([sigma], rel=0.03)
    assert metrics.grain(slope.astype(np.float32)) == pytest.approx([0], abs=1e-3)


def test_motion_is_vbenchs_mean_absolute_difference():
    steps = metrics.motion(np.concatenate([plain(100), plain(103), plain(103)]))[1:]
    assert steps == pytest.approx([3, 0])
    pictures = noise(4)
    vbench = [np.mean(cv2.absdiff(b.astype(np.float32), a.astype(np.float32)))
              for a, b in zip(pictures, pictures[1:], strict=False)]
    found = metrics.motion(pictures)
    assert math.isnan(found[0]) and found[1:] == pytest.approx(vbench, rel=1e-5)
    assert metrics.motion(pictures[2:], before=pictures[1]) == pytest.approx(vbench[1:], rel=1e-5)


def test_small_keeps_the_shape_and_the_mean_and_enlarges_nothing():
    picture = noise(1, 480, 832)[0]
    assert metrics.small(picture).shape == (256, 444, 3)
    assert metrics.small(picture.swapaxes(0, 1)).shape == (444, 256, 3)
    board = np.indices((512, 512)).sum(0) % 2 * 200
    assert (metrics.small(np.dstack([board] * 3).astype(np.uint8)) == 100).all()
    assert metrics.small(picture[:100]).shape == (100, 832, 3)


def test_lab_is_scikit_images():
    color = pytest.importorskip("skimage.color", reason="compares with scikit-image")
    pictures = noise(1, 200, 200)
    assert np.abs(metrics.lab_planes(pictures) - color.rgb2lab(pictures)).max() < 0.05


def test_luma_is_opencvs():
    pictures = noise()
    ours = metrics.luma_plane(pictures)
    theirs = np.stack([cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in pictures])
    assert np.abs(ours - theirs).max() <= 0.51  # theirs is rounded


def test_every_metric_says_its_formula_its_unit_and_its_source():
    assert set(metrics.METRICS) < set(metrics.NAMES)
    for metric in metrics.METRICS.values():
        assert len(metric.about) > 40 and metric.unit


# ------------------------------------------------------------------------------------------- trends


def test_slope_of_a_line_is_its_slope_and_an_outlier_changes_nothing():
    line = [3 + 0.25 * k for k in range(10)]
    assert trends.trend(line).slope == pytest.approx(0.25) and trends.trend(line).word == "rises"
    line[4] = 1000
    assert trends.trend(line).slope == pytest.approx(0.25, abs=0.03)
    assert trends.trend(line).word == "rises"
    assert trends.trend([-value for value in line]).word == "falls"
    assert trends.trend([5.0] * 10) == trends.Trend(0, 0, 0, "no trend")


def test_too_few_clips_have_a_slope_and_no_word():
    assert trends.trend([1.0]) is None
    for n in range(2, trends.TREND_CLIPS):
        assert trends.trend(list(range(n))) == trends.Trend(1.0)
    assert trends.trend(list(range(trends.TREND_CLIPS))).word == "rises"


@pytest.mark.parametrize("n", [5, 6, 7])
def test_a_trend_is_what_fewer_than_5_per_cent_of_all_orders_show(n):
    """Of all orders of n clips, the trends are those of the Mann-Kendall test, counted here."""
    strengths, called = [], {}
    for order in permutations(range(n)):
        s = sum(1 if b > a else -1 for at, a in enumerate(order) for b in order[at + 1 :])
        strengths.append(s)
        called.setdefault(s, set()).add(trends.trend(order).word)
    for s, words in called.items():
        rare = 2 * sum(abs(s) <= other for other in strengths) / len(strengths) <= 0.05
        assert words == {("rises" if s > 0 else "falls") if rare else "no trend"}, s


def test_change_is_the_last_15_per_cent_minus_the_first():
    values = [0.0] * 15 + [99.0] * 70 + [-4.0] * 15
    assert trends.change(values) == -4
    assert trends.change([1.0, 2.0]) == 1


# --------------------------------------------------------------------------------- clips and layout


@given(st.integers(1, 60), st.sampled_from([1, 5]), st.booleans())
def test_clips_lie_where_the_chain_puts_them(clips, overlap, keep_new):
    layout = Layout(81, overlap, keep_new, "")
    kept = [range(81)[chain.kept(clip, clips, overlap, keep_new)] for clip in range(clips)]
    frames = chain.length(clips, overlap)
    assert layout.length(clips) == frames
    assert list(map(len, layout.spans(frames))) == list(map(len, kept))


@given(st.integers(2, 200), st.data(), st.integers(2, 2000), st.booleans(), st.booleans())
def test_clips_cover_a_video_of_any_length_once(size, data, frames, keep_new, seams):
    overlap = data.draw(st.integers(0, size - 1)) if seams else 0
    spans = Layout(size, overlap, keep_new, "", seams).spans(frames)
    assert [frame for span in spans for frame in span] == list(range(frames)) and all(spans)


def test_a_short_rest_belongs_to_the_section_before():
    sections = Layout.sections("")
    assert [len(span) for span in sections.spans(241)] == [81, 81, 79]
    assert [len(span) for span in sections.spans(100)] == [100]
    assert [len(span) for span in sections.spans(10)] == [10]


@pytest.mark.parametrize(("text", "expected"), [
    ("81/1", (81, 1, True)), (" 81 / 5 / old ", (81, 5, False)), ("49/0/NEW", (49, 0, True)),
])
def test_clips_on_the_command_line(text, expected):
    layout = Layout.parse(text)
    assert (layout.size, layout.overlap, layout.keep_new) == expected and layout.seams


@pytest.mark.parametrize("text", [
    "", "81", "81/", "81/81", "0/0", "1/0", "81/-1", "81/1/both", "a/b", "81/1/old/new", "8e1/1",
])
def test_malformed_clips_are_refused(text):
    with pytest.raises(DriftError, match="--clips is"):
        Layout.parse(text)


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=str)
def test_the_variant_in_the_settings_tells_the_clips(variant):
    wanted = {"svi": {"variant": variant.id, "seeds": [1, 2, 3]}}
    layout = of_settings(wanted, chain.length(3, variant.overlap))
    assert (layout.overlap, layout.keep_new) == (variant.overlap, variant.keep_new)
    assert layout.seams and layout.variant is variant


@pytest.mark.parametrize(("variant", "own", "overlap"), [
    ("shot", 5, 5), ("film", 1, 1), ("shot", "5", 1), ("shot", None, 1), ("2.0-pro", 9, 9),
    ("shot", 81, 1), ("shot", 0, 1),
])
def test_the_windows_in_the_settings_tell_the_overlap(variant, own, overlap):
    given_ = {"svi": {"variant": variant, "seeds": [1, 2]}, "sliding_window_overlap": own}
    assert of_settings(given_, chain.length(2, overlap)).overlap == overlap


def test_a_video_whose_chain_is_not_done_has_seams_too():
    """WanGP saves the video after each clip. If the new clip's frames are kept at a seam, the old
    clip has already lost its own."""
    assert of_settings({"svi": {"variant": "film", "seeds": [1, 2]}}, 76 + 76).seams
    assert not of_settings({"svi": {"variant": "2.0-pro", "seeds": [1, 2]}}, 76 + 76).seams


def test_a_loop_has_seams_although_its_last_frame_is_not_shown():
    assert of_settings({"svi": {"variant": "2.0-pro", "seeds": [1, 2]}}, 157 - 1).seams
    assert not of_settings({"svi": {"variant": "2.0-pro", "seeds": [1, 2]}}, 157 - 2).seams


@pytest.mark.parametrize("found", [
    {}, {"svi": None}, {"svi": "shot"}, {"svi": {}}, {"svi": [1]},
    {"svi": {"variant": "unheard of", "seeds": [1]}},
    {"svi": {"variant": "shot", "seeds": [1, 2]}},  # which are 161 frames
    {"svi": {"variant": "shot", "seeds": [1, 2, 3]}, "temporal_upsampling": "rife2"},
])
def test_where_nothing_is_known_there_are_sections_and_a_reason(found):
    layout = of_settings(found, 241)
    assert not layout.seams and layout.noun == "section"
    assert "clip boundaries are unknown" in layout.origin


# -------------------------------------------------------------------------------------------- seams


def rows(n, step=2.0):
    """Frames whose every step is `step`: in pixels, in luma, and in a* of the mean colour."""
    blank = measured(plain(0))
    motions = [None, *[step] * (n - 1)]
    return [replace(blank, motion=motion, luma=step * t, a=step * t, lightness=0.0, b=0.0)
            for t, motion in enumerate(motions)]


def test_a_jump_is_the_step_across_by_the_median_step_around():
    frames = rows(60)
    frames[30] = replace(frames[30], motion=9.0)
    frames[30:] = [replace(row, luma=row.luma + 5, a=row.a + 1) for row in frames[30:]]
    found = analysis.seam(1, 30, frames)
    assert (found.pixels.across, found.pixels.usual, found.pixels.jump) == (9, 2, 4.5)
    assert found.luma.jump == pytest.approx(3.5) and found.colour.jump == pytest.approx(1.5)
    assert not found.repeated and found.name == "1->2"


def test_only_the_8_steps_on_either_side_tell_what_is_usual():
    frames = rows(60)
    for near in range(22, 39):
        frames[near] = replace(frames[near], motion=4.0)
    assert analysis.seam(1, 30, frames).pixels.usual == 4
    frames[22:27] = [replace(row, motion=100.0) for row in frames[22:27]]  # 5 of 16
    assert analysis.seam(1, 30, frames).pixels.usual == 4
    frames[34:39] = [replace(row, motion=100.0) for row in frames[34:39]]  # 10 of 16
    assert analysis.seam(1, 30, frames).pixels.usual == 100


def test_a_step_that_8_bit_cannot_show_is_no_jump_in_a_still_scene():
    frames = rows(60, step=0.0)
    assert analysis.seam(1, 30, frames).pixels.jump == 0 and analysis.seam(1, 30, frames).repeated
    frames[30:] = [replace(row, luma=0.4) for row in frames[30:]]
    assert analysis.seam(1, 30, frames).luma.jump == pytest.approx(0.8)
    frames[30:] = [replace(row, luma=10.0) for row in frames[30:]]
    assert analysis.seam(1, 30, frames).luma.jump == pytest.approx(20)


def test_seams_near_the_end_use_the_steps_that_there_are():
    assert analysis.seam(1, 59, rows(60)).pixels.jump == 1
    assert analysis.seam(1, 1, rows(60)).pixels.jump == 1
    assert analysis.seam(1, 1, rows(2)).pixels.jump == 2.0 / 0.5  # nothing is around it


def test_a_clip_is_the_median_of_its_frames_and_its_first_step_is_the_seams():
    frames = rows(20)
    frames[10] = replace(frames[10], motion=100.0, luma=1000.0)
    assert analysis.clip_metrics(2, range(10, 13), frames).median.luma == 24
    clip = analysis.clip_metrics(2, range(10, 12), frames)
    assert clip.median.motion == 2 and clip.repeated == 0 and not clip.frozen
    still = analysis.clip_metrics(1, range(0, 20), rows(20, step=0.49))
    assert still.repeated == 19 and still.frozen
    assert not analysis.clip_metrics(1, range(0, 20), rows(20, step=0.5)).frozen


# ------------------------------------------------------------------------------------------- videos


@cache
def texture(h, w):
    grains = np.random.default_rng(3).normal(size=(h, 3 * w, 3))
    blurred = cv2.GaussianBlur(grains, (0, 0), 1.5)[:, w : 2 * w]
    return 100 + 25 * blurred / blurred.std()


def scene(t, h=48, w=64):
    """A coloured pattern that goes round and round: all trends are what a test adds."""
    return np.roll(texture(h, w), 2 * t, axis=1)


def write_video(path, frames, settings_=None, fps=16):
    with av.open(path, "w") as container:
        if settings_ is not None:
            container.metadata["comment"] = json.dumps(settings_)
        stream = None
        for frame in frames:
            picture = np.clip(np.round(frame), 0, 255).astype(np.uint8)
            if stream is None:
                stream = container.add_stream("libx264", rate=fps)
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = "yuv444p"
                stream.options = {"qp": "0", "preset": "ultrafast"}
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def shot(clips):
    return {"svi": {"version": "1.0.0", "variant": "shot", "seeds": [1] * clips}}


def clip_of(t, clips):
    return min(t // 80, clips - 1)


@pytest.fixture(scope="module")
def brighter(tmp_path_factory):
    path = tmp_path_factory.mktemp("brighter") / "brighter.mp4"
    return write_video(path, (scene(t) * 1.01 ** clip_of(t, 6) for t in range(481)), shot(6))


@pytest.fixture(scope="module")
def steady(tmp_path_factory):
    path = tmp_path_factory.mktemp("steady") / "steady.mp4"
    return write_video(path, map(scene, range(481)), shot(6))


def test_a_video_that_gets_1_per_cent_brighter_per_clip_measures_so(brighter):
    found = drift.report(brighter)
    luma = found.medians("luma")
    steps = [b / a for a, b in zip(luma, luma[1:], strict=False)]
    assert steps == pytest.approx([1.01] * 5, abs=0.001)
    assert {output.per_clip(found, name) for name in ("luma", "contrast")} == {"+1.0 %"}
    words = [trends.trend(found.medians(name)).word for name in ("luma", "contrast")]
    assert words == ["rises", "rises"]
    assert trends.change(found.column("luma")) == pytest.approx(100 * (1.01**5 - 1), rel=0.1)
    assert trends.trend(found.medians("motion")).word in ("rises", "no trend")
    assert "No visible drift over 6 clips" in found.verdict, "5 % in all are not seen"


def test_what_a_viewer_sees_is_said_the_worst_first(tmp_path):
    frames = ((scene(t) - 100) * 1.06 ** clip_of(t, 6) + 100 for t in range(481))
    found = drift.report(write_video(tmp_path / "c.mp4", frames, shot(6)))
    contrast = found.curves[0]
    assert contrast.values == pytest.approx([100 * (1.06**k - 1) for k in range(6)], rel=0.06)
    assert contrast.visible == [2, 3, 4, 5] and max(contrast.times) > max(found.curves[1].times)
    assert found.verdict.startswith("Contrast rises steadily, visibly from clip 3 on: +32 %. ")
    assert found.verdict.endswith("Try the default seed step, 480p, 16-bit weights, no VAE tiles "
                                  "and 50 steps.")


def test_a_steady_video_reads_so(steady):
    found = drift.report(steady)
    assert found.verdict == ("No visible drift over 6 clips: colours, contrast, sharpness and "
                             "motion hold, and no seam shows.")
    assert all(0.8 < seam.pixels.jump < 1.2 and seam.luma.jump < 1 for seam in found.seams)
    assert len(found.seams) == 5 and trends.trend(found.medians("motion")).word == "no trend"


def test_a_frozen_video_is_called_frozen(tmp_path):
    path = write_video(tmp_path / "f.mp4", (scene(0) for _ in range(241)))
    found = drift.report(path, clips="81/1")
    assert all(clip.frozen for clip in found.clips)
    assert found.verdict.startswith("Nothing moves in the video, so the lack of "
                                    "drift means nothing. ")


def test_a_clip_that_freezes_is_named(tmp_path):
    path = write_video(tmp_path / "f.mp4", (scene(min(t, 162)) for t in range(241)))
    found = drift.report(path, clips="81/1")
    assert [clip.frozen for clip in found.clips] == [False, False, True]
    assert found.verdict.startswith("The picture freezes in clip 3. Say in the prompt what moves")


@pytest.mark.parametrize(("variant", "seam"), [
    ("shot", 160), ("film", 152), ("2.0-wan22", 161), ("2.0-pro", 157),
])
def test_a_cut_at_a_seam_is_a_jump_at_that_seam(tmp_path, variant, seam):
    n = chain.length(3, VARIANTS[variant].overlap)
    frames = (scene(t) if t < seam else 0.5 * scene(t)[:, ::-1] for t in range(n))
    made = {"svi": {"variant": variant, "seeds": [1, 2, 3]}}
    found = drift.report(write_video(tmp_path / "c.mp4", frames, made))
    calm, cut = found.seams
    assert cut.frame == seam and calm.pixels.jump < 1.2 and calm.luma.jump < 1
    assert cut.pixels.jump > 3 and cut.luma.jump > 50 and cut.colour.jump > 20
    assert found.verdict.startswith("The picture jumps visibly between clips 2 and 3. Also: ")
    assert found.verdict.endswith("Redo the run from clip 3 with another seed.")


def test_a_frame_shown_twice_at_a_seam(tmp_path):
    frames = (scene(t - (t >= 80)) for t in range(241))  # frame 80 is frame 79 again
    found = drift.report(write_video(tmp_path / "r.mp4", frames, shot(3)))
    assert [seam.repeated for seam in found.seams] == [True, False]
    assert found.verdict == "A frame is shown twice at 1 of 2 seams."


def test_clips_that_lost_their_last_frames_are_whole(tmp_path):
    """A clip that is kept whole comes later: its first frames are the old clip's last ones."""
    path = write_video(tmp_path / "80.mp4", map(scene, range(80)))
    assert drift.report(path, clips="81/1").notes == ()
    with pytest.raises(DriftError, match="80 frames and is shorter than a clip of 81"):
        drift.report(path, clips="81/1/old")


def test_a_slope_too_small_to_write_is_not_called_nothing():
    found = chained(6)
    assert output.per_clip(found, "luma") == "+1.0 %"
    assert output.per_clip(found, "grain") == "0.00"
    tiny = tuple(replace(clip, median=replace(clip.median, grain=1e-4 * k))
                 for k, clip in enumerate(found.clips))
    assert output.per_clip(replace(found, clips=tiny), "grain") == "almost 0.00"


def test_a_single_clip_is_compared_from_its_start_to_its_end(tmp_path):
    frames = (scene(t) * (1 + t / 400) for t in range(81))
    found = drift.report(write_video(tmp_path / "1.mp4", frames), clips="81/1")
    first, last = (np.mean([1 + t / 400 for t in span]) for span in (range(12), range(69, 81)))
    contrast = next(curve for curve in found.curves if curve.name == "Contrast")
    assert contrast.values == pytest.approx([0, 100 * (last / first - 1)], abs=0.5)
    assert "ontrast rises" in found.verdict and "by the end" in found.verdict
    assert "seam" not in found.verdict


def test_without_knowledge_of_clips_the_report_counts_seconds_and_shows_no_seams(tmp_path):
    frames = (scene(t) * (1 - t / 500) for t in range(250))
    found = drift.report(write_video(tmp_path / "u.mp4", frames))
    assert found.seams == () and [len(clip.frames) for clip in found.clips] == [81, 81, 88]
    assert found.verdict.startswith("Colours shift visibly from 5 s on: the picture gets darker.")
    assert "seam" not in found.verdict and "clip" not in found.verdict


def curve(*values, limits=(-10, 10), **more):
    return verdict.Curve("Contrast", "%", limits, values, "contrast falls", "contrast rises",
                         **more)


@pytest.mark.parametrize(("values", "told"), [
    ((0, 5, 11, 12), "from clip 3 on"), ((0, 5, 9, 12), "in clip 4"),
    ((0, -11, 9, 12), "in clips 2 and 4"), ((20, 20, 20, 0), "in clips 1, 2 and 3"),
    ((20, 20, 20, 0, 20), "in 4 of 5 clips"), ((10, -10), ""),
])
def test_where_something_is_visible(values, told):
    found = curve(*values)
    assert (verdict.where(chained(len(values)), found) if found.visible else "") == told


@pytest.mark.parametrize(("values", "told"), [
    ((0, 4, 0), "between clips 2 and 3"), ((0, 4, 5), "at 2 of 3 seams"),
    ((4, 4, 4), "at all 3 seams"),
])
def test_which_seams_show(values, told):
    assert verdict.where(chained(4), curve(*values, limits=(-3, 3), at_seams=True)) == told


@pytest.mark.parametrize(("change", "words"), [
    ((5, 0, 0), "brighter"), ((-5, 4, 4), "warmer and darker"), ((0, -4, -3), "cooler"),
    ((1, 5, 0), "redder"), ((4, -5, 1), "greener and brighter"), ((0, 4, -4), "redder and bluer"),
    ((0, 0, 5), "yellower"),
])
def test_a_shift_of_the_mean_colour_in_words(change, words):
    assert verdict._shade(np.array(change)) == words


@pytest.mark.parametrize(("variant", "advice"), [
    ("", "If SVI did not make this video, try an SVI profile."),
    ("film", "SVI-Film sees your image in clip 1 alone; for one scene, choose SVI-Shot."),
    ("shot", "Try the default seed step, 480p, 16-bit weights, no VAE tiles and 50 steps."),
])
def test_the_advice_fits_what_made_the_video(variant, advice):
    found = chained(6)
    layout = replace(found.layout, variant=VARIANTS.get(variant))
    assert replace(found, layout=layout).verdict.endswith(advice)


def test_a_jump_is_to_be_redone_and_weak_motion_to_be_prompted():
    found = chained(6)
    still = [replace(row, a=0.0, luma=100.0) for row in found.frames]
    cut = [replace(row, motion=50.0) if at == 16 else row for at, row in enumerate(still)]
    jumpy = replace(
        found, layout=replace(found.layout, variant=VARIANTS["shot"]),
        clips=tuple(analysis.clip_metrics(each.number, each.frames, cut) for each in found.clips),
        seams=tuple(analysis.seam(each.number, each.frame, cut) for each in found.seams),
    )  # fmt: skip
    assert jumpy.verdict == ("The picture jumps visibly between clips 2 and 3. Redo the run from "
                             "clip 3 with another seed.")
    slow = tuple(replace(clip, median=replace(clip.median, motion=2 - 0.3 * at))
                 for at, clip in enumerate(jumpy.clips))
    told = "Motion dies down steadily, visibly in clip 6: -60 %. Say in the prompt what moves"
    assert replace(jumpy, clips=slow, seams=()).verdict.startswith(told)


def test_settings_are_read_beside_the_video_and_from_a_matroska_file_too(tmp_path):
    path = write_video(tmp_path / "v.mp4", map(scene, range(161)))
    assert not drift.report(path).layout.seams
    path.with_suffix(".json").write_text(json.dumps({"prompt": "ä"} | shot(2)), encoding="utf-8")
    assert drift.report(path).layout.seams
    matroska = write_video(tmp_path / "w.mkv", map(scene, range(161)), shot(2))
    assert drift.report(matroska).layout.seams


def test_what_the_user_says_of_the_clips_goes_before_what_the_video_says(brighter):
    found = drift.report(brighter, clips="81/5/old")
    assert [seam.frame for seam in found.seams][:2] == [81, 157]
    assert any("not whole clips" in note for note in found.notes)


# ---------------------------------------------------------------------------------------- reference


def test_the_cast_is_told_against_the_image(tmp_path, steady):
    tinted = np.clip(scene(0)[..., [2, 0, 1]] * 1.3, 0, 255).astype(np.uint8)
    Image.fromarray(tinted).resize((640, 480)).save(tmp_path / "große Ente.png")
    by_file = drift.report(steady, tmp_path / "große Ente.png")
    first = by_file.frames[0]
    difference = metrics.mean_lab(tinted[None])[0] - (first.lightness, first.a, first.b)
    assert first.cast == pytest.approx(np.linalg.norm(difference), abs=0.3) and first.cast > 5
    assert by_file.reference == "the image"
    assert drift.report(steady, tinted).frames[0].cast == pytest.approx(first.cast, abs=0.3)


def test_a_run_beside_the_video_has_its_reference(tmp_path, steady, monkeypatch):
    assert layout.RUNS == FOLDER
    video = tmp_path / "v.mp4"
    shutil.copyfile(steady, video)
    made = {"custom_settings": {"svi": {"variant": "shot", "run": "20261126-7f3a"}}}
    probe = analysis.probe
    monkeypatch.setattr(analysis, "probe", lambda path: replace(probe(path), settings=made))
    assert drift.report(video).reference == "the first frame"
    picture = tmp_path / "svi/20261126-7f3a/reference.png"
    picture.parent.mkdir(parents=True)
    Image.new("RGB", (64, 48), "red").save(picture)
    found = drift.report(video)
    assert found.reference == "the image" and found.frames[0].cast > 5
    *_, written = drift.write(found)
    before = written.read_bytes()
    picture.unlink()  # the user removes the run
    with pytest.raises(drift.DriftError, match="measured against its start image, which is gone"):
        drift.write(drift.report(video))
    assert written.read_bytes() == before
    made["custom_settings"]["svi"]["run"] = "../.."
    assert layout.reference_of(video, made) is None


def staged(clips, board):
    return {"custom_settings": {**shot(clips), "svi_storyboard": board}}


@pytest.mark.parametrize(("board", "cuts", "restarts"), [
    ("auto", [], []), ("no storyboard", [], []), (7, [], []), ("[1]\nend image = loop", [], []),
    ("[2]\nprompt = on\n[6]\nend image = loop", [], []),
    ("[3]\nnew shot = yes", [2], [2]), ("[7]\nnew shot = yes", [], []),
    ("[3]\nend image = a.png", [], [2, 3]), ("[6]\nend image = a.png", [], [5]),
    ("[1-2]\nreference = a.png\n[3-5]\nreference = b.png", [], [2, 5]),
    ("[2]\nnew shot = yes\n[4-6]\nreference = a.png", [1], [1, 3])])
def test_what_the_storyboard_asks_for_is_no_drift(board, cuts, restarts):
    found = of_settings(staged(6, board), 481)
    assert found.seams and (sorted(found.cuts), sorted(found.restarts)) == (cuts, restarts)
    firsts = [max([0, *(at for at in restarts if at <= clip)]) for clip in range(6)]
    assert [found.first(clip) for clip in range(6)] == firsts


def test_drift_is_measured_from_a_new_shot(tmp_path):
    """The second shot is another picture, and then it drifts itself."""
    def frames(drift):
        for t in range(321):
            picture = scene(t) if t < 160 else 255 - scene(t)[..., [2, 0, 1]] * 0.8
            yield picture + (drift if t >= 240 else 0)

    board = "[3]\nnew shot = yes"
    for added, said in ((0, "No visible drift over 4 clips: colours, contrast"),
                        (12, "The picture jumps visibly between clips 3 and 4. Also: colours "
                             "shift in clip 4.")):
        path = write_video(tmp_path / f"{added}.mp4", frames(added), staged(4, board))
        found = drift.report(path)
        assert found.verdict.startswith(said)
        assert found.notes == ("the storyboard asks for another picture in clip 3, so the curves "
                               "start again there",)
    alone = drift.report(path, clips="81/1")
    assert alone.verdict.startswith("The picture jumps visibly at 2 of 3") and not alone.notes
    assert alone.seams[1].pixels.jump > 3, "the cut"


def test_a_video_that_begins_with_another_one_says_so_and_is_known_to_be_svis():
    for begins in "VL":
        found = of_settings({"custom_settings": shot(2), "image_prompt_type": begins}, 248)
        assert not found.seams and found.variant is VARIANTS["shot"]
        assert found.origin == ("clip boundaries are unknown, because the video begins with the "
                                "one that it continues")
    assert of_settings({"custom_settings": shot(2), "image_prompt_type": "S"}, 248).variant is None


@pytest.mark.parametrize(("settings", "prompted"), [
    ({}, []), ({"prompt": "one"}, []), ({"prompt": 7, "multi_prompts_gen_type": [1]}, []),
    ({"prompt": "one\n\ntwo\n# three\n\n\nfour"}, [1, 2]),
    ({"prompt": "one\n\none\n\ntwo", "multi_prompts_gen_type": "PW"}, [2]),
    ({"prompt": "one\ntwo", "multi_prompts_gen_type": "W"}, [1]),
    ({"prompt": "one\ntwo", "multi_prompts_gen_type": 1}, [1]),
    ({"prompt": "one\n\ntwo", "multi_prompts_gen_type": "FG"}, []),
    ({"prompt": "one", "board": "[3]\nprompt = two"}, [2, 3]),
    ({"prompt": "one", "board": "[2-6]\nprompt = one"}, [])])
def test_which_clips_have_another_prompt_than_the_one_before(settings, prompted):
    made = {**staged(6, settings.get("board", "auto")), **settings}
    assert sorted(of_settings(made, 481).prompted) == prompted
    if settings.get("prompt") == "one\n\ntwo\n# three\n\n\nfour":  # each for two clips
        made["custom_settings"]["svi"]["variant"] = "2.0"
        assert sorted(of_settings(made, 461).prompted) == [2, 4]


def test_a_clip_that_was_asked_to_look_otherwise_is_not_blamed_on_drift_alone(tmp_path):
    asked = "Clip 3 has another prompt, which may be why. "
    for board, why in (("[3-4]\nprompt = on", asked), ("[2-4]\nprompt = on", ""), ("auto", "")):
        frames = (scene(t) + (40 if t >= 160 else 0) for t in range(321))
        said = drift.report(write_video(tmp_path / "v.mp4", frames, staged(4, board))).verdict
        assert said.endswith(f"from clip 3 on. {why}Redo the run from clip 3 with another seed.")


def test_without_an_image_the_first_frame_is_the_reference(brighter):
    found = drift.report(brighter)
    assert found.frames[0].cast == 0 and found.frames[-1].cast > 1
    assert found.reference == "the first frame"


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_images_of_every_mode_and_size(tmp_path, steady, mode):
    image = Image.fromarray(scene(0).astype(np.uint8)).resize((7, 300))
    image.convert(mode).save(tmp_path / "i.tif")
    assert drift.report(steady, tmp_path / "i.tif").reference_picture.shape == (48, 64, 3)


# ---------------------------------------------------------------------------------------- streaming


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_streaming_measures_what_all_frames_at_once_do(steady, chunk):
    pictures = np.concatenate(list(video.read(steady)))
    anchor = metrics.mean_lab(pictures[:1])[0]
    found, before = [], None
    for part in video.read(steady, chunk):
        assert len(part) <= chunk
        found += metrics.measure(part, anchor, before)
        before = part[-1]
    whole = metrics.measure(pictures, anchor)
    assert len(found) == len(whole) == 481 and found[0].motion is whole[0].motion is None
    for one, other in zip(found[1:], whole[1:], strict=True):
        assert vars(one) == pytest.approx(vars(other), rel=1e-6, abs=1e-9)


def test_memory_does_not_grow_with_the_video(tmp_path):
    """Beyond the numbers of each frame, some hundred bytes, and the pictures of ten clips."""
    def peak(frames):
        path = write_video(tmp_path / f"{frames}.mp4", (scene(t, 96, 128) for t in range(frames)))
        tracemalloc.start()
        drift.report(path, clips="9/1")
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    drift.report(write_video(tmp_path / "warm.mp4", map(scene, range(20))))
    short, long = peak(161), peak(641)
    assert long - short < 480 * 2000 < 480 * 96 * 128 * 3 / 10


# -------------------------------------------------------------------------------------------- files


def test_csv_json_and_png_lie_beside_the_video(tmp_path, brighter):
    path = tmp_path / "Ein Boot, $5^_ & 100 % $ größer 日本.mp4"
    path.write_bytes(brighter.read_bytes())
    (tmp_path / "other.drift.csv").write_text("mine", encoding="utf-8")
    found = drift.report(path)
    for _ in range(2):  # the second report replaces the first
        paths = drift.write(found)
    names = [each.name for each in paths]
    assert names == [f"{path.stem}.drift.{kind}" for kind in ("csv", "json", "png")]
    assert {each.name for each in tmp_path.iterdir()} == {path.name, "other.drift.csv", *names}
    assert (tmp_path / "other.drift.csv").read_text(encoding="utf-8") == "mine"

    table = list(csv.DictReader(paths[0].read_text(encoding="utf-8").splitlines()))
    assert len(table) == 481
    seams = [row["frame"] for row in table if row["seam"] == "1"]
    assert seams == ["80", "160", "240", "320", "400"]
    assert table[80]["clip"] == "2" and table[80]["second"] == "5.000" and table[0]["motion"] == ""
    assert float(table[100]["luma"]) == pytest.approx(found.frames[100].luma, rel=1e-4)

    data = json.loads(paths[1].read_text(encoding="utf-8"))
    assert data["verdict"] == found.verdict and len(data["clips"]) == 6 and len(data["seams"]) == 5
    assert data["video"]["name"] == path.name and data["trends"]["luma"]["word"] == "rises"
    assert data["clips"][1]["median"]["luma"] == pytest.approx(found.clips[1].median.luma, rel=1e-4)
    with Image.open(paths[2]) as picture:
        assert picture.format == "PNG" and picture.width == 1200


def test_a_folder_of_ones_own(tmp_path, steady):
    paths = drift.write(drift.report(steady), tmp_path / "a" / "ö b")
    assert sorted(paths) == sorted((tmp_path / "a" / "ö b").iterdir())


def test_a_report_that_cannot_be_finished_leaves_the_earlier_one(tmp_path, steady, monkeypatch):
    found = drift.report(steady)
    before = {path: path.read_bytes() for path in drift.write(found, tmp_path)}

    def full(report, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(plot, "write_png", full)
    with pytest.raises(DriftError, match="No space left on device"):
        output.write(replace(found, notes=("changed",)), tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


# --------------------------------------------------------------------------------------------- plot


def chained(clips, seams=True, reference=False):
    """A report of frames that were never made: each clip 8 frames, brighter by 1 each."""
    layout = Layout(9, 1, True, "by hand", seams)
    frames = [replace(row, luma=100.0 + t // 8, cast=float(t // 8))
              for t, row in enumerate(rows(layout.length(clips)))]
    spans = layout.spans(len(frames))
    pictures = {frame: noise(1)[0] for _, frame in analysis.shown(spans)}
    return analysis.Report(
        Path("by hand.mp4"), 64, 48, 16.0, layout, "the image" if reference else "the first frame",
        tuple(frames),
        tuple(analysis.clip_metrics(k, span, frames) for k, span in enumerate(spans, 1)),
        tuple(analysis.seam(k, span.start, frames) for k, span in enumerate(spans[1:], 1) if seams),
        (), pictures, noise(1)[0] if reference else None,
    )  # fmt: skip


@pytest.mark.parametrize("clips", [1, 2, 3, 4, 10, 60])
@pytest.mark.parametrize("seams", [True, False])
def test_the_plot_shows_the_verdict_the_pictures_and_every_curve(clips, seams):
    found = chained(clips, seams, reference=clips % 2 == 0)
    figure = plot.draw(found).figure
    words = [text.get_text().replace("\n", " ") for text in figure.texts]
    assert all(any(part in text for text in words) for part in verdict.parts(found))
    first, *others = found.curves
    assert f"Worst: {first.name.lower()}" in words
    assert f"visible {verdict.where(found, first)}" in words
    assert {curve.name for curve in others} < {*words}
    pictures = [each for each in figure.axes if each.images]
    assert len(pictures) == min(clips, 3) + (found.reference_picture is not None)
    image = "your image" if seams else "the image"
    assert (image in words) == (found.reference_picture is not None)
    assert verdict.named(found) == ([1] if clips > 1 else []), "from clip 2 on"
    labels = [verdict.name(found, clip) for clip in sorted({0, min(1, clips - 1), clips - 1})]
    assert [word for word in words if word in labels] == labels
    drawn = [each for each in figure.axes if not each.images]
    assert len(drawn) == len(found.curves) == 5 + (seams and clips > 1)
    for axes, curve in zip(drawn, found.curves, strict=True):
        bars = [bar.get_height() for bar in axes.patches[1:]]  # the first is the grey band
        values = bars if curve.at_seams else axes.lines[1].get_ydata()
        assert list(values) == pytest.approx(list(curve.values))


@settings(max_examples=50)
@given(st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=50))
def test_the_axis_holds_the_values_and_the_limits_so_that_noise_is_no_slope(values):
    axes = plot.Page(400, 300).axes(0, 0, 400, 300)
    plot._curve(chained(len(values)), axes, curve(*values))
    low, high = axes.get_ylim()
    assert low <= min(-10, *values) and max(10, *values) <= high


def standing(*still, clips=5, motion=2.0):
    """A report whose clips of 80 steps stand still for some of them: {clip: repeated frames}."""
    found = replace(chained(clips), seams=())
    repeated = dict(still)
    return replace(found, clips=tuple(
        replace(clip, frames=range(80 * at, 80 * at + 81), repeated=repeated.get(at + 1, 0),
                median=replace(clip.median, lightness=0.0, a=0.0, b=0.0,
                               motion=0.4 if at + 1 in repeated else motion))
        for at, clip in enumerate(found.clips)))


@pytest.mark.parametrize(("still", "headline", "panel"), [
    ([(2, 80)], "The picture freezes in clip 2.", "frozen in clip 2"),
    ([(2, 45)], "The picture stands still for half of clip 2.", "partly still in clip 2"),
    ([(2, 60)], "The picture stands still for most of clip 2.", "partly still in clip 2"),
    ([(2, 45), (4, 80)], "The picture stands still for half or more of clips 2 and 4.",
     "partly still in clips 2 and 4"),
    ([(k, 45) for k in (1, 2, 3, 4)],
     "The picture stands still for half of the time in 4 of 5 clips.",
     "partly still in 4 of 5 clips"),
    ([(k, 45) for k in range(1, 6)], "The picture stands still for half of the video.",
     "partly still from clip 1 on"),
])
def test_a_clip_that_stands_still_is_the_worst_of_the_curves_too(still, headline, panel):
    found = standing(*still, motion=0.6)  # so slow that the stop is within the limits
    changed = replace(found.clips[2], median=replace(found.clips[2].median, contrast=99.0))
    found = replace(found, clips=(*found.clips[:2], changed, *found.clips[3:]))
    worst, second = found.curves[:2]
    assert (worst.name, second.name) == ("Motion", "Contrast") and max(worst.times) < 1
    assert verdict.parts(found)[0] == headline and verdict.parts(found)[1].startswith("Also: ")
    figure = plot.draw(found).figure
    words = [text.get_text() for text in figure.texts]
    assert words[words.index("Worst: motion") + 1] == panel
    axes = next(each for each in figure.axes if not each.images)
    orange = [at + 1 for at, colour in enumerate(axes.collections[0].get_facecolors())
              if matplotlib.colors.same_color(colour, plot.ORANGE)]
    assert orange == [clip for clip, _ in still]


def test_the_clip_that_freezes_is_shown(tmp_path):
    frames = (scene(81 if 81 <= t < 161 else t) for t in range(401))
    found = drift.report(write_video(tmp_path / "f.mp4", frames), clips="81/1")
    assert found.verdict.startswith("The picture freezes in clip 2.")
    pictures = dict(plot.chosen_pictures(found))
    assert [*pictures] == ["clip 1", "clip 2", "clip 5"]
    assert np.abs(pictures["clip 2"] - scene(81)).max() < 3


@pytest.mark.parametrize(("named", "clips"), [
    ((), [0, 4, 8]), ((4,), [0, 4, 8]), ((1,), [0, 1, 8]), ((5, 6), [0, 5, 6]),
    ((1, 3, 5), [0, 1, 3, 5]), ((0, 3), [0, 3, 8]),
])
def test_the_pictures_are_of_the_clips_that_the_headline_names(named, clips):
    assert [clip for clip, _ in analysis.shown([range(9)] * 9, named)] == clips


@pytest.mark.parametrize(("change", "told"), [
    (10.2, "+10.2 %"), (10.04, "+10.04 %"), (10.6, "+11 %"), (32.3, "+32 %"), (-10.2, "-10.2 %"),
])
def test_a_value_just_beyond_the_limit_is_not_rounded_to_it(change, told):
    found = standing(clips=3)
    contrasts = (50.0, 50.0 + 50.5 * change / 100, 50.0)  # half a level of each is rounding
    found = replace(found, clips=tuple(
        replace(clip, median=replace(clip.median, contrast=contrast))
        for clip, contrast in zip(found.clips, contrasts, strict=True)))
    way = "rises" if change > 0 else "falls"
    assert verdict.parts(found)[0] == f"Contrast {way} visibly in clip 2: {told}."


# ------------------------------------------------------------------------------------------ command


def test_the_command_ends_with_the_verdict(tmp_path, brighter, capsys):
    assert main(["drift", str(brighter), "--out", str(tmp_path), "--clips", "81/1"]) == 0
    told = capsys.readouterr()
    assert told.out.splitlines()[-1].startswith("No visible drift over 6 clips")
    assert told.err == ""
    assert len(list(tmp_path.iterdir())) == 3


def test_the_command_says_what_it_does_not_know(tmp_path, capsys):
    path = write_video(tmp_path / "v.mp4", map(scene, range(100)))
    assert main(["drift", str(path)]) == 0
    told = "Note: clip boundaries are unknown, because the video does not say that SVI made it"
    assert told in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "sentence"), [
    (["none.mp4"], "There is no video"),
    (["."], ": it is a folder."),
    (["text.mp4"], "is not a video that can be read"),
    (["empty.mp4"], "is not a video that can be read"),
    (["half.mp4"], "is not a video that can be read"),
    (["tiny.mp4"], "has no pictures, or none of 3x3 to 4096x4096 pixels"),
    (["image.png"], "is no video: it has 1 frame."),
    (["video.mp4", "--clips", "81"], '--clips is "81"'),
    (["video.mp4", "--clips", "81/99"], "clips of 81 frames cannot share 99"),
    (["video.mp4", "--clips", "81/1"], "has 30 frames and is shorter than a clip of 81"),
    (["video.mp4", "--reference", "none.png"], "There is no image"),
    (["video.mp4", "--reference", "."], ": it is a folder."),
    (["video.mp4", "--reference", "text.mp4"], "is not an image that can be read"),
    (["video.mp4", "--out", "text.mp4"], "text.mp4 is a file: give --out a folder."),
    (["video.mp4", "--out", "text.mp4/folder"], "The report cannot be written (text.mp4"),
])
def test_mistakes_are_a_plain_sentence(tmp_path, monkeypatch, capsys, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    write_video("video.mp4", map(scene, range(30)))
    write_video("tiny.mp4", (scene(at)[:2, :2] for at in range(30)))
    Path("half.mp4").write_bytes(Path("video.mp4").read_bytes()[:2000])
    Path("text.mp4").write_text("no video", encoding="utf-8")
    Path("empty.mp4").touch()
    Image.new("RGB", (64, 48)).save("image.png")
    before = sorted(tmp_path.rglob("*"))
    assert main(["drift", *arguments]) == 1
    told = capsys.readouterr()
    assert sentence in told.err and told.err.count("\n") == 1 and told.out == ""
    assert sorted(tmp_path.rglob("*")) == before


def python(code):
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True,
                          encoding="utf-8")


@pytest.mark.parametrize("package", ["cv2", "av", "PIL", "scipy"])
def test_a_python_without_the_packages_is_told_so(package):
    done = python(f"import sys; sys.modules['{package}'] = None\n"
                  "from wan2gp_svi.__main__ import main; sys.exit(main(['drift', 'v.mp4']))")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and package in done.stderr
    assert done.stderr.startswith("This Python lacks a package that the drift report needs")


def test_importing_it_costs_nothing():
    done = python("import sys; from wan2gp_svi import drift\n"
                  "print({'numpy', 'cv2', 'av', 'matplotlib', 'scipy'} & set(sys.modules))")
    assert done.stdout.strip() == "set()"


def test_the_report_of_the_package_stays_a_function_after_its_first_use(steady):
    assert drift.report(steady).frames == drift.report(steady).frames
