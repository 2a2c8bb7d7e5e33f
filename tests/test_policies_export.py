"""The exported form: the same numbers as the model, in torch, TorchScript and onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
import pytest
import torch
from tensordict import TensorDict
from torch import Tensor

from tutelage.policies.model import Model, exportable

FRAME, HISTORY, ACTIONS, STEPS, RESET = 45, 10, 12, 200, 40
CFG: dict[str, dict[str, object]] = {
    "none": {"history": 1},
    "mlp": {"history": HISTORY},
    "tcn": {"history": HISTORY},
    "gru": {"history": 1},
}


def trained(encoder: str, normalise: bool) -> tuple[Model, Tensor]:
    """A model whose normaliser and weights have learned, and 200 observations (T, 1, n)."""
    torch.manual_seed(5)
    history = CFG[encoder]["history"]
    assert isinstance(history, int)
    n = FRAME * history
    scale, shift = torch.logspace(-2, 1, n), torch.linspace(-9.8, 9.8, n)
    data = TensorDict({"o": torch.randn(256, n) * scale + shift}, batch_size=[256])
    model = Model(
        data,
        {"student": ["o"]},
        "student",
        ACTIONS,
        hidden_dims=[64],
        obs_normalization=normalise,
        distribution_cfg={"class_name": "tutelage.policies.model:BoundedGaussian"},
        encoder=encoder,
        encoder_cfg=CFG[encoder] if encoder != "none" else {},
    )
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(5):
        model.update_normalization(data)
        actions, _ = model.sequence(data.reshape(8, 32))
        optimiser.zero_grad()
        torch.autograd.backward((actions - 1).square().mean())
        optimiser.step()
    return model, torch.randn(STEPS, 1, n) * scale + shift


def model_actions(model: Model, xs: Tensor) -> Tensor:
    model.reset()
    actions = []
    with torch.inference_mode():
        for t, x in enumerate(xs):
            if t == RESET:
                model.reset(torch.ones(1))
            actions.append(model(TensorDict({"o": x}, batch_size=[1])))
    return torch.cat(actions)


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("encoder", list(CFG))
def test_onnx_equals_torch_over_a_sequence_with_a_reset(
    encoder: str, normalise: bool, tmp_path: Path
) -> None:
    model, xs = trained(encoder, normalise)
    expected = model_actions(model, xs)
    policy, path = exportable(model), tmp_path / "policy.onnx"
    with pytest.warns(DeprecationWarning, match="TorchScript-based ONNX export"):
        torch.onnx.export(
            policy,
            policy.dummy_inputs,
            path,
            opset_version=18,
            dynamo=False,
            input_names=policy.input_names,
            output_names=policy.output_names,
        )
    assert onnx.load(path).opset_import[0].version == 18
    session = onnxruntime.InferenceSession(path)
    names = (["h_in"], ["h_out"]) if encoder == "gru" else ([], [])
    assert [i.name for i in session.get_inputs()] == ["obs", *names[0]] == policy.input_names
    assert [o.name for o in session.get_outputs()] == ["actions", *names[1]]
    first = [s.numpy() for s in policy.dummy_inputs[1:]]
    state, actions = first, []
    for t, x in enumerate(xs):
        state = first if t == RESET else state
        values = [x.numpy(), *state]
        out = session.run(None, dict(zip(policy.input_names, values, strict=True)))
        actions.append(np.asarray(out[0]))
        state = [np.asarray(s) for s in out[1:]]
    np.testing.assert_allclose(np.concatenate(actions), expected.numpy(), atol=1e-5, rtol=0)
    assert np.ptp(np.concatenate(actions), axis=0).min() > 1e-3


@pytest.mark.parametrize("encoder", list(CFG))
def test_the_exportable_and_the_script_act_as_the_model_does(encoder: str) -> None:
    model, xs = trained(encoder, True)
    expected = model_actions(model, xs)
    policy, script = exportable(model), torch.jit.script(model.as_jit())
    state = first = policy.dummy_inputs[1:]
    for t, x in enumerate(xs):
        if t == RESET:
            state = first
            script.reset()
        actions, *after = policy(x, *state)
        state = tuple(after)
        torch.testing.assert_close(actions[0], expected[t], atol=1e-6, rtol=0)
        torch.testing.assert_close(script(x)[0], expected[t], atol=1e-6, rtol=0)


def test_exporting_neither_changes_nor_follows_the_model() -> None:
    model, xs = trained("gru", True)
    model.train()
    expected = model_actions(model, xs)
    policy = exportable(model)
    assert model.training
    assert next(model.parameters()).requires_grad
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    actions = policy(xs[0], *policy.dummy_inputs[1:])[0]
    torch.testing.assert_close(actions[0], expected[0], atol=1e-6, rtol=0)
