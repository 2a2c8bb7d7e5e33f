"""The summary of learning curves, on curves made by hand."""

from __future__ import annotations

from tutelage.benchmarks.learning import METRIC, WINDOW, reached


def curve(*errors: float) -> list[dict[str, object]]:
    return [
        {"env_steps": 100 * (i + 1), "seconds": float(i + 1), "metrics": {METRIC: error}}
        for i, error in enumerate(errors)
    ]


def test_the_threshold_is_reached_where_the_mean_over_the_window_first_is() -> None:
    found = reached(curve(*[0.5] * WINDOW, *[0.1] * WINDOW), 0.2)
    # the windows' means fall by 0.08 an iteration from 0.5: 0.18 after four of five
    assert found is not None
    assert found["env_steps"] == 100 * (WINDOW + 4)
    assert abs(found["error"] - 0.18) < 1e-9


def test_one_lucky_iteration_does_not_count() -> None:
    assert reached(curve(*[0.5] * WINDOW, 0.0, *[0.5] * WINDOW), 0.2) is None
