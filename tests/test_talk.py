"""SVI-Talk without WanGP: sounds good and bad, how many clips they take, and runs that follow them
in the stand-in for WanGP's loop."""

from __future__ import annotations

import json
import sys
import wave
from pathlib import Path
from types import SimpleNamespace

import loop
import numpy as np
import pytest
import sounds
import torch
import videos
from safetensors.torch import save_file

from wan2gp_svi import chain
from wan2gp_svi.runs.record import StoreError
from wan2gp_svi.runs.state import State
from wan2gp_svi.runs.store import STOP
from wan2gp_svi.storyboard import same_clips
from wan2gp_svi.wangp import resuming, sound, speech
from wan2gp_svi.wangp.check.findings import check
from wan2gp_svi.wangp.handler import prepare

LORA = "svi-talk.safetensors"


# ---------------------------------------------------------------------------- the arithmetic

@pytest.mark.parametrize(("frames", "clips"), [
    (10, 1), (81, 1), (82, 2), (161, 2), (162, 3), (241, 3), (242, 4), (15_000, 188),
    (15_041, 188), (15_042, 189)])
def test_clips_of_a_sound(frames, clips):
    assert chain.clips_of_sound(frames, 1) == clips
    assert chain.length(clips, 1) >= frames


# -------------------------------------------------------------------------------- the sound

def asked(path, **changes) -> dict:
    return {"audio_guide": str(path), "audio_prompt_type": "A", "image_prompt_type": "S",
            "image_start": "", "activated_loras": [LORA], "video_length": 81, "prompt": "a",
            "custom_settings": None, **changes}


def said(path, **changes) -> dict[str, str]:
    found = check("multitalk", {}, asked(path, image_start=object(), **changes)).findings
    return {one.id: one.text for one in found if one.kind != "adjustment"}


@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (44_100, 2), (48_000, 2), (8_000, 1)])
def test_a_sound_is_measured_whatever_its_rate(tmp_path, rate, channels):
    samples = np.repeat(sounds.speech(200, rate)[:, None], channels, 1)
    found = sound.find(sounds.write(tmp_path / "a.wav", samples, rate))
    assert (found.frames, found.clips, found.rate) == (200, 3, rate) and 0.1 < found.peak < 1


@pytest.mark.parametrize("codec", [("flac",), ("libmp3lame", "mp3"), ("aac", "m4a"),
                                   ("libvorbis", "ogg")])
def test_common_formats_are_read(tmp_path, codec):
    wav = sounds.write(tmp_path / "a.wav", sounds.speech(200))
    path = tmp_path / f"a.{codec[-1]}"
    videos.ffmpeg("-i", wav, "-c:a", codec[0], path)
    assert abs(sound.find(path).frames - 200) <= 3 and said(path) == {}


def test_a_longer_sound_begins_with_what_the_shorter_one_has(tmp_path):
    short = sound.find(sounds.write(tmp_path / "a.wav", sounds.speech(200)))
    longer = sound.find(sounds.write(tmp_path / "b.wav", np.concatenate(
        [sounds.speech(200), sounds.speech(150, seed=3)])))
    other = sound.find(sounds.write(tmp_path / "c.wav", sounds.speech(200, seed=5)))
    assert (short.clips, longer.clips) == (3, 5)
    assert same_clips(short.heard, longer.heard, 3) == 2, "it ended in the third clip"
    assert same_clips(short.heard, other.heard, 3) == 0
    assert same_clips(short.heard, short.heard, 3) == 3


def test_a_file_that_changes_is_read_again(tmp_path):
    path = sounds.write(tmp_path / "a.wav", sounds.speech(100))
    assert sound.find(path).frames == 100
    assert sound.find(sounds.write(path, sounds.speech(200))).frames == 200


def silence(path: Path, seconds: int, rate: int = 16_000) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        for _ in range(seconds):
            file.writeframes(bytes(2 * rate))
    return path


BAD = {
    "a missing file": (lambda path: path, "there is no sound"),
    "an empty file": (lambda path: path.write_bytes(b"") and None or path, "cannot be read"),
    "a corrupt file": (lambda path: path.write_bytes(b"RIFF" + bytes(range(256)) * 9) and path,
                       "cannot be read as sound"),
    "no sound at all": (lambda path: videos.write(path.with_suffix(".mp4"), videos.noise(5)),
                        "holds no sound"),
    "silence": (lambda path: silence(path, 5), "is silent. Add a sound with speech"),
    "three hours": (lambda path: silence(path, 3 * 3600, 8_000),
                    "lasts 180 min 00 s, and a video lasts at most 80 min 00 s (1,500 clips)"),
    "no samples": (lambda path: sounds.write(path, np.zeros(0)), "lasts less than 0.4 s"),
    "a blink": (lambda path: sounds.write(path, sounds.speech(5)), "lasts less than 0.4 s"),
    "a list of other files": (lambda path: path.write_text("#EXTM3U\nhttp://localhost/a.wav\n")
                              and path, "cannot be read as sound"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_sound_is_refused_before_the_model_is_loaded(what, tmp_path):
    make, words = BAD[what]
    found = said(make(tmp_path / "bad.wav"))
    assert list(found) == ["sound"] and words in found["sound"]


@pytest.mark.parametrize(("changes", "id", "words"), [
    (dict(audio_guide=None), "sound", "needs a sound"),
    (dict(audio_prompt_type=""), "sound", "needs a sound"),
    (dict(audio_prompt_type="XCNAB"), "two-speakers", "trained with one speaker"),
    (dict(image_prompt_type="V"), "continued-talk", "cannot continue a video"),
])
def test_what_svi_talk_cannot_do_is_refused(changes, id, words, tmp_path):
    path = sounds.write(tmp_path / "a.wav", sounds.speech(100))
    found = said(path, **changes)
    assert words in found[id]


def test_a_telephone_is_warned_about_and_works(tmp_path):
    path = sounds.write(tmp_path / "a.wav", sounds.speech(200, 8_000), 8_000)
    assert "8,000 samples a second" in said(path)["telephone"]
    inputs = asked(path, image_start=object())
    assert prepare("multitalk", {}, inputs) == "" and inputs["video_length"] == 241


def test_the_settings_follow_the_sound(tmp_path):
    path = sounds.write(tmp_path / "a.wav", sounds.speech(200))
    inputs = asked(path, image_start=object(), force_fps="16", motion_amplitude=1.3,
                   sliding_window_discard_last_frames=4)
    before = dict(inputs)
    checked = check("multitalk", {}, inputs)
    assert inputs == before and checked.plan.sound and checked.plan.fps == 25
    ids = {one.id: one.text for one in checked.findings}
    assert "as long as the sound: 3 whole clips" in ids["frames"] and "frame-rate" in ids
    assert prepare("multitalk", {}, inputs) == ""
    assert inputs["video_length"] == 241 and inputs["force_fps"] == ""
    assert inputs["sliding_window_discard_last_frames"] == 0 and inputs["audio_guide"] == str(path)


def test_on_multitalk_svi_is_for_its_talk_lora_alone(tmp_path):
    path = sounds.write(tmp_path / "a.wav", sounds.speech(200))
    other = check("multitalk", {}, asked(path, activated_loras=["svi-shot.safetensors"]))
    assert other.plan is None and [one.id for one in other.findings] == ["other-model"]
    assert check("multitalk", {}, asked(path, activated_loras=[])).findings == []
    talk = check("infinitetalk", {}, asked(path)).findings[0]
    assert talk.id == "other-model" and "Choose Multitalk 480p" in talk.text
    assert check("i2v", {}, asked(path, image_start=object())).plan.sound is False


def test_a_settings_file_names_its_sound(tmp_path, capsys):
    from wan2gp_svi.__main__ import main

    sounds.write(tmp_path / "speech.wav", sounds.speech(200))
    (tmp_path / "wgp.py").write_text("")
    pillow = pytest.importorskip("PIL.Image")
    pillow.new("RGB", (64, 64), "white").save(tmp_path / "start.png")
    settings = asked("speech.wav", image_start="start.png", model_type="multitalk", seed=1)
    (tmp_path / "loras_i2v").mkdir()
    save_file({"t": torch.zeros(1)}, tmp_path / "loras_i2v/svi-talk.safetensors")
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(settings), encoding="utf-8")
    assert main(["check", str(file), "--wangp", str(tmp_path)]) == 0
    assert "3 clips of 81 frames, 241 frames, 9.6 s" in capsys.readouterr().out
    silence(tmp_path / "speech.wav", 3)
    assert main(["check", str(file), "--wangp", str(tmp_path)]) == 1
    assert "error: the sound speech.wav is silent" in capsys.readouterr().out
    (tmp_path / "speech.wav").write_bytes(b"no sound")
    assert main(["check", str(file), "--wangp", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "settings.json: SVI-Talk: as long as its sound." in out and " frames" not in out


# ---------------------------------------------------------------------------------- in WanGP's loop

def read_wav(path: str) -> np.ndarray:
    with wave.open(path) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype("float32") / 2**15


def embed(samples: np.ndarray, *_: object, **__: object) -> torch.Tensor:
    frames = samples[: len(samples) // 640 * 640].reshape(-1, 640)
    return torch.from_numpy(np.abs(frames).mean(1)).float()[:, None, None]


def window(embeddings: list[torch.Tensor], audio_start_idx: int, clip_length: int
           ) -> list[torch.Tensor]:
    """As WanGP's: each frame's neighbours, and the first, middle and last frames of a latent."""
    whole = embeddings[0]
    at = torch.arange(audio_start_idx, audio_start_idx + clip_length)[:, None] + torch.arange(-2, 3)
    found = whole[at.clamp(0, len(whole) - 1)]
    later = found[1:].unflatten(0, (-1, 4))
    return [found[None, :1], torch.cat([later[:, 0, :3], later[:, 1:2, 2], later[:, 2:3, 2],
                                        later[:, 3, 2:]], dim=1)[None]]


@pytest.fixture(autouse=True)
def wangps_functions(monkeypatch):
    monkeypatch.setitem(sys.modules, "models.wan.multitalk.multitalk", SimpleNamespace(
        audio_prepare_single=lambda path, duration: read_wav(path), get_embedding=embed,
        get_window_audio_embeddings=window, fl=SimpleNamespace(locate_folder=str),
        custom_init=lambda device, folder: (None, None)))


def settings(path: Path, **changes) -> dict:
    made = loop.settings("talk", 1, audio_guide=str(path), audio_prompt_type="A", **changes)
    assert prepare("multitalk", {}, made) == ""
    return made


def clicks_heard(video: Path) -> list[int]:
    """The frames in which a video's sound clicks; of clicks in neighbouring frames, the first."""
    raw = videos.ffmpeg("-i", video, "-map", "0:a", "-ac", 1, "-ar", 16_000, "-f", "s16le", "-")
    loud = np.flatnonzero(np.abs(np.frombuffer(raw, "<i2").astype(int)) > 6000)
    return [int(at) // 640 for at in loud[np.flatnonzero(np.diff(loud, prepend=-9999) > 2000)]]


def clicks_seen(frames: np.ndarray) -> list[int]:
    return np.flatnonzero((frames == 255).all((1, 2, 3))).tolist()


CLICKS = [0, 40, 79, 80, 81, 120, 160, 161, 199]


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_the_mouth_opens_when_the_sound_clicks(tmp_path, container):
    path = sounds.write(tmp_path / "clicks.wav", sounds.clicks(CLICKS, 200))
    wgp = loop.WanGP(tmp_path / "outputs")
    wgp.server["video_container"] = container
    assert wgp.generate(settings(path)), wgp.error
    assert wgp.made == [1, 2, 3], "the last window is whole, although the sound ends in it"
    frames = loop.shown(wgp)
    assert len(frames) == 241 and clicks_seen(frames) == CLICKS
    apart = [abs(one - other) for one, other in zip(
        clicks_heard(wgp.video), [0, 40, 79, 120, 160, 199], strict=True)]
    assert max(apart) <= 1
    assert [Path(one) for one in wgp.gen["file_list"]] == [wgp.video], "one video, which grows"
    left = [one.name for one in (tmp_path / "outputs").glob(f"*.{container}")]
    assert left == [wgp.video.name], "WanGP's own files are gone"


def test_ten_minutes_of_clicks_stay_in_step(tmp_path):
    clicks = [*range(0, 15_000, 1499), 14_999]
    path = sounds.write(tmp_path / "clicks.wav", sounds.clicks(clicks, 15_000))
    wgp = loop.WanGP(tmp_path / "outputs")
    wgp.tag = lambda path, configs: None
    assert wgp.generate(settings(path)), wgp.error
    frames = loop.shown(wgp)
    assert (len(wgp.made), len(frames)) == (188, 15_041) and clicks_seen(frames) == clicks
    heard = clicks_heard(wgp.video)
    assert len(heard) == len(clicks)
    assert max(abs(one - other) for one, other in zip(heard, clicks, strict=True)) <= 1


def test_stop_resume_redo_and_a_longer_sound(tmp_path):
    short = sounds.write(tmp_path / "short.wav", sounds.speech(200))
    longer = sounds.write(tmp_path / "longer.wav", np.concatenate(
        [sounds.speech(200), sounds.speech(120, seed=4)]))
    wgp = loop.WanGP(tmp_path / "outputs")
    wgp.at_window = lambda number: number == 2 and (wgp.run.folder / STOP).touch()
    assert wgp.generate(settings(short)) and len(loop.shown(wgp)) == 161
    assert wgp.run.about.ended == State.STOPPED and len(wgp.run.about.sound) == 3
    wgp.at_window = lambda number: None
    wgp.forget()
    assert wgp.generate(settings(short)) and wgp.made == [3], "resumed"
    whole, first = loop.shown(wgp), wgp.run
    assert len(whole) == 241 and (whole == loop.in_one_go(tmp_path / "once", settings(short))).all()
    assert first.sound.read_bytes() == short.read_bytes() and first.track.is_file()

    with pytest.raises(StoreError, match="as long as its sound"):
        resuming.extended(first, 2)
    with pytest.raises(StoreError, match="does not begin as that of run"):
        resuming.spoken_on(first, sounds.write(tmp_path / "o.wav", sounds.speech(400, seed=8)))
    with pytest.raises(StoreError, match="is not longer"):
        resuming.spoken_on(first, short)
    spoken = resuming.spoken_on(first, longer)
    assert spoken["custom_settings"]["svi_run"] == f"{first.name}@3", "the sound ended in clip 3"
    wgp.forget()
    assert prepare("multitalk", {}, spoken) == "" and spoken["video_length"] == 321
    assert wgp.generate(spoken), wgp.error
    assert wgp.made == [3, 4] and len(loop.shown(wgp)) == 321
    assert (loop.shown(wgp)[:161] == whole[:161]).all()
    assert (loop.shown(wgp) == loop.in_one_go(tmp_path / "all", settings(longer))).all()
    assert wgp.run.sound.read_bytes() == longer.read_bytes()

    wgp.forget()
    redone = resuming.redone(wgp.run, 3, seed=99)
    assert redone["audio_guide"] == str(wgp.run.sound)
    assert wgp.generate(redone) and wgp.made == [3, 4]


def test_a_loop_of_speech_closes_with_the_longer_sound_and_pauses(tmp_path):
    short = sounds.write(tmp_path / "short.wav", sounds.speech(200))
    longer = sounds.write(tmp_path / "longer.wav", np.concatenate(
        [sounds.speech(200), sounds.speech(120, seed=4)]))
    text = "[all]\npause = yes\n[2]\nprompt = she laughs\n[3]\nend image = loop"
    wgp = loop.WanGP(tmp_path / "outputs")
    assert wgp.generate(settings(short, custom_settings={"svi_storyboard": text}))
    for done in (1, 2):
        assert len(wgp.run.done()) == done and wgp.run.about.ended == State.STOPPED
        assert wgp.generate(resuming.resumed(wgp.run))
    assert wgp.run.about.ended == State.FINISHED and len(loop.shown(wgp)) == 240
    assert [clip.prompt for clip in wgp.run.done()][1] == "she laughs"
    spoken = resuming.spoken_on(wgp.run, longer)
    assert spoken["custom_settings"]["svi_run"] == f"{wgp.run.name}@3"
    assert prepare("multitalk", {}, spoken) == "", "the loop is that of clip 4"
    assert wgp.generate(spoken) and wgp.generate(resuming.resumed(wgp.run))
    assert len(wgp.run.done()) == 4 and len(loop.shown(wgp)) == 320


def test_a_run_named_with_another_sound_is_refused_with_what_to_write(tmp_path):
    short = sounds.write(tmp_path / "short.wav", sounds.speech(200))
    longer = sounds.write(tmp_path / "longer.wav", np.concatenate(
        [sounds.speech(200), sounds.speech(120, seed=4)]))
    wgp = loop.WanGP(tmp_path / "outputs")
    assert wgp.generate(settings(short))
    name = wgp.run.name
    custom = {"svi_run": name}
    assert not wgp.generate(settings(longer, custom_settings=custom))
    assert f"From clip 3 on, run {name} was made with another sound. Write {name}@3" in wgp.error
    wgp.forget()
    assert wgp.generate(settings(longer, custom_settings={"svi_run": f"{name}@3"})), wgp.error
    assert wgp.made == [3, 4]
    assert wgp.generate(settings(longer)) and wgp.run.name != name, "another sound, another run"


# ----------------------------------------------------------------------- what a clip hears

def test_each_clip_of_a_long_sound_hears_its_own_seconds(tmp_path, monkeypatch):
    path = sounds.write(tmp_path / "a.wav", sounds.speech(700))
    whole, pieces = speech.Speech(str(path)), speech.Speech(str(path))
    given = [whole.window(clip) for clip in range(9)]
    embedded = []
    monkeypatch.setattr(speech, "WHOLE", 100)
    monkeypatch.setattr(speech, "AROUND", 10)
    wangps = sys.modules["models.wan.multitalk.multitalk"]
    monkeypatch.setattr(wangps, "get_embedding", lambda one, *others, **options: (
        embedded.append(len(one) // 640) or embed(one)))
    for clip in (8, 0, 3, 8, 1, 2, 4, 5, 6, 7):
        found = pieces.window(clip)
        assert all(torch.equal(one, other) for one, other in zip(found, given[clip], strict=True))
    assert max(embedded) == 81 + 20, "as much for each clip, however long the sound is"
    assert not given[8][1][0, 17:].any(), "silence after the end, as WanGP adds it"
    after = pieces.window(12)  # one window more than the sound has
    assert torch.equal(after[0], whole.window(12)[0])
