"""SVI as a repository at an address that WanGP accepts, and what a person does in WanGP's Plugins
tab. Needs git."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import tiny

HOME = Path(__file__).resolve().parents[2]
ADDRESS, NAME = "https://github.com/somebody/wan2gp-svi", "wan2gp-svi"


class Published:
    """A git repository with this distribution. While it is open, git finds it at ADDRESS."""

    def __init__(self, folder: Path):
        self.folder = folder
        listed = subprocess.run(["git", "-C", HOME, "ls-files", "-co", "--exclude-standard", "-z"],
                                check=True, capture_output=True).stdout.decode().split("\0")
        for name in filter(None, listed):
            if (HOME / name).is_file() and not name.startswith(("tests/", "benchmarks/")):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(HOME / name, folder / name)
        self.git("init", "-q", "-b", "main")
        self.commit("first")

    def __enter__(self) -> Published:
        self.before = dict(os.environ)
        os.environ |= {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_VALUE_0": ADDRESS,
                       "GIT_CONFIG_KEY_0": f"url.{self.folder.as_uri()}.insteadOf"}
        return self

    def __exit__(self, *_: object) -> None:
        os.environ.clear()
        os.environ |= self.before

    def git(self, *arguments: str) -> None:
        subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@x", "-C", self.folder,
                        *arguments], check=True, capture_output=True)

    def commit(self, message: str) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)

    def shrink(self) -> None:
        tiny.shrink(self.folder)  # its profiles
        self.commit("small")

    def publish(self, version: str) -> None:
        """The next release: another version, another file, and one file less."""
        for name in ("wan2gp_svi/__init__.py", "plugin_info.json"):
            path = self.folder / name
            text = path.read_text(encoding="utf-8")
            text = re.sub(r'(version\w*\W+")[\d.]+"', rf'\g<1>{version}"', text, count=1)
            path.write_text(text, encoding="utf-8")
        (self.folder / "wan2gp_svi/news.py").write_text('"""New."""\n', encoding="utf-8")
        next((self.folder / "profiles/wan_2_2").glob("*.json")).unlink()
        self.commit(version)


def tab(page: Any, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).locator("visible=true").first.click()


def says(page: Any, text: str) -> None:
    page.get_by_text(text).locator("visible=true").first.wait_for()


def act(page: Any, name: str, action: str) -> None:
    """Presses a button of a plugin in the Plugins tab."""
    tab(page, "Plugins")
    item = page.locator(".plugin-item", has_text=name).locator("visible=true").first
    item.get_by_role("button", name=action, exact=True).click()


def install(page: Any) -> None:
    """Installs the plugin from its address, in three clicks."""
    tab(page, "Plugins")
    page.get_by_label("GitHub URL").click()
    page.keyboard.insert_text(ADDRESS)  # as a paste
    page.get_by_role("button", name="Download and Install from URL").click()
    says(page, "auto-enabled")


def new_video(page: Any, picture: Path) -> None:
    """Sets the form for a profile and adds a start image, in three clicks."""
    tab(page, "SVI")
    page.locator("#svi_new").click()
    says(page, "The form is set for")
    line = page.locator("#svi_line")
    line.get_by_text("SVI-Shot: ").first.wait_for()  # the form has changed
    with page.expect_file_chooser() as chooser:
        page.get_by_text("Click to Upload").locator("visible=true").first.click()
    chooser.value.set_files(picture)
    line.get_by_text("Add a start image").wait_for(state="detached")
