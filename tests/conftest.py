"""For all tests."""

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def no_drift_report() -> Iterator[None]:
    """Runs of a test's own process end without their drift report, which takes seconds; see tests/wangp/test_svi.py."""
    from wan2gp_svi.wangp.recorder import Recording

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recording, "_report", lambda self, video: None)
        yield
