"""The guide to distillation methods names what there is, and all of it."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from tutelage.algos.divergences import DIVERGENCES

GUIDE = (Path(__file__).parents[1] / "docs/methods.md").read_text()
SLOTS = ("targets", "divergences", "weights", "couplings", "controllers")
NAMES = sorted(set(re.findall(r"`([a-z]+)\.(\w+)`", GUIDE)))


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_what_the_guide_names_exists(module: str, name: str) -> None:
    assert hasattr(importlib.import_module(f"tutelage.algos.{module}"), name)


@pytest.mark.parametrize("slot", SLOTS)
def test_every_source_that_a_slot_cites_has_its_row(slot: str) -> None:
    module = importlib.import_module(f"tutelage.algos.{slot}")
    assert module.__file__ is not None
    cited = set(re.findall(r"arXiv:(\d{4}\.\d{5})", Path(module.__file__).read_text()))
    elsewhere = {"2305.18290", "1707.06347"}  # DPO and PPO, which are not distillation
    assert cited - elsewhere <= set(re.findall(r"\[(\d{4}\.\d{5})\]", GUIDE))


def test_every_divergence_is_in_the_guide() -> None:
    assert all(f"| `{name}` |" in GUIDE for name in DIVERGENCES)
