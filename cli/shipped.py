"""From RECIPE, FILE or RUN to the ONNX file that is meant."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from tutelage.cli.names import unknown

POLICY = "policy.onnx"


def policies() -> dict[str, Path]:
    """Shipped policies by the name of their recipe."""
    folder = Path(str(files("tutelage.assets").joinpath("policies")))
    return {path.parent.name: path for path in sorted(folder.glob(f"*/{POLICY}"))}


def policy(named: str) -> Path:
    """An ONNX file by its path, its run's folder, or the recipe it is shipped for."""
    path = Path(named)
    if path.is_file():
        return path
    if path.is_dir():
        for candidate in (path / POLICY, path / "exported" / POLICY):
            if candidate.is_file():
                return candidate
        raise FileNotFoundError(
            f"{path} has no exported policy; write one with: tutelage export {path}"
        )
    shipped = policies()
    if named in shipped:
        return shipped[named]
    raise unknown("policy", named, shipped)
