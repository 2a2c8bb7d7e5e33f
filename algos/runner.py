"""rsl_rl's runner, made exact to resume, quiet, and careful with what it has.

What differs from `OnPolicyRunner`, and why:

* `learn` is a loop of our own, since rsl_rl's has no hooks. `current_learning_iteration` counts
  the iterations completed; rsl_rl leaves it one short after `learn`, so that a resumed run would
  repeat the last iteration.
* A checkpoint holds the environment, the last observations and every random generator, so that
  5 iterations, a resume and 5 more equal 10, bit for bit. Under several processes that is true of
  the networks only: the first process writes, the others begin their environments anew.
* A number that is not finite, from the environment or in a loss, stops the run before the
  optimiser's step; statistics of the batch are left in `nonfinite_<iteration>.pt`.
* SIGINT and SIGTERM let the present iteration end, save, and raise `Interrupted`.
* Nothing is printed. Each iteration goes to `on_iteration`, `curve.jsonl` and tensorboard.
"""

from __future__ import annotations

import contextlib
import copy
import io
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rsl_rl.env import VecEnv
from rsl_rl.runners import OnPolicyRunner
from tensordict import TensorDict
from torch import Tensor

from tutelage.algos import checkpoint
from tutelage.algos.guard import NonFiniteLoss, Statistics, describe
from tutelage.algos.plain import to_plain
from tutelage.algos.progress import Curve, Ledger, OnIteration, Progress, mean_or_nan
from tutelage.algos.runs import Interrupted, best, checkpoints, iteration_of, set_aside
from tutelage.algos.signals import Signals

SPEED_WINDOW = 10
"""Iterations over which the remaining time is estimated"""


class NonFiniteRollout(ArithmeticError):
    """The environment returned NaN or inf where a transition counts."""

    def __init__(self, where: list[str], step: int, statistics: Statistics) -> None:
        self.statistics = statistics
        super().__init__(
            f"the environment returned values that are not finite in {', '.join(where)}, at step "
            f"{step} of the rollout; look for a term that divides or takes a root or logarithm"
        )


class Runner(OnPolicyRunner):
    """Runs an algorithm on an environment, saves, resumes and reports."""

    def __init__(
        self,
        env: VecEnv,
        train_cfg: dict[str, Any],
        log_dir: str | Path | None = None,
        device: str = "cpu",
        *,
        stage: str = "teacher",
        on_iteration: OnIteration | None = None,
        resume_command: str = "",
    ) -> None:
        """`train_cfg` is rsl_rl's and is not edited; beside its keys, `keep_interval` says which
        checkpoints stay for good (the others go once two newer ones are there)."""
        self._plain_cfg = to_plain(train_cfg)
        self.run = None if log_dir is None else Path(log_dir)
        self.stage = stage
        self.on_iteration = on_iteration
        self.resume_command = resume_command or f"resume from {log_dir}"
        # rsl_rl prints every model and group that it makes
        with contextlib.redirect_stdout(io.StringIO()):
            super().__init__(
                env, copy.deepcopy(train_cfg), None if log_dir is None else str(log_dir), device
            )
        self.logger.git_status_repos = []  # meta.json says it; no diffs of other repositories
        self.obs_groups: dict[str, list[str]] = {
            name: list(groups) for name, groups in self.cfg["obs_groups"].items()
        }
        self.ledger = Ledger(env.num_envs, device)
        self._obs: TensorDict | None = None
        self._random: dict[str, Any] | None = None

    @property
    def is_main(self) -> bool:
        return bool(self.gpu_global_rank == 0)

    def learn(self, num_learning_iterations: int, init_at_random_ep_len: bool = False) -> None:
        """Run this many more iterations; Interrupted if a signal asks to stop."""
        total = self.current_learning_iteration + num_learning_iterations
        clock = _Clock(self.ledger.seconds)
        obs = self._begin(init_at_random_ep_len)
        try:
            with Signals() as signals:
                while self.current_learning_iteration < total:
                    obs = self._iterate(obs, total, clock)
                    stop = bool(signals.caught)
                    if stop or self._save_is_due(total):
                        self.save_to_run()
                    if stop:
                        raise Interrupted(
                            self.run or Path(), self.current_learning_iteration, self.resume_command
                        )
        except (NonFiniteLoss, NonFiniteRollout) as error:
            self._dump(error)
            raise
        finally:
            self._end()

    def _begin(self, random_lengths: bool) -> TensorDict:
        """Everything before the first iteration; the observations to start from."""
        env, fresh = self.env, self._obs is None
        if random_lengths and fresh:
            env.episode_length_buf = torch.randint_like(
                env.episode_length_buf, high=int(env.max_episode_length)
            )
        obs = env.get_observations() if self._obs is None else self._obs
        self.alg.train_mode()
        if self.is_distributed:
            self.alg.broadcast_parameters()
        with contextlib.redirect_stdout(io.StringIO()):
            self.logger.init_logging_writer()
        if self.run is not None and self.is_main:
            with contextlib.suppress(OSError):
                (self.run / "git").rmdir()
            Curve(self.run).cut(self.current_learning_iteration)
            set_aside(self.run, self.current_learning_iteration)
        if self._random is not None:
            # last of all, so that nothing above can draw from the generators
            checkpoint.set_random_state(self._random)
            self._random = None
        self._obs = obs.to(self.device)
        if fresh:
            self.save_to_run()
        return self._obs

    def _end(self) -> None:
        self.logger.stop_logging_writer()
        # tensorboard's writer, which rsl_rl leaves open
        close = getattr(self.logger.writer, "close", None)
        if close is not None:
            close()
        self.logger.writer = None

    def _iterate(self, obs: TensorDict, total: int, clock: _Clock) -> TensorDict:
        """One rollout and one update."""
        steps_before = self.ledger.env_steps
        obs = self._rollout(obs)
        collected = clock.lap()
        losses = {name: float(value) for name, value in self.alg.update().items()}
        learned = clock.lap()
        self._obs = obs
        self.current_learning_iteration += 1
        self.ledger.seconds = clock.total
        world = self.gpu_world_size
        progress = Progress(
            stage=self.stage,
            iteration=self.current_learning_iteration,
            total=total,
            env_steps=self.ledger.env_steps * world,
            seconds=clock.total,
            steps_per_second=(self.ledger.env_steps - steps_before) * world / (collected + learned),
            seconds_left=clock.left(collected + learned, total - self.current_learning_iteration),
            reward=mean_or_nan(self.ledger.returns),
            episode_length=mean_or_nan(self.ledger.lengths),
            metrics=self.ledger.means.take(),
            losses=losses,
        )
        self._report(progress, collected, learned)
        return obs

    def _rollout(self, obs: TensorDict) -> TensorDict:
        """Collect the transitions of one iteration; the observations after the last."""
        with torch.inference_mode():
            for step in range(self.cfg["num_steps_per_env"]):
                actions = self.alg.act(obs)
                obs, rewards, dones, extras = self.env.step(actions.to(self.env.device))
                obs = obs.to(self.device)
                rewards, dones = rewards.to(self.device), dones.to(self.device)
                if self.cfg.get("check_for_nan", True):
                    self._require_finite(obs, rewards, extras.get("valid"), step)
                self.alg.process_env_step(obs, rewards, dones, extras)
                self.ledger.add(rewards, dones, extras)
            self.alg.compute_returns(obs)
        return obs

    def _require_finite(
        self, obs: TensorDict, rewards: Tensor, valid: Tensor | None, step: int
    ) -> None:
        counted = rewards if valid is None else torch.where(valid.to(self.device), rewards, 0.0)
        tensors: dict[str, Any] = {f"observation group '{name}'": x for name, x in obs.items()}
        tensors["the rewards"] = counted
        # one sum each: whatever is not finite in a tensor makes its sum so
        sums = torch.stack([x.sum(dtype=torch.float64) for x in tensors.values()])
        if bool(sums.isfinite().all()):
            return
        where = [name for name, x in tensors.items() if not bool(x.isfinite().all())]
        raise NonFiniteRollout(where, step, describe(tensors))

    def _report(self, progress: Progress, collected: float, learned: float) -> None:
        if self.run is not None and self.is_main:
            Curve(self.run).add(progress)
        if self.logger.writer is not None:
            scalars = self._scalars(progress, collected, learned)
            for name, value in scalars.items():
                if math.isfinite(value):
                    self.logger.writer.add_scalar(name, value, progress.iteration - 1)
        if self.on_iteration is not None and self.is_main:
            self.on_iteration(progress)

    def _scalars(self, p: Progress, collected: float, learned: float) -> dict[str, float]:
        """By the names under which rsl_rl logs them, so that its dashboards fit."""
        metrics = {k if "/" in k else f"Episode/{k}": v for k, v in p.metrics.items()}
        return {
            **metrics,
            **{f"Loss/{name}": value for name, value in p.losses.items()},
            "Loss/learning_rate": float(self.alg.learning_rate),
            "Policy/mean_std": float(self.alg.get_policy().output_std.detach().mean()),
            "Perf/total_fps": p.steps_per_second,
            "Perf/collection_time": collected,
            "Perf/learning_time": learned,
            "Train/mean_reward": p.reward,
            "Train/mean_episode_length": p.episode_length,
        }

    def _save_is_due(self, total: int) -> bool:
        done = self.current_learning_iteration
        return done == total or done % int(self.cfg.get("save_interval", 50)) == 0

    def save_to_run(self) -> Path | None:
        """Write `model_<iterations completed>.pt`, then remove what is no longer needed."""
        if self.run is None or not self.is_main:
            return None
        path = self.run / f"model_{self.current_learning_iteration}.pt"
        self.save(str(path))
        keep = int(self.cfg.get("keep_interval", 0))
        chosen = best(self.run)
        for old in checkpoints(self.run)[:-2]:
            for_good = keep > 0 and iteration_of(old) > 0 and iteration_of(old) % keep == 0
            if not for_good and old != chosen:
                old.unlink()
        return path

    def save(self, path: str, infos: dict[str, Any] | None = None) -> None:
        """Write a checkpoint; `infos` are kept under `infos.user`."""
        payload = self.alg.save()
        payload["iter"] = self.current_learning_iteration
        obs = self._obs if self._obs is not None else self.env.get_observations()
        snapshot = getattr(self.env, "snapshot", dict)
        payload["infos"] = {
            "schema_version": checkpoint.SCHEMA_VERSION,
            "kind": self.stage,
            "obs_groups": self.obs_groups,
            "obs_sizes": self.obs_sizes(obs),
            "num_actions": int(self.env.num_actions),
            "num_envs": int(self.env.num_envs),
            "networks": {name: self._plain_cfg[name] for name in self.obs_groups},
            "env": {name: value.clone() for name, value in snapshot().items()},
            "obs": {name: value.clone() for name, value in obs.items()},
            "rng": checkpoint.random_state() if self._random is None else self._random,
            "ledger": self.ledger.snapshot(),
            "user": infos,
        }
        checkpoint.write(Path(path), payload)
        self.logger.save_model(path, self.current_learning_iteration)

    def obs_sizes(self, obs: TensorDict | None = None) -> dict[str, list[int]]:
        """Shape of one observation of every group that a network reads."""
        obs = self.env.get_observations() if obs is None else obs
        used = {group for groups in self.obs_groups.values() for group in groups}
        return {name: list(obs[name].shape[1:]) for name in sorted(used)}

    def load(
        self,
        path: str,
        load_cfg: dict[str, bool] | None = None,
        strict: bool = True,
        map_location: str | None = None,
    ) -> dict[str, Any]:
        """Take over a checkpoint: all of it, or for a student a teacher's network.

        CheckpointError when the file is damaged, of another schema, or was trained on other
        observations. `load_cfg` as in rsl_rl; None takes everything that fits.
        """
        data = checkpoint.read(Path(path), map_location or self.device)
        infos = data["infos"]
        groups, theirs = self.obs_groups, dict(infos)
        if "teacher" in groups and "actor" in infos["obs_groups"]:
            groups = {"teacher": groups["teacher"]}
            theirs["obs_groups"] = {"teacher": infos["obs_groups"]["actor"]}
        elif load_cfg is not None:
            groups = {name: value for name, value in groups.items() if load_cfg.get(name)}
        checkpoint.check_observations(groups, self.obs_sizes(), theirs)
        if self.alg.load(data, load_cfg, strict):
            self.current_learning_iteration = int(data["iter"])
            self._resume(infos)
        return dict(infos)

    def _resume(self, infos: Mapping[str, Any]) -> None:
        if not self.is_main:
            return  # the first process's environment is not this one's
        if infos["num_envs"] != self.env.num_envs:
            raise checkpoint.CheckpointError(
                f"the checkpoint holds {infos['num_envs']} environments, this run has "
                f"{self.env.num_envs}; resume with --num-envs {infos['num_envs']}"
            )
        if infos["env"] and hasattr(self.env, "restore"):
            # inside inference mode, since a rollout leaves tensors that can be written only there
            with torch.inference_mode():
                self.env.restore(infos["env"])
            self._obs = TensorDict(infos["obs"], batch_size=[self.env.num_envs])
        self.ledger.restore(infos["ledger"])
        self._random = infos["rng"]

    def _dump(self, error: NonFiniteLoss | NonFiniteRollout) -> None:
        """Leave what is needed to find the cause beside the checkpoints."""
        if self.run is None:
            return
        name = f"nonfinite_{self.current_learning_iteration}.pt"
        record = {
            "error": str(error),
            "iteration": self.current_learning_iteration,
            "statistics": error.statistics,
            "losses": getattr(error, "values", {}),
            "parameters": describe(dict(self.alg.get_policy().named_parameters())),
        }
        checkpoint.write(self.run / name, record)
        saved = checkpoints(self.run)
        last = saved[-1] if saved else "none"
        error.add_note(f"Statistics of the batch: {self.run / name}. Last good checkpoint: {last}.")


class _Clock:
    """Wall-clock time of a session, on top of that of earlier ones [s]."""

    def __init__(self, earlier: float) -> None:
        self._start = self._last = time.perf_counter()
        self._earlier = earlier
        self._iterations: list[float] = []

    def lap(self) -> float:
        """Time since the last lap; what lies between iterations is in `total` only."""
        now = time.perf_counter()
        passed, self._last = now - self._last, now
        return passed

    @property
    def total(self) -> float:
        return self._earlier + time.perf_counter() - self._start

    def left(self, iteration: float, remaining: int) -> float:
        """Estimate for the remaining iterations from the last few."""
        self._iterations = [*self._iterations, iteration][-SPEED_WINDOW:]
        return sum(self._iterations) / len(self._iterations) * remaining
