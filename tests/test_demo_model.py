"""The demo model in WanGP's list: what is written, what is refused, that all of it is removed."""

import base64
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, safe_open, save_file

from wan2gp_svi import __main__ as command
from wan2gp_svi.demo.in_wangp import finetune, loader, record
from wan2gp_svi.demo.model import (
    ADAPTERS,
    CLIP_DIM,
    VAE_SHAPE,
    WEIGHTS,
    clip_features,
    text_features,
    vae_shape,
)
from wan2gp_svi.demo.model import VAE as SHIPPED_VAE
from wan2gp_svi.demo.world import render, scene
from wan2gp_svi.install import cli
from wan2gp_svi.install.shipped import Distribution
from wan2gp_svi.variants import identify
from wan2gp_svi.wangp.check import findings as checked

VAE, DEFINITION = finetune.VAE, finetune.definition()["model"]
HOOK = "svi = 1  # wan2gp_svi\n"
PATCH = f"""Description: test
--- a/wgp.py
+++ b/wgp.py
@@ -1 +1,2 @@
 window_no = 1
+{HOOK}"""


def write(root, files):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content.encode())


def tree(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() if path.is_file() else None
            for path in root.rglob("*") if "__pycache__" not in path.parts}


@pytest.fixture
def wangp(tmp_path):
    """A WanGP with SVI in it, as far as the command looks."""
    root = tmp_path / "Wän GP (1)"
    write(root, {
        "wgp.py": 'WanGP_version = "12.60"\n"loras_root"\nwindow_no = 1\n' + HOOK,
        "models/wan/any2video.py": "",
        "models/wan/wan_handler.py": "def get_lora_dir(): ...\n", "profiles/wan_i2v/Own.json": "{}",
        "wan2gp_svi/demo/in_wangp/loader.py": "",
        "wan2gp_svi/patches/series": "wgp.patch\n", "wan2gp_svi/patches/wgp.patch": PATCH,
    })
    return root


@pytest.fixture
def weights(tmp_path):
    """Weights of nothing, under the names of the real ones."""
    folder = tmp_path / "weights"
    folder.mkdir()
    text = torch.ones(256, 256, dtype=torch.bfloat16)
    save_file({"text_embedding.0.weight": text}, folder / "small-wan-i2v.safetensors")
    for name in ("small-wan-vae.safetensors", *ADAPTERS.values()):
        save_file({"a": torch.ones(2)}, folder / name)
    return folder


@pytest.fixture
def run(wangp, weights, capsys):
    """The command on that WanGP; gives its exit code and what it said."""
    def go(*options):
        code = command.main(["demo-model", str(wangp), "--weights", str(weights), *options])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return code, said.out + said.err
    return go


def test_what_wangp_needs_is_there_whole(run, wangp):
    code, said = run()
    assert code == 0 and "choose \"SVI-2.0 demo\"" in said
    definition = json.loads((wangp / "finetunes/svi_small.json").read_text(encoding="utf-8"))
    model = definition["model"]
    assert model["architecture"] == "i2v" and model["svi_small"]
    assert model["resolutions"] == [["96x64 (3:2)", "96x64"]]
    for name in (*model["URLs"], *model["VAE_URLs"], *model["text_encoder_URLs"]):
        assert (wangp / "ckpts" / name).is_file()
    transformer = wangp / "ckpts" / model["URLs"][0]
    tensors = load_file(transformer)
    text = tensors["text_embedding.0.weight"]
    assert text.shape == (256, 4096) and text[:, :256].all() and not text[:, 256:].any()
    assert tensors["img_emb.proj.1.weight"].equal(torch.eye(CLIP_DIM, dtype=torch.bfloat16))
    with safe_open(transformer, "pt") as file:
        config = json.loads(base64.b64decode(file.metadata()["config_base64"]))
    assert (config["dim"], config["num_layers"], config["in_dim"]) == (256, 6, 36)
    image = Image.open(io.BytesIO((wangp / definition["image_start"]).read_bytes()))
    assert image.size == (96, 64) and definition["prompt"] in definition["image_start"]


def test_the_profiles_are_for_this_model_alone_and_their_loras_are_known(run, wangp):
    run()
    files = (wangp / "profiles/svi_small").iterdir()
    profiles = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in files}
    assert set(profiles) == set(finetune.PROFILES)
    for title, settings in profiles.items():
        variant = finetune.PROFILES[title]
        assert settings["model_type"] == "svi_small" and settings["sliding_window_size"] == 81
        assert settings["sliding_window_overlap"] == (5 if variant in ("film", "2.0") else 1)
        for name in settings["activated_loras"]:
            assert (wangp / "loras/wan_i2v" / name).is_file() and identify(name).id == variant
        assert bool(settings["activated_loras"]) == bool(variant)
        # "off" is what the user chose, so that the form does not warn of a LoRA that was lost
        assert settings["custom_settings"]["svi_variant"] == ("auto" if variant else "off")
    assert [path.name for path in (wangp / "profiles/wan_i2v").iterdir()] == ["Own.json"]


def test_once_more_changes_nothing_and_remove_takes_back_exactly_what_was_written(run, wangp):
    before = tree(wangp)
    run()
    first = tree(wangp)
    code, said = run()
    assert code == 0 and "already, complete" in said and tree(wangp) == first
    folders = list(record.load(wangp).folders)
    in_order = sorted(folders, key=lambda name: (len(name), name), reverse=True)
    assert folders == in_order, "in one order"
    code, said = run("--remove")
    assert code == 0 and f"was removed from {wangp}." in said and tree(wangp) == before
    assert run("--remove") == (0, f"Nothing to do: the demo model is not in {wangp}.\n")


def test_folders_of_the_users_stay_even_if_empty(run, wangp):
    (wangp / "ckpts").mkdir()
    before = tree(wangp)
    run()
    run("--remove")
    assert tree(wangp) == before


def test_models_and_loras_go_where_wangp_looks_for_them(run, wangp, tmp_path):
    config = {"loras_root": str(tmp_path / "Löras"), "checkpoints_paths": ["models ä", "ckpts"]}
    (wangp / "wgp_config.json").write_text(json.dumps(config), encoding="utf-8")
    before = tree(tmp_path)
    run()
    assert (wangp / "models ä" / finetune.VAE).is_file() and not (wangp / "ckpts").exists()
    assert (tmp_path / "Löras/wan_i2v/small-svi-shot.safetensors").is_file()
    run("--remove")
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", ["finetunes/svi_small.json", f"ckpts/{finetune.VAE}",
                                  "loras/wan_i2v/small-svi-shot.safetensors"])
def test_a_file_of_the_users_is_not_overwritten(name, run, wangp):
    write(wangp, {name: "mine"})
    before = tree(wangp)
    code, said = run()
    assert code == 1 and name in said.replace("\\", "/") and "is there already" in said
    assert tree(wangp) == before


def test_what_the_user_edited_stays(run, wangp):
    run()
    profile = wangp / "profiles/svi_small/SVI-Shot demo.json"
    profile.write_text("{}", encoding="utf-8")
    assert run()[0] == 1
    code, said = run("--remove")
    assert code == 0 and str(profile) in said
    assert [path.name for path in profile.parent.iterdir()] == [profile.name]
    assert not (wangp / "finetunes").exists()


def released_earlier(wangp):
    """Adds a profile under the name that release 1.1 gave it."""
    old = "profiles/svi_small/SVI-Shot small.json"
    entry = json.loads((wangp / record.RECORD).read_text(encoding="utf-8"))
    write(wangp, {old: "old"})
    entry["files"][old] = record.sha256(b"old")
    (wangp / record.RECORD).write_text(json.dumps(entry), encoding="utf-8")
    return wangp / old


def test_an_earlier_releases_files_are_replaced(run, wangp, weights):
    run()
    save_file({"a": torch.zeros(2)}, weights / "small-svi-shot.safetensors")
    old = released_earlier(wangp)
    assert run()[0] == 0
    assert not load_file(wangp / "loras/wan_i2v/small-svi-shot.safetensors")["a"].any()
    assert not old.exists()


def test_an_earlier_releases_files_are_removed(run, wangp):
    before = tree(wangp)
    run()
    released_earlier(wangp)
    assert run("--remove")[0] == 0 and tree(wangp) == before


def test_it_is_all_or_nothing(run, wangp):
    write(wangp, {"profiles/svi_small": "a file where a folder should be"})
    before = tree(wangp)
    code, said = run()
    assert code == 1 and "nothing was changed" in said and tree(wangp) == before


def test_with_a_python_that_lacks_packages_it_says_which_one_to_use(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "wan2gp_svi.demo.model", None)  # as where there is no torch
    code, said = run()
    assert code == 1 and "this Python lacks torch, safetensors or pillow" in said
    assert "run the same command with WanGP's" in said


def test_without_svi_or_with_half_of_it_it_says_what_to_do(run, wangp):
    (wangp / "wgp.py").write_bytes((wangp / "wgp.py").read_bytes().replace(HOOK.encode(), b""))
    assert "SVI does not work in" in run()[1]
    (wangp / "wan2gp_svi/demo/in_wangp/loader.py").unlink()
    code, said = run()
    assert code == 1 and f'python install.py "{wangp}"' in said
    assert not (wangp / "finetunes").exists()
    (wangp / "wgp.py").unlink()
    assert "is not a WanGP folder" in run()[1]


def test_weights_that_are_not_there(run, weights, wangp):
    (weights / "small-wan-vae.safetensors").unlink()
    code, said = run()
    assert code == 1 and f"{weights} lacks small-wan-vae.safetensors: run this in" in said
    assert not (wangp / "finetunes").exists()


def test_start_without_wangps_python(run, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, said = run("--start", "--server-port", "7861")
    assert code == 1 and "use WanGP's Python" in said


def test_start_needs_the_weights_only_once(run, wangp, weights, monkeypatch):
    write(wangp, {"mmgp/__init__.py": ""})
    started = []
    monkeypatch.setattr("subprocess.call", lambda line, cwd: started.append(line[2:]) or 0)
    vae = weights / "small-wan-vae.safetensors"
    away = vae.rename(weights / "away")
    assert run("--start")[0] == 1 and not started
    away.rename(vae)
    assert run()[0] == 0
    vae.unlink()
    assert run("--start", "--process", "settings.json") == (0, "")
    assert started == [["--process", "settings.json"]]


def test_start_with_an_mmgp_that_is_a_folder_of_wangp(run, wangp, monkeypatch):
    (wangp / "mmgp").mkdir()
    (wangp / "mmgp/__init__.py").write_text("", encoding="utf-8")
    started = []
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("subprocess.call",
                        lambda command, cwd: started.append((command[2:], cwd)) or 0)
    code, said = run("--start", "--server-port", "7861")
    assert code == 0 and "Next: on WanGP's page, open its tab SVI" in said
    assert started == [(["--server-port", "7861"], wangp)]


@pytest.mark.skipif(os.name == "nt", reason="Windows ends a program without a word to it")
def test_the_wangp_that_it_started_ends_with_it(run, wangp, tmp_path):
    """Otherwise it keeps its port, and the next one cannot start."""
    assert run()[0] == 0
    write(wangp, {"mmgp/__init__.py": "", "wan2gp_svi/demo/in_wangp/cpu.py":
                  "import os, pathlib, time\n"
                  "pathlib.Path('began').write_text(str(os.getpid()))\ntime.sleep(100)\n"})
    began = wangp / "began"
    line = ["-m", "wan2gp_svi", "demo-model", wangp, "--weights", tmp_path / "weights", "--start"]
    with subprocess.Popen([sys.executable, *line]) as started:
        while not (began.is_file() and began.read_text()):
            assert started.poll() is None
            time.sleep(0.1)
        started.terminate()
    with pytest.raises(ProcessLookupError):
        os.kill(int(began.read_text()), 0)
    assert started.returncode == 128 + signal.SIGTERM


@pytest.mark.skipif(os.name == "nt", reason="sends Ctrl+C to a group of programs")
def test_ctrl_c_lets_the_wangp_that_it_started_end_by_itself(run, wangp, tmp_path):
    assert run()[0] == 0
    write(wangp, {"mmgp/__init__.py": "", "wan2gp_svi/demo/in_wangp/cpu.py":
                  "import sys, time\ntry:\n    print('began', flush=True)\n    time.sleep(100)\n"
                  "except KeyboardInterrupt:\n    time.sleep(1)\n    print('saved its queue')\n"
                  "    sys.exit(130)\n"})
    line = ["-m", "wan2gp_svi", "demo-model", wangp, "--weights", tmp_path / "weights", "--start"]
    with subprocess.Popen([sys.executable, *line], stdout=subprocess.PIPE, encoding="utf-8",
                          stderr=subprocess.STDOUT, start_new_session=True) as started:
        while started.stdout.readline() != "began\n":
            assert started.poll() is None
        os.killpg(started.pid, signal.SIGINT)
        assert started.stdout.read() == "saved its queue\n"
    assert started.returncode == 130


@pytest.mark.parametrize(("end", "code"), [("", 0), ("sys.exit(130)", 130), ("sys.exit()", 0),
                                           ("sys.exit('why')", 1), ("1 / 0", 1)])
def test_wangp_ends_without_an_abort_of_the_threads_that_it_leaves(tmp_path, end, code):
    write(tmp_path, {"torch.py": "class cuda:\n    is_available = staticmethod(lambda: True)\n",
                     "wgp.py": "import atexit, os, sys\n\nclass Thread:\n"
                               "    def __del__(self, write=os.write):\n"
                               "        write(1, b'abort')\n\nsys.left = Thread()\n"
                               f"atexit.register(print, 'saved its queue')\n{end}\n"})
    found = subprocess.run([sys.executable, Path(record.__file__).with_name("cpu.py")],
                           cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)},
                           capture_output=True, encoding="utf-8")
    assert (found.stdout, found.returncode) == ("saved its queue\n", code)
    assert ("ZeroDivisionError" in found.stderr) == (end == "1 / 0")


@pytest.mark.parametrize(("changes", "wanted"), [
    ({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")])
def test_how_threads_wait_is_set_before_torch_reads_it(tmp_path, changes, wanted):
    write(tmp_path, {"torch.py": "import os\nsays = os.environ.get('OMP_WAIT_POLICY')\n"
                                 "class cuda:\n    is_available = staticmethod(lambda: True)\n",
                     "wgp.py": "import torch\nprint(torch.says)\n"})
    kept = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    found = subprocess.run([sys.executable, Path(record.__file__).with_name("cpu.py")],
                           cwd=tmp_path, env={**kept, **changes, "PYTHONPATH": str(tmp_path)},
                           capture_output=True, encoding="utf-8")
    assert (found.stdout, found.stderr) == (f"{wanted}\n", "")


def test_an_uninstallation_takes_it_out_as_well(run, wangp, tmp_path):
    run()
    home = tmp_path / "dist"
    write(home, {"wan2gp_svi/demo/in_wangp/loader.py": "", "patches/series": "wgp.patch\n",
                 "patches/wgp.patch": PATCH})
    assert cli.main([str(wangp), "--uninstall"], home=home) == 0
    assert not list(wangp.rglob("*small*"))


def test_the_weights_are_not_shipped_with_the_package(tmp_path):
    write(tmp_path, {"wan2gp_svi/demo/model.py": "", "patches/series": "",
                     "wan2gp_svi/demo/weights/small-wan-vae.safetensors": "2 MB"})
    assert "wan2gp_svi/demo/model.py" in Distribution(tmp_path, "").files()
    assert not [name for name in Distribution(tmp_path, "").files() if "weights" in name]


@pytest.mark.parametrize("name", ["{outside}", "../mine.txt", "a\\..\\..\\mine.txt"])
def test_a_record_cannot_make_it_delete_files_outside_wangp(run, wangp, tmp_path, name):
    run()
    write(tmp_path, {"mine.txt": "mine"})
    entry = json.loads((wangp / record.RECORD).read_text(encoding="utf-8"))
    entry["files"][name.format(outside=tmp_path / "mine.txt")] = record.sha256(b"mine")
    (wangp / record.RECORD).write_text(json.dumps(entry), encoding="utf-8")
    assert record.load(wangp) == record.Record() and run("--remove")[0] == 0
    assert (tmp_path / "mine.txt").is_file()


def test_a_damaged_record_is_no_record(run, wangp):
    run()
    for text in ("", "{}", "[]", '{"files": {"a": 1}, "folders": []}'):
        (wangp / record.RECORD).write_text(text, encoding="utf-8")
        assert record.load(wangp) == record.Record()
    assert run()[0] == 0, "the files are known by their content"


# ----------------------------------------------------------------------------------- WanGP's loader

@pytest.fixture
def handler(monkeypatch):
    """WanGP's handler of the Wan models, and what the demo model needs of its modules."""
    class Handler:
        @staticmethod
        def load_model(model_filename, model_type, base_model_type, model_def, dtype=None,
                       VAE_dtype=None):
            names = (any2video.T5EncoderModel, any2video.CLIPModel,
                     any2video.fl.locate_file("nowhere"))
            pipe = SimpleNamespace(
                names=names, dtype=VAE_dtype, made=any2video.WanVAE().made,
                model=SimpleNamespace(dim=256, num_heads=4),
                generate=lambda frames: posemb_layers.get_nd_rotary_pos_embed(frames, theta=1))
            return pipe, "offload"

        @staticmethod
        def query_model_files(computeList, base_model_type, model_def=None):
            return ["T5"]

    class WanVAE:
        def __init__(self, vae_pth=None):
            self.made = vae_pth, vae._video_vae(z_dim=16)

    locator = SimpleNamespace(locate_file=lambda name, error_if_none=True:
                              str(WEIGHTS / SHIPPED_VAE) if name == VAE else None)
    any2video = SimpleNamespace(T5EncoderModel="T5", CLIPModel="CLIP", WanVAE=WanVAE, fl=locator)
    vae = SimpleNamespace(WanVAE=WanVAE, _video_vae=lambda **shape: shape)
    posemb_layers = SimpleNamespace(get_nd_rotary_pos_embed=lambda *sizes, **told: (sizes, told))
    for name, members in {"models": {}, "models.wan": {"any2video": any2video},
                          "models.wan.modules": {"vae": vae, "posemb_layers": posemb_layers},
                          "models.wan.wan_handler": {"family_handler": Handler}}.items():
        module = ModuleType(name)
        module.__dict__.update(members)
        monkeypatch.setitem(sys.modules, name, module)
    loader.offer()
    return Handler


def test_the_loader_has_the_stand_ins_for_this_model_and_for_no_other(handler):
    pipe, _ = handler.load_model(["a"], "svi_small", "i2v", DEFINITION, VAE_dtype=torch.float16)
    text, picture, found = pipe.names
    assert (text, picture.func, found) == (loader.Text, loader.Picture, "nowhere")
    assert pipe.dtype == torch.float32
    pictures = [torch.zeros(3, 1, picture().model.image_size, picture().model.image_size)]
    assert picture().visual(pictures).dtype == torch.bfloat16, "as the transformer works"
    assert loader.Picture(features=torch.float16).visual(pictures).dtype == torch.float16
    assert pipe.made == (str(WEIGHTS / SHIPPED_VAE), {"z_dim": 16, **VAE_SHAPE})
    other, _ = handler.load_model(["a"], "i2v", "i2v", {}, VAE_dtype=torch.float16)
    assert other.names == ("T5", "CLIP", None) and other.dtype == torch.float16
    assert other.made == (None, {"z_dim": 16})
    # 24 of a head's 64 for time, 20 for height, 20 for width
    own = {"theta": 1, "head_dim": 64, "rope_dim_list": [24, 20, 20]}
    assert pipe.generate(21) == ((21,), own) and other.generate(21) == ((21,), {"theta": 1})


@pytest.mark.parametrize(("dim", "mult"), [(8, [1, 2, 4, 8]), (16, [1, 2, 2, 2])])
def test_a_vae_of_an_older_demo_model_keeps_its_shape(tmp_path, dim, mult):
    wide = {f"downsamples.{3 * stage}.residual.2": dim * each for stage, each in enumerate(mult)}
    save_file({f"encoder.{name}.weight": torch.zeros(channels, 1) for name, channels in
               {"conv1": dim, **wide}.items()}, tmp_path / "vae.safetensors")
    assert vae_shape(tmp_path / "vae.safetensors") == {"dim": dim, "dim_mult": mult}


def test_nothing_is_downloaded_for_this_model_alone(handler):
    assert handler.query_model_files(list, "i2v", DEFINITION) == []
    assert handler.query_model_files(list, "i2v", {}) == ["T5"]
    assert handler.query_model_files(list, "i2v") == ["T5"]


def test_a_failed_load_leaves_nothing_behind(handler):
    with contextlib.suppress(TypeError):
        handler.load_model(["a"], "svi_small", "i2v", DEFINITION, nonsense=1)
    assert handler.load_model(["a"], "i2v", "i2v", {})[0].names == ("T5", "CLIP", None)


def test_the_stand_ins_are_what_the_model_was_trained_with():
    text, empty = loader.Text(dtype=torch.float32)(["a red ball waits", ""], "cpu")
    assert text.shape == (4, 4096) and not text[:, 256:].any()
    assert text[:, :256].equal(text_features(["a red ball waits"])[0, :4])
    assert empty.shape == (1, 4096)
    frame = render([scene(3)], torch.zeros(1, 1))[:, :, 0]
    enlarged = torch.nn.functional.interpolate(frame, (192, 192), mode="bicubic")
    given, wanted = loader.Picture().visual([enlarged[0][:, None]]).float(), clip_features(frame)
    assert given.shape == (1, 257, 1280) and (given - wanted).norm() / wanted.norm() < 0.02


def test_advice_for_wan_is_not_given_for_the_demo_model():
    inputs = {**finetune.profile("shot"), **finetune.definition(), "video_length": 161,
              "image_start": Image.new("RGB", (480, 320), "blue")}
    findings = checked.check("i2v", DEFINITION, inputs).findings
    assert [finding.text for finding in findings if finding.kind != "adjustment"] == []
    assert checked.check("i2v", {}, inputs).findings != findings


def test_an_image_that_is_too_thin_for_a_video_is_refused():
    inputs = {**finetune.definition(), **finetune.profile("2.0")}
    for size, fit, errors in (((2000, 20), 0, 1), ((20, 2000), 0, 1), ((2000, 40), 0, 0),
                              ((2000, 40), 1, 1), ((2000, 200), 1, 0), ((2000, 20), 2, 0)):
        image = Image.new("RGB", size, "red")
        found = checked.check("i2v", DEFINITION, {**inputs, "image_start": image},
                              {"fit_canvas": fit}).errors
        assert len(found) == errors and all("too thin (" in text for text in found)


@pytest.mark.parametrize(("changes", "wanted"), [
    ({"prompt": "\n\n".join(["a ball waits"] * 10)}, "prompts: there are 10 prompts for 2 clips"),
    ({"image_start": Image.new("RGB", (480, 200), "red")}, "image-shape: WanGP crops"),
    ({"loras_multipliers": "0.5"}, "svi-strength: small-svi-2-wan21.safetensors has a strength of"),
    ({"skip_steps_cache_type": "tea"}, "step-skipping: TeaCache guesses"),
    ({"motion_amplitude": 1.2}, "motion-amplitude: a motion amplitude above 1"),
])
def test_advice_that_holds_for_the_demo_model_is_given(changes, wanted):
    inputs = {**finetune.definition(), **finetune.profile("2.0"), "video_length": 157,
              "image_start": Image.new("RGB", (480, 320), "blue")} | changes
    server = {"fit_canvas": 2}
    said, = [f"{finding.id}: {finding.text}" for finding in
             checked.check("i2v", DEFINITION, inputs, server).findings if finding.kind == "warning"]
    assert said.startswith(wanted)
