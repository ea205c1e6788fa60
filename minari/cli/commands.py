"""The commands with their arguments and options.

The modules that carry them out are imported when their command runs, so that ``minari --help`` and a mistyped
option answer without waiting for libraries that they have no use for.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from minari import __version__
from minari._base.lazy import LazyModule
from minari.cli.running import UsageError, run_command
from minari.cli.terminal import echo


if TYPE_CHECKING:
    from minari.cli import (
        changing,
        diff,
        edit,
        interchange,
        listing,
        record,
        recovery,
        sharing,
        show,
        show_episode,
        split,
        validate,
        verify,
        view,
    )
else:
    changing = LazyModule("minari.cli.changing")
    diff = LazyModule("minari.cli.diff")
    edit = LazyModule("minari.cli.edit")
    interchange = LazyModule("minari.cli.interchange")
    listing = LazyModule("minari.cli.listing")
    record = LazyModule("minari.cli.record")
    recovery = LazyModule("minari.cli.recovery")
    sharing = LazyModule("minari.cli.sharing")
    show = LazyModule("minari.cli.show")
    show_episode = LazyModule("minari.cli.show_episode")
    split = LazyModule("minari.cli.split")
    validate = LazyModule("minari.cli.validate")
    verify = LazyModule("minari.cli.verify")
    view = LazyModule("minari.cli.view")


__all__ = ["app"]


class Vectorization(str, Enum):
    """Ways to run the environments of a vector environment, as in ``gymnasium.make_vec``."""

    SYNC = "sync"
    ASYNC = "async"
    NATIVE = "vector_entry_point"


class FrameStack(str, Enum):
    """Ways to store stacks of frames."""

    KEEP = "keep"
    DEDUPLICATE = "deduplicate"


class SplitBy(str, Enum):
    """Orders in which the episodes of a dataset are cut into parts."""

    EPISODE = "episode"
    RETURN = "return"


class Pictures(str, Enum):
    """Ways to show pictures on a terminal."""

    AUTO = "auto"
    KITTY = "kitty"
    ITERM = "iterm"
    SIXEL = "sixel"
    BLOCKS = "blocks"
    NONE = "none"


class _PlainFlags:
    """A command whose help shows no type for options without a value."""

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


class _EditCommand(_Command):
    """A command with an option of two values that may be repeated, which Typer cannot express."""

    def get_params(self, ctx: Any) -> list[Any]:
        params = super().get_params(ctx)
        for param in params:
            if param.name == "set_episode":
                param.nargs = 2
        return params


class _Group(_PlainFlags, TyperGroup):
    pass


class _App(typer.Typer):
    def command(self, name: str | None = None, **options: Any) -> Callable[..., Any]:
        return super().command(name, **{"cls": _Command, **options})


app = _App(
    cls=_Group,
    help="Record, inspect, check, edit and share datasets of reinforcement-learning episodes.",
    epilog="Example: minari record CartPole-v1 --dataset-id cartpole/a-v0",
    pretty_exceptions_enable=False,
)

Compression = Annotated[
    list[str] | None,
    typer.Option(
        metavar="CODEC",
        help="Codec for all columns (gzip, gzip:9, none, ...), or COLUMN=CODEC for one of them, such as "
        "observations=gzip:9; may be repeated. By default, frames are compressed losslessly and other "
        "columns are not compressed.",
    ),
]
DatasetIds = Annotated[list[str], typer.Argument(metavar="ID...", help="Dataset ids, such as cartpole/random-v0.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
KeyPath = Annotated[
    str | None,
    typer.Option(metavar="PATH", help="File that holds the token or the service-account key, if one is needed."),
]
LocalDataset = Annotated[
    str, typer.Argument(metavar="ID|PATH", help="Id of a local dataset, or path of its directory.")
]
MaxWorkers = Annotated[int, typer.Option(min=1, metavar="N", help="Maximum number of files transferred concurrently.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Draw no progress bars; print a line now and then instead.")]
Remote = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Address of the remote, such as gcp://bucket; by default MINARI_REMOTE."),
]
Token = Annotated[
    str | None,
    typer.Option(
        metavar="TOKEN",
        help="Token, if one is needed. Other users of this machine can see it while the command runs; --key-path, "
        "HF_TOKEN or `hf auth login` keep it private.",
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
    env_id: Annotated[str, typer.Argument(metavar="ENV_ID", help="Id that gymnasium.make accepts.")],
    dataset_id: Annotated[str, typer.Option(metavar="ID", help="Id of the new dataset, such as cartpole/random-v0.")],
    episodes: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Number of episodes to record; 10 by default.")
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Number of steps to record; the last episode is truncated there."),
    ] = None,
    policy: Annotated[
        str,
        typer.Option(
            metavar="MODULE:NAME",
            help="Policy that chooses the actions: 'random', a function from observation to action, or a class "
            "whose instances are such functions and which takes the environment.",
        ),
    ] = "random",
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="SEED",
            help="Episode i is reset with SEED + i, and the random policy is seeded with SEED.",
        ),
    ] = None,
    env_kwargs: Annotated[
        str | None, typer.Option(metavar="JSON", help="Arguments of the environment, as a JSON object.")
    ] = None,
    data_format: Annotated[
        str | None, typer.Option("--format", metavar="FORMAT", help="hdf5, arrow, parquet or zarr; hdf5 by default.")
    ] = None,
    compression: Compression = None,
    record_infos: Annotated[bool, typer.Option("--record-infos", help="Record the info dicts as well.")] = False,
    append: Annotated[
        bool, typer.Option("--append", help="Append to an existing dataset of the same environment.")
    ] = False,
    author: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Author of the dataset; may be repeated.")
    ] = None,
    author_email: Annotated[
        list[str] | None, typer.Option(metavar="ADDRESS", help="Email address of an author; may be repeated.")
    ] = None,
    algorithm_name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Algorithm that chose the actions; by default the name of the policy."),
    ] = None,
    description: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Description of the dataset, in Markdown.")
    ] = None,
    code_permalink: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Link to the code that generated the dataset.")
    ] = None,
    eval_env: Annotated[
        str | None,
        typer.Option(metavar="ENV_ID", help="Environment to evaluate policies in, if it is a different one."),
    ] = None,
    num_envs: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Run N environments at once. Environment i is reset once, with SEED + i, and then resets itself; "
            "episodes are in the order in which they end, and the policy gets batches if it has the attribute "
            "'batched'.",
        ),
    ] = None,
    vectorization: Annotated[
        Vectorization | None,
        typer.Option(help="How these run: one after the other (the default), in processes, or natively."),
    ] = None,
    pettingzoo: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:FUNCTION",
            help="Function that makes an environment of many agents, such as "
            "my_games:parallel_env; ENV_ID is then just its name, and a policy is called "
            "with an observation and the agent.",
        ),
    ] = None,
    record_state: Annotated[
        bool, typer.Option("--record-state", help="With --pettingzoo, record the global state as well.")
    ] = False,
    frame_stack: Annotated[
        FrameStack | None,
        typer.Option(
            help="'deduplicate' stores each frame of stacked observations once, as those of FrameStackObservation, and "
            "rebuilds the stacks exactly; 'keep', the default, stores stacks as they are."
        ),
    ] = None,
) -> None:
    """Run an environment and save its episodes as a dataset.

    Ctrl-C ends the recording and keeps the steps so far; --append continues it.
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
            num_envs=num_envs,
            vectorization=None if vectorization is None else vectorization.value,
            pettingzoo=pettingzoo,
            record_state=record_state,
            frame_stack=None if frame_stack is None else frame_stack.value,
        )
    )


@app.command("list", epilog="Example: minari list local --prefix D4RL/")
def _list(
    place: Annotated[
        str,
        typer.Argument(
            metavar="PLACE",
            help="'local', 'remote', 'community' (datasets that anyone shares on the Hugging Face Hub), or the "
            "address of a remote, such as hf://farama-minari.",
        ),
    ] = "local",
    every: Annotated[
        bool, typer.Option("--all", "-a", help="List all versions of each dataset, and do not collapse long lists.")
    ] = False,
    prefix: Annotated[
        str | None, typer.Option("--prefix", "-p", metavar="NAMESPACE", help="List only datasets in this namespace.")
    ] = None,
    recordings: Annotated[
        bool, typer.Option("--recordings", help="With 'local': list recordings in progress instead of datasets.")
    ] = False,
    as_json: Json = False,
    token: Token = None,
    key_path: KeyPath = None,
    quiet: Quiet = False,
) -> None:
    """List the datasets on this machine or on a remote."""
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
            metavar="ID|PATH|URL",
            help="Id of a local dataset, path of its directory, or an address such as "
            "hf://farama-minari/D4RL/door/human-v2, of which only the metadata is fetched.",
        ),
    ],
    episode: Annotated[
        int | None, typer.Option(metavar="N", help="Describe the episode of this number instead, leaf by leaf.")
    ] = None,
    leaf: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="With --episode: only this leaf, such as observations; may be repeated."),
    ] = None,
    frames: Annotated[
        str | None,
        typer.Option(metavar="START:STOP", help="With --episode: only the pictures of these steps, such as 10:50."),
    ] = None,
    pictures: Annotated[
        Pictures | None,
        typer.Option(
            help="With --episode: how the terminal shows pictures; by default in the best way that it is known to "
            "support, or as colored characters."
        ),
    ] = None,
    save: Annotated[
        str | None, typer.Option(metavar="FILE", help="With --episode: write a strip of its pictures as PNG instead.")
    ] = None,
    gif: Annotated[
        str | None, typer.Option(metavar="FILE", help="With --episode: write its pictures as an animated GIF.")
    ] = None,
    mp4: Annotated[
        str | None, typer.Option(metavar="FILE", help="With --episode: write its pictures as a video.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace files that exist.")] = False,
    as_json: Json = False,
    token: Token = None,
    key_path: KeyPath = None,
    quiet: Quiet = False,
) -> None:
    """Describe a dataset, its environment, and the returns and lengths of its episodes; or one of these."""
    given = {
        "leaf": leaf, "frames": frames, "pictures": pictures, "save": save, "gif": gif, "mp4": mp4, "force": force,
    }  # fmt: skip
    wanted = {name: value for name, value in given.items() if value}
    if episode is not None:
        request = show_episode.EpisodeRequest(
            episode=episode,
            leaves=leaf or (),
            frames=frames,
            pictures="auto" if pictures is None else pictures.value,
            save=save,
            gif=gif,
            mp4=mp4,
            force=force,
        )
        show_episode.show_episode(dataset=dataset, request=request, as_json=as_json)
    elif wanted:
        raise UsageError(f"--{next(iter(wanted))} is given without --episode; name an episode, such as --episode 0.")
    else:
        show.show_dataset(dataset=dataset, as_json=as_json, token=token, key_path=key_path, quiet=quiet)


@app.command("view", epilog="Example: minari view D4RL/door/human-v2")
def _view(
    dataset: Annotated[
        str | None,
        typer.Argument(metavar="[ID|PATH]", help="Dataset to begin with: id of a local one, or path of its directory."),
    ] = None,
    root: Annotated[
        str | None, typer.Option(metavar="PATH", help="Directory of the datasets; by default MINARI_DATASETS_PATH.")
    ] = None,
    host: Annotated[
        str, typer.Option(metavar="HOST", help="Address to listen on; by default, only this machine is served.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="PORT", help="Port to listen on; by default a free one.")
    ] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address, and open no browser.")] = False,
    edit: Annotated[
        bool | None,
        typer.Option(
            "--edit/--read-only",
            help="Allow or refuse marking and dropping episodes on the page; by default allowed if only this machine "
            "is served.",
        ),
    ] = None,
) -> None:
    """Look at datasets on a page in the browser, until Ctrl-C.

    The address has a token, without which nothing is shown; it gives access to all datasets below the root.
    """
    view.view(dataset=dataset, root=root, host=host, port=port, opens_browser=not no_browser, edits=edit)


@app.command("combine", epilog="Example: minari combine toy/a-v0 toy/b-v0 --dataset-id toy/both-v0")
def _combine(
    dataset_ids: DatasetIds,
    new_id: Annotated[str, typer.Option("--dataset-id", metavar="ID", help="Id of the new dataset.")],
) -> None:
    """Combine datasets of the same environment into one."""
    changing.combine(dataset_ids=dataset_ids, new_id=new_id)


@app.command("split", epilog="Example: minari split cartpole/random-v0 --fractions 0.8,0.2 --seed 0")
def _split(
    dataset: LocalDataset,
    fractions: Annotated[
        str | None, typer.Option(metavar="F,F...", help="Fraction of the episodes in each part, such as 0.8,0.2.")
    ] = None,
    sizes: Annotated[
        str | None, typer.Option(metavar="N,N...", help="Number of episodes in each part, such as 100,20.")
    ] = None,
    by: Annotated[
        SplitBy,
        typer.Option(
            help="'episode' draws the episodes at random; 'return' cuts them in the order of their returns, the "
            "highest first."
        ),
    ] = SplitBy.EPISODE,
    seed: Annotated[
        int | None, typer.Option(min=0, metavar="SEED", help="Seed for drawing the episodes at random.")
    ] = None,
    new_ids: Annotated[
        list[str] | None,
        typer.Option(
            "--as", metavar="NEW_ID", help="Id of a part, once for each; by default NAME-part1-vN, NAME-part2-vN, ..."
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Split a dataset into new datasets without common episodes, all or none of which appear."""
    split.split(
        dataset=dataset,
        fractions=fractions,
        sizes=sizes,
        by=by.value,
        seed=seed,
        new_ids=new_ids,
        quiet=quiet,
    )


@app.command("diff", epilog="Example: minari diff cartpole/a-v0 cartpole/b-v0")
def _diff(
    a: Annotated[str, typer.Argument(metavar="A", help="Id of a local dataset, or path of its directory.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Likewise.")],
    ignore_metadata: Annotated[
        bool, typer.Option("--ignore-metadata", help="Compare only spaces and the values of episodes.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare two datasets: metadata, spaces, and episodes by their values, however they are stored.

    The exit status is 0 if they are equal, 1 if they differ, and 2 if they cannot be compared.
    """
    diff.diff(a, b, ignore_metadata=ignore_metadata, as_json=as_json, quiet=quiet)


@app.command("convert", epilog="Example: minari convert cartpole/a-v0 cartpole/b-v0 --format zarr --compression zstd")
def _convert(
    dataset_id: Annotated[str, typer.Argument(metavar="ID", help="Id of a local dataset.")],
    new_id: Annotated[str, typer.Argument(metavar="NEW_ID", help="Id of the new dataset.")],
    data_format: Annotated[
        str | None,
        typer.Option(
            "--format", metavar="FORMAT", help="hdf5, arrow, parquet or zarr; by default that of the dataset."
        ),
    ] = None,
    compression: Compression = None,
    compatible_with: Annotated[
        str | None,
        typer.Option(
            metavar="RELEASE", help="Use 0.5 for a dataset that release 0.5 can read, even with camera spaces."
        ),
    ] = None,
    frame_stack: Annotated[
        FrameStack | None,
        typer.Option(
            help="'deduplicate' stores each frame of stacked observations once, 'keep' stores stacks as they are; by "
            "default as in the dataset."
        ),
    ] = None,
) -> None:
    """Copy a dataset to another format or compression, with the same values and metadata."""
    changing.convert(
        dataset_id=dataset_id,
        new_id=new_id,
        data_format=data_format,
        compression=compression,
        compatible_with=compatible_with,
        frame_stack=None if frame_stack is None else frame_stack.value,
    )


@app.command("repack", epilog="Example: minari repack D4RL/door/human-v2")
def _repack(
    dataset_id: Annotated[str, typer.Argument(metavar="ID", help="Id of a local dataset.")],
    compression: Compression = None,
) -> None:
    """Rewrite a dataset in place, so that reading it is as fast as if this release had recorded it.

    Values and metadata do not change; the rewrite is atomic.
    """
    changing.repack(dataset_id=dataset_id, compression=compression)


def _as_given(value: Any) -> Any:
    return value


@app.command("edit", cls=_EditCommand, epilog="Example: minari edit cartpole/a-v0 --drop-episodes 3,7,10-14 --dry-run")
def _edit(
    dataset: LocalDataset,
    set_metadata: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Metadata of the dataset to set; the value is JSON if it is valid JSON, otherwise text; may be "
            "repeated.",
        ),
    ] = None,
    remove: Annotated[
        list[str] | None,
        typer.Option("--remove", metavar="KEY", help="Metadata of the dataset to remove; may be repeated."),
    ] = None,
    drop_episodes: Annotated[
        str | None, typer.Option(metavar="NUMBERS", help="Episodes to drop, such as 3,7,10-14.")
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(
            metavar="CONDITION",
            help="Condition of the episodes to keep, such as 'return > 100 and length < 500'; the others are dropped.",
        ),
    ] = None,
    drop_field: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD",
            help="Field to drop with everything below it: a key of a Dict space or an info, such as "
            "observations/camera or infos/debug; may be repeated.",
        ),
    ] = None,
    rename_field: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OLD=NEW",
            help="Field to rename: its last part changes, as in infos/t=infos/time; may be repeated.",
        ),
    ] = None,
    set_episode: Annotated[
        list[tuple] | None,  # type: ignore[type-arg]  # of two texts
        typer.Option(
            metavar="NUMBERS KEY=VALUE",
            parser=_as_given,
            help="Metadata of episodes to set, as in --set-episode 5 task=pick; may be repeated.",
        ),
    ] = None,
    remove_episode_key: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY", help="Metadata to remove from all episodes; may be repeated."),
    ] = None,
    new_id: Annotated[
        str | None, typer.Option("--as", metavar="NEW_ID", help="Make a new dataset, and leave this one as it is.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Show what would change, and do nothing.")] = False,
    without_asking: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Change metadata, drop episodes, drop or rename fields.

    All changes are made atomically. Numbers of episodes and names of fields are those before the edit.
    """
    edit.edit(
        dataset,
        edit.Wanted(
            set_metadata=set_metadata,
            remove_metadata=remove,
            drop_episodes=drop_episodes,
            keep=keep,
            drop_fields=drop_field,
            rename_fields=rename_field,
            episode_metadata=set_episode,
            remove_episode_metadata=remove_episode_key,
        ),
        new_id=new_id,
        dry_run=dry_run,
        without_asking=without_asking,
        as_json=as_json,
        quiet=quiet,
    )


@app.command("rename", epilog="Example: minari rename cartpole/draft-v0 cartpole/random-v0")
def _rename(
    old_id: Annotated[str, typer.Argument(metavar="OLD", help="Id of a local dataset.")],
    new_id: Annotated[str, typer.Argument(metavar="NEW", help="New id of the dataset.")],
) -> None:
    """Rename a local dataset atomically.

    Datasets that were combined from it refer to the new id afterwards; remotes are not changed.
    """
    changing.rename(old_id, new_id)


@app.command("delete", epilog="Example: minari delete cartpole/random-v0")
def _delete(
    dataset_ids: DatasetIds,
    without_asking: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """Delete local datasets."""
    changing.delete(dataset_ids=dataset_ids, without_asking=without_asking)


@app.command("clean", epilog="Example: minari clean --dry-run")
def _clean(
    dataset_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID...]", help="Ids of datasets; all by default.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Show what would be done, and do nothing.")] = False,
    root: Annotated[
        str | None, typer.Option(metavar="PATH", help="Directory of datasets, instead of MINARI_DATASETS_PATH.")
    ] = None,
    without_asking: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    discard_changes: Annotated[
        bool,
        typer.Option("--discard-changes", help="Also remove interrupted changes that cannot be completed."),
    ] = False,
) -> None:
    """Complete or remove the files that killed programs left behind.

    Files that a running program uses are left alone, and so are recordings.
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
        typer.Argument(
            metavar="ID...", help="Dataset ids, or addresses such as hf://farama-minari/D4RL/door/human-v2."
        ),
    ],
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace datasets that exist locally.")] = False,
    remote: Remote = None,
    token: Token = None,
    key_path: KeyPath = None,
    max_workers: MaxWorkers = 16,
    quiet: Quiet = False,
) -> None:
    """Download datasets from a remote.

    An interrupted download resumes where it stopped. A dataset appears once it is complete and verified.
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
    no_verify: Annotated[bool, typer.Option("--no-verify", help="Do not verify checksums before the upload.")] = False,
    no_validate: Annotated[
        bool,
        typer.Option("--no-validate", help="Do not validate with the profile 'hub' before the upload."),
    ] = False,
    private: Annotated[
        bool, typer.Option("--private", help="Keep the datasets private, on remotes that support it (such as the Hub).")
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", "-f", help="Replace an unfinished upload of different data under the same id."),
    ] = False,
    max_workers: MaxWorkers = 16,
    quiet: Quiet = False,
) -> None:
    """Upload datasets to a remote.

    A dataset appears on the remote once it is complete; existing datasets are never replaced.
    """
    sharing.upload(
        dataset_ids=dataset_ids,
        remote=remote,
        token=token,
        key_path=key_path,
        no_verify=no_verify,
        no_validate=no_validate,
        private=private,
        force=force,
        max_workers=max_workers,
        quiet=quiet,
    )


@app.command("validate", epilog="Example: minari validate D4RL/door/human-v2 --checksums")
def _validate(
    datasets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ID|PATH|URL...",
            help="Ids of local datasets, paths of their directories, or addresses of datasets that are read in place.",
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", "-a", help="Validate all local datasets.")] = False,
    checksums: Annotated[
        bool,
        typer.Option(
            "--checksums", help="Compare all values with the checksums that were made when they were written."
        ),
    ] = False,
    fix: Annotated[
        bool,
        typer.Option(
            "--fix",
            help="First make a wrong index again, add missing checksums, and correct totals and size; no value is "
            "changed.",
        ),
    ] = False,
    profile: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Standard to compare with: 'hub', what others expect of a shared dataset."),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Check that datasets are intact, and their values plausible.

    Every episode is read. The exit status is 1 if there is an error.
    """
    validate.validate(
        datasets=datasets,
        every=every,
        checksums=checksums,
        profile=profile,
        fix=fix,
        as_json=as_json,
        quiet=quiet,
    )


@app.command("verify", epilog="Example: minari verify cartpole/random-v0 --sample 20")
def _verify(
    dataset: LocalDataset,
    episodes: Annotated[
        str | None, typer.Option(metavar="NUMBERS", help="Numbers of episodes, such as 3,7,10-14; by default all.")
    ] = None,
    sample: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Verify only this many of them, drawn at random.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, metavar="SEED", help="Seed of the sample.")] = None,
    tolerance: Annotated[
        float,
        typer.Option(
            min=0,
            metavar="X",
            help="Floating-point values may be off by X * (1 + |recorded value|); by default they must be equal.",
        ),
    ] = 0.0,
    processes: Annotated[int, typer.Option(min=1, metavar="N", help="Number of processes.")] = 1,
    env: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:FUNCTION",
            help="Function that makes the environment, or its id; by default the environment that the dataset names. "
            "Required for many agents, such as my_games:parallel_env.",
        ),
    ] = None,
    env_kwargs: Annotated[
        str | None, typer.Option(metavar="JSON", help="Arguments of the environment, as a JSON object.")
    ] = None,
    no_report: Annotated[
        bool, typer.Option("--no-report", help="Do not keep a summary in the metadata of the dataset.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Replay a dataset in its environment, and compare the results with the recorded ones.

    Runs the code of the environment. The exit status is 1 if an episode diverges.
    """
    verify.verify(
        verify.Plan(
            dataset=dataset,
            episodes=episodes,
            sample=sample,
            seed=seed,
            tolerance=tolerance,
            processes=processes,
            env=env,
            env_kwargs=env_kwargs,
            keeps_report=not no_report,
            as_json=as_json,
            quiet=quiet,
        )
    )


_OF_FORMATS = {"ignore_unknown_options": True}


@app.command(
    "import",
    context_settings=_OF_FORMATS,
    epilog="Example: minari import d4rl hopper.hdf5 --dataset-id hopper/medium-v0 --final-observation repeat",
)
def _import(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FORMAT] PATH [OPTION...]",
            help="Name of the format, the file or directory, and options of the format, see --formats. Without the "
            "name, the files are looked at. Without any of these, the formats are listed.",
        ),
    ] = None,
    dataset_id: Annotated[str | None, typer.Option(metavar="ID", help="Id of the new dataset.")] = None,
    data_format: Annotated[
        str | None,
        typer.Option("--format", metavar="FORMAT", help="Storage: hdf5 (default), arrow, parquet or zarr."),
    ] = None,
    compression: Compression = None,
    env: Annotated[
        str | None, typer.Option(metavar="ENV_ID", help="Id of the environment, for its spaces and to recover it.")
    ] = None,
    author: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Author; may be repeated.")] = None,
    author_email: Annotated[
        list[str] | None, typer.Option(metavar="EMAIL", help="Email address; may be repeated.")
    ] = None,
    algorithm_name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Algorithm that chose the actions.")
    ] = None,
    code_permalink: Annotated[
        str | None, typer.Option(metavar="URL", help="Link to the code that made the data.")
    ] = None,
    description: Annotated[str | None, typer.Option(metavar="TEXT", help="Description, in Markdown.")] = None,
    license: Annotated[str | None, typer.Option(metavar="NAME", help="License, such as cc-by-4.0.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read everything, write nothing, print the report.")
    ] = False,
    list_formats: Annotated[
        bool, typer.Option("--formats", help="List the formats that are named, or all, with their options.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a dataset of files of another program: D4RL, LeRobot, RLDS and others.

    The report says what was taken, what was assumed and what is missing; it is stored with the dataset.
    """
    if list_formats or not (arguments or dataset_id or dry_run):
        interchange.list_formats(arguments or [], with_options=list_formats, as_json=as_json)
        return
    given = {
        "author": author,
        "author_email": author_email,
        "algorithm_name": algorithm_name,
        "code_permalink": code_permalink,
        "description": description,
        "license": license,
    }
    interchange.run_import(
        arguments=arguments or [],
        dataset_id=dataset_id,
        data_format=data_format,
        compression=compression,
        env=env,
        metadata={name: value for name, value in given.items() if value is not None},
        dry_run=dry_run,
        as_json=as_json,
        quiet=quiet,
    )


@app.command("export", context_settings=_OF_FORMATS, epilog="Example: minari export hopper/medium-v0 d4rl hopper.hdf5")
def _export(
    dataset_id: Annotated[str, typer.Argument(metavar="ID", help="Id of a local dataset.")],
    format_name: Annotated[str, typer.Argument(metavar="FORMAT", help="Name of the format.")],
    path: Annotated[str, typer.Argument(metavar="PATH", help="The new file or directory.")],
    options: Annotated[
        list[str] | None,
        typer.Argument(metavar="[OPTION...]", help="Options of the format, see `minari import --formats`."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Keep nothing of what is written, print the report.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a dataset in the format of another program, and say what the format cannot hold."""
    interchange.run_export(
        dataset_id=dataset_id,
        format_name=format_name,
        path=path,
        rest=options or [],
        dry_run=dry_run,
        as_json=as_json,
        quiet=quiet,
    )


@app.command("recover", epilog="Example: minari recover 3f2a --dataset-id cartpole/random-v0")
def _recover(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Name of the recording, as listed.")] = None,
    dataset_id: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="Id of the new dataset, if the program gave none or a different one is wanted."
        ),
    ] = None,
    every: Annotated[
        bool,
        typer.Option("--all", "-a", help="Recover all recordings; the default id is recovered/NAME-v0."),
    ] = False,
    discard: Annotated[str | None, typer.Option(metavar="NAME", help="Delete this recording.")] = None,
    root: Annotated[
        str | None, typer.Option(metavar="PATH", help="Directory of datasets, instead of MINARI_DATASETS_PATH.")
    ] = None,
    without_asking: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """List the recordings that programs left behind, or turn them into datasets.

    Author, description and other metadata are kept if the program gave them.
    """
    recovery.recover(
        name=name, dataset_id=dataset_id, every=every, discard=discard, root=root, without_asking=without_asking
    )
