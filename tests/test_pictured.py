"""The pictures of WanGP's page in docs."""

import json

import pictured
import pytest


@pytest.mark.parametrize("name", ["wangp.png", "tab.png", "storyboard.png"])
def test_a_picture_shows_the_page_of_today(name):
    taken = json.loads(pictured.DIGESTS.read_text(encoding="utf-8"))
    assert pictured.digests()[name] == taken[name], \
        f"docs/{name} is out of date. Run: python tests/wangp/pictures.py WANGP --python PYTHON"
