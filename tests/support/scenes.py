"""Pictures as a simulator draws them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def pushed_block(frames: int = 161, side: int = 96) -> npt.NDArray[np.uint8]:
    """A disc that pushes a T about on a white table: smooth edges, and a background that stands still."""
    scale = 4
    grid = (np.indices((side * scale, side * scale)) + 0.5) / scale
    rng = np.random.default_rng(0)
    goals = rng.uniform(20, side - 20, (frames // 20 + 2, 2))
    disc, block, angle = goals[0].copy(), np.array([side * 0.6, side * 0.45]), 0.3
    drawn = np.empty((frames, side, side, 3), np.uint8)

    def bar(
        center: npt.ArrayLike, turn: float, offset: tuple[float, float], half: tuple[float, float]
    ) -> npt.NDArray[np.bool_]:
        (row, column) = np.asarray(center)
        y, x = grid[0] - row, grid[1] - column
        along, across = x * np.cos(turn) + y * np.sin(turn) - offset[0], y * np.cos(turn) - x * np.sin(turn) - offset[1]
        return (abs(along) < half[0]) & (abs(across) < half[1])

    def tee(center: npt.ArrayLike, turn: float) -> npt.NDArray[np.bool_]:
        return bar(center, turn, (0, -4), (11, 3)) | bar(center, turn, (0, 5), (3, 8))

    still = np.full((side * scale, side * scale, 3), 255, np.uint8)
    still[tee((side / 2, side / 2), -np.pi / 4)] = (144, 238, 144)
    still[(grid[0] < 1) | (grid[0] > side - 1) | (grid[1] < 1) | (grid[1] > side - 1)] = (211, 211, 211)
    for step in range(frames):
        disc += 0.12 * (goals[step // 20 + 1] - disc)
        away = block - disc
        distance = float(np.hypot(*away))
        if distance < 14:
            block += away / distance * (14 - distance)
            angle += 0.02 * (14 - distance)
        picture = still.copy()
        picture[tee(block, angle)] = (119, 136, 153)
        picture[(grid[0] - disc[0]) ** 2 + (grid[1] - disc[1]) ** 2 < 9] = (65, 105, 225)
        drawn[step] = picture.reshape(side, scale, side, scale, 3).mean((1, 3)).round()
    return drawn
