"""What sets the scalars of a method as training goes on: the C of a method.

A schedule is a function of the iteration. A controller also reads the metrics of the last update,
and has a memory, which `state_dict` holds as numbers, lists and tensors only, so that a checkpoint
can be read with `weights_only=True`.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.distributions import Beta
from torch.nn import functional

from tutelage.algos.behaviour import Linear

Schedule: TypeAlias = Callable[[int], float]
"""A scalar by iteration"""


@dataclass(frozen=True, slots=True)
class Exponential:
    """start · factor^iteration, but never below `least`: β of DAgger (arXiv:1011.0686)."""

    start: float
    factor: float
    least: float = 0.0

    def __call__(self, iteration: int) -> float:
        return max(self.least, self.start * self.factor**iteration)


@dataclass(frozen=True, slots=True)
class Cosine:
    """From `start` to `end` along half a cosine over `over` iterations (RPD, arXiv:2503.05833)."""

    start: float
    end: float
    over: int

    def __call__(self, iteration: int) -> float:
        done = min(max(iteration / self.over, 0.0), 1.0)
        return self.end + (self.start - self.end) * (0.5 + 0.5 * math.cos(math.pi * done))


@dataclass(frozen=True, slots=True)
class Stages:
    """One value after another: pairs of the iteration that a value holds from, and the value.

    RAPTOR's teacher forcing (arXiv:2509.11481) is ((0, 1.0), (10, 0.0)).
    """

    stages: tuple[tuple[int, float], ...]

    def __post_init__(self) -> None:
        begins = [begin for begin, _ in self.stages]
        if not begins or begins[0] != 0 or sorted(set(begins)) != begins:
            raise ValueError(f"stages begin at {begins}; they begin at 0, each after the last")

    def __call__(self, iteration: int) -> float:
        return [value for begin, value in self.stages if begin <= iteration][-1]


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "linear": Linear,
    "exponential": Exponential,
    "cosine": Cosine,
    "stages": Stages,
}


class Controller(Protocol):
    """One scalar of an algorithm; called once before each update."""

    def __call__(self, iteration: int, metrics: Mapping[str, float]) -> float:
        """Its value now, given the metrics of the update before."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs to go on."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class Scheduled:
    """A controller that follows a schedule, and remembers nothing."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule

    def __call__(self, iteration: int, metrics: Mapping[str, float]) -> float:
        return self.schedule(iteration)

    def state_dict(self) -> dict[str, Any]:
        """Empty."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to take over."""


class ExplainedVarianceGate:
    """0 until the critic explains enough, then to 1 in equal steps; never back.

    InterMimic switches PPO on so (arXiv:2502.20390; its code): a critic that has never seen the
    student's own returns would first lead it astray.
    """

    def __init__(
        self,
        *,
        least: float = 0.6,
        streak: int = 3,
        over: int = 4000,
        metric: str = "explained_variance",
    ) -> None:
        """Opens when `metric` is at least `least` in `streak` updates on end; over: iterations."""
        self.least, self.streak, self.over, self.metric = least, streak, over, metric
        self._good = 0
        self._open_since: int | None = None

    def __call__(self, iteration: int, metrics: Mapping[str, float]) -> float:
        if self._open_since is None:
            good = read(metrics, self.metric, self) >= self.least
            self._good = self._good + 1 if good else 0
            if self._good < self.streak:
                return 0.0
            self._open_since = iteration
        return min((iteration - self._open_since + 1) / max(self.over, 1), 1.0)

    def state_dict(self) -> dict[str, Any]:
        """How long the critic has been good, and since when the gate is open."""
        return {"good": self._good, "open_since": self._open_since}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with it."""
        self._good = int(state["good"])
        self._open_since = None if state["open_since"] is None else int(state["open_since"])


class KLBudget:
    """Turns a positive scalar up or down until a KL stands at its target.

    Each update multiplies it by (KL/target)^gain, the step held within `step`; `raises` says
    whether more of it raises the KL (λ − 1 of an extrapolation, 1 − α of `couplings.trust_region`)
    or lowers it (a coefficient of the imitation). Compare the penalty of PPO, Schulman et al. 2017
    (arXiv:1707.06347), section 4, which doubles and halves.
    """

    def __init__(
        self,
        value: float,
        *,
        target: float,
        raises: bool,
        gain: float = 0.3,
        step: float = 1.5,
        low: float = 1e-4,
        high: float = 1e2,
        metric: str = "kl",
    ) -> None:
        if not 0 < low <= value <= high:
            raise ValueError(f"value is {value}; between low {low} and high {high}, both positive")
        if target <= 0:
            raise ValueError(f"target is {target}; a KL to hold is positive")
        self.value, self.target, self.metric = value, target, metric
        self._gain = -gain if raises else gain
        self._step, self._low, self._high = math.log(step), low, high

    def __call__(self, iteration: int, metrics: Mapping[str, float]) -> float:
        kl = max(read(metrics, self.metric, self), 1e-12)
        move = self._gain * math.log(kl / self.target)
        move = min(max(move, -self._step), self._step)
        self.value = min(max(self.value * math.exp(move), self._low), self._high)
        return self.value

    def state_dict(self) -> dict[str, Any]:
        """The value."""
        return {"value": self.value}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the value."""
        self.value = float(state["value"])


class BanditBins:
    """Which scenario bins to train in: those that are neither mastered nor hopeless.

    p_b ∝ ε + (1 − |2 s_b − 1|), s_b a running mean of success in bin b that starts at ½, so that
    no bin is ever left out. After DataEnvGym (github.com/codezakh/DataEnvGym) and the balance of
    difficulties in Uni-OPD (arXiv:2605.03677).
    """

    def __init__(
        self, bins: int, *, explore: float = 0.1, memory: float = 0.9, device: str = "cpu"
    ) -> None:
        """Memory: what a success rate keeps of itself at each finished episode of its bin."""
        if bins < 1 or explore <= 0:
            raise ValueError(f"{bins} bins with explore {explore}; at least one, and above 0")
        self.explore, self.memory = explore, memory
        self.success = torch.full((bins,), 0.5, device=device)
        """(M,) running mean by bin"""

    def observe(self, bins: Tensor, success: Tensor) -> None:
        """Take in outcomes (N,) in {0, 1}, NaN while the episode goes on, of bins (N,) long."""
        known = ~success.isnan()
        zeros = torch.zeros_like(self.success)
        total = zeros.scatter_add(0, bins, torch.where(known, success, 0.0))
        count = zeros.scatter_add(0, bins, known.float())
        kept = self.memory**count
        self.success = kept * self.success + (1 - kept) * total / count.clamp(min=1)

    def probabilities(self) -> Tensor:
        """(M,), sum 1"""
        interest = self.explore + 1 - (2 * self.success - 1).abs()
        return interest / interest.sum()

    def draw(self, count: int) -> Tensor:
        """Bins for so many environments. (count,) long"""
        return torch.multinomial(self.probabilities(), count, replacement=True)

    def state_dict(self) -> dict[str, Any]:
        """The success rates."""
        return {"success": self.success.clone()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the success rates; ValueError if they are of another number of bins."""
        saved: Tensor = state["success"]
        if saved.shape != self.success.shape:
            raise ValueError(f"{len(saved)} bins were saved; there are {len(self.success)} here")
        self.success = saved.to(self.success.device, copy=True)


class BetaPolicy:
    """Learns a share e in (0, 1), as how much of its privilege the teacher is shown.

    ATESD (arXiv:2605.11458): a small network reads training metrics and gives Beta(a, b), a and b
    above 1; e is drawn from it and held for some updates. Its return is the discounted learning
    progress after that, Σ_l γ^(l−1) (loss_{l−1} − loss_l) + c · gain in success, and REINFORCE
    against a running mean trains the network. The loss has to be that of a fixed set of probes:
    the loss of the batch depends on e itself and would pay for trivial shares.
    """

    def __init__(
        self,
        inputs: tuple[str, ...],
        *,
        hold: int = 10,
        horizon: int = 10,
        discount: float = 0.9,
        success_gain: float = 1.0,
        entropy: float = 1e-3,
        learning_rate: float = 1e-2,
        hidden: int = 16,
    ) -> None:
        """Reads the metrics named in `inputs`, "probe_loss" and, if there, "probe_success"."""
        self.inputs, self.hold, self.horizon = inputs, hold, horizon
        self.discount, self.success_gain, self.entropy = discount, success_gain, entropy
        self.network = nn.Sequential(
            nn.Linear(len(inputs), hidden), nn.Tanh(), nn.Linear(hidden, 2)
        )
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=learning_rate)
        self.value = 0.5
        self._calls = 0
        self._baseline: float | None = None
        self._pending: list[dict[str, Any]] = []

    def distribution(self, features: Tensor) -> Beta:
        """Of e, for squashed metrics (len(inputs),)."""
        a, b = 1 + functional.softplus(self.network(features))
        return Beta(a, b)

    def __call__(self, iteration: int, metrics: Mapping[str, float]) -> float:
        loss, success = read(metrics, "probe_loss", self), metrics.get("probe_success", 0.0)
        for decision in self._pending:
            decision["losses"].append(loss)
        while self._pending and len(self._pending[0]["losses"]) > self.horizon:
            self._learn(self._pending.pop(0), success)
        if self._calls % self.hold == 0:
            features = self._features(metrics)
            with torch.no_grad():
                # the density is zero at the ends, which rounding may reach
                self.value = float(self.distribution(features).sample().clamp(1e-4, 1 - 1e-4))
            decision = {"features": features, "value": self.value, "losses": [loss]}
            self._pending.append(decision | {"success": success})
        self._calls += 1
        return self.value

    def _features(self, metrics: Mapping[str, float]) -> Tensor:
        """Signed logarithms, for metrics of any scale."""
        x = torch.tensor([read(metrics, name, self) for name in self.inputs])
        return x.sign() * x.abs().log1p()

    def _learn(self, decision: dict[str, Any], success: float) -> None:
        """One step of REINFORCE on a decision whose horizon is over."""
        losses = decision["losses"]
        progress = [before - after for before, after in itertools.pairwise(losses)]
        gain = sum(self.discount**i * step for i, step in enumerate(progress))
        gain += self.success_gain * (success - decision["success"])
        baseline = gain if self._baseline is None else self._baseline
        self._baseline = 0.9 * baseline + 0.1 * gain
        beta = self.distribution(decision["features"])
        log_prob: Tensor = beta.log_prob(torch.tensor(decision["value"]))  # type: ignore[no-untyped-call]
        spread: Tensor = beta.entropy()  # type: ignore[no-untyped-call]
        objective = (gain - baseline) * log_prob + self.entropy * spread
        self.optimizer.zero_grad()
        (-objective).backward()
        self.optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """Network, optimiser, and the decisions that are not judged yet."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "value": self.value,
            "calls": self._calls,
            "baseline": self._baseline,
            "pending": copy.deepcopy(self._pending),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with them."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.value, self._calls = float(state["value"]), int(state["calls"])
        self._baseline = state["baseline"]
        self._pending = copy.deepcopy(state["pending"])


def read(metrics: Mapping[str, float], name: str, reader: object) -> float:
    """One metric, or a ValueError that says who misses it and what there is."""
    if name not in metrics:
        raise ValueError(
            f"{type(reader).__name__} reads the metric {name!r}; there are {sorted(metrics)}"
        )
    return float(metrics[name])
