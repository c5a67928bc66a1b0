from __future__ import annotations

from pathlib import Path

from pathomix.methods import path_gptomic_switches
from pathomix.report.fidelity import PROFILES, read_profiles, write_profiles
from pathomix.representations import modaltune_settings


def test_every_switch_with_its_values_and_a_sentence(tmp_path: Path) -> None:
    write_profiles(tmp_path)
    rows = read_profiles(tmp_path / "profiles.csv")
    switches = {"ModalTune": modaltune_settings.SWITCHES, "Path-GPTomic": path_gptomic_switches.SWITCHES}
    assert [(row["method"], row["switch"]) for row in rows] == [
        (m, name) for m, table in switches.items() for name in table
    ]
    for row in rows:
        switch = switches[row["method"]][row["switch"]]
        expected = [str(getattr(switch, profile, "-")) for profile in PROFILES]
        assert [row[profile] for profile in PROFILES] == expected
        assert row["sentence"].endswith(".")
    lines = (tmp_path / "profiles.md").read_text().splitlines()
    assert len(lines) == len(rows) + 2 and all(line.count(" | ") >= 4 for line in lines[2:])
