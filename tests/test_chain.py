"""Frames, clips, seeds, prompts and seams: the arithmetic of a chain."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wan2gp_svi import chain

clips = st.integers(1, 500)
overlaps = st.sampled_from([1, 5])


def test_frames_mean_clips():
    assert [chain.num_clips(frames) for frames in (1, 81, 82, 162, 163, 810)] == [1, 1, 2, 2, 3, 10]


@given(st.integers(1, 10**6))
def test_clips_are_as_few_as_hold_the_frames(frames):
    n = chain.num_clips(frames)
    assert 81 * (n - 1) < frames <= 81 * n


@given(clips, overlaps)
def test_a_finished_videos_length_stands_for_that_video(n, overlap):
    assert chain.clips_of(chain.length(n, overlap), overlap) == n


@given(st.integers(1, 17), overlaps)
def test_clips_of_a_round_number_of_frames(n, overlap):
    assert chain.clips_of(81 * n, overlap) == n


@given(clips, overlaps, st.booleans())
def test_kept_frames_joined_are_the_length(n, overlap, keep_new):
    parts = [range(81)[chain.kept(clip, n, overlap, keep_new)] for clip in range(n)]
    assert sum(map(len, parts)) == chain.length(n, overlap)
    assert parts[0].start == 0 and parts[-1].stop == 81


@given(st.integers(2, 500), overlaps, st.booleans(), st.data())
def test_no_moment_is_shown_twice_or_skipped(n, overlap, keep_new, data):
    """Frame i of clip k is moment (81 - overlap) k + i of the video."""
    clip = data.draw(st.integers(0, n - 2))
    moments = [[(81 - overlap) * k + i for i in range(81)[chain.kept(k, n, overlap, keep_new)]]
               for k in (clip, clip + 1)]
    assert moments[1][0] == moments[0][-1] + 1


def test_seams_of_the_authors():
    assert chain.kept(0, 3, 5, keep_new=True) == slice(0, 76)  # Film: the old clip loses its last 5
    assert chain.kept(2, 3, 5, keep_new=True) == slice(0, 81)
    # 2.0 for Wan 2.2: the new clip loses its first frame
    assert chain.kept(1, 3, 1, keep_new=False) == slice(1, 81)
    assert chain.kept(1, 3, 5, keep_new=False) == slice(5, 81)  # Pro
    assert chain.length(10, 1) == 801 and chain.length(3, 5) == 233


@given(st.integers(0, 2**32 - 1), clips)
def test_every_clip_has_its_own_seed(base, n):
    seeds = [chain.seed(base, clip) for clip in range(n)]
    assert len(set(seeds)) == n and seeds[0] == base and all(0 <= seed < 2**32 for seed in seeds)


def test_seeds_of_the_authors():
    assert [chain.seed(1234, clip) for clip in range(3)] == [1234, 1276, 1318]
    assert chain.seed(2**32 - 1, 1) == 41


@pytest.mark.parametrize(("prompts", "n", "repeat", "expected"), [
    ("a", 4, 1, "aaaa"),
    ("abc", 5, 1, "abccc"),
    ("abc", 10, 2, "aabbcccccc"),
    ("abcde", 10, 2, "aabbccddee"),
    ("abcd", 5, 2, "abcdd"),  # too few clips for two each: every prompt is used
    ("abcd", 2, 2, "ab"),
])
def test_prompt_stream(prompts, n, repeat, expected):
    assert "".join(chain.stream(prompts, n, repeat)) == expected


@given(st.integers(1, 20), clips, st.integers(1, 4))
def test_a_stream_goes_forward_one_by_one_and_no_prompt_is_lost(prompts, n, repeat):
    used = [chain.prompt_index(clip, prompts, repeat, n) for clip in range(n)]
    assert used[0] == 0 and all(b - a in (0, 1) for a, b in zip(used, used[1:], strict=False))
    assert used[-1] == prompts - 1 or n < prompts


@pytest.mark.parametrize("call", [
    lambda: chain.num_clips(0), lambda: chain.length(0, 1), lambda: chain.length(1, 81),
    lambda: chain.kept(3, 3, 1, True), lambda: chain.kept(-1, 3, 1, True),
    lambda: chain.prompt_index(0, 0),
])
def test_bad_numbers_are_refused(call):
    with pytest.raises(ValueError):
        call()
