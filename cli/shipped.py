"""From RECIPE, FILE or RUN to the ONNX file that is meant."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from tutelage.cli.commands import LOG_ROOT
from tutelage.cli.names import UserError, unknown

POLICY = "policy.onnx"


def policies() -> dict[str, Path]:
    """Shipped policies by the name of their recipe."""
    folder = Path(str(files("tutelage.assets").joinpath("policies")))
    return {path.parent.name: path for path in sorted(folder.glob(f"*/{POLICY}"))}


def policy(named: str, log_root: Path = LOG_ROOT) -> Path:
    """An ONNX file by its path, its run's folder or experiment, or the recipe it is shipped for."""
    path = Path(named)
    if path.is_file():
        return path
    shipped = policies()
    if not path.is_dir() and named in shipped:
        return shipped[named]
    folder = path if path.is_dir() else run(named, log_root)
    if folder is None:
        raise unknown("policy", named, shipped)
    for candidate in (folder / POLICY, folder / "exported" / POLICY):
        if candidate.is_file():
            return candidate
    raise UserError(f"{folder} has no exported policy; write one with: tutelage export {folder}")


def run(named: str, log_root: Path) -> Path | None:
    from tutelage.algos import runs

    try:
        return runs.find(named, root=log_root)
    except FileNotFoundError:
        return None
