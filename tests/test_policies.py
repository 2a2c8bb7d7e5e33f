"""Encoders and the model around them: memory, resets, gradients, names, bounds."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from rsl_rl.modules import EmpiricalNormalization
from tensordict import TensorDict
from torch import Tensor, nn

from tutelage.policies.encoder import ENCODERS
from tutelage.policies.gru import Gru
from tutelage.policies.model import BoundedGaussian, Model
from tutelage.policies.tcn import Tcn

FRAME, HISTORY, ACTIONS = 5, 6, 3
SIZES = {"none": FRAME, "gru": FRAME, "mlp": FRAME * HISTORY, "tcn": FRAME * HISTORY}
CFG: dict[str, dict[str, object]] = {
    "none": {},
    "gru": {"width": 16},
    "mlp": {"history": HISTORY, "width": 16},
    "tcn": {"history": HISTORY, "width": 16, "channels": 8, "kernel": 2},
}
GAUSSIAN = {
    "class_name": "tutelage.policies.model:BoundedGaussian",
    "init_std": 0.5,
    "std_range": (0.05, 1.0),
}


def observations(encoder: str, *batch: int) -> TensorDict:
    return TensorDict({"o": torch.randn(*batch, SIZES[encoder])}, batch_size=list(batch))


def build(encoder: str, normalise: bool = True, std: bool = True) -> Model:
    model = Model(
        observations(encoder, 4),
        {"student": ["o"]},
        "student",
        ACTIONS,
        hidden_dims=[16],
        obs_normalization=normalise,
        distribution_cfg=dict(GAUSSIAN) if std else None,
        encoder=encoder,
        encoder_cfg=CFG[encoder],
    )
    if normalise:
        obs = observations(encoder, 64)
        obs["o"] = 3.0 + obs["o"] * torch.linspace(0.1, 9.0, SIZES[encoder])
        model.train()
        model.update_normalization(obs)
    return model


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(3)


@pytest.mark.parametrize("encoder", list(ENCODERS))
def test_stepping_with_resets_equals_the_sequence(encoder: str) -> None:
    model = build(encoder)
    obs, dones = observations(encoder, 20, 4), torch.rand(20, 4) < 0.2
    steps = []
    for t in range(20):
        steps.append(model(obs[t]))
        model.reset(dones[t])
    actions, state = model.sequence(obs, dones)
    torch.testing.assert_close(torch.stack(steps), actions, atol=1e-6, rtol=0)
    held = model.get_hidden_state()
    if state:
        assert isinstance(held, Tensor)
        torch.testing.assert_close(held, state[0], atol=1e-6, rtol=0)
    else:
        assert held is None


@pytest.mark.parametrize("encoder", list(ENCODERS))
def test_a_sequence_in_two_parts_equals_the_whole(encoder: str) -> None:
    model = build(encoder)
    obs, dones = observations(encoder, 12, 4), torch.rand(12, 4) < 0.2
    whole, _ = model.sequence(obs, dones)
    stored = dones[..., None].byte()  # the form in which rsl_rl stores them
    first, state = model.sequence(obs[:5], stored[:5])
    second, _ = model.sequence(obs[5:], stored[5:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole, atol=1e-6, rtol=0)


def test_the_first_action_after_a_reset_is_a_fresh_policys() -> None:
    model = build("gru")
    obs = observations("gru", 4)
    fresh = model(obs)
    for _ in range(3):
        model(observations("gru", 4))
    remembered = model.get_hidden_state()
    model.reset(torch.tensor([0, 1, 0, 1]))
    after = model(obs)
    torch.testing.assert_close(after[[1, 3]], fresh[[1, 3]], atol=0, rtol=0)
    assert (after[[0, 2]] - fresh[[0, 2]]).abs().min() > 0
    model.reset(hidden_state=remembered)
    torch.testing.assert_close(model(obs)[[0, 2]], after[[0, 2]], atol=0, rtol=0)


def test_a_nan_in_the_memory_does_not_survive_a_reset() -> None:
    model = build("gru")
    obs = observations("gru", 2, 4)
    obs["o"][0, 1] = math.nan
    dones = torch.tensor([[False, True, False, False], [False] * 4])
    actions, _ = model.sequence(obs, dones)
    assert actions[1].isfinite().all()
    model(obs[0])
    model.reset(dones[0])
    assert model(obs[1]).isfinite().all()


def test_the_gru_is_torchs_gru() -> None:
    ours, theirs = Gru(FRAME, width=7), nn.GRUCell(FRAME, 7)
    theirs.load_state_dict(
        {
            "weight_ih": ours.input.weight,
            "bias_ih": ours.input.bias,
            "weight_hh": ours.hidden.weight,
            "bias_hh": ours.hidden.bias,
        }
    )
    x, h = torch.randn(4, FRAME), torch.randn(4, 7)
    torch.testing.assert_close(ours(x, (h[None],))[0], theirs(x, h))


def test_the_tcn_is_a_dilated_causal_convolution_read_at_the_newest_frame() -> None:
    tcn = Tcn(8 * FRAME, history=8, width=4, channels=6, kernel=2)
    x = torch.randn(3, 8, FRAME)
    frames = x.transpose(1, 2)
    for i, layer in enumerate(tcn.layers):
        assert isinstance(layer, nn.Linear)
        kernel = layer.weight.unflatten(1, (2, -1)).transpose(1, 2)
        padded = nn.functional.pad(frames, (2**i, 0))
        frames = nn.functional.elu(nn.functional.conv1d(padded, kernel, layer.bias, dilation=2**i))
    expected = nn.functional.elu(tcn.readout(frames[..., -1]))
    torch.testing.assert_close(tcn(x.flatten(1), ())[0], expected)


def test_a_history_that_is_no_power_is_filled_with_its_oldest_frame() -> None:
    short, long = Tcn(3 * FRAME, history=3, kernel=2), Tcn(4 * FRAME, history=4, kernel=2)
    long.load_state_dict(short.state_dict())
    x = torch.randn(2, 3, FRAME)
    filled = torch.cat([x[:, :1], x], 1)
    torch.testing.assert_close(short(x.flatten(1), ())[0], long(filled.flatten(1), ())[0])


def test_the_gradient_flows_through_time_and_stops_where_an_episode_ends() -> None:
    encoder = Gru(FRAME, width=8)
    x = torch.randn(6, 2, FRAME, requires_grad=True)
    dones = torch.zeros(6, 2, dtype=torch.bool)
    dones[2, 1] = True
    latent, _ = encoder.sequence(x, encoder.initial(2), dones)
    (gradient,) = torch.autograd.grad(latent[-1].sum(), x)
    reached = gradient.abs().sum(-1) > 0
    assert reached[:, 0].tolist() == [True] * 6
    assert reached[:, 1].tolist() == [False, False, False, True, True, True]


def test_detach_cuts_the_gradient_everywhere_or_in_the_named_environments() -> None:
    model = build("gru")
    obs = observations("gru", 2)
    x = obs["o"].requires_grad_()
    model(obs)
    model.detach_hidden_state(torch.tensor([1, 0]))
    (gradient,) = torch.autograd.grad(model(observations("gru", 2)).sum(), x)
    assert (gradient.abs().sum(-1) > 0).tolist() == [False, True]
    model(obs)
    model.detach_hidden_state()
    held = model.get_hidden_state()
    assert isinstance(held, Tensor)
    assert not held.requires_grad


def test_a_memory_made_in_inference_mode_can_be_trained_from() -> None:
    model = build("gru")
    with torch.inference_mode():
        model(observations("gru", 4))
        model.reset(torch.tensor([1, 0, 0, 0]))
        held = model.get_hidden_state()
    assert isinstance(held, Tensor)
    assert held.is_inference()
    weights = list(model.encoder.parameters())
    torch.autograd.grad(model(observations("gru", 4)).sum(), weights)
    actions, _ = model.sequence(observations("gru", 3, 4), None, held)
    torch.autograd.grad(actions.sum(), weights)


def test_a_saved_model_acts_as_before(tmp_path: Path) -> None:
    for encoder in ENCODERS:
        model, other = build(encoder), build(encoder, normalise=True)
        torch.save(model.state_dict(), tmp_path / "model.pt")
        other.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
        obs = observations(encoder, 4)
        assert torch.equal(model(obs), other(obs))


def test_misspelt_keys_and_names_fail_at_construction() -> None:
    obs, groups = observations("gru", 4), {"student": ["o"]}
    with pytest.raises(TypeError, match="hiden"):
        Model(obs, groups, "student", ACTIONS, hiden_dims=[8])  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="widht"):
        Model(obs, groups, "student", ACTIONS, encoder="gru", encoder_cfg={"widht": 8})
    cfg: dict[str, object] = {**GAUSSIAN, "sdt_range": (0.1, 1.0)}
    with pytest.raises(TypeError, match="sdt_range"):
        Model(obs, groups, "student", ACTIONS, distribution_cfg=cfg)
    with pytest.raises(ValueError, match=r"'lstm' is none of \['gru', 'mlp', 'none', 'tcn'\]"):
        Model(obs, groups, "student", ACTIONS, encoder="lstm")
    with pytest.raises(ValueError, match="input of 5 numbers is not made of history=4"):
        Model(obs, groups, "student", ACTIONS, encoder="mlp", encoder_cfg={"history": 4})


def test_another_number_of_environments_needs_a_reset() -> None:
    model = build("gru")
    model(observations("gru", 4))
    with pytest.raises(ValueError, match="'h' is of 4 environments, the observation of 2"):
        model(observations("gru", 2))
    model.reset()
    assert model(observations("gru", 2)).shape == (2, ACTIONS)


def test_the_std_exists_before_the_first_step_and_without_a_distribution() -> None:
    assert build("gru", std=False).output_std.tolist() == [0.0] * ACTIONS
    model = build("gru")
    torch.testing.assert_close(model.output_std, torch.full((ACTIONS,), 0.5))
    model.sequence(observations("gru", 7, 4))
    assert model.output_std.shape == (7, 4, ACTIONS)


def test_the_normaliser_learns_in_train_mode_until_it_is_frozen() -> None:
    model = Model(
        observations("gru", 2), {"s": ["o"]}, "s", ACTIONS, encoder="gru", obs_normalization=True
    )
    normaliser = model.obs_normalizer
    assert isinstance(normaliser, EmpiricalNormalization)
    obs = TensorDict({"o": torch.tensor([[1.0] * 5, [5.0] * 5])}, batch_size=[2])
    model.eval()
    model.update_normalization(obs)
    assert normaliser.mean.tolist() == [0.0] * 5
    model.train()
    model.freeze_normalization()
    model.update_normalization(obs)
    assert normaliser.mean.tolist() == [0.0] * 5
    model.freeze_normalization(False)
    model.update_normalization(obs.reshape(2, 1))  # any leading dimensions, e.g. (T, B)
    assert normaliser.mean.tolist() == [3.0] * 5
    assert normaliser.std.tolist() == [2.0] * 5
    # (5 - 3) / (2 + 0.01)
    torch.testing.assert_close(normaliser(obs["o"])[1], torch.full((5,), 0.9950249))


@pytest.mark.parametrize("std_type", ["scalar", "log"])
@pytest.mark.parametrize("wild", [1e9, -1e9, math.inf, -math.inf, math.nan])
def test_no_optimiser_step_takes_the_std_out_of_its_bounds(std_type: str, wild: float) -> None:
    gaussian = BoundedGaussian(2, 0.5, (0.05, 1.0), std_type)
    (parameter,) = gaussian.parameters()
    gaussian.update(torch.zeros(1, 2))
    expected = -math.log(0.5 * math.sqrt(2 * math.pi)) * 2
    assert gaussian.log_prob(torch.zeros(1, 2)).item() == pytest.approx(expected, rel=1e-6)
    with torch.no_grad():
        parameter.fill_(wild)
    gaussian.update(torch.zeros(1, 2))
    assert gaussian.std.min() >= torch.tensor(0.05)
    assert gaussian.std.max() <= 1.0
    gaussian.project()
    before = gaussian.current_std()
    assert parameter.isfinite().all()
    # The next step inwards is not lost, however far out the parameter has been.
    direction = torch.sign(0.4 - before.detach())
    (parameter.grad,) = torch.autograd.grad((before * -direction).sum(), [parameter])
    torch.optim.SGD([parameter], lr=0.01).step()
    assert ((gaussian.current_std() - before) * direction > 1e-5).all()


def test_bounds_that_contradict_the_first_std_are_refused() -> None:
    with pytest.raises(ValueError, match=r"init_std=2.0 and std_range=\(0.05, 1.0\)"):
        BoundedGaussian(2, 2.0, (0.05, 1.0))
