from __future__ import annotations

from pathlib import Path

from pathomix.report.fidelity import read_profiles, write_profiles
from pathomix.representations.modaltune_settings import PROFILES, SWITCHES


def test_every_switch_with_its_three_values_and_a_sentence(tmp_path: Path) -> None:
    write_profiles(tmp_path)
    rows = read_profiles(tmp_path / "profiles.csv")
    assert [row["switch"] for row in rows] == list(SWITCHES)
    for row in rows:
        switch = SWITCHES[row["switch"]]
        assert [row[profile] for profile in PROFILES] == [str(getattr(switch, profile)) for profile in PROFILES]
        assert row["sentence"].endswith(".")
    lines = (tmp_path / "profiles.md").read_text().splitlines()
    assert len(lines) == len(rows) + 2 and all(line.count(" | ") >= 4 for line in lines[2:])
