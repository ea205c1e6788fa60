"""``python -m minari`` is the command line."""

from minari.cli import main


if __name__ == "__main__":
    main()
