"""The commands with their arguments and options.

The modules that carry them out are imported when their command runs, so that ``minari --help`` and a mistyped
option answer without waiting for libraries that they have no use for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from minari import __version__
from minari._base.lazy import LazyModule
from minari.cli.running import run_command
from minari.cli.terminal import echo


if TYPE_CHECKING:
    from minari.cli import changing, listing, record, recovery, sharing, show, validate
else:
    changing = LazyModule("minari.cli.changing")
    listing = LazyModule("minari.cli.listing")
    record = LazyModule("minari.cli.record")
    recovery = LazyModule("minari.cli.recovery")
    sharing = LazyModule("minari.cli.sharing")
    show = LazyModule("minari.cli.show")
    validate = LazyModule("minari.cli.validate")


__all__ = ["app"]


class _PlainFlags:
    """A command whose help shows no type after options that take no value."""

    def get_params(self, ctx: Any) -> list[Any]:
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for param in params:
            if getattr(param, "is_flag", False) and param.metavar is None:
                param.metavar = ""
        return params


class _Command(_PlainFlags, TyperCommand):
    """A command whose failures and warnings are lines on standard error."""

    def invoke(self, ctx: Any) -> Any:
        return run_command(lambda: super(_Command, self).invoke(ctx))


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
        help="How columns are compressed: gzip, gzip:9, none, ... for all, or COLUMN=CODEC for one, as in "
        "observations/pixels=gzip:9, which may be given several times. Unless it is said, frames are compressed "
        "without loss, and nothing else is.",
    ),
]
DatasetIds = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids such as cartpole/random-v0.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
KeyPath = Annotated[
    str | None,
    typer.Option(metavar="PATH", help="The file with the token, or the service-account key, if one is needed."),
]
MaxWorkers = Annotated[int, typer.Option(min=1, metavar="N", help="How many files are on their way at once.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Draw no bars; what takes long says a line now and then.")]
Remote = Annotated[
    str | None,
    typer.Option(metavar="URL", help="The remote, such as gcp://bucket, in place of the one that MINARI_REMOTE names."),
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
        echo(f"Minari version: {__version__}")
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
def _record_dataset(
    env_id: Annotated[str, typer.Argument(metavar="ENV_ID", help="What gymnasium.make is given.")],
    dataset_id: Annotated[
        str, typer.Option(metavar="ID", help="The id of the dataset to make, such as cartpole/random-v0.")
    ],
    episodes: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="How many episodes to record; 10 if nothing is said.")
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="How many steps to record; the last episode is truncated there."),
    ] = None,
    policy: Annotated[
        str,
        typer.Option(
            metavar="MODULE:NAME",
            help="What chooses the actions: 'random', or a function of the observation that returns an action, "
            "or a class of such, which is called with the environment first.",
        ),
    ] = "random",
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="SEED",
            help="Episode number i is reset with SEED + i, and the random policy draws from SEED.",
        ),
    ] = None,
    env_kwargs: Annotated[
        str | None, typer.Option(metavar="JSON", help="Arguments for the environment, as a JSON object.")
    ] = None,
    data_format: Annotated[
        str | None, typer.Option("--format", metavar="FORMAT", help="hdf5, arrow, parquet or zarr; hdf5 if not said.")
    ] = None,
    compression: Compression = None,
    record_infos: Annotated[bool, typer.Option("--record-infos", help="Keep the info dicts as well.")] = False,
    append: Annotated[
        bool, typer.Option("--append", help="Add to a dataset of the same environment that exists already.")
    ] = False,
    author: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Who made the dataset; may be given several times.")
    ] = None,
    author_email: Annotated[
        list[str] | None, typer.Option(metavar="ADDRESS", help="Where to reach them; may be given several times.")
    ] = None,
    algorithm_name: Annotated[
        str | None, typer.Option(metavar="NAME", help="What chose the actions; if nothing is said, the policy's name.")
    ] = None,
    description: Annotated[str | None, typer.Option(metavar="TEXT", help="What the dataset is, in Markdown.")] = None,
    code_permalink: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Where the code that made it can be found.")
    ] = None,
    eval_env: Annotated[
        str | None,
        typer.Option(metavar="ENV_ID", help="The environment to evaluate policies in, if it is another one."),
    ] = None,
) -> None:
    """Run an environment and save what happens as a dataset.

    Ctrl-C ends the recording and keeps what there is; --append goes on with it.
    """
    record.record(
        record.Plan(
            env_id=env_id,
            dataset_id=dataset_id,
            episodes=episodes,
            steps=steps,
            policy=policy,
            seed=seed,
            env_kwargs=env_kwargs,
            data_format=data_format,
            compression=compression,
            record_infos=record_infos,
            append=append,
            author=author,
            author_email=author_email,
            algorithm_name=algorithm_name,
            description=description,
            code_permalink=code_permalink,
            eval_env=eval_env,
        )
    )


@app.command("list", epilog="Example: minari list local --prefix D4RL/")
def _list(
    place: Annotated[
        str,
        typer.Argument(
            metavar="PLACE",
            help="'local', 'remote', 'community' for what anybody shares on the Hugging Face Hub, or the address of "
            "a remote such as hf://farama-minari.",
        ),
    ] = "local",
    every: Annotated[
        bool, typer.Option("--all", "-a", help="All versions of each dataset, and every dataset of a long list.")
    ] = False,
    prefix: Annotated[
        str | None, typer.Option("--prefix", "-p", metavar="NAMESPACE", help="Only what is in this namespace.")
    ] = None,
    recordings: Annotated[
        bool, typer.Option("--recordings", help="With 'local': the recordings in progress, in place of datasets.")
    ] = False,
    as_json: Json = False,
    token: Token = None,
    key_path: KeyPath = None,
    quiet: Quiet = False,
) -> None:
    """List the datasets of this machine or of a remote."""
    if recordings:
        recovery.list_in_progress(place=place, as_json=as_json)
    else:
        listing.list_datasets(
            place=place, every=every, prefix=prefix, as_json=as_json, token=token, key_path=key_path, quiet=quiet
        )


@app.command("show", epilog="Example: minari show D4RL/door/human-v2")
def _show(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="The id of a local dataset, the path of its folder, or an address such as "
            "hf://farama-minari/D4RL/door/human-v2, of which only the metadata are fetched.",
        ),
    ],
    as_json: Json = False,
    token: Token = None,
    key_path: KeyPath = None,
    quiet: Quiet = False,
) -> None:
    """Describe a dataset and its environment, with the returns and lengths of its episodes."""
    show.show_dataset(dataset=dataset, as_json=as_json, token=token, key_path=key_path, quiet=quiet)


@app.command("combine", epilog="Example: minari combine toy/a-v0 toy/b-v0 --dataset-id toy/both-v0")
def _combine(
    dataset_ids: DatasetIds,
    new_id: Annotated[str, typer.Option("--dataset-id", metavar="ID", help="The id of the new dataset.")],
) -> None:
    """Make one dataset out of several of the same environment."""
    changing.combine(dataset_ids=dataset_ids, new_id=new_id)


@app.command("convert", epilog="Example: minari convert cartpole/a-v0 cartpole/b-v0 --format zarr --compression zstd")
def _convert(
    dataset_id: Annotated[str, typer.Argument(metavar="ID", help="The id of a local dataset.")],
    new_id: Annotated[str, typer.Argument(metavar="NEW_ID", help="The id of the dataset to make of it.")],
    data_format: Annotated[
        str | None,
        typer.Option("--format", metavar="FORMAT", help="hdf5, arrow, parquet or zarr; the same if not said."),
    ] = None,
    compression: Compression = None,
    compatible_with: Annotated[
        str | None,
        typer.Option(metavar="RELEASE", help="0.5 for a dataset that releases 0.5 read, also with camera spaces."),
    ] = None,
) -> None:
    """Make a dataset of another in another format, with the same values and metadata."""
    changing.convert(
        dataset_id=dataset_id,
        new_id=new_id,
        data_format=data_format,
        compression=compression,
        compatible_with=compatible_with,
    )


@app.command("repack", epilog="Example: minari repack D4RL/door/human-v2")
def _repack(
    dataset_id: Annotated[str, typer.Argument(metavar="ID", help="The id of a local dataset.")],
    compression: Compression = None,
) -> None:
    """Rewrite a dataset in place, so that it is read as fast as those recorded with this release.

    Values and metadata stay as they are; the change is atomic.
    """
    changing.repack(dataset_id=dataset_id, compression=compression)


@app.command("rename", epilog="Example: minari rename cartpole/draft-v0 cartpole/random-v0")
def _rename(
    old_id: Annotated[str, typer.Argument(metavar="OLD", help="The id of a local dataset.")],
    new_id: Annotated[str, typer.Argument(metavar="NEW", help="The id that it gets.")],
) -> None:
    """Give a dataset of this machine another id, in one step.

    Datasets that were combined from it name its new id afterwards; what lies on a remote stays as it is.
    """
    changing.rename(old_id, new_id)


@app.command("delete", epilog="Example: minari delete cartpole/random-v0")
def _delete(
    dataset_ids: DatasetIds,
    without_asking: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete datasets from this machine."""
    changing.delete(dataset_ids=dataset_ids, without_asking=without_asking)


@app.command("clean", epilog="Example: minari clean --dry-run")
def _clean(
    dataset_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID...]", help="Ids of datasets; all if nothing is said.")
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
    """Complete or remove what killed programs have left of datasets.

    What a program that is alive works on is left alone, and so are recordings.
    """
    recovery.clean(
        dataset_ids=dataset_ids,
        dry_run=dry_run,
        root=root,
        without_asking=without_asking,
        discard_changes=discard_changes,
    )


@app.command("download", epilog="Example: minari download D4RL/door/human-v2")
def _download(
    datasets: Annotated[
        list[str],
        typer.Argument(metavar="ID...", help="Ids, or addresses such as hf://farama-minari/D4RL/door/human-v2."),
    ],
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace a dataset that is here already.")] = False,
    remote: Remote = None,
    token: Token = None,
    key_path: KeyPath = None,
    max_workers: MaxWorkers = 16,
    quiet: Quiet = False,
) -> None:
    """Download datasets from a remote.

    A download that was broken off goes on where it stopped, and a dataset appears when all of it has
    come and is right.
    """
    sharing.download(
        datasets=datasets,
        force=force,
        remote=remote,
        token=token,
        key_path=key_path,
        max_workers=max_workers,
        quiet=quiet,
    )


@app.command("upload", epilog="Example: minari upload cartpole/random-v0 --remote gcp://bucket")
def _upload(
    dataset_ids: DatasetIds,
    remote: Remote = None,
    token: Token = None,
    key_path: KeyPath = None,
    no_verify: Annotated[
        bool, typer.Option("--no-verify", help="Do not compare the values with their checksums first.")
    ] = False,
    private: Annotated[
        bool, typer.Option("--private", help="Where the remote can keep datasets private (the Hub can), do so.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force", "-f", help="Replace what an upload of other data under this id has left unfinished there."
        ),
    ] = False,
    max_workers: MaxWorkers = 16,
    quiet: Quiet = False,
) -> None:
    """Upload datasets to a remote.

    Others see a dataset there when it is complete; one that is there already is never replaced.
    """
    sharing.upload(
        dataset_ids=dataset_ids,
        remote=remote,
        token=token,
        key_path=key_path,
        no_verify=no_verify,
        private=private,
        force=force,
        max_workers=max_workers,
        quiet=quiet,
    )


@app.command("validate", epilog="Example: minari validate D4RL/door/human-v2 --checksums")
def _validate(
    datasets: Annotated[
        list[str] | None,
        typer.Argument(metavar="ID|PATH...", help="Ids of local datasets, or the paths of their folders."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", "-a", help="All datasets of this machine.")] = False,
    checksums: Annotated[
        bool, typer.Option("--checksums", help="Compare all values with the checksums made when they were written.")
    ] = False,
    fix: Annotated[
        bool,
        typer.Option(
            "--fix",
            help="First make checksums where there are none, and set totals and size right; no value is touched.",
        ),
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Check whether datasets are sound.

    Every episode is read. The exit status is 1 where there is an error.
    """
    validate.validate(datasets=datasets, every=every, checksums=checksums, fix=fix, as_json=as_json, quiet=quiet)


@app.command("recover", epilog="Example: minari recover 3f2a --dataset-id cartpole/random-v0")
def _recover(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Of the recording, as listed.")] = None,
    dataset_id: Annotated[
        str | None,
        typer.Option(metavar="ID", help="The id of the dataset to make of it, where it is not that which was given."),
    ] = None,
    every: Annotated[
        bool,
        typer.Option("--all", "-a", help="Make datasets of all recordings, called recovered/NAME-v0 if nothing else."),
    ] = False,
    discard: Annotated[str | None, typer.Option(metavar="NAME", help="Delete this recording.")] = None,
    root: Annotated[
        str | None, typer.Option(metavar="PATH", help="The directory of datasets, in place of MINARI_DATASETS_PATH.")
    ] = None,
    without_asking: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """List the recordings that a program left behind, or make datasets of them.

    Author, description and the like are kept, where the program gave them.
    """
    recovery.recover(
        name=name, dataset_id=dataset_id, every=every, discard=discard, root=root, without_asking=without_asking
    )
