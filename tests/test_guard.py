"""The guard before the optimiser."""

from __future__ import annotations

import math

import pytest
import torch

from tutelage.algos.guard import NonFiniteLoss, describe, require_finite


def test_finite_numbers_pass_as_floats() -> None:
    values = {"a": torch.tensor(1.5, requires_grad=True), "b": torch.tensor(2)}
    assert require_finite(values, {}) == {"a": 1.5, "b": 2.0}


def test_the_error_names_the_loss_and_the_tensor_that_is_not_finite() -> None:
    stored = {"rewards": torch.tensor([1.0, math.inf, 3.0]), "flags": torch.tensor([True, False])}
    values = {"value": torch.tensor(1.0), "surrogate": torch.tensor(math.nan)}
    with pytest.raises(NonFiniteLoss, match=r"surrogate is nan.*rewards \(1\)") as error:
        require_finite(values, stored)
    assert error.value.values["value"] == 1.0
    assert error.value.statistics["rewards"] == {
        "min": 1.0,
        "mean": 2.0,
        "max": 3.0,
        "nonfinite": 1.0,
    }
    assert error.value.statistics["flags"]["mean"] == 0.5


def test_a_fault_that_arose_in_the_networks_is_said_to_have_done_so() -> None:
    with pytest.raises(NonFiniteLoss, match="arose in the networks"):
        require_finite({"value": torch.tensor(math.inf)}, {"rewards": torch.zeros(2)})


def test_a_tensor_without_a_finite_value_is_described_too() -> None:
    statistics = describe({"x": torch.full((3,), math.nan)})["x"]
    assert statistics["nonfinite"] == 3.0
    assert math.isnan(statistics["mean"])
