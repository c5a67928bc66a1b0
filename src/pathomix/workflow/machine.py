"""What this machine and its network have."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

_NETWORK_S = 5.0
_COMMAND_S = 20.0
_MEMORY = re.compile(r"mem_mb=memory\((\d+)\)")


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    while not folder.exists():
        folder = folder.parent
    return folder


def free_bytes(folder: Path) -> int:
    """Free bytes of the file system a folder is on."""
    return shutil.disk_usage(folder).free


def memory_bytes() -> int:
    """Memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def largest_job_mb(root: Path) -> int:
    """Largest memory that a rule asks for at its first attempt; 0 where no rule is found."""
    texts = [path.read_text(encoding="utf-8") for path in sorted((root / "rules").glob("*.smk"))]
    return max((int(found) for text in texts for found in _MEMORY.findall(text)), default=0)


def gpus() -> list[str]:
    """Name, memory and driver of each NVIDIA GPU, as its own tool tells; empty without one."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    options = ["--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run([command, *options], capture_output=True, text=True, timeout=_COMMAND_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()] if done.returncode == 0 else []


def installed(package: str) -> str:
    """Version of a package in this environment, empty where it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def rules_environment(root: Path) -> str:
    """What rules would run in: conda, the repository's own environment, or this one; empty where nothing is there."""
    own = root / ".venv" / "rules" / "bin" / "python"
    if shutil.which("conda"):
        return "conda (with --sdm conda)"
    if own.is_file():
        return str(own.parent)
    return "this environment" if find_spec("torch") else ""


def unreachable(url: str, timeout_s: float = _NETWORK_S) -> str:
    """Why a server does not answer; empty where it does, with whatever status below 500."""
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "pathomix", "Range": "bytes=0-0"})
        with urllib.request.urlopen(request, timeout=timeout_s):
            return ""
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.reason}" if error.code >= http.client.INTERNAL_SERVER_ERROR else ""
    except (urllib.error.URLError, OSError, http.client.HTTPException, ValueError) as error:
        return str(getattr(error, "reason", error)) or type(error).__name__


def origin(url: str) -> str:
    """Scheme and host of an address."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
