"""The page on which people look at datasets in a browser, and its server; ``minari view`` starts it."""

from minari.errors import MissingDependencyError


try:
    import starlette  # noqa: F401
    import uvicorn  # noqa: F401
except ImportError as error:
    raise MissingDependencyError(
        'minari.viewer needs starlette and uvicorn, which are not installed; run pip install "minari[view]".',
        name=error.name,
    ) from error

from minari.viewer.app import create_app
from minari.viewer.server import serve


__all__ = ["create_app", "serve"]
