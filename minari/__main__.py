"""Entry point of ``python -m minari``."""

from minari.cli import main


if __name__ == "__main__":
    main()
