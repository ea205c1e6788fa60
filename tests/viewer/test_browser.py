"""The page of ``minari view`` in a real browser, as its users see and click it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import minari
from minari.data_collector import EpisodeBuffer
from support.browser import Tab, open_browser
from support.viewing import Served, make_agents, make_table, viewing


pytest.importorskip("starlette", reason="needs the extra minari[view]")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

MARKUP = "<img src=x onerror=alert(1)><script>alert(2)</script>"
CAMERAS = {"front": (40, 60, 3), "wrist": (32, 32, 3), "top": (24, 24)}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as opened:
        yield opened


@pytest.fixture
def servers() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def tab(browser: Any, servers: ExitStack) -> Iterator[Tab]:
    opened = Tab(browser)
    yield opened
    opened.close()
    assert opened.complaints == []


@pytest.fixture
def open_page(datasets_root: Path, servers: ExitStack, tab: Tab) -> Callable[..., Served]:
    """A function that starts the server and opens the page at some place."""

    def open_at(place: str = "#/", *options: str) -> Served:
        served = servers.enter_context(viewing(datasets_root, *options))
        tab.enter(served, place)
        return served

    return open_at


def make_cameras(dataset_id: str, steps: int = 60) -> minari.MinariDataset:
    """Episodes with three cameras and text; the second has crashed."""
    rng = np.random.default_rng(2)
    buffers = [
        EpisodeBuffer(
            observations={
                "task": ["pick"] * 20 + [MARKUP] * (steps - 19),
                **{name: rng.integers(0, 256, (steps + 1, *shape), np.uint8) for name, shape in CAMERAS.items()},
            },
            actions=rng.normal(size=(steps, 2)).astype(np.float32),
            rewards=np.full(steps, -5.0 if episode == 1 else 1.0),
            terminations=np.arange(steps) == steps - 1,
            truncations=np.zeros(steps, bool),
            seed=episode,
        )
        for episode in range(3)
    ]
    cameras = {name: spaces.Box(0, 255, shape, np.uint8) for name, shape in CAMERAS.items()}
    return minari.create_dataset_from_buffers(
        dataset_id,
        buffers,
        observation_space=spaces.Dict(task=spaces.Text(99), **cameras),
        action_space=spaces.Box(-np.inf, np.inf, (2,), np.float32),
        description=f"Arms {MARKUP}",
        author=MARKUP,
    )


def test_a_bad_episode_is_found_watched_marked_and_dropped(open_page: Callable[..., Served], tab: Tab) -> None:
    dataset = make_cameras("arm/pick-v0")
    before = list(dataset)
    open_page()
    tab.get("search").fill("pick")
    tab.get("dataset-row").filter(has_text="pick-v0").click()
    tab.get("filter").fill("return < 0")
    tab.get("filter").press("Enter")
    tab.shows("episode-row", 1)
    tab.get("episode-row").click()

    tab.page.get_by_role("heading", name="Episode 1").wait_for()
    for name, shape in CAMERAS.items():
        shown = np.array(tab.pixels(f"observations/{name}", 0), np.uint8).reshape(*shape[:2], 4)
        frame = before[1].observations[name][0]
        np.testing.assert_array_equal(shown[..., :3], frame if frame.ndim == 3 else frame[..., None].repeat(3, -1))
    tab.page.keyboard.press("End")
    tab.at(60)
    last = np.array(tab.pixels("observations/wrist", 60), np.uint8).reshape(32, 32, 4)[..., :3]
    np.testing.assert_array_equal(last, before[1].observations["wrist"][60])
    tab.page.keyboard.press("Home")
    tab.get("speed-8").click()
    tab.get("play").click()
    tab.at(60)  # it plays to the end, and stops there

    tab.get("mark-episode").click()
    tab.get("mark-value").fill("crash")
    tab.get("mark-confirm").click()
    tab.get("mark").filter(has_text="crash").wait_for()
    assert [one.metadata.get("mark") for one in minari.load_dataset(dataset.id)] == [None, "crash", None]

    tab.get("drop-episode").click()
    tab.get("report").wait_for()
    tab.page.keyboard.press("Escape")  # not by accident
    assert len(minari.load_dataset(dataset.id)) == 3
    tab.get("drop-episode").click()
    tab.get("report").wait_for()
    tab.get("drop-confirm").click()
    tab.get("drop-confirm").wait_for(state="detached")
    after = minari.load_dataset(dataset.id)
    assert len(after) == 2
    for left, kept in zip(after, (before[0], before[2]), strict=True):
        np.testing.assert_array_equal(left.observations["front"], kept.observations["front"])
        np.testing.assert_array_equal(left.rewards, kept.rewards)
    validation = minari.validate(dataset.id)
    assert validation.ok


def test_a_dataset_full_of_markup_is_shown_as_text(open_page: Callable[..., Served], tab: Tab) -> None:
    make_cameras("arm/pick-v0")
    make_table("markup/a-v0", [{MARKUP: MARKUP, "mark": MARKUP}, {}], [3, 4], description=MARKUP, author=MARKUP)
    served = open_page()
    tab.refusals = (400, 404)
    tab.get("dataset-row").first.wait_for()
    for place in (
        "#/dataset?id=markup/a-v0",
        "#/episode?id=markup/a-v0&n=0",
        "#/episode?id=arm/pick-v0&n=0&step=40",
        "#/compare?a=markup/a-v0&b=arm/pick-v0",
        f"#/dataset?id={MARKUP}",
        f"#/episode?id=markup/a-v0&n={MARKUP}",
    ):
        tab.page.goto(f"{served.address}/{place}")
        tab.page.wait_for_load_state("networkidle")
        assert tab.page.locator("img, iframe, object, embed").count() == 0
        assert tab.page.locator("script").count() == 1
    tab.page.goto(f"{served.address}/#/episode?id=arm/pick-v0&n=0&step=40")
    tab.get("text").filter(has_text=MARKUP).wait_for()
    assert all(url.startswith(served.address) for url in tab.requests)


def test_a_filter_that_is_wrong_says_why(open_page: Callable[..., Served], tab: Tab) -> None:
    make_table("look/table-v0", [{"task": "a"}, {"task": "b"}, {}], [3, 4, 5])
    open_page("#/dataset?id=look/table-v0")
    tab.shows("episode-row", 3)
    tab.refusals = (400,)
    tab.get("filter").fill("retrun > 3")
    tab.get("filter").press("Enter")
    tab.get("filter-error").filter(has_text="return").wait_for()
    tab.get("filter").fill('task == "b"')
    tab.get("filter").press("Enter")
    tab.shows("episode-row", 1)


def test_ten_thousand_episodes_are_sorted_and_scrolled(open_page: Callable[..., Served], tab: Tab) -> None:
    make_table("look/many-v0", [{} for _ in range(10_000)], [1 + number % 7 for number in range(10_000)])
    open_page("#/dataset?id=look/many-v0")
    tab.get("episode-row").first.wait_for()
    assert tab.get("episode-row").count() < 200
    tab.get("sort-return").click()
    returns = minari.load_dataset("look/many-v0").statistics().returns
    tab.page.wait_for_selector(f'[data-testid=episode-row][data-episode="{np.argmax(returns)}"]')
    tab.get("episodes").press("End")
    tab.page.wait_for_selector(f'[data-testid=episode-row][data-episode="{np.argmin(returns)}"]')


def test_everything_works_from_the_keyboard(open_page: Callable[..., Served], tab: Tab) -> None:
    make_cameras("arm/pick-v0")
    make_table("look/table-v0", [{}, {}], [3, 4])
    open_page()
    tab.get("dataset-row").first.wait_for()
    press = tab.page.keyboard.press
    press("/")
    tab.page.keyboard.type("pick")
    tab.shows("dataset-row", 1)
    press("ArrowDown")
    press("Enter")
    tab.page.get_by_role("heading", name="arm/pick-v0").wait_for()
    tab.get("episode-row").first.wait_for()
    tab.get("episodes").focus()
    press("ArrowDown")
    press("Enter")
    tab.page.get_by_role("heading", name="Episode 1").wait_for()
    tab.at(0)
    press("ArrowRight")
    press("ArrowRight")
    press("ArrowLeft")
    tab.at(1)
    press("]")
    tab.page.get_by_role("heading", name="Episode 2").wait_for()
    tab.page.wait_for_selector("[data-testid=previous]:enabled")
    press("[")
    tab.page.get_by_role("heading", name="Episode 1").wait_for()
    press("?")
    tab.get("help").wait_for()
    press("Escape")
    press("m")
    tab.get("mark-value").wait_for()
    press("Escape")


def test_agents_have_plots_of_their_own(open_page: Callable[..., Served], tab: Tab) -> None:
    make_agents("many/a-v0")
    open_page("#/dataset?id=many/a-v0")
    tab.get("agents").wait_for()
    assert tab.get("agents").get_by_test_id("agent").count() == 2
    tab.get("episode-row").first.click()
    tab.get("plots").wait_for()
    names = tab.page.eval_on_selector_all("[data-testid=leaf]", "(all) => all.map((one) => one.dataset.leaf)")
    assert {"agents/a/rewards", "agents/b/rewards", "agents/b/observations/number", "state/s"} <= set(names)


def test_the_door_set_is_shown(open_page: Callable[..., Served], tab: Tab, real_root: Path) -> None:
    dataset = minari.load_dataset("D4RL/door/human-v2")
    open_page("#/dataset?id=D4RL/door/human-v2")
    tab.get("leaf-summaries").get_by_test_id("leaf-summary").first.wait_for()
    assert f"{dataset.total_steps:,}" in tab.get("stats").inner_text()
    tab.get("episode-row").nth(3).click()
    tab.get("plots").locator("canvas").first.wait_for()
    shown = tab.get("stats").inner_text().split()
    assert shown[shown.index("length") + 1] == str(len(dataset[3]))


def test_two_datasets_are_compared(open_page: Callable[..., Served], tab: Tab) -> None:
    make_table("look/a-v0", [{}, {}], [3, 4], author="Ada")
    make_table("look/b-v0", [{}, {}, {}], [3, 9, 4], author="Grace")
    open_page()
    tab.get("check").nth(0).check()
    tab.get("check").nth(1).check()
    tab.get("compare").click()
    tab.get("different").first.wait_for()
    facts = tab.get("different").all_inner_texts()
    assert any("Ada" in one and "Grace" in one for one in facts)
    tab.get("compared-lengths").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_narrow_windows_do_not_scroll_sideways(browser: Any, datasets_root: Path, scheme: str) -> None:
    make_cameras("arm/pick-v0")
    with viewing(datasets_root) as served:
        tab = Tab(browser, viewport={"width": 420, "height": 800}, color_scheme=scheme)
        tab.enter(served)
        for place, name in (
            ("#/", "dataset-row"),
            ("#/dataset?id=arm/pick-v0", "episode-row"),
            ("#/episode?id=arm/pick-v0&n=1", "camera"),
        ):
            tab.page.goto(f"{served.address}/{place}")
            tab.get(name).first.wait_for()
            assert tab.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), place
            background = tab.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
            channels = [int(number) for number in re.findall(r"\d+", background)[:3]]
            assert (min(channels) > 200) == (scheme == "light")
        tab.close()
        assert tab.complaints == []


def test_without_the_token_nothing_is_shown(open_page: Callable[..., Served], tab: Tab, browser: Any) -> None:
    make_table("look/secret-v0", [{}], [3], description="Of no concern to strangers")
    served = open_page()
    tab.get("dataset-row").filter(has_text="Of no concern").wait_for()
    for fragment in ("#/", "#token=wrong", f"#token={served.token[:-1]}", "#/dataset?id=look/secret-v0"):
        stranger = Tab(browser)
        stranger.page.goto(f"{served.address}/{fragment}")
        stranger.get("locked").wait_for()
        assert "concern" not in stranger.page.content()
        stranger.close()


def test_a_change_by_another_program_is_told_and_nothing_is_overwritten(
    open_page: Callable[..., Served], tab: Tab
) -> None:
    make_table("look/table-v0", [{}, {}, {}], [3, 4, 5])
    open_page("#/episode?id=look/table-v0&n=2")
    tab.page.get_by_role("heading", name="Episode 2").wait_for()
    tab.page.wait_for_load_state("networkidle")  # or it would notice while it reads the values
    tab.refusals = (404, 409)
    minari.edit_dataset("look/table-v0", drop_episodes=[0])
    tab.get("mark-episode").click()
    tab.get("mark-value").fill("bad")
    tab.get("mark-confirm").click()
    tab.get("error").filter(has_text="changed").wait_for()
    assert [one.metadata.get("mark") for one in minari.load_dataset("look/table-v0")] == [None, None]


def test_a_page_that_may_only_look_has_no_buttons_that_change(open_page: Callable[..., Served], tab: Tab) -> None:
    make_table("look/table-v0", [{}, {}], [3, 4])
    open_page("#/episode?id=look/table-v0&n=1", "--read-only")
    tab.get("plots").wait_for()
    assert tab.get("drop-episode").count() == tab.get("mark-episode").count() == 0


def test_unbroken_text_stays_in_its_place(open_page: Callable[..., Served], tab: Tab) -> None:
    steps = 3
    minari.create_dataset_from_buffers(
        "long/text-v0",
        [
            EpisodeBuffer(
                observations=["x" * 9_000] * (steps + 1),
                actions=np.zeros(steps, np.int64),
                rewards=np.full(steps, 1.7e308),  # whose range is not finite
                terminations=np.arange(steps) == steps - 1,
                truncations=np.zeros(steps, bool),
            )
        ],
        observation_space=spaces.Text(9_000),
        action_space=spaces.Discrete(2),
        author="a" * 9_000,
        description="d" * 9_000,
    )
    open_page()
    tab.get("dataset-row").wait_for()
    for place, shown in (
        ("#/", "dataset-row"),
        ("#/dataset?id=long/text-v0", "leaf-summary"),
        ("#/episode?id=long/text-v0&n=0", "transport"),
    ):
        tab.page.goto(tab.page.url.partition("#")[0] + place)
        tab.get(shown).first.wait_for()
        assert tab.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), place
        for text in tab.page.query_selector_all(".text-counts li, .catalog-table .authors"):
            assert text.evaluate("one => one.scrollWidth <= one.clientWidth + 1"), place


def test_hundreds_of_leaves_are_shown_in_parts(open_page: Callable[..., Served], tab: Tab) -> None:
    steps = 2
    names = [f"leaf{number:03}" for number in range(200)]
    minari.create_dataset_from_buffers(
        "many/leaves-v0",
        [
            EpisodeBuffer(
                observations={name: np.arange(steps + 1.0, dtype=np.float32) for name in names},
                actions=np.zeros(steps, np.int64),
                rewards=np.zeros(steps),
                terminations=np.arange(steps) == steps - 1,
                truncations=np.zeros(steps, bool),
            )
        ],
        observation_space=spaces.Dict({name: spaces.Box(-9, 9, (), np.float32) for name in names}),
        action_space=spaces.Discrete(2),
    )
    open_page("#/dataset?id=many/leaves-v0")
    tab.shows("leaf-summary", 60)
    tab.get("more-parts").click()
    tab.shows("leaf-summary", 120)
    tab.page.goto(tab.page.url.partition("#")[0] + "#/compare?a=many/leaves-v0&b=many/leaves-v0")
    tab.shows("compared-leaf", 60)


def test_an_episode_of_a_dataset_that_others_edit_is_read_again(open_page: Callable[..., Served], tab: Tab) -> None:
    make_cameras("look/edited-v0", 30)
    tab.refusals = (409,)
    open_page("#/episode?id=look/edited-v0&n=1")
    tab.get("text").wait_for()
    minari.edit_dataset("look/edited-v0", drop_episodes=[0])
    text = tab.page.get_by_label("observations/task")
    text.uncheck()
    text.check()  # which asks for the text again
    tab.page.get_by_text("look/edited-v0 has changed, so episode 1 is read again.").first.wait_for()
    tab.get("text").wait_for()
    tab.page.get_by_text("30", exact=True).nth(1).wait_for()  # the return of what was episode 2
