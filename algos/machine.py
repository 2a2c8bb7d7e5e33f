"""What a run was made with: processor, memory, accelerator and package versions."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("tutelage", "torch", "rsl-rl-lib", "mujoco", "numpy", "numba", "onnx", "onnxruntime")


def package_versions() -> dict[str, str]:
    """Installed versions by package name, with Python's; absent packages are left out."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def describe_machine() -> dict[str, Any]:
    """Hardware that decides speed. `cores` are those this process may use."""
    import torch  # here, so that runs can be listed without waiting for it

    usable = getattr(os, "sched_getaffinity", None)
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": len(usable(0)) if usable else os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "accelerators": [
            torch.cuda.get_device_name(i)
            for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
        ],
    }


def _processor() -> str:
    """The processor's name; Linux only tells it in this file."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
