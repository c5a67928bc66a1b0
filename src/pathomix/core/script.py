"""The shell of every workflow script: arguments, logging, readable errors, exit code."""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

from pathomix.core.errors import PathomixError


def parser(description: str) -> argparse.ArgumentParser:
    """Argument parser with the options all scripts share."""
    result = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False
    )
    result.add_argument("--threads", type=int, default=1, help="threads for numerical libraries")
    result.add_argument("--log-level", default="INFO", choices=["DEBUG", "INFO", "WARNING"])
    return result


def json_object(text: str) -> dict[str, Any]:
    """Argument type for parameters handed over as one JSON object."""
    value = json.loads(text)
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"expected a JSON object, got {text!r}")
    return value


def run(main: Callable[[argparse.Namespace], None], arguments: argparse.ArgumentParser) -> None:
    """Parse, set up logging and threads, call `main`; a PathomixError becomes one line and exit code 1."""
    options = arguments.parse_args()
    # Libraries leave hundreds of thousands of objects that stay: looking through them time and again costs a tenth of
    # every start.
    gc.set_threshold(50_000, 20, 50)
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[variable] = str(options.threads)
    logging.basicConfig(level=options.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        main(options)
    except PathomixError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
