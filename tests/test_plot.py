"""``minari.plot``: what is drawn, compared with the data."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import minari
from minari.data_collector import EpisodeBuffer, MultiAgentEpisodeBuffer
from minari.errors import ArgumentError, ArgumentTypeError, MissingDependencyError
from support.programs import run


matplotlib = pytest.importorskip("matplotlib")

pytestmark = pytest.mark.filterwarnings("ignore::minari.errors.MissingMetadataWarning", "ignore::UserWarning")

LENGTHS = [3, 5, 5, 8]


@pytest.fixture(autouse=True)
def figures(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Draw without a display, and forget the figures; nothing may be shown, and no setting changed."""
    from matplotlib import pyplot

    before, backend = copy.deepcopy(dict(matplotlib.rcParams)), matplotlib.get_backend()
    pyplot.switch_backend("agg")
    monkeypatch.setattr(pyplot, "show", lambda *_, **__: pytest.fail("a figure was shown"))
    before["backend"] = matplotlib.rcParams["backend"]
    yield
    assert dict(matplotlib.rcParams) == before
    pyplot.close("all")
    pyplot.switch_backend(backend)


def make(dataset_id: str, lengths: list[int], components: int = 0) -> minari.MinariDataset:
    rng = np.random.default_rng(len(lengths))
    buffers = [
        EpisodeBuffer(
            observations=rng.normal(size=(steps + 1, 2)),
            actions=rng.integers(0, 2, steps),
            rewards=rng.normal(size=(steps, components) if components else steps),
            terminations=np.arange(steps) == steps - 1,
            truncations=np.zeros(steps, bool),
        )
        for steps in lengths
    ]
    return minari.create_dataset_from_buffers(
        dataset_id,
        buffers,
        observation_space=spaces.Box(-np.inf, np.inf, (2,), np.float64),
        action_space=spaces.Discrete(2),
    )


def stairs(axes: Any, *, filled: bool = False) -> list[tuple[np.ndarray, np.ndarray]]:
    """The heights and edges of the histograms on axes, or of the areas below them."""
    from matplotlib.patches import StepPatch

    patches = [patch for patch in axes.patches if isinstance(patch, StepPatch) and patch.get_fill() == filled]
    return [(np.asarray(patch.get_data().values), np.asarray(patch.get_data().edges)) for patch in patches]


def test_returns() -> None:
    dataset = make("plot/a-v0", LENGTHS)
    returns = [float(np.sum(episode.rewards)) for episode in dataset]
    axes = minari.plot.returns(dataset, bins=6)
    ((heights, edges),) = stairs(axes)
    expected, expected_edges = np.histogram(returns, 6)
    np.testing.assert_array_equal(heights, expected)
    np.testing.assert_allclose(edges, expected_edges)
    assert axes.lines[0].get_xdata()[0] == pytest.approx(np.mean(returns))
    assert (axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) == ("plot/a-v0: 4 episodes", "return", "episodes")
    assert axes.get_legend().get_texts()[0].get_text().startswith(f"min {min(returns):.4g}  mean ")
    assert minari.plot.returns(dataset, axes) is axes
    assert minari.plot.returns(dataset[:1]).get_title() == "plot/a-v0: 1 episode"


def test_returns_of_several_components() -> None:
    dataset = make("plot/vector-v0", LENGTHS, components=3)
    returns = np.array([episode.rewards.sum(axis=0) for episode in dataset])
    found = stairs(minari.plot.returns(dataset, bins=4))
    assert len(found) == 3
    for place, (heights, edges) in enumerate(found):
        np.testing.assert_array_equal(heights, np.histogram(returns[:, place], 4, (returns.min(), returns.max()))[0])
        np.testing.assert_allclose(edges[[0, -1]], [returns.min(), returns.max()])


def test_compare() -> None:
    a, b = make("plot/a-v0", LENGTHS), make("plot/b-v0", [2, 9])
    for datasets, names in (([a, b], ["plot/a-v0", "plot/b-v0"]), ({"old": a, "$new$": b}, ["old", r"\$new\$"])):
        axes = minari.plot.compare(datasets, bins=5)
        assert [one.get_xlabel() for one in axes] == ["return", "length in steps"]
        for one, values in zip(
            axes,
            ([[e.rewards.sum() for e in each] for each in (a, b)], [[len(e) for e in each] for each in (a, b)]),
            strict=True,
        ):
            found = stairs(one)
            assert [text.get_text() for text in one.get_legend().get_texts()] == names
            np.testing.assert_array_equal(found[0][1], found[1][1])
            for (heights, edges), own in zip(found, values, strict=True):
                assert heights.sum() == pytest.approx(1)
                inner = np.searchsorted(edges[1:-1], own, "right")
                np.testing.assert_allclose(heights, np.bincount(inner, minlength=len(heights)) / len(own))
    views = minari.plot.compare([a, a[:2], a[2:]])[0]
    assert [text.get_text() for text in views.get_legend().get_texts()] == [
        "plot/a-v0",
        "plot/a-v0 (2)",
        "plot/a-v0 (3)",
    ]


STEPS = 12


@pytest.fixture
def rich() -> minari.MinariDataset:
    rng = np.random.default_rng(3)
    observations = {
        "camera": rng.integers(0, 256, (STEPS + 1, 10, 14, 3), np.uint8),
        "joints": rng.normal(size=(STEPS + 1, 15)),
        "task": ["go"] * 5 + ["$stop$"] * (STEPS - 4),
        "bag": [(1,)] * (STEPS + 1),
    }
    buffer = EpisodeBuffer(
        observations=observations,
        actions=rng.normal(size=(STEPS, 2)),
        rewards=rng.normal(size=STEPS),
        terminations=np.zeros(STEPS, bool),
        truncations=np.arange(STEPS) == STEPS - 1,
        infos={"success": np.arange(STEPS + 1) > 8},
    )
    space = spaces.Dict(
        camera=spaces.Box(0, 255, (10, 14, 3), np.uint8),
        joints=spaces.Box(-np.inf, np.inf, (15,), np.float64),
        task=spaces.Text(9, charset=frozenset("gostp$")),
        bag=spaces.Sequence(spaces.Discrete(3)),
    )
    return minari.create_dataset_from_buffers(
        "plot/rich-v0",
        [buffer],
        observation_space=space,
        action_space=spaces.Box(-np.inf, np.inf, (2,), np.float64),
    )


def test_an_episode(rich: minari.MinariDataset) -> None:
    episode = rich[0]
    drawn = {one.get_title(loc="left"): one for one in minari.plot.episode(episode)}
    assert list(drawn) == [
        "observations/camera", "rewards", "actions", "observations/joints", "observations/task", "truncations",
        "infos/success",
    ]  # fmt: skip
    (line,) = drawn["rewards"].lines
    np.testing.assert_array_equal(line.get_xydata(), np.stack([np.arange(STEPS), episode.rewards], axis=1))
    for name, values in (("actions", episode.actions), ("observations/joints", episode.observations["joints"])):
        lines = drawn[name].lines
        assert len(lines) == min(values.shape[1], 10)
        for place, one in enumerate(lines):
            np.testing.assert_array_equal(one.get_ydata(), values[:, place])
            assert one.get_label() == f"[{place}]"
    assert drawn["observations/joints"].get_legend().get_title().get_text() == "5 more"
    ((heights, edges),) = stairs(drawn["infos/success"], filled=True)
    np.testing.assert_array_equal(heights, episode.infos["success"])
    np.testing.assert_array_equal(edges, np.arange(STEPS + 2) - 0.5)
    texts = [(text.xy[0], text.get_text()) for text in drawn["observations/task"].texts]
    assert texts == [(0, "go"), (5, r"\$stop\$")]
    strip, ticks = (
        np.asarray(drawn["observations/camera"].images[0].get_array()),
        drawn["observations/camera"].get_xticklabels(),
    )
    steps = [int(tick.get_text()) for tick in ticks]
    assert (steps[0], steps[-1]) == (0, STEPS)
    for place, step in enumerate(steps):
        np.testing.assert_array_equal(strip[:, place * 15 :][:, :14, :3], episode.observations["camera"][step])
    for name in ("rewards", "infos/success"):
        assert drawn[name].get_xlim() == (-0.5, STEPS + 0.5)


def test_leaves_and_axes_that_are_given(rich: minari.MinariDataset) -> None:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 1)
    found = minari.plot.episode(rich[0], leaves=["terminations", "observations/joints"], axes=axes)
    assert list(found) == list(axes)
    assert [one.get_title(loc="left") for one in axes] == ["terminations", "observations/joints"]
    assert pyplot.get_fignums() == [figure.number]
    (alone,) = minari.plot.episode(rich[0], leaves=["rewards"], axes=pyplot.gca())
    assert alone is pyplot.gca()


def test_long_series_keep_their_peaks() -> None:
    rewards = np.zeros(50_000)
    rewards[[7, 33_333]] = 5.0, -3.0
    dataset = minari.create_dataset_from_arrays(
        "plot/long-v0", observations=np.zeros(50_001), actions=np.zeros(50_000), rewards=rewards,
        terminations=np.arange(50_000) == 49_999,
    )  # fmt: skip
    (axes,) = minari.plot.episode(dataset[0], leaves=["rewards"])
    (line,) = axes.lines
    assert len(line.get_xdata()) <= 4000
    drawn = {step: value for step, value in line.get_xydata().tolist() if value}
    assert drawn == {7: 5.0, 33_333: -3.0}


def test_many_agents() -> None:
    def trajectory(steps: int, reward: float) -> EpisodeBuffer:
        return EpisodeBuffer(
            observations=np.linspace(0, 1, steps + 1), actions=[1] * steps, rewards=[reward] * steps,
            terminations=[False] * steps, truncations=[False] * (steps - 1) + [True],
        )  # fmt: skip

    buffer = MultiAgentEpisodeBuffer({"wolf": trajectory(8, 1.0), "hen": trajectory(3, -2.0)}, {"hen": [2, 3, 5, 8]}, 8)
    agents = dict.fromkeys(("wolf", "hen"), spaces.Box(0, 1, (), np.float64))
    dataset = minari.create_dataset_from_buffers(
        "plot/agents-v0", [buffer], observation_space=agents, action_space=dict.fromkeys(agents, spaces.Discrete(2))
    )
    drawn = {one.get_title(loc="left"): one for one in minari.plot.episode(dataset[0])}
    assert list(drawn)[:2] == ["agents/wolf/rewards", "agents/hen/rewards"]
    assert drawn["agents/hen/rewards"].lines[0].get_xydata().tolist() == [[2, -2], [3, -2], [5, -2]]
    ((heights, _),) = stairs(drawn["agents/hen/truncations"], filled=True)
    assert np.flatnonzero(heights).tolist() == [5]
    own = minari.plot.episode(dataset[0]["hen"], leaves=["rewards"])[0]
    assert own.lines[0].get_xdata().tolist() == [2, 3, 5]
    assert sum(stairs(minari.plot.returns(dataset))[0][0]) == 1


def test_values_that_are_not_finite_or_the_same() -> None:
    dataset = minari.create_dataset_from_arrays(
        "plot/odd-v0", observations=np.array([np.nan, 1.0, np.inf, 3.0, 0.0, 0.0]), actions=np.zeros(4),
        rewards=np.array([np.nan, 1.0, 0.25, 0.25]), terminations=np.array([False, True, False, True]),
    )  # fmt: skip
    ((heights, edges),) = stairs(minari.plot.returns(dataset))
    assert (heights.tolist(), edges.tolist()) == ([1], [0.0, 1.0])
    assert stairs(minari.plot.returns(dataset[:1])) == []
    minari.plot.compare([dataset, dataset[:1]])
    for number in (0, 1):
        minari.plot.episode(dataset[number])[0].figure.canvas.draw()


@pytest.mark.filterwarnings("error")
def test_names_from_data_are_shown_as_they_are(rich: minari.MinariDataset) -> None:
    """No formula is made of them, and no character is missing that could deceive."""
    observations = {"_a$\\frac$": np.arange(3.0), "b\u202e\n": np.arange(3.0)}
    flags = np.zeros(2, bool)
    episode = minari.EpisodeData(0, observations, np.zeros(2), np.ones(2), flags, flags, {})
    axes = minari.plot.episode(episode)
    titles = [one.get_title(loc="left") for one in axes]
    assert "observations/_a\\$\\frac\\$" in titles
    assert not any("\u202e" in title or "\n" in title for title in titles)
    axes[0].figure.canvas.draw()
    named = minari.plot.compare({"_hidden$x_1$": rich})[0]
    assert [text.get_text() for text in named.get_legend().get_texts()] == [r" _hidden\$x_1\$"]


def test_mistakes(rich: minari.MinariDataset) -> None:
    from matplotlib import pyplot

    dataset = make("plot/a-v0", LENGTHS)
    for call, kind, message in [
        (lambda: minari.plot.returns("plot/a-v0"), ArgumentTypeError, "dataset is 'plot/a-v0', expected a Min"),
        (lambda: minari.plot.returns(dataset, bins=0), ArgumentError, "bins is 0, expected a whole number from 1"),
        (lambda: minari.plot.returns(dataset, ax=3), ArgumentTypeError, "ax is 3, expected axes of Matplotlib"),
        (lambda: minari.plot.returns(dataset[:0]), ArgumentError, "The view 'plot/a-v0' has no episodes"),
        (lambda: minari.plot.compare(dataset), ArgumentTypeError, "expected a list of datasets"),
        (lambda: minari.plot.compare([]), ArgumentError, "datasets is empty, expected at least one"),
        (lambda: minari.plot.compare([dataset, 3]), ArgumentTypeError, r"datasets\[1\] is 3, expected a MinariDataset"),
        (lambda: minari.plot.compare([dataset], pyplot.gca()), ArgumentError, "axes has 1 axes, expected 2"),
        (
            lambda: minari.plot.compare([dataset, make("plot/v-v0", [2], components=2)]),
            ArgumentError, r"have the shapes \(\), \(2,\), expected the same",
        ),
        (lambda: minari.plot.episode(dataset), ArgumentTypeError, r"expected an episode such as dataset\[0\]"),
        (lambda: minari.plot.episode(dataset[0], "rewards"), ArgumentTypeError, "leaves is 'rewards', expected a list"),
        (lambda: minari.plot.episode(dataset[0], []), ArgumentError, "leaves is empty, expected at least one name"),
        (lambda: minari.plot.episode(dataset[0], ["reward"]), ArgumentError, "has no leaf 'reward'; the nearest names"),
        (
            lambda: minari.plot.episode(rich[0], ["observations/bag"]),
            ArgumentError, "'observations/bag' has values without a fixed shape",
        ),
    ]:  # fmt: skip
        with pytest.raises(kind, match=message):
            call()


def test_without_matplotlib(rich: minari.MinariDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as context:
        context.setitem(sys.modules, "matplotlib", None)
        for call in (
            lambda: minari.plot.returns(rich),
            lambda: minari.plot.compare([rich]),
            lambda: minari.plot.episode(rich[0]),
        ):
            with pytest.raises(MissingDependencyError, match=r'run pip install "minari\[plot\]"'):
                call()


def test_matplotlib_is_imported_when_something_is_drawn() -> None:
    program = """
        import json, sys
        import minari
        import minari.plot
        print(json.dumps([name for name in ("matplotlib", "PIL", "av") if name in sys.modules]))
    """
    assert json.loads(run(program)) == []


@pytest.mark.parametrize("reward", [1.7e308, -1.7e308, 1e17, np.nan, np.inf])
def test_values_at_the_bounds_of_floats_are_drawn(reward: float) -> None:
    buffers = [
        EpisodeBuffer(
            observations=np.array([[-1.7e308], [1.7e308], [5e-324]]),
            actions=np.zeros(2, np.int64),
            rewards=np.array([reward, 0.0]) if number else np.array([0.0, 0.0]),
            terminations=np.array([False, True]),
            truncations=np.zeros(2, bool),
        )
        for number in range(2)
    ]
    dataset = minari.create_dataset_from_buffers(
        "plot/bounds-v0",
        buffers,
        observation_space=spaces.Box(-np.inf, np.inf, (1,), np.float64),
        action_space=spaces.Discrete(2),
    )
    only = dataset.filter_episodes(lambda episode: episode.id == 1)
    for axes in (
        minari.plot.returns(dataset), minari.plot.returns(only), minari.plot.compare([dataset, dataset])[0],
        minari.plot.episode(dataset[1])[0],
    ):  # fmt: skip
        axes.figure.canvas.draw()
