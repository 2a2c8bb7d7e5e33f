"""The arrows between the folders, held by reading every import statement."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("assets", "envs", "policies", "algos", "sim2real", "cli", "benchmarks")
STANDARD = frozenset(sys.stdlib_module_names)
PHYSICS = frozenset({"mujoco", "mujoco_warp", "warp", "isaaclab", "isaacsim", "newton"})

LAYERS: dict[str, tuple[str, ...]] = {
    "assets": (),
    "policies": (),
    "envs": ("assets",),
    "algos": ("policies",),
    "algos/recipes.py": ("policies", "envs", "assets"),
    "algos/train.py": ("policies", "envs", "assets"),
    "sim2real": ("sim2real", "assets"),
    "sim2real/contract.py": (),
    "sim2real/contract_json.py": ("sim2real.contract",),
    "sim2real/policy_file.py": ("sim2real.contract", "sim2real.contract_json"),
    "sim2real/runtime.py": ("sim2real.contract", "sim2real.policy_file"),
    "sim2real/export.py": ("sim2real", "assets", "envs", "policies", "algos"),
    "sim2real/export_run.py": ("sim2real", "assets", "envs", "policies", "algos"),
    "cli": ("assets", "envs", "policies", "algos", "sim2real", "benchmarks"),
    "benchmarks": ("assets", "envs", "policies", "algos", "sim2real"),
}
"""Which parts of tutelage a file may import beside its own folder; the longest key wins.
sim2real lists itself, since not every file there may import every other."""

OUTSIDE: dict[str, frozenset[str]] = {
    "assets": frozenset({"numpy"}),
    "policies": frozenset({"torch", "rsl_rl", "tensordict"}),
    "sim2real/contract.py": frozenset(),
    "sim2real/contract_json.py": frozenset(),
    "sim2real/policy_file.py": frozenset({"onnxruntime"}),
    "sim2real/runtime.py": frozenset({"numpy", "onnxruntime"}),
}
"""Packages that a file may import at all, where that is limited. tensordict is the type that
rsl_rl hands to its models."""

MUJOCO_IN_SIM2REAL = ("check", "scene", "scenario", "play", "video", "replay", "terrain")
"""First words of the names of the files with which sim2real judges a policy in MuJoCo."""


def modules() -> list[Path]:
    return [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


def imports(source: str, package: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Line and dotted name of all that a module of `package` imports, wherever in the file."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*start, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"


def imports_of(path: Path) -> list[tuple[int, str]]:
    package = ("tutelage", *path.relative_to(ROOT).parent.parts)
    return list(imports(path.read_text(), package))


def rule(table: dict[str, object], path: Path) -> object:
    """Entry of the longest key that is the file's path or one of its folders."""
    name = path.relative_to(ROOT).as_posix()
    keys = [key for key in table if name == key or name.startswith(f"{key}/")]
    return table[max(keys, key=len)] if keys else None


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_a_file_imports_only_what_its_layer_may(path: Path) -> None:
    allowed = rule(dict(LAYERS), path)
    assert isinstance(allowed, tuple), f"no layer is written down for {name_of(path)}"
    own = path.relative_to(ROOT).parts[0]
    prefixes = [f"tutelage.{part}" for part in (*allowed, *([own] if own != "sim2real" else []))]
    wrong = [
        f"line {line}: {name}"
        for line, name in imports_of(path)
        if name.split(".")[0] == "tutelage"
        and not any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)
    ]
    assert not wrong, f"{name_of(path)} may import {prefixes}, but has {wrong}"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_a_file_imports_only_the_packages_its_layer_may(path: Path) -> None:
    allowed = rule(dict(OUTSIDE), path)
    outside = {name.split(".")[0] for _, name in imports_of(path)} - STANDARD - {"tutelage"}
    if isinstance(allowed, frozenset):
        assert outside <= allowed, f"{name_of(path)} imports {sorted(outside - allowed)}"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_a_physics_package_is_imported_only_in_its_own_backend(path: Path) -> None:
    """And MuJoCo where a policy is judged, which is the second opinion, not the environment."""
    met = {name.split(".")[0] for _, name in imports_of(path)} & PHYSICS
    name = name_of(path)
    if name.startswith("envs/sim/"):
        allowed = {p for p in PHYSICS if path.stem.startswith(p) or path.stem == f"{p}_cpu"}
        allowed |= {"mujoco"} if path.stem.startswith("mujoco") else set()
        allowed |= {"mujoco_warp", "warp"} if path.stem.startswith("mujoco_warp") else set()
    else:
        judges = name.startswith("sim2real/") and path.stem.startswith(MUJOCO_IN_SIM2REAL)
        compares = name.startswith("benchmarks/")  # us with what others have
        allowed = {"mujoco"} if judges or compares else set()
    assert met <= allowed, f"{name} imports {sorted(met - allowed)}"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_a_folder_is_never_imported_by_its_bare_name(path: Path) -> None:
    """`import envs` would make a second copy of every class in it."""
    bare = [(line, name) for line, name in imports_of(path) if name.split(".")[0] in FOLDERS]
    assert not bare


def test_an_import_is_seen_in_every_way_it_can_be_written() -> None:
    lines = ("import a.b", "from c import d", "from . import e", "from ..f import g")
    source = "\n".join([*lines, "def h():", " import i"])
    found = list(imports(source, ("tutelage", "envs", "sim")))
    assert found == [
        (1, "a.b"),
        (2, "c.d"),
        (3, "tutelage.envs.sim.e"),
        (4, "tutelage.envs.f.g"),
        (6, "i"),
    ]


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("tutelage.cli.main", ("torch", "mujoco")),
        ("tutelage.envs", ("mujoco",)),
        ("tutelage.sim2real.contract", ("numpy", "torch")),
        ("tutelage.assets", ("torch", "mujoco")),
    ],
)
def test_importing_a_part_does_not_load_what_it_may_never_need(
    module: str, absent: tuple[str, ...]
) -> None:
    script = f"import sys, {module}; print([m for m in {absent!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]", f"{module} loads {done.stdout.strip()}"
