"""Look at everything a run needs before it begins: ``python -m pathomix.doctor config/config.yaml``."""

from __future__ import annotations

import argparse
from pathlib import Path

from pathomix.workflow.doctor import FAIL, WARN, Options, examine, is_ready
from pathomix.workflow.machine import cores
from pathomix.workflow.screen import show_table

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Print the screen; 0 only if the run can begin."""
    arguments = argparse.ArgumentParser(prog="python -m pathomix.doctor", description=__doc__, allow_abbrev=False)
    arguments.add_argument("configuration", type=Path, nargs="+", help="configuration files, later over earlier")
    arguments.add_argument("--config", nargs="+", default=[], metavar="KEY=VALUE", help="as Snakemake's option")
    arguments.add_argument("--offline", action="store_true", help="leave the network alone")
    arguments.add_argument("--hub-token-env", default="HF_TOKEN", help="environment variable with the hub's token")
    arguments.add_argument("--gdc-token-file", type=Path, help="file with the GDC token, mode 600")
    arguments.add_argument("--hub-token-file", type=Path, help="file with the hub's token, mode 600")
    given = arguments.parse_args()
    files = {"gdc": given.gdc_token_file, "hub": given.hub_token_file}
    options = Options(
        tuple(given.configuration),
        tuple(given.config),
        given.offline,
        given.hub_token_env,
        tuple((name, file) for name, file in files.items() if file),
    )
    findings = examine(ROOT, options)
    show_table("", ("", "", ""), [(f.status, f.topic, f.fact) for f in findings])
    todo = list(dict.fromkeys(f.todo for f in findings if f.todo and f.status in (FAIL, WARN)))
    ready = is_ready(findings)
    print("READY" if ready else "NOT READY")
    urgent = {f.todo for f in findings if f.status == FAIL}
    for number, text in enumerate(sorted(todo, key=lambda t: t not in urgent), start=1):
        print(f"{number:3}. {'' if text in urgent else '(if you can) '}{text}")
    if ready:
        changes = f" --config {' '.join(given.config)}" if given.config else ""
        files_text = " ".join(map(str, given.configuration))
        print(f"type: snakemake --profile profiles/local --cores {cores()} --configfile {files_text}{changes}")
    return 0 if ready else 1


if __name__ == "__main__":
    raise SystemExit(main())
