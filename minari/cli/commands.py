"""The commands with their arguments and options.

Only Typer is imported here. Each command is implemented in its own module, which is loaded when the command runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from minari.cli.running import carry_out


__all__ = ["app"]


class _PlainFlags:
    """A command whose help shows no type after options without a value."""

    def get_params(self, ctx: Any) -> list[Any]:
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for param in params:
            if getattr(param, "is_flag", False) and param.metavar is None:
                param.metavar = ""
        return params


class _Command(_PlainFlags, TyperCommand):
    pass


class _Group(_PlainFlags, TyperGroup):
    pass


class _App(typer.Typer):
    def command(self, name: str | None = None, **options: Any) -> Callable[..., Any]:
        return super().command(name, **{"cls": _Command, **options})


app = _App(
    cls=_Group,
    help="Record, list, show, combine and share datasets of reinforcement-learning episodes.",
    epilog="Example: minari record CartPole-v1 --dataset-id cartpole/a-v0",
    pretty_exceptions_enable=False,
)

Compression = Annotated[
    list[str] | None,
    typer.Option(
        metavar="CODEC",
        help="Compression of columns: gzip, gzip:9, none, ... for all, or COLUMN=CODEC for one, as in "
        "observations/pixels=gzip:9, which can be repeated. By default, only frames are compressed, "
        "without loss.",
    ),
]
DatasetIds = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids such as cartpole/random-v0.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
KeyPath = Annotated[
    str | None,
    typer.Option(metavar="PATH", help="The file with the token, or the service-account key, if one is needed."),
]
MaxWorkers = Annotated[int, typer.Option(min=1, metavar="N", help="Maximum number of concurrent requests.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress bars, but an occasional line.")]
Remote = Annotated[
    str | None,
    typer.Option(metavar="URL", help="The remote, such as gcp://bucket, instead of the one in MINARI_REMOTE."),
]
Token = Annotated[
    str | None,
    typer.Option(
        metavar="TOKEN",
        help="The token, if one is needed. Others on this machine can see it while the command runs: --key-path, "
        "HF_TOKEN or `hf auth login` keep it to yourself.",
    ),
]


def _print_version(wanted: bool) -> None:
    if wanted:
        carry_out("version", "print_version")
        raise typer.Exit


@app.callback()
def _options_of_all(
    version: Annotated[
        bool,
        typer.Option("--version", "-v", is_eager=True, callback=_print_version, help="Print the version and exit."),
    ] = False,
) -> None:
    pass


@app.command("record", epilog="Example: minari record CartPole-v1 --dataset-id cartpole/a-v0 --seed 0")
def _record(
    env_id: Annotated[str, typer.Argument(metavar="ENV_ID", help="The argument of gymnasium.make.")],
    dataset_id: Annotated[
        str, typer.Option(metavar="ID", help="The id of the new dataset, such as cartpole/random-v0.")
    ],
    episodes: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Number of episodes to record, 10 by default.")
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Number of steps to record; the last episode is truncated."),
    ] = None,
    policy: Annotated[
        str,
        typer.Option(
            metavar="MODULE:NAME",
            help="The policy: 'random', or a function of the observation that returns an action, "
            "or a class of such functions, which is instantiated with the environment.",
        ),
    ] = "random",
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="SEED",
            help="Episode number i is reset with SEED + i, and the random policy uses SEED.",
        ),
    ] = None,
    env_kwargs: Annotated[
        str | None, typer.Option(metavar="JSON", help="Arguments for the environment, as a JSON object.")
    ] = None,
    data_format: Annotated[
        str | None, typer.Option("--format", metavar="FORMAT", help="hdf5, arrow, parquet or zarr; hdf5 by default.")
    ] = None,
    compression: Compression = None,
    record_infos: Annotated[bool, typer.Option("--record-infos", help="Record the info dicts too.")] = False,
    append: Annotated[
        bool, typer.Option("--append", help="Append to an existing dataset of the same environment.")
    ] = False,
    author: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Author of the dataset; can be repeated.")
    ] = None,
    author_email: Annotated[
        list[str] | None, typer.Option(metavar="ADDRESS", help="Email address of an author; can be repeated.")
    ] = None,
    algorithm_name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the algorithm, by default that of the policy.")
    ] = None,
    description: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Description of the dataset, in Markdown.")
    ] = None,
    code_permalink: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Link to the code that created it.")
    ] = None,
    eval_env: Annotated[
        str | None,
        typer.Option(metavar="ENV_ID", help="The evaluation environment, if it differs."),
    ] = None,
) -> None:
    """Run an environment and save its episodes as a dataset.

    Ctrl-C ends the recording and keeps the episodes so far; --append continues it.
    """
    carry_out("record", "record", **locals())


@app.command("list", epilog="Example: minari list local --prefix D4RL/")
def _list(
    place: Annotated[
        str,
        typer.Argument(
            metavar="PLACE",
            help="'local', 'remote', 'community' for datasets that anyone shares on the Hugging Face Hub, or the "
            "address of a remote such as hf://farama-minari.",
        ),
    ] = "local",
    every: Annotated[
        bool, typer.Option("--all", "-a", help="All versions of each dataset, and every dataset of a long list.")
    ] = False,
    prefix: Annotated[
        str | None, typer.Option("--prefix", "-p", metavar="NAMESPACE", help="Only what is in this namespace.")
    ] = None,
    recordings: Annotated[
        bool, typer.Option("--recordings", help="With 'local': the recordings in progress, instead of datasets.")
    ] = False,
    as_json: Json = False,
    token: Token = None,
    key_path: KeyPath = None,
    quiet: Quiet = False,
) -> None:
    """List the datasets of this machine or of a remote."""
    options = locals()
    if options.pop("recordings"):
        carry_out("recover", "list_in_progress", place=place, as_json=as_json)
    else:
        carry_out("listing", "list_datasets", **options)


@app.command("show", epilog="Example: minari show D4RL/door/human-v2")
def _show(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="The id of a local dataset, the path of its folder, or an address such as "
            "hf://farama-minari/D4RL/door/human-v2, of which only the metadata is fetched.",
        ),
    ],
    as_json: Json = False,
    token: Token = None,
    key_path: KeyPath = None,
    quiet: Quiet = False,
) -> None:
    """Describe a dataset and its environment, with the returns and lengths of its episodes."""
    carry_out("show", "show_dataset", **locals())


@app.command("combine", epilog="Example: minari combine toy/a-v0 toy/b-v0 --dataset-id toy/both-v0")
def _combine(
    dataset_ids: DatasetIds,
    new_id: Annotated[str, typer.Option("--dataset-id", metavar="ID", help="The id of the new dataset.")],
) -> None:
    """Combine several datasets of the same environment into one."""
    carry_out("listing", "combine", **locals())


@app.command("convert", epilog="Example: minari convert cartpole/a-v0 cartpole/b-v0 --format zarr --compression zstd")
def _convert(
    dataset_id: Annotated[str, typer.Argument(metavar="ID", help="The id of a local dataset.")],
    new_id: Annotated[str, typer.Argument(metavar="NEW_ID", help="The id of the new dataset.")],
    data_format: Annotated[
        str | None,
        typer.Option("--format", metavar="FORMAT", help="hdf5, arrow, parquet or zarr; the same by default."),
    ] = None,
    compression: Compression = None,
    compatible_with: Annotated[
        str | None,
        typer.Option(metavar="RELEASE", help="0.5 for a dataset that releases 0.5 can read, even with camera spaces."),
    ] = None,
) -> None:
    """Convert a dataset to another format or compression, with the same values and metadata."""
    carry_out("convert", "convert", **locals())


@app.command("repack", epilog="Example: minari repack D4RL/door/human-v2")
def _repack(
    dataset_id: Annotated[str, typer.Argument(metavar="ID", help="The id of a local dataset.")],
    compression: Compression = None,
) -> None:
    """Rewrite a dataset in place, so that it can be read as fast as those recorded with this release.

    Values and metadata stay the same; the change is atomic.
    """
    carry_out("convert", "repack", **locals())


@app.command("rename", epilog="Example: minari rename cartpole/draft-v0 cartpole/random-v0")
def _rename(
    old_id: Annotated[str, typer.Argument(metavar="OLD", help="The id of a local dataset.")],
    new_id: Annotated[str, typer.Argument(metavar="NEW", help="The new id.")],
) -> None:
    """Change the id of a local dataset atomically.

    Datasets that were combined from it refer to the new id afterwards; remote datasets are not renamed.
    """
    carry_out("listing", "rename", **locals())


@app.command("delete", epilog="Example: minari delete cartpole/random-v0")
def _delete(
    dataset_ids: DatasetIds,
    without_asking: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete datasets from this machine."""
    carry_out("listing", "delete", **locals())


@app.command("clean", epilog="Example: minari clean --dry-run")
def _clean(
    dataset_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID...]", help="Ids of datasets; all by default.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only show what would be done.")] = False,
    root: Annotated[
        str | None, typer.Option(metavar="PATH", help="The folder of datasets, in place of MINARI_DATASETS_PATH.")
    ] = None,
    without_asking: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    discard_changes: Annotated[
        bool,
        typer.Option("--discard-changes", help="Also remove interrupted changes to datasets that cannot be completed."),
    ] = False,
) -> None:
    """Complete or remove what killed programs have left behind.

    Files of running programs are left alone, and so are recordings.
    """
    carry_out("clean", "clean", **locals())


@app.command("download", epilog="Example: minari download D4RL/door/human-v2")
def _download(
    datasets: Annotated[
        list[str],
        typer.Argument(metavar="ID...", help="Ids, or addresses such as hf://farama-minari/D4RL/door/human-v2."),
    ],
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace an existing local dataset.")] = False,
    remote: Remote = None,
    token: Token = None,
    key_path: KeyPath = None,
    max_workers: MaxWorkers = 16,
    quiet: Quiet = False,
) -> None:
    """Download datasets from a remote.

    An interrupted download is resumed, and a dataset appears when it is complete and verified.
    """
    carry_out("sharing", "download", **locals())


@app.command("upload", epilog="Example: minari upload cartpole/random-v0 --remote gcp://bucket")
def _upload(
    dataset_ids: DatasetIds,
    remote: Remote = None,
    token: Token = None,
    key_path: KeyPath = None,
    no_verify: Annotated[bool, typer.Option("--no-verify", help="Do not verify checksums first.")] = False,
    private: Annotated[
        bool, typer.Option("--private", help="Restrict access to members, if the remote supports it (the Hub does).")
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", "-f", help="Replace an unfinished upload of other data under this id."),
    ] = False,
    max_workers: MaxWorkers = 16,
    quiet: Quiet = False,
) -> None:
    """Upload datasets to a remote.

    A dataset becomes visible to others when it is complete; an existing one is never replaced.
    """
    carry_out("sharing", "upload", **locals())


@app.command("validate", epilog="Example: minari validate D4RL/door/human-v2 --checksums")
def _validate(
    datasets: Annotated[
        list[str] | None,
        typer.Argument(metavar="ID|PATH...", help="Ids of local datasets, or the paths of their folders."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", "-a", help="All datasets of this machine.")] = False,
    checksums: Annotated[bool, typer.Option("--checksums", help="Verify the checksums of all values.")] = False,
    fix: Annotated[
        bool,
        typer.Option(
            "--fix",
            help="First add missing checksums, and correct totals and size; no value is changed.",
        ),
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Check datasets for damage and inconsistencies.

    Every episode is read. The exit status is 1 if there is an error.
    """
    carry_out("validate", "validate", **locals())


@app.command("recover", epilog="Example: minari recover 3f2a --dataset-id cartpole/random-v0")
def _recover(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Of the recording, as listed.")] = None,
    dataset_id: Annotated[
        str | None,
        typer.Option(metavar="ID", help="The id of the new dataset, if it differs from the one given when recording."),
    ] = None,
    every: Annotated[
        bool,
        typer.Option("--all", "-a", help="Create datasets from all recordings, named recovered/NAME-v0 by default."),
    ] = False,
    discard: Annotated[str | None, typer.Option(metavar="NAME", help="Delete this recording.")] = None,
    root: Annotated[
        str | None, typer.Option(metavar="PATH", help="The directory of datasets, instead of MINARI_DATASETS_PATH.")
    ] = None,
    without_asking: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """List the recordings that a program left behind, or create datasets from them.

    Author, description and other metadata given by the program are kept.
    """
    carry_out("recover", "recover", **locals())
