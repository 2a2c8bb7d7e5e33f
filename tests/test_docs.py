"""What the README and the guides show is what there is, and runs."""

from __future__ import annotations

import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest

from tutelage.cli import commands

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
GUIDES = sorted((ROOT / "docs").glob("*.md"))
CLASSES: dict[str, type] = {
    word: getattr(commands, word.capitalize()) for word in commands.NAMES
}


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def typed(text: str) -> list[str]:
    """Every `tutelage ...` in a text: in its shell blocks and between backticks."""
    lines = [line for block in blocks(text, "bash") for line in block.splitlines()]
    lines += re.findall(r"`(tutelage [^`]+)`", text)
    parts = [part.strip() for line in lines for part in re.split(r"&&|#", line)]
    return [part for part in parts if part.startswith("tutelage ")]


def test_the_readme_begins_with_the_two_commands_that_set_everything_up() -> None:
    first, second = blocks(README, "bash")[:2]
    assert first.split("#")[0].strip() == "pip install . && tutelage run go2-flat"
    assert second.split("#")[0].strip() == 'pip install ".[test]" && pytest'


def test_the_script_of_the_checks_runs_the_readmes_test_command() -> None:
    script = (ROOT / ".ci/run").read_text()
    pattern = re.search(r"sed -n 's/(\^.*?)\$/", script)
    assert pattern is not None
    line = blocks(README, "bash")[1].strip()
    assert re.fullmatch(r'(pip install "\.\[test\]" && pytest) *(#.*)?', line)
    assert 'eval "$test_command"' in script


@pytest.mark.parametrize("path", [ROOT / "README.md", *GUIDES], ids=lambda path: path.name)
def test_every_command_that_is_shown_exists_with_its_options(path: Path) -> None:
    for command in typed(path.read_text()):
        words = shlex.split(command)
        assert words[1] in commands.NAMES, command
        known = {f"--{field.name.replace('_', '-')}" for field in fields(CLASSES[words[1]])}
        options = {word for word in words if word.startswith("--")}
        assert options <= known | {"--help"}, command


def test_every_command_is_in_the_readme() -> None:
    assert {shlex.split(command)[1] for command in typed(README)} == set(commands.NAMES)


def test_options_named_alone_exist_somewhere() -> None:
    every = {field.name for cls in CLASSES.values() for field in fields(cls)}
    known = {f"--{name.replace('_', '-')}" for name in every}
    named = set(re.findall(r"`(--[a-z-]+)", README))
    assert named <= known | {"--help"}


@pytest.mark.parametrize("path", [ROOT / "README.md", *GUIDES], ids=lambda path: path.name)
def test_every_link_to_a_file_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        assert (path.parent / target).exists(), target


def test_the_readme_is_a_screen_and_a_half() -> None:
    assert len(README.splitlines()) <= 90


def run(blocks: list[str]) -> None:
    """One after the other, as a reader would type them into one session."""
    names: dict[str, object] = {"__name__": "guide"}
    for number, block in enumerate(blocks, 1):
        exec(compile(block, f"block {number}", "exec"), names)


def test_the_examples_run_as_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(blocks((ROOT / "docs/python-api.md").read_text(), "python"))


def test_an_example_has_about_ten_lines() -> None:
    for block in blocks((ROOT / "docs/python-api.md").read_text(), "python"):
        lines = [line for line in block.splitlines() if line.strip()]
        assert len(lines) <= 15, block


def test_the_guide_to_ones_own_robot_runs_from_model_to_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tutelage.assets import ROBOTS
    from tutelage.envs import TASKS

    guide = (ROOT / "docs/your-own-robot.md").read_text()
    monkeypatch.chdir(tmp_path)
    (model,) = blocks(guide, "xml")
    Path("crawler.xml").write_text(model)
    try:
        run(blocks(guide, "python"))
    finally:
        ROBOTS.pop("crawler", None)
        TASKS.pop("crawler-flat", None)
    assert Path("crawler.onnx").is_file()
    assert Path("report/report.html").is_file()
    assert Path("report/report.json").is_file()
