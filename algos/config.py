"""Recipes as rsl_rl's configuration dictionaries (the form of version 5).

Names of classes are strings, so that a configuration can be written to disk and read back equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tutelage.algos.recipes import Recipe

MODEL = "tutelage.policies.model:Model"
GAUSSIAN = "tutelage.policies.model:BoundedGaussian"
SAVE_INTERVAL = 25
"""Iterations between checkpoints; at most this much work is lost when the machine fails"""
KEEP_INTERVAL = 200
"""Checkpoints of these iterations stay for good"""


def teacher_config(recipe: Recipe) -> dict[str, Any]:
    """PPO on proprio + privileged; the critic sees all of it uncorrupted."""
    t = recipe.teacher
    network = {
        "class_name": MODEL,
        "hidden_dims": list(t.hidden),
        "activation": t.activation,
        "obs_normalization": True,
    }
    distribution = {
        "class_name": GAUSSIAN,
        "init_std": t.init_std,
        "std_range": list(t.std_range),
    }
    return {
        **_common(t.steps),
        "obs_groups": {"actor": ["proprio", "privileged"], "critic": ["critic"]},
        "actor": network | {"distribution_cfg": distribution},
        "critic": network,
        "algorithm": {
            "class_name": "tutelage.algos.ppo:PPO",
            "num_learning_epochs": t.epochs,
            "num_mini_batches": t.minibatches,
            "learning_rate": t.learning_rate,
            "schedule": t.schedule,
            "desired_kl": t.desired_kl,
            "gamma": t.gamma,
            "lam": t.lam,
            "entropy_coef": t.entropy,
            "clip_param": 0.2,
            "value_loss_coef": 1.0,
            "use_clipped_value_loss": True,
            "max_grad_norm": 1.0,
            "symmetry_cfg": _symmetry() if t.symmetry else None,
        },
    }


def student_config(recipe: Recipe, teacher: Mapping[str, Any]) -> dict[str, Any]:
    """DAgger on what the robot senses.

    Args:
        recipe: Its student and no part of its teacher is used.
        teacher: `infos` of the teacher's checkpoint, which alone says what its network is and
            what it reads.
    """
    s = recipe.student
    low, high, over = s.beta
    return {
        **_common(s.steps),
        "obs_groups": {
            "student": ["history" if s.history > 1 else "proprio"],
            "teacher": list(teacher["obs_groups"]["actor"]),
        },
        "student": {
            "class_name": MODEL,
            "encoder": s.encoder,
            "encoder_cfg": {"width": s.width, "history": s.history},
            "hidden_dims": list(s.hidden),
            "activation": "elu",
            "obs_normalization": True,
        },
        "teacher": dict(teacher["networks"]["actor"]),
        "algorithm": {
            "class_name": "tutelage.algos.dagger:DAgger",
            "num_learning_epochs": s.epochs,
            "gradient_length": s.gradient_length,
            "learning_rate": s.learning_rate,
            "beta": [low, high, over],
        },
    }


def _common(steps: int) -> dict[str, Any]:
    return {
        "num_steps_per_env": steps,
        "save_interval": SAVE_INTERVAL,
        "keep_interval": KEEP_INTERVAL,
        "check_for_nan": True,
        "logger": "tensorboard",
    }


def _symmetry() -> dict[str, Any]:
    return {
        "use_data_augmentation": True,
        "use_mirror_loss": False,
        "data_augmentation_func": "tutelage.algos.ppo:augment",
    }


def smoke(recipe: Recipe) -> Recipe:
    """The recipe with a budget that only shows that every part works."""
    t, s = recipe.teacher, recipe.student
    return replace(
        recipe,
        teacher=replace(t, num_envs=min(64, t.num_envs), iterations=min(4, t.iterations)),
        student=replace(s, num_envs=min(32, s.num_envs), iterations=min(4, s.iterations)),
    )
