"""Fetch weights that the user's token allows; verify or pin them; say once per file what is missing and whom to ask.

Without a name: list what there is.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pathomix.acquire.weights import Registry, read_registry
from pathomix.core import script


def main(options: argparse.Namespace) -> None:
    """Fetch what is not there yet."""
    from pathomix.acquire.http import Patience
    from pathomix.acquire.hub import HubClient, fetch_weights
    from pathomix.acquire.tokens import read_token

    registry = read_registry(options.registry)
    if options.hub:
        registry = Registry(options.hub.rstrip("/"), registry.weights)
    if not options.names:
        for weight in registry.weights.values():
            access = "by hand" if weight.by_hand else "gated" if weight.gated else "open"
            print(f"{weight.name:18} {access:8} {weight.title}; {weight.use}; {weight.licence}; {weight.page}")
        return
    weights = registry.chosen(options.names)
    token = read_token(options.token_env, options.token_file)
    with HubClient(registry.hub, token, Patience(attempts=options.attempts)) as client:
        found = fetch_weights(weights, registry, options.output_dir, options.pins, client, options.parallel)
    for name, file in found.items():
        print(f"{name} {file.size} bytes sha256 {file.digest}")


if __name__ == "__main__":
    arguments = script.parser(__doc__ or "")
    root = Path(__file__).resolve().parents[1]
    arguments.add_argument("names", nargs="*", help="names in the registry; without one, list what there is")
    arguments.add_argument("--output-dir", type=Path, default=Path("data"), help="data folder; weights/ goes below it")
    arguments.add_argument(
        "--registry", type=Path, default=root / "resources/weights.yaml", help="what there is and where"
    )
    arguments.add_argument(
        "--pins", type=Path, default=root / "resources/locks/pins.yaml", help="YAML file of pins; new ones are added"
    )
    arguments.add_argument("--hub", help="base address that stands in for the registry's hub")
    arguments.add_argument("--token-env", default="HF_TOKEN", help="environment variable with the hub's token")
    arguments.add_argument("--token-file", type=Path, help="file with the token, mode 600; the variable goes before it")
    arguments.add_argument("--attempts", type=int, default=6, help="tries in a row that bring nothing")
    arguments.add_argument("--parallel", type=int, default=2, help="downloads side by side")
    script.run(main, arguments)
