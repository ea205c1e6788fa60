"""Configuration of Sphinx: sphinx-build -W -b html docs docs/_build/html."""

from __future__ import annotations

import minari


project = "Minari"
author = "the Minari contributors"
project_copyright = "the Minari contributors"
version = release = minari.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
autoclass_content = "class"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"

html_theme = "furo"
html_title = f"Minari {release}"
