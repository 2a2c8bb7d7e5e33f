"""Contexts made by hand, for tests of terms: a robot with two joints and two feet."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from tutelage.envs.state import Context, State

B, J, F, K = 3, 2, 2, 2


def state(**values: Any) -> State:
    """Upright, at rest at 0.3 m with both feet down; `values` are broadcast to the right shape."""
    zeros = torch.zeros
    rest = State(
        root_pos_w=torch.tensor([0.0, 0.0, 0.3]).repeat(B, 1),
        root_quat_w=torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(B, 1),
        lin_vel_b=zeros(B, 3),
        ang_vel_b=zeros(B, 3),
        gravity_b=torch.tensor([0.0, 0.0, -1.0]).repeat(B, 1),
        joint_pos=zeros(B, J),
        joint_vel=zeros(B, J),
        joint_torque=zeros(B, J),
        foot_pos_w=zeros(B, F, 3),
        foot_vel_w=zeros(B, F, 3),
        foot_force_w=zeros(B, F, 3),
        foot_contact=torch.ones(B, F, dtype=torch.bool),
        link_force=zeros(B, K),
        object_pose_w=zeros(B, 0, 7),
        object_vel_w=zeros(B, 0, 6),
        faulty=zeros(B, dtype=torch.bool),
    )
    values = {name: _like(value, getattr(rest, name)) for name, value in values.items()}
    return replace(rest, **values)


def context(*, at: State | None = None, **values: Any) -> Context:
    """Standing still, no command, time 0; `values` are broadcast to the right shape."""
    zeros = torch.zeros
    still = Context(
        state=at or state(),
        last_joint_vel=zeros(B, J),
        command=zeros(B, 3),
        action=zeros(B, J),
        last_action=zeros(B, J),
        last_last_action=zeros(B, J),
        target=zeros(B, J),
        time=zeros(B),
        dt=0.02,
        dynamics={"friction": torch.full((B, 1), 0.8)},
        base_height=torch.full((B,), 0.3),
        foot_height=zeros(B, F),
        rest=zeros(J),
        lower=torch.full((J,), -1.0),
        upper=torch.full((J,), 1.0),
        sense=lambda name: torch.full((B, 4), 0.3),
    )
    return replace(
        still, **{name: _like(value, getattr(still, name)) for name, value in values.items()}
    )


def _like(value: Any, shape: Any) -> Any:
    if not isinstance(shape, torch.Tensor):
        return value
    return torch.as_tensor(value, dtype=shape.dtype).expand(shape.shape).clone()
