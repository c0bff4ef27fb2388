"""Downloads of LoRA files, with the real huggingface_hub client and a local stand-in server."""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from wan2gp_svi.install import Refused, loras
from wan2gp_svi.variants import LORA_REPO, VARIANTS

REPO = Path(__file__).resolve().parents[1]
SOURCE = "version-1.0/svi-shot.safetensors"
CONTENT = hashlib.shake_128(b"svi").digest(24_000_000)  # the client reads in pieces of 10 MB

needs_client = pytest.mark.skipif(
    importlib.util.find_spec("huggingface_hub") is None, reason="pip install huggingface_hub"
)


class Hub:
    """The server: `files` by path. After `stop_after` bytes of an answer it stops, and is down."""

    def __init__(self):
        self.files = {SOURCE: CONTENT}
        self.claims = {}  # another size than the file has
        self.stop_after = None
        self.hang = False
        self.down = False
        self.etag = None  # another hash than the file has
        self.commit = "c" * 40
        self.revisions = set()  # that were downloaded from
        self.starts = []  # where each answer began
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_HEAD(self):
                self.answer(body=False)

            def do_GET(self):
                self.answer(body=True)

            def answer(self, body):
                place = self.path.split("?")[0].removeprefix(f"/{LORA_REPO}/resolve/")
                revision, _, name = place.partition("/")
                data = hub.files.get(name)
                status = 503 if body and hub.down else 404 if data is None else 200
                if status != 200:
                    self.send_response(status)
                    if status == 404:
                        self.send_header("X-Error-Code", "EntryNotFound")
                    self.send_header("Content-Length", "0")
                    return self.end_headers()
                start = int(self.headers.get("Range", "bytes=0-").split("=")[1].split("-")[0])
                self.send_response(206 if start else 200)
                if start:
                    self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
                self.send_header("Content-Length", str(len(data) - start))
                etag = hub.etag or hashlib.sha256(data).hexdigest()
                self.send_header("ETag", f'"{etag}"')
                self.send_header("X-Repo-Commit", hub.commit)
                self.send_header("X-Linked-Size", str(hub.claims.get(name, len(data))))
                self.send_header("X-Linked-Etag", f'"{etag}"')
                self.end_headers()
                if not body:
                    return None
                hub.starts.append(start)
                hub.revisions.add(revision)
                if hub.stop_after is None:
                    return self.wfile.write(data[start:])
                self.wfile.write(data[start : start + hub.stop_after])
                self.wfile.flush()
                while hub.hang:
                    time.sleep(0.05)
                hub.down = True
                self.close_connection = True
                return self.connection.close()

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def hub():
    hub = Hub()
    yield hub
    hub.hang = False
    hub.server.shutdown()
    hub.server.server_close()


@pytest.fixture
def wangp(tmp_path):
    handler = tmp_path / "Wan GP \u00e4" / "models" / "wan" / "wan_handler.py"
    handler.parent.mkdir(parents=True)
    handler.write_text("def get_lora_dir(): ...\n", encoding="utf-8")
    return tmp_path / "Wan GP \u00e4"


FETCH = """
import sys
from pathlib import Path
from wan2gp_svi.install import Refused, cli, loras
try:
    loras.fetch(loras.downloads(Path(sys.argv[1]), sys.argv[2:]), cli.print_progress)
except Refused as error:
    sys.exit(f"REFUSED {error}")
"""


def start(hub, wangp, *ids, **variables):
    # Proxies of the machine must not come between; the cache of the user is not touched.
    env = {
        key: value
        for key, value in os.environ.items()
        if "proxy" not in key.lower() and not key.startswith("HF_")
    }
    env |= {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(wangp.parent / "hf"),
        "PYTHONPATH": str(REPO),
        "PYTHONUTF8": "1",
        **variables,
    }
    return subprocess.Popen(
        [sys.executable, "-c", FETCH, str(wangp), *ids],
        env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
    )  # fmt: skip


def fetch(hub, wangp, *ids, **variables):
    process = start(hub, wangp, *(ids or ["shot"]), **variables)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def names(wangp):
    return sorted(path.name for path in (wangp / "loras/wan_i2v").iterdir())


def parts(wangp):
    return list((wangp / "loras/wan_i2v").glob(".svi-shot.safetensors.*.part"))


@needs_client
def test_a_download_arrives_whole_and_leaves_nothing_else(hub, wangp):
    code, out, err = fetch(hub, wangp)
    assert code == 0, err
    assert (wangp / "loras/wan_i2v/svi-shot.safetensors").read_bytes() == CONTENT
    assert names(wangp) == ["svi-shot.safetensors"]
    code, out, _ = fetch(hub, wangp)
    assert code == 0 and "svi-shot.safetensors is complete (24 MB)" in out
    assert hub.starts == [0]


@needs_client
def test_a_broken_off_download_is_resumed(hub, wangp):
    hub.stop_after = 23_000_000
    code, _, err = fetch(hub, wangp)
    assert code == 1 and "could not be downloaded" in err and "what has arrived is kept" in err
    assert not (wangp / "loras/wan_i2v/svi-shot.safetensors").exists()
    kept = parts(wangp)[0].stat().st_size
    assert kept >= 10_000_000
    hub.stop_after, hub.down = None, False
    code, out, err = fetch(hub, wangp)
    assert code == 0, err
    assert hub.starts[-1] == kept
    assert (wangp / "loras/wan_i2v/svi-shot.safetensors").read_bytes() == CONTENT
    assert names(wangp) == ["svi-shot.safetensors"]


@needs_client
def test_a_killed_download_is_resumed(hub, wangp):
    hub.stop_after, hub.hang = 15_000_000, True
    process = start(hub, wangp, "shot")
    deadline = time.time() + 60
    while time.time() < deadline and not (parts(wangp) and parts(wangp)[0].stat().st_size):
        time.sleep(0.05)
    process.kill()
    process.communicate()
    hub.hang = False
    time.sleep(0.2)
    kept = parts(wangp)[0].stat().st_size
    assert kept and names(wangp) == [parts(wangp)[0].name]
    hub.stop_after, hub.down = None, False
    assert fetch(hub, wangp)[0] == 0
    assert hub.starts[-1] == kept
    assert (wangp / "loras/wan_i2v/svi-shot.safetensors").read_bytes() == CONTENT


@needs_client
def test_a_part_of_another_version_of_the_file_is_not_resumed(hub, wangp):
    hub.stop_after, hub.etag = 15_000_000, "f" * 64
    assert fetch(hub, wangp)[0] == 1
    hub.stop_after, hub.down, hub.etag = None, False, None
    assert fetch(hub, wangp)[0] == 0
    assert hub.starts[-1] == 0
    assert (wangp / "loras/wan_i2v/svi-shot.safetensors").read_bytes() == CONTENT
    assert names(wangp) == ["svi-shot.safetensors"]


@needs_client
@pytest.mark.parametrize("claim", [len(CONTENT) - 1000, len(CONTENT) + 1000])
def test_a_file_of_the_wrong_size_never_gets_its_name(hub, wangp, claim):
    hub.claims[SOURCE] = claim
    for _ in range(2):
        assert fetch(hub, wangp)[0] == 1
        assert not (wangp / "loras/wan_i2v/svi-shot.safetensors").exists()
    hub.claims.clear()
    assert fetch(hub, wangp)[0] == 0
    assert (wangp / "loras/wan_i2v/svi-shot.safetensors").read_bytes() == CONTENT


@needs_client
def test_a_damaged_download_is_thrown_away_and_never_gets_its_name(hub, wangp):
    hub.etag = "f" * 64
    code, _, err = fetch(hub, wangp)
    assert code == 1 and "version-1.0/svi-shot.safetensors arrived damaged" in err
    assert "was deleted: download again" in err and names(wangp) == []
    hub.etag = None
    assert fetch(hub, wangp)[0] == 0 and names(wangp) == ["svi-shot.safetensors"]


@needs_client
def test_a_file_of_the_same_size_is_not_taken_for_the_servers(hub, wangp):
    target = wangp / "loras/wan_i2v/svi-shot.safetensors"
    target.parent.mkdir(parents=True)
    target.write_bytes(bytes(len(CONTENT)))
    code, _, err = fetch(hub, wangp)
    assert code == 1 and "is damaged or a different file" in err and "delete or rename it" in err
    assert target.read_bytes() == bytes(len(CONTENT)) and hub.starts == []


@needs_client
@pytest.mark.parametrize("etag", ["0" * 40, "W/abc"])
def test_without_a_hash_nothing_is_downloaded(hub, wangp, etag):
    hub.etag = etag
    code, _, err = fetch(hub, wangp)
    assert code == 1 and "does not say how large" in err and hub.starts == []


@needs_client
def test_all_files_come_from_one_commit(hub, wangp):
    for lora in VARIANTS["2.0-pro"].loras:
        hub.files[lora.path] = lora.name.encode()
    assert fetch(hub, wangp, "2.0-pro")[0] == 0
    assert hub.revisions == {hub.commit}


@needs_client
def test_another_file_under_the_name_is_not_overwritten(hub, wangp):
    target = wangp / "loras/wan_i2v/svi-shot.safetensors"
    target.parent.mkdir(parents=True)
    target.write_bytes(b"fp16 copy of the user")
    code, _, err = fetch(hub, wangp)
    assert code == 1 and "has 21 bytes, not 24000000" in err
    assert target.read_bytes() == b"fp16 copy of the user"


@needs_client
def test_a_file_that_the_server_has_not_and_a_server_that_is_not_there(hub, wangp):
    code, _, err = fetch(hub, wangp, "2.0")
    assert code == 1 and "the server has no file version-2.0/SVI_Wan2.1" in err
    hub.url = "http://127.0.0.1:9"
    code, _, err = fetch(hub, wangp)
    assert code == 1 and "could not be downloaded (the connection failed): check the" in err
    assert len(err.splitlines()) == 1, err
    code, _, err = fetch(hub, wangp, HF_HUB_OFFLINE="1")
    assert code == 1 and "because HF_HUB_OFFLINE is set: unset it and start again" in err
    assert "Error" not in err and "OfflineMode" not in err
    assert not (wangp / "loras").exists()


@needs_client
def test_the_pair_of_wan_22_goes_to_its_own_folder(hub, wangp):
    for lora in VARIANTS["2.0-pro"].loras:
        hub.files[lora.path] = lora.name.encode()
    assert fetch(hub, wangp, "2.0-pro", "2.0-pro")[0] == 0
    for lora in VARIANTS["2.0-pro"].loras:
        assert (wangp / "loras/wan" / lora.name).read_bytes() == lora.name.encode()


def test_without_huggingface_hub_one_line_says_what_to_do(wangp, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(Refused, match="pip install huggingface_hub"):
        loras.fetch(loras.downloads(wangp, ["shot"]), print)


def test_a_disk_without_room_is_refused_before_anything_is_loaded(tmp_path, monkeypatch):
    class Begun(Exception):
        """There was room, and a download begins."""

    def begin(*_, **__):
        raise Begun

    def facts(url, token):
        return SimpleNamespace(size=size, etag="0" * 64, commit_hash=None)

    client = SimpleNamespace(hf_hub_url=lambda repo, path, revision: path,
                             get_hf_file_metadata=facts)
    monkeypatch.setitem(sys.modules, "huggingface_hub", client)
    monkeypatch.setitem(sys.modules, "huggingface_hub.file_download",
                        SimpleNamespace(http_get=begin))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2_500_000_000))
    one, other = (loras.Download(name, tmp_path / "L" / name)
                  for name in ("a.safetensors", "b.safetensors"))
    size = 2_380_000_000
    with pytest.raises(Refused, match="Begun"):
        loras.fetch([one], print)
    size = 2_385_000_000
    with pytest.raises(Refused, match="2.50 GB free, and 2.50 GB are needed"):
        loras.fetch([one], print)
    (tmp_path / "L/.a.safetensors.000000000000.part").write_bytes(bytes(10_000_000))
    with pytest.raises(Refused, match="Begun"):
        loras.fetch([one], print)
    size = 1_300_000_000
    with pytest.raises(Refused, match="2.50 GB free, and 2.72 GB are needed"):
        loras.fetch([one, other], print)


def test_a_cancelled_download_keeps_what_has_arrived(tmp_path, monkeypatch):
    parts, one = [], loras.Download("a.safetensors", tmp_path / "L/a.safetensors")

    def http_get(url, out, **options):
        assert options["resume_size"] == out.tell() == 10 * len(parts)
        while True:
            out.write(bytes(10))
            parts.append(url)

    client = SimpleNamespace(
        hf_hub_url=lambda repo, path, revision: path,
        get_hf_file_metadata=lambda url, token: SimpleNamespace(size=99, etag="0" * 64,
                                                                commit_hash=None))
    monkeypatch.setitem(sys.modules, "huggingface_hub", client)
    monkeypatch.setitem(sys.modules, "huggingface_hub.file_download",
                        SimpleNamespace(http_get=http_get))
    for most in (2, 5):  # the second resumes the first
        with pytest.raises(Refused, match="was cancelled, and what has arrived is kept"):
            loras.fetch([one], print, lambda most=most: len(parts) == most)
        assert one.arrived() == 10 * most and not one.target.exists()
