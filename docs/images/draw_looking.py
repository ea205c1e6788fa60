"""Draw the images of docs/looking.md: ``python docs/images/draw_looking.py``, with the extra ``testing``.

The blocks of the page are run in a temporary catalog. What ``minari show`` writes to a terminal is drawn as a terminal
with the graphics protocol of kitty would show it.
"""

from __future__ import annotations

import base64
import contextlib
import io
import os
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.text import Text


matplotlib.use("agg")

HERE = Path(__file__).parent
COLUMNS = 100
WIDTH, HEIGHT = 16, 32  # pixels of a character
TEXT, BACKGROUND, BARS = (222, 226, 230), (24, 26, 31), (86, 182, 194)
DIM = (140, 144, 152)
LEVELS = "▁▂▃▄▅▆▇█"
COMMAND = ["show", "looking/random-v0", "--episode", "3", "--pictures", "kitty"]
KITTY = re.compile(r"(?:\x1b_G[^\x1b]*\x1b\\)+")


def font(name: str) -> ImageFont.FreeTypeFont:
    """Return a font that Matplotlib brings."""
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf" / name, 26)


def pictures_of(commands: str) -> tuple[Image.Image, int, int]:
    """Return a picture that is sent to kitty, with its columns and rows."""
    parts = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b", commands)
    options = dict(option.split("=") for option in parts[0][0].split(","))
    data = base64.b64decode("".join(data for _, data in parts))
    return Image.open(io.BytesIO(data)).convert("RGBA"), int(options["c"]), int(options["r"])


def draw_terminal(written: str) -> Image.Image:
    """Return the picture of a terminal on which a text was written."""
    lines = written.rstrip("\n").split("\n")
    rows = sum(pictures_of(line)[2] if KITTY.search(line) else 1 for line in lines)
    image = Image.new("RGB", ((COLUMNS + 2) * WIDTH, (rows + 1) * HEIGHT), BACKGROUND)
    draw = ImageDraw.Draw(image)
    fonts = {True: font("DejaVuSansMono-Bold.ttf"), False: font("DejaVuSansMono.ttf")}
    console = Console(width=COLUMNS, color_system="truecolor", file=io.StringIO())
    top = HEIGHT // 2
    for line in lines:
        if KITTY.search(line):
            picture, columns, height = pictures_of(line)
            scaled = picture.resize((columns * WIDTH, height * HEIGHT), Image.Resampling.NEAREST)
            image.paste(scaled, (WIDTH, top), scaled)
            top += height * HEIGHT
            continue
        left = WIDTH
        for segment in Text.from_ansi(line).render(console):
            style = segment.style
            color = DIM if style and style.dim else BARS if style and style.color else TEXT
            for letter in segment.text.replace("\n", ""):
                if letter in LEVELS:
                    bar = HEIGHT * (LEVELS.index(letter) + 1) // 8
                    draw.rectangle((left, top + HEIGHT - bar, left + WIDTH - 1, top + HEIGHT - 1), fill=color)
                elif letter == "─":
                    draw.rectangle((left, top + HEIGHT // 2, left + WIDTH - 1, top + HEIGHT // 2 + 1), fill=color)
                else:
                    draw.text((left, top), letter, color, fonts[bool(style and style.bold)])
                left += WIDTH
        top += HEIGHT
    return image


def main() -> None:
    """Run the page, and draw its images."""
    blocks = re.findall(
        r"^```python\n(.*?)^```$", (HERE.parent / "looking.md").read_text(encoding="utf-8"), re.M | re.S
    )
    with tempfile.TemporaryDirectory() as directory, contextlib.chdir(directory):
        os.environ["MINARI_DATASETS_PATH"] = directory
        Path("page.py").write_text("\n".join(blocks), encoding="utf-8")
        runpy.run_path("page.py", run_name="__main__")
        for name in ("looking_compare.png", "looking_episode.png"):
            shutil.copy(name, HERE / name)
        variables = os.environ | {"COLUMNS": str(COLUMNS), "FORCE_COLOR": "1", "TERM": "xterm-256color"}
        done = subprocess.run(
            [sys.executable, "-m", "minari", *COMMAND], env=variables, capture_output=True, check=True
        )
        draw_terminal(f"$ minari {' '.join(COMMAND[:4])}\n{done.stdout.decode()}").quantize(128).save(
            HERE / "looking_terminal.png", optimize=True
        )


if __name__ == "__main__":
    main()
