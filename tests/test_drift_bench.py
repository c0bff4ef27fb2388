"""benchmarks/drift.py: its report of given rows, and that it never mixes weights."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("diffusers", exc_type=ImportError)
pytest.importorskip("matplotlib")
sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import drift  # noqa: E402

CLIPS = 20


def rows(way, colour=0.0, psnr=0.0, there=1.0, seam=1.0, jump=2.0):
    """Two scenes; colour and PSNR change by that much with each clip."""
    return [drift.Row("w", "a machine", way, scene, clip, 0.02 + colour * (clip - 1),
                      35 + psnr * (clip - 1), there, 1.0, 0.9,
                      *((seam, jump) if clip > 1 else (0.0, 0.0)))
            for scene in (1, 2) for clip in range(1, CLIPS + 1)]


def test_goals_are_read_off_the_rows():
    steady = drift.summary(rows("shot"), CLIPS)
    assert steady["last over first, of the medians"] == "1.00"
    assert steady["PSNR slope after clip 5, dB a clip (mean)"] == "+0.000"
    assert steady["object there, last clip, % of the scenes"] == "100"
    drifting = drift.summary(rows("stock", 0.004, -0.5, 0.2, 1.5, float("nan")), CLIPS)
    assert drifting["last over first, of the medians"] == "4.80"
    assert drifting["PSNR slope after clip 5, dB a clip (mean)"] == "-0.500"
    assert drifting["object there, last clip, % of the scenes"] == "0"
    assert drifting["change at seams, times the usual"] == "1.50"
    assert drifting["outline of the object, last clip"] == "0.90"
    assert drifting["seams where the object jumps by more than 8 pixels or is gone, %"] == "100"


@pytest.mark.parametrize("way", drift.WAYS)
def test_a_seam_is_measured_as_in_the_drift_report(way):
    variant, scene = drift.WAYS[way].variant, drift.world.scene(2, objects=1)
    clips = [drift.world.render([scene], turns[None])[0] + shift
             for turns, shift in zip(drift.world.turns([scene.prompt()] * 2, variant.overlap),
                                     (0, 0.05), strict=True)]
    rows = drift.metrics.measure(drift.pictures(drift.chaining.joined(clips, variant)), np.zeros(3))
    wanted = drift.analysis.seam(1, drift.Layout.of(variant).start(1), rows).pixels.jump
    assert drift.seam(*clips, variant) == pytest.approx(wanted) and wanted > 2


def test_the_results_are_those_of_the_shipped_weights_and_steady_with_a_reference():
    found = drift.read(drift.OUT / "drift.csv")
    for name, way in drift.WAYS.items():
        made = [row for row in found if row.way == name]
        assert {row.weights for row in made} == {drift.fingerprint(way.adapter)}, name
        told = drift.summary(made, CLIPS)
        if way.variant.ref_pad_num and way.adapter:
            assert float(told["last over first, of the medians"]) <= 1.2
            assert float(told["PSNR slope after clip 5, dB a clip (mean)"]) >= -0.02
            assert float(told["change at seams, times the usual"]) <= 1.2
            assert told["object there, last clip, % of the scenes"] == "100"
            assert 0.95 <= float(told["motion, last clip, where the object is there"]) <= 1.05
        else:
            assert float(told["last over first, of the medians"]) > 5


def test_a_table_and_a_report_come_out_of_them(tmp_path):
    made = [*rows("stock", 0.004, -0.5), *rows("shot")]
    drift.write(tmp_path / "drift.csv", made)
    assert sorted(map(str, drift.read(tmp_path / "drift.csv"))) == sorted(map(str, made))
    drift.report(made, ("stock", "shot"), CLIPS, tmp_path)
    text = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert "2 scenes" in text and "| a machine | a machine |" in text and "| 4.80 | 1.00 |" in text
    assert (tmp_path / "drift.png").stat().st_size > 10_000


def test_rows_of_other_weights_are_not_mixed_with_new_ones(tmp_path, monkeypatch, capsys):
    drift.write(tmp_path / "drift.csv", rows("shot"))
    monkeypatch.setattr(sys, "argv", ["drift.py", "--ways", "shot", "--out", str(tmp_path)])
    assert drift.main() == 1
    assert "other weights" in capsys.readouterr().err
    with (tmp_path / "drift.csv").open(encoding="utf-8", newline="") as file:
        assert len(list(csv.reader(file))) == 1 + 2 * CLIPS
