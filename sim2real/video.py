"""A video of an episode, from the positions that its trace kept.

Drawing happens in a process of its own: MuJoCo chooses its kind of GL once, when it is imported,
and a GL driver that crashes must not take the report with it. Without any GL there is a reason
instead of a video, and everything else stands.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import imageio_ffmpeg  # type: ignore[import-untyped]
import mujoco
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tutelage.sim2real.scene import BUFFER, Scene
from tutelage.sim2real.trace import Floats, Trace

FPS = 25
BLUE, ORANGE = (0.15, 0.39, 0.92, 0.9), (0.92, 0.45, 0.09, 0.9)
LONGEST = 300.0
"""Time after which drawing is given up [s]"""


def film(scene: Scene, trace: Trace, path: Path, height: float) -> str:
    """Write an mp4 of the trace to `path`; '' or the reason why there is none.

    `height` of the robot [m] sets the camera's distance.
    """
    reasons = []
    with TemporaryDirectory() as folder:
        mujoco.mj_saveModel(scene.model, str(Path(folder, "scene.mjb")))
        np.savez(Path(folder, "trace.npz"), **_frames(scene, trace), height=height)  # type: ignore[arg-type]
        for kind in _kinds():
            fault = _draw(Path(folder), path, kind)
            if not fault:
                return ""
            reasons.append(f"{kind}: {fault}")
    return "; ".join(reasons)


def _kinds() -> list[str]:
    """Kinds of GL to try: the one asked for, or a GPU's and then the CPU's."""
    asked = os.environ.get("MUJOCO_GL")
    return [asked] if asked else ["egl", "osmesa"]


def _draw(folder: Path, path: Path, kind: str) -> str:
    """Draw in a fresh process; '' or what went wrong."""
    environment = {k: v for k, v in os.environ.items() if k != "PYOPENGL_PLATFORM"}
    command = [sys.executable, "-m", "tutelage.sim2real.video", str(folder), str(path)]
    try:
        done = subprocess.run(
            command, env={**environment, "MUJOCO_GL": kind}, capture_output=True, text=True,
            timeout=LONGEST, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"not done after {LONGEST:g} s"
    if done.returncode == 0 and path.is_file():
        return ""
    lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
    faults = [line for line in lines if "Error" in line.split(":")[0]]
    return (faults or lines or [f"ended with {done.returncode}"])[-1]


def _frames(scene: Scene, trace: Trace) -> dict[str, NDArray[np.generic]]:
    """Rows of the trace at the video's rate, and what the arrows and the caption show."""
    dt = float(trace.time[1] - trace.time[0]) if len(trace.time) > 1 else 1.0
    times = np.arange(0.0, trace.time[-1] + dt / 2, 1 / FPS)
    rows = np.minimum(np.round(times / dt).astype(int), len(trace.time) - 1)
    root = scene.root_qpos
    floating = scene.floating
    base = trace.qpos[rows, root : root + 3] if floating else np.zeros((len(rows), 3))
    w, x, y, z = trace.qpos[rows, root + 3 : root + 7].T if floating else np.zeros((4, len(rows)))
    return {
        "time": trace.time[rows],
        "qpos": trace.qpos[rows],
        "base": base,
        "heading": np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)),
        "command": trace.command[rows],
        "velocity": _smooth(trace.velocity, max(1, round(0.2 / dt)))[rows],
        "push": trace.push[rows],
    }


def _smooth(values: Floats, window: int) -> Floats:
    """Mean over the last `window` rows; a gait's wobble would make an arrow tremble."""
    padded = np.concatenate([np.repeat(values[:1], window - 1, axis=0), values])
    total = np.cumsum(np.vstack([np.zeros(values.shape[1]), padded]), axis=0)
    smooth: Floats = (total[window:] - total[:-window]) / window
    return smooth


def pictures(folder: Path) -> Iterator[NDArray[np.uint8]]:
    """(480, 640, 3) pictures of the frames kept in a folder."""
    model = mujoco.MjModel.from_binary_path(str(folder / "scene.mjb"))
    data = mujoco.MjData(model)
    with np.load(folder / "trace.npz") as kept:
        frames = {name: kept[name] for name in kept.files}
    size = float(frames["height"])
    camera = mujoco.MjvCamera()
    camera.distance, camera.elevation, camera.azimuth = 5.0 * size, -18.0, 125.0
    lookat = _smooth(frames["base"], 12)
    with mujoco.Renderer(model, height=BUFFER[1], width=BUFFER[0]) as renderer:
        for i in range(len(frames["time"])):
            data.qpos[:] = frames["qpos"][i]
            mujoco.mj_forward(model, data)
            camera.lookat[:] = lookat[i]
            renderer.update_scene(data, camera)
            for name, colour, lift in (("command", BLUE, 1.0), ("velocity", ORANGE, 0.85)):
                _arrow(renderer.scene, frames, i, name, colour, size, lift)
            yield _caption(renderer.render(), frames, i)


def _arrow(
    scene: mujoco.MjvScene, frames: dict[str, NDArray[np.float64]], i: int, name: str,
    colour: tuple[float, ...], size: float, lift: float,
) -> None:  # fmt: skip
    """An arrow of a planar velocity above the robot, 1 m/s as long as the robot is high."""
    vx, vy = frames[name][i, :2]
    if np.hypot(vx, vy) < 0.05 or scene.ngeom >= scene.maxgeom:
        return
    cos, sin = np.cos(frames["heading"][i]), np.sin(frames["heading"][i])
    start = frames["base"][i] + [0.0, 0.0, lift * 0.75 * size]
    end = start + 1.2 * size * np.array([cos * vx - sin * vy, sin * vx + cos * vy, 0.0])
    geom = scene.geoms[scene.ngeom]
    kind = mujoco.mjtGeom.mjGEOM_ARROW
    mujoco.mjv_initGeom(
        geom, kind, np.zeros(3), np.zeros(3), np.zeros(9), np.array(colour, np.float32)
    )
    mujoco.mjv_connector(geom, kind, 0.05 * size, start, end)
    scene.ngeom += 1


def _caption(
    picture: NDArray[np.uint8], frames: dict[str, NDArray[np.float64]], i: int
) -> NDArray[np.uint8]:
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=15)
    rows = (("commanded", "command", BLUE), ("measured", "velocity", ORANGE))
    for row, (label, name, colour) in enumerate(rows):
        vx, vy, wz = frames[name][i] + 0.0  # no "-0.00"
        text = f"{label:<10} {vx:+.2f} {vy:+.2f} m/s   {wz:+.2f} rad/s"
        ink = tuple(round(200 * c) for c in colour[:3])
        draw.text((14, 12 + 20 * row), text, fill=ink, font=font)
    if frames["push"][i]:
        draw.text((14, 54), "push", fill=(200, 30, 30), font=font)
    draw.text((BUFFER[0] - 62, 12), f"{frames['time'][i]:5.1f} s", fill=(60, 70, 85), font=font)
    return np.asarray(image)


def main(folder: Path, path: Path) -> None:
    """Draw a folder's frames into an mp4."""
    writer = imageio_ffmpeg.write_frames(
        str(path), BUFFER, fps=FPS, codec="libx264", quality=None, macro_block_size=8,
        output_params=["-crf", "27", "-preset", "slow", "-movflags", "+faststart"],
    )  # fmt: skip
    writer.send(None)
    for picture in pictures(folder):
        writer.send(np.ascontiguousarray(picture))
    writer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
