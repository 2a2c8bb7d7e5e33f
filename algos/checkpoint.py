"""Checkpoints: rsl_rl's keys, and under `infos` all that an exact continuation needs.

A file is read with `weights_only=True` and so never executes a pickle; it is refused when its
checksums fail (torch itself does not look at them), when its schema has another major version, or
when its observations are not those of the run that loads it.

    actor_state_dict, ...     whatever the algorithm's `save` returns
    iter                      iterations completed, which is the number of the next one
    infos:
      schema_version          "major.minor"
      kind                    "teacher" or "student"
      obs_groups              observation set -> groups it reads
      obs_sizes               group -> shape of one observation
      num_actions
      networks                observation set -> configuration of its network, class included
      env, obs                the environment's snapshot and last observations
      rng                     state of every random generator
      ledger                  running sums of rewards, episode lengths, time
"""

from __future__ import annotations

import os
import pickle
import random
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rsl_rl.models import MLPModel
from rsl_rl.utils import resolve_class
from tensordict import TensorDict

from tutelage.algos.runs import checkpoints, iteration_of

SCHEMA_VERSION = "1.0"
KEYS = ("obs_groups", "obs_sizes", "num_actions", "networks", "kind")
"""What `infos` must hold besides the schema version"""


class CheckpointError(ValueError):
    """A checkpoint that must not be used, with the reason."""


def write(path: Path, payload: Mapping[str, Any]) -> None:
    """Write a checkpoint whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            torch.save(dict(payload), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read(path: Path, device: str | torch.device | None = "cpu") -> dict[str, Any]:
    """Read and verify a checkpoint; CheckpointError says why not, and what to use instead."""
    if not path.is_file():
        there = [p.name for p in checkpoints(path.parent)] if path.parent.is_dir() else []
        raise FileNotFoundError(f"no checkpoint {path}; there: {', '.join(there) or 'none'}")
    try:
        return _read(path, device)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}{_advice(path)}") from error


def _read(path: Path, device: str | torch.device | None) -> dict[str, Any]:
    fault = _damage(path)
    if fault:
        raise CheckpointError(f"damaged or cut short ({fault})")
    try:
        data = torch.load(path, weights_only=True, map_location=device)
    except pickle.UnpicklingError as error:
        first = str(error).splitlines()[0]
        raise CheckpointError(
            f"holds more than tensors and plain data; refused, nothing in it was run ({first})"
        ) from error
    except (RuntimeError, EOFError, KeyError) as error:
        raise CheckpointError(f"cannot be read ({str(error).splitlines()[0]})") from error
    infos = data.get("infos") if isinstance(data, dict) else None
    if not isinstance(infos, dict) or "schema_version" not in infos:
        raise CheckpointError("carries no schema_version, so it is not a checkpoint of tutelage")
    _check_schema(str(infos["schema_version"]))
    missing = [key for key in KEYS if key not in infos]
    if missing:
        raise CheckpointError(f"misses {', '.join(missing)}")
    return dict(data)


def _damage(path: Path) -> str:
    """What is wrong with the container; empty when every checksum is right."""
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except (zipfile.BadZipFile, OSError) as error:
        return str(error)
    return f"wrong checksum of {bad}" if bad else ""


def _check_schema(version: str) -> None:
    if version.split(".")[0] != SCHEMA_VERSION.split(".")[0]:
        raise CheckpointError(
            f"has schema version {version}; this version of tutelage reads "
            f"{SCHEMA_VERSION.split('.')[0]}.x"
        )


def _advice(path: Path) -> str:
    """Names the newest good checkpoint before this one, if there is one."""
    number = iteration_of(path)
    for other in reversed(checkpoints(path.parent)):
        if iteration_of(other) < number and not _damage(other):
            return f". The newest good one before it is {other}"
    return ""


def load_policy(path: Path, device: str = "cpu") -> MLPModel:
    """The network that a checkpoint trained, rebuilt from the checkpoint alone, for inference."""
    return build_policy(read(path, device), device)


def build_policy(data: Mapping[str, Any], device: str = "cpu") -> MLPModel:
    """As `load_policy`, from what `read` returned."""
    infos = data["infos"]
    name = "student" if "student" in infos["networks"] else "actor"
    make, settings = resolve_class(infos["networks"][name])
    sizes = infos["obs_sizes"]
    zeros = {group: torch.zeros(1, *sizes[group]) for group in infos["obs_groups"][name]}
    obs = TensorDict(zeros, batch_size=[1])
    policy: MLPModel = make(obs, infos["obs_groups"], name, infos["num_actions"], **settings)
    policy.load_state_dict(data[f"{name}_state_dict"])
    return policy.to(device).eval()


def check_observations(
    groups: Mapping[str, list[str]], sizes: Mapping[str, list[int]], infos: Mapping[str, Any]
) -> None:
    """Refuse a checkpoint whose networks read other observations than this run gives them.

    Args:
        groups: Observation set -> groups, of this run, for the sets that are to be loaded.
        sizes: Group -> shape of one observation, of this run.
        infos: Of the checkpoint, read as `groups` is.
    """
    theirs = infos["obs_groups"]
    for name, wanted in groups.items():
        if name not in theirs:
            raise CheckpointError(
                f"the checkpoint has no observation set '{name}'; it has {', '.join(theirs)}"
            )
        if list(wanted) != list(theirs[name]):
            raise CheckpointError(
                f"observation set '{name}' is {theirs[name]} in the checkpoint and "
                f"{list(wanted)} in this run"
            )
        for group in wanted:
            if list(sizes[group]) != list(infos["obs_sizes"][group]):
                raise CheckpointError(
                    f"observation group '{group}' has shape {infos['obs_sizes'][group]} in the "
                    f"checkpoint and {list(sizes[group])} in this run"
                )


def random_state() -> dict[str, Any]:
    """State of every random generator of this process, as tensors and numbers."""
    version, words, gauss = random.getstate()
    # numpy's global generator is not ours, but a user's term or algorithm may draw from it
    name, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [str(name), torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
        "python": [version, torch.tensor(words, dtype=torch.int64), gauss],
    }


def set_random_state(state: Mapping[str, Any]) -> None:
    """Put every random generator where `random_state` found it."""
    torch.set_rng_state(state["torch"].cpu())
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([s.cpu() for s in state["cuda"]])
    name, keys, position, has_gauss, cached = state["numpy"]
    numbers = keys.cpu().numpy().astype(np.uint32)
    np.random.set_state((name, numbers, position, has_gauss, cached))  # noqa: NPY002
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss))


def seed_everything(seed: int, rank: int = 0) -> int:
    """Seed every random generator with `seed + rank`, so that no two processes draw alike."""
    own = seed + rank
    random.seed(own)
    np.random.seed(own % 2**32)  # noqa: NPY002
    torch.manual_seed(own)
    return own
