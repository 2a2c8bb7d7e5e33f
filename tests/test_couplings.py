"""Imitation in the loss, the advantage, the reward and the ratio, by what each does to learning."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tutelage.algos import couplings, gaussian, objectives
from tutelage.algos.gaussian import Gaussian


def normal(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def apart(actions: int, gap: float) -> tuple[Gaussian, Gaussian]:
    """Unit Gaussians whose means are `gap` apart in each action."""
    zero = torch.zeros(actions, dtype=torch.float64)
    return Gaussian(zero, zero + 1), Gaussian(zero + gap, zero + 1)


def test_a_loss_is_the_weighted_mean_of_what_counts() -> None:
    divergence = torch.tensor([1.0, 3.0, math.nan])
    weight, mask = torch.tensor([3.0, 1.0, 7.0]), torch.tensor([True, True, False])
    assert float(couplings.loss(divergence, weight, mask)) == 1.5
    assert float(couplings.loss(divergence, mask=mask)) == 2.0
    assert float(couplings.loss(divergence, weight, ~mask & False)) == 0.0


def test_the_weight_of_a_loss_carries_no_gradient() -> None:
    divergence = torch.tensor([1.0, 3.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(couplings.loss(divergence, divergence), divergence)
    torch.testing.assert_close(gradient, torch.tensor([0.25, 0.75]))


@pytest.mark.parametrize(("distance", "expected"), [(0.5, 1.0536), (2.0, 1.857), (6.0, 8.714)])
def test_the_control_variate_takes_the_variance_off_that_it_promises(
    distance: float, expected: float
) -> None:
    """1 + A‖δ‖²/4(A + 1), with A = 6, within 5 %; and the mean gradient stays."""
    student, teacher = apart(6, distance / math.sqrt(6))
    noise = normal(200_000, 6)
    actions = student.sample(noise)
    gradients = [
        noise * couplings.signal(student, teacher, actions, baseline=baseline).unsqueeze(-1)
        for baseline in (False, True)
    ]
    before, after = (float(gradient.var(0).sum()) for gradient in gradients)
    assert 1 + 6 * distance**2 / 28 == pytest.approx(expected, rel=1e-3)
    assert before / after == pytest.approx(expected, rel=0.05)
    for gradient in gradients:  # (μ_T − μ_S)/σ², the descent of the reverse KL
        noise_of_mean = 6 * math.sqrt(before / 6 / 200_000)
        torch.testing.assert_close(gradient.mean(0), teacher.mean, atol=noise_of_mean, rtol=0)


def test_the_signal_with_its_baseline_is_zero_on_average() -> None:
    student, teacher = apart(3, 0.7)
    teacher = Gaussian(teacher.mean, 1.5 * teacher.std)
    actions = student.sample(normal(100_000, 3))
    plain = couplings.signal(student, teacher, actions, baseline=False)
    assert float(plain.mean()) == pytest.approx(-float(gaussian.kl(student, teacher)), abs=0.02)
    assert float(couplings.signal(student, teacher, actions).mean()) == pytest.approx(0, abs=0.02)


def score_gradient(name: str, student: Gaussian, teacher: Gaussian, noise: Tensor) -> Tensor:
    """Of the student's mean, by the policy gradient of the named score."""
    actions = student.sample(noise)
    u = couplings.signal(student, teacher, actions, baseline=False)
    return -(noise / student.std * couplings.SCORES[name](u).unsqueeze(-1)).mean(0)


@pytest.mark.parametrize("name", couplings.SCORES)
def test_each_score_descends_the_divergence_it_is_named_after(name: str) -> None:
    mean = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    student = Gaussian(mean, torch.ones(1, dtype=torch.float64))
    teacher = Gaussian(*(torch.tensor([x], dtype=torch.float64) for x in (0.6, 0.9)))
    noise = normal(400_000, 1)
    squared_hellinger = 0.5 * gaussian.amari(student, teacher, 0.5)
    value = {
        "reverse": gaussian.kl(student, teacher),
        "forward": gaussian.kl(teacher, student),
        "hellinger": squared_hellinger,
        "jensen_shannon": gaussian.jensen_shannon(student, teacher, noise),
    }[name]
    (exact,) = torch.autograd.grad(value, mean)
    estimate = score_gradient(name, student.detach(), teacher, noise)
    assert float(estimate) == pytest.approx(float(exact), rel=0.02)


def test_without_its_correction_a_score_descends_something_else() -> None:
    """−f alone, for the forward KL: −r ln r."""
    student, teacher = apart(1, 0.6)
    noise = normal(400_000, 1)
    u = couplings.signal(student, teacher, student.sample(noise), baseline=False)
    wrong = float((noise.squeeze(-1) * u.exp() * u).mean())
    exact = -0.6
    assert abs(wrong - exact) > 0.5 * abs(exact)


def returns(rewards: Tensor) -> float:
    """Discounted by 0.99, of one episode."""
    steps = rewards.view(-1, 1, 1)
    zeros, dones = torch.zeros_like(steps), torch.zeros_like(steps)
    dones[-1] = 1.0
    return float(objectives.advantages(steps, zeros, zeros[0], dones, gamma=0.99, lam=1.0)[0])


def test_a_teacher_in_the_reward_pays_for_dying_unless_living_is_paid() -> None:
    """A hundred steps at a KL of 0.5, or death in the first."""
    expected_signal = torch.full((100,), -0.5)
    nothing = torch.zeros(100)
    raw = couplings.reward(nothing, expected_signal, scale=1.0, alive=0.0)
    assert returns(raw) == pytest.approx(-31.7, abs=0.05)
    assert returns(raw[:1]) == -0.5
    assert returns(raw) < returns(raw[:1])
    for alive in (0.5, 0.6):
        fixed = couplings.reward(nothing, expected_signal, scale=1.0, alive=alive)
        assert returns(fixed) >= returns(fixed[:1]) >= 0.0
    assert returns(fixed) > 60 * returns(fixed[:1])
    paid = couplings.closeness(*apart(4, 0.5)).expand(100)
    assert float(paid[0]) == pytest.approx(math.exp(-0.125))
    assert returns(paid) > 60 * returns(paid[:1])


def test_only_the_reward_form_knows_that_actions_decide_later_states() -> None:
    """x' = x + 0.2 a + noise, student N(−kx, 0.5²), teacher N(−x, 0.5²), 15 steps.

    Summed over an episode, d_t = (k − 1)² x²/2σ². Exactly: E x² is a recursion that autograd
    follows. The reward form has it within 2 %; the loss misses a good part of it.
    """
    gain, std, steps, episodes = 0.4, 0.5, 15, 200_000
    k = torch.tensor(gain, dtype=torch.float64, requires_grad=True)
    second, total = torch.ones((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for _ in range(steps):
        total = total + (k - 1) ** 2 * second / (2 * std**2)
        second = (1 - 0.2 * k) ** 2 * second + (0.2 * std) ** 2
    (exact,) = torch.autograd.grad(total, k)

    x, local = normal(episodes, seed=1), torch.zeros(episodes, dtype=torch.float64)
    kls, scores = [], []
    for step in range(steps):
        noise = normal(episodes, seed=2 + step)
        student = Gaussian((-gain * x).unsqueeze(-1), torch.full((1,), std).double())
        kls.append(gaussian.kl(student, Gaussian((-x).unsqueeze(-1), student.std)))
        local = local + (gain - 1) * x.square() / std**2
        scores.append(-x * noise / std)
        x = x + 0.2 * student.sample(noise.unsqueeze(-1)).squeeze(-1)
    rewards = couplings.reward(
        torch.zeros(steps, episodes).double(), -torch.stack(kls), scale=1.0, alive=0.0
    )
    to_go = rewards.flip(0).cumsum(0).flip(0) - rewards
    later = -(torch.stack(scores) * to_go).sum(0).mean()
    assert float(local.mean() + later) == pytest.approx(float(exact), rel=0.02)
    assert abs(float(local.mean())) < 0.9 * abs(float(exact))


def test_at_alpha_one_the_trust_region_is_ppo_to_the_bit() -> None:
    new, old = normal(100, seed=1).float(), normal(100, seed=2).float()
    advantage = normal(100, seed=3).float()
    nowhere = torch.full((100,), -math.inf)
    ratio = couplings.trust_region(new, old, nowhere, alpha=1.0)
    ours = objectives.surrogate(ratio, torch.zeros(100), advantage, clip=0.2)
    assert ours.equal(objectives.surrogate(new, old, advantage, clip=0.2))


@pytest.mark.parametrize(
    ("actions", "gap", "alpha", "expected"),
    [
        (4, 1.0, 0.99, 0.0),
        (4, 1.0, 0.9, 0.56),
        (4, 1.0, 0.5, 0.91),
        (12, 0.25, 0.99, 0.0),
        (12, 0.25, 0.9, 0.05),
        (12, 0.25, 0.5, 0.68),
        (12, 1.0, 0.99, 0.0),
        (12, 1.0, 0.9, 0.90),
        (12, 1.0, 0.5, 0.98),
        (29, 0.25, 0.99, 0.0),
        (29, 0.25, 0.9, 0.26),
        (29, 0.25, 0.5, 0.81),
        (29, 1.0, 0.99, 0.25),
        (29, 1.0, 0.9, 0.99),
        (29, 1.0, 0.5, 1.0),
    ],
)
def test_the_share_of_samples_outside_the_clip_before_the_first_step(
    actions: int, gap: float, alpha: float, expected: float
) -> None:
    student, teacher = apart(actions, gap)
    drawn = student.sample(normal(20_000, actions))
    own, other = student.log_prob(drawn), teacher.log_prob(drawn)
    log_ratio = couplings.trust_region(own, own, other, alpha=alpha)
    assert float(log_ratio.mean()) == pytest.approx(
        (1 - alpha) * float(gaussian.kl(student, teacher)), abs=0.06
    )
    outside = (log_ratio.exp() - 1).abs() > 0.2
    assert float(outside.double().mean()) == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("actions", [1, 12])
def test_an_alpha_from_the_clip_lets_most_samples_start_inside(actions: int) -> None:
    student, teacher = apart(12, 1.0)
    drawn = student.sample(normal(20_000, 12))
    own, other = student.log_prob(drawn), teacher.log_prob(drawn)
    alpha = float(couplings.within_clip(other - own, clip=0.2, actions=actions))
    assert 0.0 < alpha < 1.0
    log_ratio = couplings.trust_region(own, own, other, alpha=alpha, actions=actions)
    outside = (log_ratio.exp() - 1).abs() > 0.2
    assert 0.0 < float(outside.double().mean()) <= 0.05
    mask = torch.zeros(20_000, dtype=torch.bool)
    mask[:100] = True
    few = couplings.within_clip(torch.where(mask, 0.01, math.nan), clip=0.2, mask=mask)
    assert float(few) == 0.0


def test_the_trust_region_stops_reinforcing_what_the_student_prefers_to_the_teacher() -> None:
    own = torch.zeros(2, requires_grad=True)
    teacher = torch.tensor([-1.0, 1.0])  # less and more than the student
    ratio = couplings.trust_region(own, torch.zeros(2), teacher, alpha=0.7)
    loss = objectives.surrogate(ratio, torch.zeros(2), torch.ones(2), clip=0.2)
    (gradient,) = torch.autograd.grad(loss, own)
    assert float(gradient[0]) == 0.0
    assert float(gradient[1]) < 0.0


def test_the_teacher_changes_the_size_of_an_advantage_and_never_its_sign() -> None:
    advantage = torch.tensor([2.0, 2.0, -2.0, -2.0, 0.0])
    u = torch.tensor([5.0, -5.0, 5.0, -5.0, 5.0])
    sized = couplings.magnitude(advantage, u, share=0.5, clip=0.2)
    torch.testing.assert_close(sized, torch.tensor([2.2, 1.8, -1.8, -2.2, 0.0]))
    assert couplings.magnitude(advantage, u, share=0.0, clip=0.2).equal(advantage)


def test_no_scale_leaves_the_advantage_and_the_reward_as_they_are() -> None:
    x, u = normal(10), normal(10, seed=1)
    assert couplings.advantage(x, u, scale=0.0).equal(x)
    assert couplings.reward(x, u, scale=0.0, alive=3.0).equal(x)
    torch.testing.assert_close(couplings.advantage(x, u, scale=2.0), x + 2 * u)


def mean_after(loss_of: str, steps: int) -> float:
    """Mean of a student that was shown 1 as chosen and 0 as rejected, with unit std."""
    mean = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    one = torch.ones(1, dtype=torch.float64)
    reference = Gaussian(torch.zeros_like(one), one)
    for _ in range(steps):
        margin = couplings.preference_margin(Gaussian(mean, one), reference, one, one - 1)
        function = couplings.dpo if loss_of == "dpo" else couplings.ipo
        (gradient,) = torch.autograd.grad(function(margin, beta=0.5).sum(), mean)
        mean = (mean - 0.4 * gradient).detach().requires_grad_()
    return float(mean.detach())


def test_dpo_drives_a_gaussian_past_the_chosen_action_and_on() -> None:
    """The margin of N(m, 1) is m, without end; IPO stops where it is 1/2β = 1."""
    short, long, longer = (mean_after("dpo", steps) for steps in (30, 300, 3000))
    assert 1.0 < short < long - 3.0 < longer - 6.0
    assert mean_after("ipo", 30) == pytest.approx(1.0, abs=1e-6)
    assert mean_after("ipo", 300) == pytest.approx(1.0, abs=1e-12)
