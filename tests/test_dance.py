"""SVI-Dance without WanGP: poses, skeletons, and runs that follow them in the stand-in for WanGP's
loop."""

from __future__ import annotations

import base64
import gc
import io
import json
import re
import sys
import weakref
from pathlib import Path
from types import SimpleNamespace

import loop
import numpy as np
import pytest
import sounds
import torch
import videos
from PIL import Image
from poses import HANDS, NOBODY, ONE, TWO, Wholebody, stand_ins, write
from safetensors.torch import load_file

from wan2gp_svi import chain, poses, skeleton, storyboard
from wan2gp_svi.runs.record import StoreError
from wan2gp_svi.runs.state import State
from wan2gp_svi.runs.store import STOP
from wan2gp_svi.text import count
from wan2gp_svi.wangp import dance, form_line, pose_video, resuming
from wan2gp_svi.wangp.check.findings import check
from wan2gp_svi.wangp.form import SettingsError
from wan2gp_svi.wangp.handler import prepare
from wan2gp_svi.wangp.tab import pose_preview

GOLDEN = Path(__file__).parent / "golden"
CASES = {case["name"]: case for case in
         json.loads((GOLDEN / "index.json").read_text(encoding="utf-8"))}
PREFIX = "dwpose_embedding."


def golden(name: str) -> dict[str, torch.Tensor]:
    return load_file(GOLDEN / CASES[name]["file"])


def network(data: dict[str, torch.Tensor]) -> poses.PoseNetwork:
    return poses.PoseNetwork({name.removeprefix(PREFIX): tensor for name, tensor in data.items()
                              if name.startswith(PREFIX)})


# ------------------------------------------------------------------------------- the pose network

@pytest.mark.parametrize("at_once", [1, 3, 4, 21])
@pytest.mark.parametrize("name", ["dance_pose_81", "dance_pose_wide_later_clip"])
def test_tokens_are_what_the_authors_network_gave(name, at_once):
    case, data = CASES[name], golden(name)
    made = network(data)
    read = made.read(data["pose"], at_once=at_once)
    before = torch.randn(2, 64, *case["grid"])
    tokens = (made.add(before.clone(), read) - before).flatten(2).transpose(1, 2)
    for one in tokens:  # both branches
        torch.testing.assert_close(one, data["tokens"], rtol=0, atol=10 * case["float32_error"])


@pytest.mark.parametrize("frames", [1, 5, 9, 33])
def test_pieces_are_the_whole_whatever_the_number_of_frames(frames):
    made = network(golden("dance_pose_81"))
    pose = torch.randint(0, 256, (frames, 32, 16, 3), dtype=torch.uint8,
                         generator=torch.Generator().manual_seed(frames))
    whole = made.read(pose, at_once=99)
    assert whole.shape == (16, (frames + 3) // 4, 4, 2)
    for at_once in (1, 2, 3):
        torch.testing.assert_close(made.read(pose, at_once=at_once), whole, rtol=1e-5, atol=1e-4)


def test_a_network_that_is_another_is_refused():
    data = golden("dance_pose_81")
    assert network(data).dim == 64
    with pytest.raises(ValueError, match=r"lacks 4\.bias"):
        network({name: tensor for name, tensor in data.items() if name != f"{PREFIX}4.bias"})
    with pytest.raises(ValueError, match=r"has the shape \(16, 3, 1, 1, 1\)"):
        network({**data, f"{PREFIX}0.weight": torch.zeros(16, 3, 1, 1, 1)})
    with pytest.raises(ValueError, match="80 pose frames of 48x64"):
        network(data).read(data["pose"][:80])


def test_poses_are_read_and_fitted_whatever_torchs_default_device_is():
    data = golden("dance_pose_81")
    network_, frames = network(data), data["pose"][:5].clone()
    wanted = network_.read(frames), poses.fit(frames[0], 48, 32)
    with torch.device("meta"):  # on a user's machine, mmgp makes the card the default
        assert torch.equal(network_.read(frames), wanted[0])
        assert torch.equal(poses.fit(frames[0], 48, 32), wanted[1])


# ------------------------------------------------------------------------------- poses of a clip

@pytest.mark.parametrize(("length", "overlap"), [(50, 1), (81, 1), (223, 1), (223, 5)])
def test_no_pose_comes_twice(length, overlap):
    """The authors' first clip, and their later ones without the pose that they give twice."""
    theirs = golden("dance_pose_indices")[f"length_{length}_motion_{overlap}"].tolist()
    ours = [chain.pose_indices(clip, length, overlap) for clip in range(4)]
    assert ours[0] == theirs[0]
    for clip, (one, other) in enumerate(zip(ours[1:], theirs[1:], strict=True), 1):
        late = [(at - 1) % length for at in one]
        assert other == (one[:overlap] + late[overlap:] if clip == 1 else late)
    video = [*ours[0], *(at for clip in ours[1:] for at in clip[overlap:])]
    assert video == [at % length for at in range(len(video))]


# ------------------------------------------------------------------------------------ skeletons

DRAWN = ["dance_draw_tall", "dance_draw_wide"]


@pytest.mark.parametrize("name", DRAWN)
def test_the_skeleton_is_the_trainings_byte_for_byte(name):
    pytest.importorskip("cv2", reason="draws with OpenCV, as WanGP does")
    data = {key: tensor.numpy() for key, tensor in golden(name).items()}
    height, width, _ = data["seen"].shape
    one = skeleton.person(data["keypoints_134"][0], data["scores_134"][0], height, width)
    np.testing.assert_allclose(one.joints, data["candidate"], rtol=0, atol=1e-15)
    assert (one.hands == data["hands"]).all()
    drawn = skeleton.draw(one, height, width)
    assert (drawn == data["seen"]).all() and (drawn[..., ::-1] == data["drawn"]).all()


@pytest.mark.parametrize("name", DRAWN)
def test_a_picture_is_fitted_into_a_size_byte_for_byte(name):
    data = golden(name)
    for key in (key for key in data if key.startswith("resized_")):
        height, width = map(int, key.removeprefix("resized_").split("x"))
        assert torch.equal(poses.fit(data["seen"], height, width), data[key])
    assert torch.equal(poses.fit(data["seen"], *data["seen"].shape[:2]), data["seen"])


# --------------------------------------------------------------------------------- the pose video

OFFERS = {"guide_preprocessing": {"selection": ["V"]}}


def asked(path: Path | None, **changes) -> dict:
    return {"video_guide": path and str(path), "video_prompt_type": "V", "image_prompt_type": "S",
            "image_start": object(), "activated_loras": ["svi-dance.safetensors"],
            "video_length": 162, "prompt": "a", "resolution": "64x64", "force_fps": "",
            "custom_settings": None, **changes}


def said(path: Path | None, **changes) -> dict[str, str]:
    found = check("i2v", OFFERS, asked(path, **changes)).findings
    return {one.id: one.text for one in found if one.kind != "adjustment"
            and one.id in ("pose-video", "pose-shape", "pose-length", "talk-dance")}


BAD = {
    "a missing file": (lambda path: path, "there is no pose video"),
    "an empty file": (lambda path: path.write_bytes(b"") and None or path, "cannot be read"),
    "a corrupt file": (lambda path: path.write_bytes(bytes(range(256)) * 40) and path,
                       "cannot be read as a video"),
    "a file cut off": (lambda path: path.write_bytes(write(path, 5).read_bytes()[:40]) and path,
                       "cannot be read as a video"),
    "a sound": (lambda path: sounds.write(path, sounds.speech(20)), "cannot be read as a video"),
    "no frames": (lambda path: videos.ffmpeg("-i", write(path, 5), "-frames:v", 0, "-f", "mp4",
                                             path.with_name("no.mp4")) and None
                  or path.with_name("no.mp4"), "holds no video"),
    "a track without frames": (lambda path: videos.ffmpeg(
        "-i", write(path, 5), "-c", "copy", "-frames:v", 0, path.with_name("no.avi")) and None
        or path.with_name("no.avi"), "has no frames"),
    "a dancer instead of a skeleton": (
        lambda path: videos.write(path, videos.noise(20) // 2 + 100),
        "If it shows a dancer, choose"),
    "a list of other files": (
        lambda path: path.write_text("#EXTM3U\nhttp://localhost/a.mp4\n") and path,
        "cannot be read"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_pose_video_is_refused_before_the_model_is_loaded(what, tmp_path):
    make, words = BAD[what]
    found = said(make(tmp_path / "bad.mp4"))
    assert words in found["pose-video"] and found.keys() <= {"pose-video", "pose-length"}
    assert found["pose-video"].endswith(".")


def test_hdr_is_refused(tmp_path):
    plain = write(tmp_path / "a.mp4", 5)
    hdr = tmp_path / "hdr.mp4"
    videos.ffmpeg("-i", plain, "-vf", "setparams=color_trc=smpte2084", "-pix_fmt", "yuv420p",
                  "-c:v", "libx264", "-color_trc", "smpte2084", hdr)
    assert said(plain).keys() == {"pose-length"}
    for letters in ("V", "PV", "OV"):  # skeletons, or a person
        assert "is in HDR" in said(hdr, video_prompt_type=letters)["pose-video"]


def test_without_a_pose_video(tmp_path):
    for none in (asked(None), asked(tmp_path, video_prompt_type="")):
        found = check("i2v", OFFERS, none)
        assert "needs a pose video" in found.errors[0]
    assert "Choose the model SVI-Dance" in check("i2v", {}, asked(None)).errors[0]
    stock = check("i2v", {}, asked(None, video_prompt_type=""))
    assert not stock.errors, "SVI-Dance without poses, as in training: nothing is added"
    texts = {one.id: one.text for one in stock.findings}
    assert "Choose the model SVI-Dance" in texts["talk-dance"]


@pytest.fixture
def detector(monkeypatch) -> SimpleNamespace:
    """WanGP's detector of poses. `missing` are the files that it lacks."""
    pytest.importorskip("cv2", reason="draws with OpenCV, as WanGP does")
    found = SimpleNamespace(missing=())
    for name, module in stand_ins(found).items():
        monkeypatch.setitem(sys.modules, name, module)
    return found


def filmed(path: Path, *brightness: int, number: int = 90, shape: tuple[int, int] = (192, 128)
           ) -> Path:
    """A video of a person; `brightness` is that of its first frames."""
    frames = np.full((number, *shape, 3), ONE, np.uint8)
    frames[: len(brightness)] = np.array(brightness, np.uint8).reshape(-1, 1, 1, 1)
    return videos.write(path, frames, videos.EXACT, 25)


def test_the_poses_of_a_person_are_found_and_drawn_as_in_training(tmp_path, detector, capsys):
    path = filmed(tmp_path / "person.mp4", ONE, TWO, TWO, ONE, NOBODY, NOBODY, HANDS)
    assert said(path, video_prompt_type="PV").keys() == {"pose-length", "pose-shape"}
    inputs = asked(path, video_prompt_type="APV|")
    assert prepare("i2v", OFFERS, inputs) == "" and inputs["video_prompt_type"] == "PV"
    told: list[str] = []
    clip = dance.Poses(str(path), 96, 160, 1, dance.detector, tell=told.append).clip(0)
    wanted = golden("dance_draw_tall")["resized_96x160"]
    for number, pose in enumerate(clip):
        assert torch.equal(pose, torch.zeros_like(wanted) if 4 <= number < 7 else wanted), number
    assert told == ["clip 1: no person was found in 3 of 81 frames, and the pose is empty there."]
    assert "clip 1: there are several people in 2 of 81 frames" in capsys.readouterr().out


def test_the_detector_takes_no_memory_between_clips(tmp_path, detector):
    loaded = []

    def load() -> dance.Detect:
        found = dance.detector()
        loaded.append(weakref.ref(found))
        return found

    poses = dance.Poses(str(filmed(tmp_path / "a.mp4", number=170)), 96, 160, 1, load)
    for clip in (0, 1):
        poses.clip(clip)
        gc.collect()
        assert len(loaded) == clip + 1 and loaded[-1]() is None


def test_a_detector_that_is_not_there_is_said(tmp_path, detector, monkeypatch):
    poses = dance.Poses(str(filmed(tmp_path / "a.mp4")), 96, 160, 1, dance.detector)
    detector.missing = ("pose/yolox_l.onnx",)
    with pytest.raises(SettingsError, match="has not downloaded its detector of poses yet"):
        poses.clip(0)
    monkeypatch.setitem(sys.modules, "preprocessing.dwpose.wholebody", None)
    with pytest.raises(SettingsError, match="detector of poses cannot be loaded .* Use a pose"):
        poses.clip(0)


def test_a_video_without_a_person_is_refused_in_its_first_clip(tmp_path, detector):
    path = filmed(tmp_path / "a.mp4", *[NOBODY] * 81, number=170)
    poses = dance.Poses(str(path), 96, 160, 1, dance.detector)
    with pytest.raises(SettingsError, match="No person was found in the first clip of a.mp4"):
        poses.clip(0)
    assert poses.clip(1).any(), "the person comes in the second"
    empty = dance.Poses(str(filmed(tmp_path / "b.mp4", *[ONE] * 81, *[NOBODY] * 89, number=170)),
                        96, 160, 1, dance.detector)
    assert empty.clip(0).any() and not empty.clip(1)[1:].any(), "what is made stays"


@pytest.mark.parametrize(("people", "sentences"), [
    ([1, 1, 1], []),
    ([0, 0, 0], ["no person was found in any of 3 frames"]),
    ([1, 0, 1], ["no person was found in 1 of 3 frames"]),
    ([0, 1, 0, 0], ["leaves the picture: nobody was found in the last 2 of 4 frames",
                    "no person was found in 1 of 4 frames"]),
    ([1, 0], ["nobody was found in the last 1 of 2 frames"]),
    ([2, 1, 3], ["several people in 2 of 3 frames"]),
])
def test_what_is_said_about_people(people, sentences):
    said = list(pose_video.about_people(people))
    assert len(said) == len(sentences)
    assert all(words in one for words, one in zip(sentences, said, strict=True))


# ------------------------------------------------------------------ the dancer's place in the image

def golden_person() -> skeleton.Person:
    data = {key: tensor.numpy() for key, tensor in golden("dance_draw_tall").items()}
    height, width, _ = data["seen"].shape
    return skeleton.person(data["keypoints_134"][0], data["scores_134"][0], height, width)


def test_aligned_poses_are_asked_for_by_wangps_own_letter_and_make_another_run(tmp_path, detector):
    path = filmed(tmp_path / "a.mp4", number=100)
    wgp = loop.WanGP(tmp_path / "outputs")

    assert wgp.generate(settings(path, 1, video_prompt_type="PV")), wgp.error
    custom = {"svi_run": wgp.run.name}
    aligned = settings(path, 1, video_prompt_type="OV", custom_settings=custom)
    assert aligned["video_prompt_type"] == "OV"
    assert not wgp.generate(aligned) and "poses aligned true (it has false)" in wgp.error
    nobody = Image.new("RGB", (loop.SIDE, loop.SIDE), (50, 50, 50))
    assert not wgp.generate(aligned | {"custom_settings": None, "image_start": nobody})
    assert "cannot be moved to the person in the start image" in wgp.error
    assert wgp.generate(aligned | {"custom_settings": None}), wgp.error  # its picture is bright
    made = wgp.run
    assert made.about.decides["poses aligned"] and len(made.done()) == 1
    wgp.forget()
    longer = resuming.extended(made, 1)
    assert longer["video_prompt_type"] == "OV" and wgp.generate(longer) and wgp.made == [2]


def test_a_dancer_is_moved_to_where_another_person_stands():
    other, scale, shift = golden_person(), 0.6, np.array([0.1, 0.25])
    small = other.moved(scale, shift)
    back = small.moved(*skeleton.placement(skeleton.torso(small, 300, 200),
                                           skeleton.torso(other, 300, 200)))
    seen = (other.joints >= 0).all(1)
    assert (~seen).any() and np.allclose(back.joints, other.joints)
    assert np.allclose(back.hands, other.hands)
    joints = other.joints.copy()
    joints[8] = -1
    assert skeleton.torso(skeleton.Person(joints, other.hands), 300, 200) is None, "a hip is unseen"


def test_a_person_in_the_middle_of_a_wider_picture():
    joints = np.full((20, 2), 0.0)
    joints[1], joints[2] = (1.0, 0.5), -1
    one = skeleton.fitted(skeleton.Person(joints, np.full((2, 21, 2), -1.0)), (100, 50), (200, 400))
    assert one.joints[0].tolist() == [0.375, 0] and one.joints[1].tolist() == [0.625, 0.5]
    assert one.joints[2].tolist() == [-1, -1] and (one.hands == -1).all()


def test_the_skeleton_stands_where_the_person_in_the_image_does(tmp_path, detector):
    path, size = filmed(tmp_path / "a.mp4", NOBODY, ONE), (192, 128)
    image = torch.full((*size, 3), ONE, dtype=torch.uint8)
    plain = dance.Poses(str(path), *size, 1, dance.detector).clip(0)
    same = dance.Poses(str(path), *size, 1, dance.detector, image).clip(0)
    assert torch.equal(plain, same), "the person in the image is the dancer"
    wide = torch.zeros((192, 384, 3), dtype=torch.uint8)
    wide[96:, :64] = ONE  # half as large, in the lower left corner
    moved = dance.Poses(str(path), 192, 384, 1, dance.detector, wide).clip(0)[1]
    rows, columns = moved.amax(-1).nonzero().T
    others, beside = plain[1].amax(-1).nonzero().T
    for found, wanted in ((rows, others / 2 + 96), (columns, beside / 2)):
        assert abs(found.min() - wanted.min()) < 4 and abs(found.max() - wanted.max()) < 4
    with pytest.raises(SettingsError, match="not seen in the image"):
        dance.Poses(str(path), *size, 1, dance.detector, torch.zeros_like(image)).clip(0)
    empty = filmed(tmp_path / "b.mp4", *[NOBODY] * 90)
    with pytest.raises(SettingsError, match="not seen in the pose video"):
        dance.Poses(str(empty), *size, 1, dance.detector, image).clip(0)


def test_another_shape_and_an_early_end_are_warned_about(tmp_path):
    assert said(write(tmp_path / "a.mp4", 161)) == {}
    short = said(write(tmp_path / "b.mp4", 100))["pose-length"]
    assert "100 poses, and the video 161 frames" in short
    assert "set 81 frames, 1 clip, to end with it" in short
    wide = write(tmp_path / "c.mp4", 161)
    other = {kind: said(wide, resolution="832x480", image_start="", video_prompt_type=kind)
             for kind in ("V", "PV", "OV")}
    assert "has 64x64, and the video the shape of 832x480" in other["V"]["pose-shape"]
    assert "or have the poses aligned" not in other["V"]["pose-shape"]
    assert "or have the poses aligned with the image." in other["PV"]["pose-shape"]
    assert "pose-shape" not in other["OV"], "it has no bars"


@pytest.mark.parametrize(("poses", "frames", "clips"), [
    (50, 405, 1), (81, 405, 1), (160, 405, 1), (161, 405, 2), (200, 405, 2), (241, 162, 2)])
def test_the_video_ends_with_the_pose_video_if_that_is_chosen(tmp_path, poses, frames, clips):
    path = write(tmp_path / "a.mp4", poses)
    inputs = asked(path, video_length=frames, video_prompt_type="V|")  # WanGP's "Capped By"
    checked = check("i2v", OFFERS, inputs)
    line = form_line.words(checked, inputs, False)
    assert line[0].startswith(f"SVI-Dance: {count(clips, 'clip')}, {80 * clips + 1} frames")
    assert ("It has as many clips as the poses fill." in line) == (frames == 405)
    texts = {one.id: one.text for one in checked.findings}
    assert f"as long as the pose video: {count(clips, 'whole clip')}" in texts["frames"]
    assert ("pose-length" in texts) == (poses < 81), "else none comes twice"
    assert prepare("i2v", OFFERS, inputs) == ""
    assert (inputs["video_length"], inputs["video_prompt_type"]) == (80 * clips + 1, "V")
    more = inputs | {"video_length": frames}
    assert prepare("i2v", OFFERS, more) == "" and more["video_length"] == (401, 161)[frames < 405]


def test_the_settings_follow_the_training(tmp_path):
    path = write(tmp_path / "a.mp4", 161)
    inputs = asked(path, force_fps="16", video_prompt_type="V|", keep_frames_video_guide="1:20")
    checked = check("i2v", OFFERS, inputs)
    assert checked.plan.fps == 25
    assert "25 frames a second, as SVI-Dance was" in {one.id: one.text for one in checked.findings
                                                      }["frame-rate"]
    assert prepare("i2v", OFFERS, inputs) == ""
    assert (inputs["force_fps"], inputs["video_prompt_type"]) == ("25", "V")
    assert inputs["keep_frames_video_guide"] == "" and inputs["video_length"] == 161


@pytest.mark.parametrize(("fps", "shown"), [
    (25, [0, 1, 2, 3, 79, 80]), (50, [0, 2, 4, 6, 158, 160]), (12.5, [0, 0, 1, 1, 39, 40])])
def test_poses_keep_the_tempo_of_the_dance(tmp_path, fps, shown):
    path = write(tmp_path / "a.mp4", 200, fps)
    assert pose_video.find(path).poses == {25: 200, 50: 100, 12.5: 400}[fps]
    clip = dance.Poses(str(path), 64, 64, 1).clip(0)
    assert clip.shape == (81, 64, 64, 3)
    assert clip[0, 22, 22].tolist() == [60, 250, 130], "in the file's order of channels"
    assert (clip[[0, 1, 2, 3, 79, 80], 0, 0, 0] - 1).tolist() == shown


def test_a_pose_video_that_ends_early_says_where(tmp_path):
    path = write(tmp_path / "a.mp4", 100)
    found = dance.Poses(str(path), 64, 64, 1)
    write(path, 90)
    held = found.clip(0), found.clip(1)[:20]
    assert (torch.cat([held[0], held[1][1:]])[:, 0, 0, 0] - 1).tolist() == [
        *range(90), *[89] * 10], "the last pose, for less than a second"
    found = dance.Poses(str(path), 64, 64, 1)
    write(path, 50)
    with pytest.raises(SettingsError, match="cannot be read after frame 50 of 90"):
        found.clip(0)


# ------------------------------------------------------------------------------------ the preview

def previewed(path: Path | None, **changes) -> tuple[list[str], str, list[np.ndarray]]:
    """What the preview yields: how far it is, its text, and its pictures."""
    *progress, html = pose_preview.preview("i2v", OFFERS, asked(path, **changes))
    pictures = [np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
                for data in re.findall("base64,([^']*)'", html)]
    return progress, html, pictures


def test_the_preview_shows_the_poses_of_each_clip_as_the_model_sees_them(tmp_path):
    path = write(tmp_path / "a.mp4", 100)
    progress, html, pictures = previewed(path, resolution="32x16", image_start="")
    assert "SVI-Dance: 2 clips, 161 frames, 6.4 s.<br>Add a start image. To start" in html
    assert "The pose video has 100 poses, and the video 161 frames" in html
    assert "person" not in html, "nobody looks for people"
    shown = pose_preview.spread(161)
    assert (len(shown), shown[0], shown[-1]) == (48, 0, 160) and len(pictures) == 48
    assert shown == sorted(set(shown)) and max(np.diff(shown)) == 4
    assert all(picture.shape[:2] == (pose_preview.HEIGHT, 2 * pose_preview.HEIGHT)
               for picture in pictures), "the video's shape, with black bars"
    middle = [int(picture[10, pose_preview.HEIGHT // 2 + 10, 0]) - 1 for picture in pictures]
    assert middle == [at % 100 for at in shown], "it goes round"
    assert not any(picture[:, : pose_preview.HEIGHT // 2 - 1].any() for picture in pictures)
    captions = re.findall("<figcaption[^>]*>([^<]*)<", html)
    assert captions[0] == "clip 1, 0.0 s" and captions[-1] == "clip 2, 6.4 s"
    assert [one.startswith("clip 1") for one in captions] == [at < 80 for at in shown]
    assert "<progress value='1.000'" in progress[-1] and f"{len(progress)} of" in progress[-1]
    assert pose_preview.spread(5) == [0, 1, 2, 3, 4] and pose_preview.spread(1) == [0]


def test_the_preview_finds_people_on_the_cpu_and_says_where_there_are_none(
        tmp_path, detector, monkeypatch):
    devices = []
    monkeypatch.setattr(sys.modules["preprocessing.dwpose.wholebody"], "Wholebody",
                        lambda *given: devices.append(given[-1]) or Wholebody(*given))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    path = filmed(tmp_path / "a.mp4", *[TWO] * 40, *[ONE] * 60, number=161)
    image = Image.new("RGB", (128, 192), "white")
    for kind in ("PV", "OV"):
        _, html, pictures = previewed(path, resolution="128x192", image_start=[(image, "")],
                                      video_prompt_type=kind)
        assert len(pictures) == 49 and "on your image" in html
        assert (pictures[0] == 255).mean() > 0.7 and not (pictures[1] == 255).mean() > 0.1
        assert "There are several people in 12 of 48 frames" in html
    assert set(devices) == {"cpu"}, "WanGP may be making a video on the card"
    nobody = filmed(tmp_path / "b.mp4", *[NOBODY] * 161, number=161)
    assert "No person was found in any of 48 frames" in previewed(nobody, video_prompt_type="PV")[1]
    detector.missing = ("pose/yolox_l.onnx",)
    with pytest.raises(SettingsError, match="has not downloaded its detector"):
        previewed(path, video_prompt_type="PV")
    with pytest.raises(SettingsError, match="Add a start image first"):
        previewed(path, video_prompt_type="OV", image_start=None)


@pytest.mark.parametrize(("model_def", "changes", "error", "words"), [
    (OFFERS, {}, SettingsError, "there is no pose video"),
    (OFFERS, dict(video_guide=None), SettingsError, "needs a pose video"),
    (OFFERS, dict(video_length="x"), SettingsError, "frames are not possible"),
    (OFFERS, dict(activated_loras=[]), StoreError, "the form is not set for SVI-Dance"),
    (OFFERS, dict(activated_loras=["svi-shot.safetensors"]), StoreError, "Choose its profile"),
    ({}, dict(video_prompt_type=""), StoreError, "add a control video"),
])
def test_the_preview_says_what_it_lacks(tmp_path, model_def, changes, error, words):
    inputs = asked(tmp_path / "none.mp4", **changes)
    with pytest.raises(error, match=words):
        list(pose_preview.preview("i2v", model_def, inputs))


# ------------------------------------------------------------------------------ in WanGP's loop

def settings(path: Path, clips: int, **changes) -> dict:
    made = loop.settings("dance", clips, **{"video_guide": str(path), "video_prompt_type": "V",
                                            "force_fps": "25", **changes})
    assert prepare("i2v", OFFERS, made) == ""
    return made


def danced(frames: np.ndarray) -> list[int]:
    """The pose that each frame shows, counted from 0."""
    return (frames[:, 1, 1, 0].astype(int) - 1).tolist()


def test_rows_of_a_storyboard_move_no_pose(tmp_path):
    other = tmp_path / "other.png"
    Image.new("RGB", (loop.SIDE, loop.SIDE), "red").save(other)
    text = (f"[2]\nprompt = she turns\nseed = 5\nreference = {other}\nguidance = 3\n"
            f"[3]\nnew shot = yes\nreference = {other}\nend image = loop")
    wgp, clips = loop.WanGP(tmp_path / "outputs"), []
    wgp.pipe.before = lambda window: clips.append(wgp.pipe.svi.clip) or True
    custom = {"svi_storyboard": text}
    asked = settings(write(tmp_path / "a.mp4", 250), 3, custom_settings=custom)
    assert wgp.generate(asked), wgp.error
    assert danced(loop.shown(wgp)) == [*range(240)]  # the loop leaves its last frame out
    assert [clip.seed for clip in clips] == [7, 5, 91] and clips[1].reference[0].eq(1).all()
    assert clips[2].motion_frames[0].eq(1).all() and clips[2].end is not None
    run = wgp.run
    wgp.forget()
    board = storyboard.parse(run.about.settings["custom_settings"]["svi_storyboard"])
    again = resuming.restaged(run, storyboard.edited(board, [2], seed=8), 3)
    assert again["custom_settings"]["svi_run"] == f"{run.name}@3"
    assert prepare("i2v", OFFERS, again) == "" and wgp.generate(again), wgp.error
    assert wgp.made == [3] and danced(loop.shown(wgp)) == [*range(240)]


def test_stop_resume_redo_and_extend(tmp_path):
    path = write(tmp_path / "a.mp4", 200)
    wgp = loop.WanGP(tmp_path / "outputs")
    wgp.at_window = lambda number: number == 2 and (wgp.run.folder / STOP).touch()
    assert wgp.generate(settings(path, 3)) and danced(loop.shown(wgp)) == [*range(161)]
    assert wgp.run.about.ended == State.STOPPED
    wgp.at_window = lambda number: None
    wgp.forget()
    assert wgp.generate(settings(path, 3)) and wgp.made == [3], "resumed"
    whole, first = loop.shown(wgp), wgp.run
    assert danced(whole) == [at % 200 for at in range(241)], "no pose twice; it goes round"
    assert (whole == loop.in_one_go(tmp_path / "once", settings(path, 3))).all()
    assert first.poses.read_bytes() == path.read_bytes() and first.about.fps == 25

    path.unlink()  # the run has a copy
    extended = resuming.extended(first, 1)
    assert extended["video_guide"] == str(first.poses)
    wgp.forget()
    assert prepare("i2v", OFFERS, extended) == "" and wgp.generate(extended), wgp.error
    assert wgp.made == [4] and danced(loop.shown(wgp)) == [at % 200 for at in range(321)]
    wgp.forget()
    redone = resuming.redone(wgp.run, 3, seed=99)
    assert wgp.generate(redone), wgp.error
    assert wgp.made == [3, 4] and danced(loop.shown(wgp)) == [at % 200 for at in range(321)]


def test_poses_have_the_size_of_the_video(tmp_path):
    wgp = loop.WanGP(tmp_path / "outputs")
    image = Image.fromarray(videos.noise(1)[0]).resize((32, 16))
    path = write(tmp_path / "a.mp4", 100)
    assert wgp.generate(settings(path, 1, image_start=image)), wgp.error
    assert loop.shown(wgp).shape == (81, 16, 32, 3)


def test_skeletons_as_they_are_and_found_ones_are_two_runs(tmp_path, detector):
    path = write(tmp_path / "a.mp4", 100)
    wgp = loop.WanGP(tmp_path / "outputs")
    assert wgp.generate(settings(path, 1))
    custom = {"svi_run": wgp.run.name}
    assert not wgp.generate(settings(path, 2, video_prompt_type="PV", custom_settings=custom))
    assert "poses found true (it has false)" in wgp.error


def test_another_pose_video_is_another_run(tmp_path):
    one, other = write(tmp_path / "a.mp4", 200), write(tmp_path / "b.mp4", 200, first=3)
    wgp = loop.WanGP(tmp_path / "outputs")
    assert wgp.generate(settings(one, 1))
    name = wgp.run.name
    assert not wgp.generate(settings(other, 2, custom_settings={"svi_run": name}))
    assert "not fit together: another pose video. Set" in wgp.error
    assert wgp.generate(settings(other, 2)) and wgp.run.name != name


def test_without_poses_nothing_is_added(tmp_path):
    wgp = loop.WanGP(tmp_path / "outputs")
    assert wgp.generate(loop.settings("dance", 1, force_fps="25")), wgp.error
    assert wgp.pipe.svi.clip.video.poses is None and wgp.run.poses is None


def test_the_poses_go_into_each_branch_of_generate_and_nowhere_else(tmp_path, monkeypatch):
    data = golden("dance_pose_81")
    made, layer = network(data), torch.nn.Conv3d(4, 64, (1, 2, 2), (1, 2, 2))
    given = torch.randn(1, 4, 21, 8, 6)
    plain = layer(given)
    pipe = loop.Pipe()
    pipe.model = torch.nn.Module()
    pipe.model.patch_embedding, pipe.model.svi_pose_network = layer, made
    clip = SimpleNamespace(number=2, video=SimpleNamespace(
        poses=SimpleNamespace(clip={2: data["pose"]}.__getitem__)))
    with torch.no_grad():
        dance.expect_tokens(pipe, clip, torch.device("cpu"))
        for _ in range(2):
            tokens = (layer(given) - plain).flatten(2)[0].T
            torch.testing.assert_close(tokens, data["tokens"], rtol=0, atol=2e-4)
        pipe.svi.dancing.remove()
        assert torch.equal(layer(given), plain)
        del pipe.model.svi_pose_network
        with pytest.raises(SettingsError, match="lacks its pose network"):
            dance.expect_tokens(pipe, clip, torch.device("cpu"))
        clip.video.poses = None
        dance.expect_tokens(pipe, clip, torch.device("cpu"))
        assert torch.equal(layer(given), plain), "no pose, no network"
