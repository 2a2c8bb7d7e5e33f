"""The package as it is installed, and the sizes that keep it readable."""

from __future__ import annotations

import ast
import importlib.resources
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES: list[str] = PROJECT["tool"]["setuptools"]["packages"]
FOLDERS = sorted({package.split(".")[1] for package in PACKAGES})
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def test_every_folder_with_python_in_it_is_in_the_list_of_packages() -> None:
    found = {
        ".".join(("tutelage", *path.parent.relative_to(ROOT).parts))
        for path in ROOT.glob("*/**/__init__.py")
        if path.relative_to(ROOT).parts[0] not in {"tests", "build", "dist"}
        and not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
    }
    assert found == set(PACKAGES)
    assert {path.parent for path in SOURCES} == {
        ROOT.joinpath(*package.split(".")[1:]) for package in PACKAGES
    }


def test_the_root_is_a_namespace_without_an_init() -> None:
    assert not (ROOT / "__init__.py").exists()


def test_type_checkers_see_every_folder_by_its_link() -> None:
    links = {path.name: path for path in (ROOT / ".links/tutelage").iterdir()}
    assert sorted(links) == FOLDERS
    for name, link in links.items():
        assert link.is_symlink(), link
        assert link.readlink() == Path(f"../../{name}")


def test_a_bare_import_of_every_folder_is_banned() -> None:
    banned = PROJECT["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"]
    assert sorted(banned) == FOLDERS


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_folder_says_that_it_is_typed(folder: str) -> None:
    assert importlib.resources.files(f"tutelage.{folder}").joinpath("py.typed").is_file()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that no older `build` folder adds files to it."""
    room = tmp_path_factory.mktemp("wheel")
    copy = room / "source"
    for folder in FOLDERS:
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, copy / folder, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", str(room)]
    done = subprocess.run([*command, str(copy)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return next(room.glob("*.whl"))


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert {name.split("/")[0] for name in inside} == {"tutelage"}
    for path in (path for folder in FOLDERS for path in (ROOT / folder).rglob("*")):
        name = path.relative_to(ROOT).as_posix()
        if path.is_file() and "__pycache__" not in name and "benchmarks/results" not in name:
            assert f"tutelage/{name}" in inside


def test_an_installed_wheel_finds_its_robots_and_shipped_policies(
    wheel: Path, tmp_path: Path
) -> None:
    target = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet"]
    subprocess.run([*command, "--target", str(target), str(wheel)], check=True)
    script = """
import sys
sys.path.insert(0, sys.argv[1])
from importlib.resources import files
import tutelage.assets, tutelage.cli.main
assert tutelage.assets.__file__.startswith(sys.argv[1]), tutelage.assets.__file__
found = [p for p in files("tutelage.assets").joinpath("mjcf").rglob("*.xml")]
found += [p for p in files("tutelage.assets").joinpath("policies").rglob("*.onnx")]
print("\\n".join(str(p.relative_to(sys.argv[1])) for p in found))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(target)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shipped = [*(ROOT / "assets/mjcf").rglob("*.xml"), *(ROOT / "assets/policies").rglob("*.onnx")]
    expected = sorted(f"tutelage/{path.relative_to(ROOT).as_posix()}" for path in shipped)
    assert sorted(done.stdout.split()) == expected
    assert any(name.endswith(".xml") for name in expected)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_stay_under_400_lines_and_functions_under_50(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= 50, f"{path.name}:{node.lineno} {node.name} has {length} lines"
