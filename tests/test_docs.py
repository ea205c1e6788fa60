"""Runs every Python, console and bash block of the README and of the pages in ``docs/``.

A page is one program: its blocks run from top to bottom, in one namespace. All pages share one
catalog, as those of a reader who tries one after the other do, so no page may use the id of another
page's dataset or show what lies outside of its own namespaces.

- What a ``python`` block prints must be the ``text`` block that directly follows it, where one does.
- A ``console`` block holds commands after ``$`` and what they print, which must be what they do
  print. A ``bash`` block holds commands alone.
- ``MINARI_UPDATE_DOCS=1 pytest tests/test_docs.py`` puts what is printed into the pages.
- ``minari`` commands are run, questions answered with yes. Of ``pip install`` only the names of the
  extras are checked, and ``pytest`` is not run from within pytest.
- A page that is named as a script in ``examples/`` explains it. Its ``python`` blocks are excerpts of
  the script, which a command on the page runs. The numbers that a script prints depend on rounding, and
  are not compared.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from support.forks import run_module


if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it

REPOSITORY = Path(__file__).parents[1]
DOCS = REPOSITORY / "docs"
PAGES = [
    REPOSITORY / "README.md",
    *sorted([*DOCS.glob("*.md"), *DOCS.glob("recording/*.md"), *DOCS.glob("interchange/*.md")]),
]
EXAMPLES = REPOSITORY / "examples"
TUTORIALS = [page for page in PAGES if (EXAMPLES / f"{page.stem}.py").exists()]
NEEDS_ZARR = ("formats.md", "zarr_layout.md")
#: What pages need that are run by the jobs of the adapters only.
NEEDS_LIBRARIES = {
    "adapters.md": ("d3rlpy", "imitation", "jax", "stable_baselines3", "torch"),
    "sb3.md": ("stable_baselines3",),
    "replay_buffers.md": ("datasets", "grain", "ray", "tianshou", "torchrl"),
    **{page.name: ("matplotlib", "torch") for page in TUTORIALS},
    "offline_rl.md": ("d3rlpy", "matplotlib"),
}
#: What pages need that is installed for tests wherever there is a wheel.
NEEDS_WHEELS = {
    "looking.md": ("PIL", "av", "matplotlib", "pygame"),
    "multi_agent.md": ("pettingzoo", "mpe2"),
    "recording/atari.md": ("ale_py", "cv2"),
    "interchange/coming_from.md": ("PIL", "google_crc32c", "pyarrow"),
    "interchange/imitation.md": ("pyarrow",),
    "interchange/index.md": ("PIL", "av", "google_crc32c", "pyarrow", "tensorstore"),
    "interchange/lerobot.md": ("PIL", "av", "pyarrow"),
    "interchange/og_marl.md": ("tensorstore",),
    "interchange/rl_unplugged.md": ("PIL", "google_crc32c"),
    "interchange/rlds.md": ("PIL", "google_crc32c"),
    "interchange/tables.md": ("pyarrow",),
}
RUNNABLE = ("python", "console", "bash")
SHOWN_ROOT = "~/.minari/datasets"
SHOWN_SHARE = "/mnt/lab/datasets"  # a directory that exists while a page runs


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, the line where the text starts, what directly follows it."""

    language: str
    text: str
    line: int
    follower: Block | None = None


def blocks_of(markdown: str) -> list[Block]:
    """The fenced blocks of a page; a block is a follower when only blank lines lie in between."""
    tokens = [token for token in MarkdownIt().parse(markdown) if token.level == 0]
    blocks: list[Block] = []
    for token, after in reversed(list(zip(tokens, [*tokens[1:], None], strict=True))):
        if token.type == "fence" and token.map is not None:
            follower = blocks[0] if after is not None and after.type == "fence" else None
            language, text = token.info.partition(" ")[0], token.content.removesuffix("\n")
            blocks.insert(0, Block(language, text, token.map[0] + 2, follower))
    return blocks


def normalized(output: str) -> list[str]:
    """The lines of an output without what may differ: sizes, and the widths of columns."""
    output = re.sub(r"(< )?\d+(\.\d+)? ?[kKMG]i?B\b", "SIZE", output)
    output = re.sub(r"([─━═╌╍])\1+", r"\1", output)
    lines = [re.sub(r"\s+", " ", line).strip() for line in output.splitlines()]
    is_script = False
    for number, line in enumerate(lines):
        if line.startswith("$ "):
            is_script = line.startswith("$ python ")
        elif is_script:
            lines[number] = re.sub(r"\d+(\.\d+)?", "NUMBER", line)
    return [line for line in lines if line]


def compare(shown: str, printed: str, where: str) -> None:
    """Fail with a diff unless the page shows what was printed."""
    expected, actual = normalized(shown), normalized(printed)
    if expected != actual:
        diff = "\n".join(difflib.unified_diff(expected, actual, "shown", "printed", lineterm=""))
        pytest.fail(f"{where}: the page shows something else than is printed\n{diff}\n\nin full:\n{printed}")


class Page:
    """A page while it runs.

    Attributes:
        printed: the blocks that show an output, each with the text it should have.
    """

    def __init__(self, path: Path, root: Path, share: Path | None = None) -> None:
        self.path = path
        self.root = root
        self.share = SHOWN_SHARE if share is None else str(share)
        self.printed: list[tuple[Block, str]] = []
        self.namespace: dict[str, Any] = {"__name__": "__main__"}
        plain = {"COLUMNS": "110", "NO_COLOR": "1", "PYTHONUTF8": "1", "PYTHONWARNINGS": "ignore", "TERM": "dumb"}
        python_path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
        self.environment = os.environ | plain | {"PYTHONPATH": python_path}

    def run(self, block: Block) -> None:
        where = f"{self.path.name}:{block.line}"
        if block.language == "python":
            printed = self.run_python(block)
            if block.follower is not None and block.follower.language == "text":
                self.printed.append((block.follower, printed))
        elif block.language == "bash":
            for command in block.text.replace("\\\n", " ").splitlines():
                self.run_commands(command, where)
        else:
            transcript = ""
            for part in filter(None, re.split(r"^(?=\$ )", block.text, flags=re.MULTILINE)):
                command = re.match(r"\$ ((?:.*\\\n)*.*)", part)
                assert command is not None, f"{where}: a console block begins with a command"
                shown = self.run_commands(command[1].replace("\\\n", " "), where).strip("\n")
                transcript += f"$ {command[1]}\n{shown}\n"
            self.printed.append((block, transcript))

    def run_python(self, block: Block) -> str:
        # The blank lines give tracebacks the line numbers of the page.
        source = "\n" * (block.line - 1) + self.as_run(block.text)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(source, str(self.path), "exec"), self.namespace)
        return self.as_shown(printed.getvalue())

    def run_commands(self, line: str, where: str) -> str:
        commands = self.as_run(line).split("&&")
        return "".join(self.run_command(shlex.split(command), where) for command in commands)

    def run_command(self, words: list[str], where: str) -> str:
        if words[:2] == ["pip", "install"]:
            assert extras_named_in(words[2:]) <= known_extras(), f"{where}: an extra that does not exist"
            return ""
        if words == ["pytest"]:
            return ""
        if words[0] == "python" and words[1].startswith("examples/"):
            given: dict[str, Any] = {"cwd": self.root, "env": self.environment, "input": "y\n", "encoding": "utf-8"}
            done = subprocess.run([sys.executable, *words[1:]], capture_output=True, timeout=300, **given)
            code, out, err = done.returncode, done.stdout, done.stderr
        else:
            assert words[0] == "minari", f"{where}: no way to check {words[0]}"
            code, out, err = run_module(
                "minari", words[1:], environment=self.environment, directory=self.root, answer="y\n"
            )
        assert code == 0, f"{where}: {shlex.join(words)}\n{out}{err}"
        return self.as_shown(out)

    def as_run(self, source: str) -> str:
        """Return what a reader types, with the shared directory of this run."""
        return source.replace(SHOWN_SHARE, self.share)

    def as_shown(self, output: str) -> str:
        """An output as a reader sees it: in their own directories, and with the answers they typed."""
        output = output.replace(str(self.root), SHOWN_ROOT).replace(self.share, SHOWN_SHARE)
        output = re.sub(r"(\[[yY]/[nN]\]:) *", r"\1 y\n", output)
        return "\n".join(line.rstrip() for line in output.splitlines())

    def rewrite(self) -> None:
        """Put what was printed in the place of what the page shows, wherever the two differ."""
        lines = self.path.read_text(encoding="utf-8").splitlines()
        for block, printed in sorted(self.printed, key=lambda pair: -pair[0].line):
            if normalized(block.text) != normalized(printed):
                start = block.line - 1
                lines[start : start + len(block.text.splitlines())] = printed.strip("\n").splitlines()
        self.path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def extras_named_in(arguments: list[str]) -> set[str]:
    named = (re.search(r"\[(.*)\]$", argument) for argument in arguments)
    return {extra.strip() for match in named if match for extra in match[1].split(",")}


def known_extras() -> set[str]:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return set(project["optional-dependencies"])


def name_of(page: Path) -> str:
    """The path of a page below ``docs``, or its name."""
    return page.relative_to(DOCS).as_posix() if page.is_relative_to(DOCS) else page.name


def has_runnable_blocks(page: Path) -> bool:
    return any(block.language in RUNNABLE for block in blocks_of(page.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def catalog() -> Iterator[Path]:
    """The root of all pages, whose path is no longer than the one that they show, so that titles fit alike."""
    with tempfile.TemporaryDirectory(prefix="m-", dir="/tmp") as directory:
        yield Path(directory)


@pytest.fixture
def short_root(path: Path, catalog: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The catalog of all pages as the root of the datasets; an empty one for the README, which lists everything."""
    with tempfile.TemporaryDirectory(prefix="m-", dir="/tmp") as directory:
        root = Path(directory) if path.name == "README.md" else catalog
        monkeypatch.setenv("MINARI_DATASETS_PATH", str(root))
        monkeypatch.chdir(root)
        yield root
        monkeypatch.undo()


@pytest.fixture
def short_share() -> Iterator[Path]:
    """An empty directory for what is shared, whose path is as long as the one that is shown."""
    with tempfile.TemporaryDirectory(prefix="sha-", dir="/tmp") as directory:
        yield Path(directory)


@pytest.mark.skipif(sys.platform == "win32", reason="the pages show what a POSIX terminal does")
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=name_of(path), marks=[pytest.mark.integrations] if path.name in NEEDS_LIBRARIES else [])
        for path in PAGES
        if has_runnable_blocks(path)
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_blocks_of_a_page_run(path: Path, short_root: Path, short_share: Path) -> None:
    if path.name in NEEDS_ZARR:
        pytest.importorskip("zarr", minversion="3", reason="zarr 3 is not installed; it needs Python 3.11")
    for library in (*NEEDS_LIBRARIES.get(path.name, ()), *NEEDS_WHEELS.get(name_of(path), ())):
        if find_spec(library) is None:
            pytest.skip(f"{library} is not installed")
    page = Page(path, short_root, short_share)
    if path in TUTORIALS:
        shutil.copytree(EXAMPLES, short_root / "examples", dirs_exist_ok=True)
    for block in blocks_of(path.read_text(encoding="utf-8")):
        if block.language in RUNNABLE and not (path in TUTORIALS and block.language == "python"):
            page.run(block)
    if "MINARI_UPDATE_DOCS" in os.environ:
        page.rewrite()
        return
    for block, printed in page.printed:
        compare(block.text, printed, f"{path.name}:{block.line}")


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.name)
def test_a_tutorial_shows_the_script_that_it_runs(path: Path) -> None:
    script = EXAMPLES / f"{path.stem}.py"
    lines = script.read_text(encoding="utf-8").splitlines()
    blocks = blocks_of(path.read_text(encoding="utf-8"))
    excerpts = [block for block in blocks if block.language == "python"]
    assert excerpts
    for block in excerpts:
        shown = block.text.splitlines()
        starts = range(len(lines) - len(shown) + 1)
        assert any(lines[start : start + len(shown)] == shown for start in starts), (
            f"{path.name}:{block.line}: the block is no excerpt of {script.name}"
        )
    commands = [block.text for block in blocks if block.language == "console"]
    assert any(f"$ python examples/{script.name} " in text for text in commands)


def ids_made_on(path: Path) -> set[str]:
    """The ids of the datasets that the blocks of a page make."""
    text = "\n".join(b.text for b in blocks_of(path.read_text(encoding="utf-8")) if b.language in RUNNABLE)
    made = re.findall(r"--dataset-id ([\w/-]+-v\d+)", text)
    return {*made, *re.findall(r"""(?:create_dataset\w*|save|convert)\(\s*["']([\w/-]+-v\d+)["']""", text)}


def test_no_two_pages_make_the_same_dataset() -> None:
    """Pages share a catalog, so this would only be seen if they run in one process."""
    pages: dict[str, list[str]] = {}
    for path in PAGES:
        for dataset_id in ids_made_on(path):
            pages.setdefault(dataset_id, []).append(name_of(path))
    assert len(pages) > 10
    assert {dataset_id: names for dataset_id, names in pages.items() if len(names) > 1} == {}


def test_the_readme_holds_the_two_commands() -> None:
    lines = (REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()
    record = "pip install . && minari record CartPole-v1 --dataset-id cartpole/random-v0 --episodes 100"
    start = lines.index(record)
    assert lines[start + 1] == 'pip install -e ".[testing]" && pytest'


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_relative_links_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", path.read_text(encoding="utf-8"))
    missing = [target for target in targets if not (path.parent / target).exists()]
    assert not missing


# The runner itself


@pytest.fixture
def page(tmp_path: Path) -> Page:
    return Page(tmp_path / "page.md", tmp_path)


def test_runner_finds_blocks_and_what_follows_them() -> None:
    text = "a\n```python\nx\n```\n\n```text\nprinted\n```\nb\n```console\n$ minari\n```\n"
    python, printed, console = blocks_of(text)
    assert (python.language, python.text, python.line) == ("python", "x", 3)
    assert python.follower == printed
    assert printed.follower is None
    assert console.text == "$ minari"


def test_runner_sees_wrong_numbers_and_forgives_sizes_and_widths() -> None:
    compare("├───┤\n│ a  │ 0.1 MB │", "├──────┤\n│ a    │ 12.0 MB │", "here")
    with pytest.raises(pytest.fail.Exception, match="something else"):
        compare("│ a-v0 │ 3 │ 0.1 MB │", "│ a-v0 │ 4 │ 0.1 MB │", "here")


def test_runner_forgives_numbers_that_a_script_prints_and_nothing_else() -> None:
    compare("$ python examples/a.py\nloss 0.1\n$ minari", "$ python examples/a.py\nloss 12\n$ minari", "here")
    with pytest.raises(pytest.fail.Exception, match="something else"):
        compare("$ python examples/a.py\nloss 0.1", "$ python examples/a.py\ngain 0.1", "here")
    with pytest.raises(pytest.fail.Exception, match="something else"):
        compare("$ python examples/a.py\n$ minari\n1 step", "$ python examples/a.py\n$ minari\n2 step", "here")


def test_runner_sees_python_that_prints_something_else_and_rewrites_the_page(page: Page) -> None:
    page.path.write_text("```python\nprint(f'{1}\\n2')\n```\n\n```text\n3\n```\nend\n", encoding="utf-8")
    block, shown = blocks_of(page.path.read_text(encoding="utf-8"))
    page.run(block)
    assert page.printed == [(shown, "1\n2")]
    with pytest.raises(pytest.fail.Exception, match="something else"):
        compare(shown.text, "1\n2", "here")
    page.rewrite()
    assert page.path.read_text(encoding="utf-8").endswith("\n```text\n1\n2\n```\nend\n")


def test_runner_runs_the_commands_of_a_console_block(page: Page) -> None:
    (block,) = blocks_of("```console\n$ pip install minari[all] && \\\n pip install minari\n$ pytest\n2 passed\n```")
    page.run(block)
    assert page.printed == [(block, "$ pip install minari[all] && \\\n pip install minari\n\n$ pytest\n\n")]


def test_runner_refuses_extras_and_commands_that_do_not_exist(page: Page) -> None:
    with pytest.raises(AssertionError, match="an extra"):
        page.run_command(["pip", "install", "minari[nothing]"], "here")
    with pytest.raises(AssertionError, match="no way to check curl"):
        page.run_command(["curl", "https://example.org"], "here")
