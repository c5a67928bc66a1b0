"""Command-line options that all scripts of this room share."""

from __future__ import annotations

import argparse
from pathlib import Path

from pathomix.acquire.gdc import URL, gdc_client
from pathomix.acquire.http import Client, Patience
from pathomix.acquire.tokens import read_token
from pathomix.core import script


def add_arguments(arguments: argparse.ArgumentParser) -> None:
    """Where to fetch from and how patiently."""
    arguments.add_argument("--archive", type=Path, help="folder of a local archive that stands in for all public hosts")
    arguments.add_argument(
        "--archive-faults", type=script.json_object, default={}, help="JSON object: what the local archive does wrong"
    )
    arguments.add_argument("--attempts", type=int, default=Patience.attempts, help="tries in a row that bring nothing")
    arguments.add_argument("--parallel", type=int, default=4, help="downloads side by side")


def add_gdc_arguments(arguments: argparse.ArgumentParser) -> None:
    """The GDC and its token."""
    arguments.add_argument("--gdc", default=URL, help="base address of the GDC")
    arguments.add_argument("--token-env", default="GDC_TOKEN", help="environment variable with the GDC token")
    arguments.add_argument("--token-file", type=Path, help="file with the token, mode 600; the variable goes before it")


def gdc_client_of(options: argparse.Namespace, url: str) -> Client:
    """The client these options ask for; its token goes to the origin of `url` only."""
    token = read_token(options.token_env, options.token_file)
    return gdc_client(token, url, Patience(attempts=options.attempts), options.token_env)


def client_of(options: argparse.Namespace) -> Client:
    """A client that has no token."""
    return Client(patience=Patience(attempts=options.attempts))
