"""The version and the help, and all that is refused, in one line where it is not Typer that refuses."""

from __future__ import annotations

import ast
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import minari
from cli.conftest import MakeDataset, Minari
from minari.cli import app
from support.scripted import listing


COMMANDS = (
    "record",
    "list",
    "show",
    "view",
    "combine",
    "edit",
    "rename",
    "delete",
    "clean",
    "download",
    "upload",
    "recover",
)


def output_of(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", timeout=120)


@pytest.mark.parametrize("option", ["--version", "-v"])
def test_version(run: Minari, option: str) -> None:
    run(option).assert_done(f"Minari version: {minari.__version__}")


def test_help_names_every_command(run: Minari) -> None:
    done = run("--help")
    assert (done.code, done.err) == (0, "")
    assert all(command in done.out for command in COMMANDS)
    assert "bool" not in done.out.lower()


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_has_an_example_on_one_line_and_no_type_for_flags(run: Minari, command: str) -> None:
    done = run(command, "--help")
    assert done.code == 0
    (example,) = [line for line in done.lines if "Example:" in line]
    assert example.strip().startswith(f"Example: minari {command} ")
    assert done.lines[-1] == example
    assert "bool" not in done.out.lower()


def test_console_script_is_the_same_command_line(process_environment: dict[str, str]) -> None:
    script = shutil.which("minari", path=str(Path(sys.executable).parent))
    if script is None:
        pytest.skip("minari is not installed in this environment")
    done = output_of([script, "--version"], process_environment)
    assert (done.returncode, done.stdout) == (0, f"Minari version: {minari.__version__}\n")


def test_app_can_be_run_inside_a_process() -> None:
    done = CliRunner().invoke(app, ["show", "nothing-v0"])
    assert done.exit_code == 1
    assert done.output.startswith("Error: There is no dataset nothing-v0 in ")
    assert done.output.count("\n") == 1


def test_what_a_command_does_is_loaded_when_it_runs(process_environment: dict[str, str]) -> None:
    program = "import sys, minari.cli; print([name for name in sys.modules if name.startswith('minari.cli.')])"
    done = output_of([sys.executable, "-c", program], process_environment)
    assert sorted(ast.literal_eval(done.stdout)) == ["minari.cli.commands", "minari.cli.running", "minari.cli.terminal"]


#: Commands, their exit code, and what is said of them.
MISTYPED = """
lists | No such command 'lists'
lits | Did you mean 'list'
remane a-v0 b-v0 | Did you mean 'rename'
show | Missing argument 'ID|PATH|URL'
list local --everything | No such option
combine a-v0 | Missing option '--dataset-id'
record CartPole-v1 | Missing option '--dataset-id'
record CartPole-v1 --dataset-id a-v0 --episodes 0 | --episodes
record CartPole-v1 --dataset-id a-v0 --seed -1 | --seed
download toy/a-v0 --max-workers 0 | --max-workers
"""
REFUSED = """
combine toy/a-v0 toy/x-v0 toy/y-v0 --dataset-id c-v0 | 1 | toy/x-v0, toy/y-v0
combine toy/a-v0 toy/b-v0 --dataset-id c-v0 | 1 | env_spec
combine toy/a-v0 --dataset-id c | 1 | has no version
combine toy/a-v0 --dataset-id toy/b-v0 | 1 | already exists
combine toy/a-v1 --dataset-id b-v0 | 1 | Did you mean 'toy/a-v0'?
rename toy/a-v0 toy/b-v0 | 1 | already exists
rename toi/a-v0 toy/c-v0 | 1 | Did you mean 'toy/a-v0'?
delete --yes toy/a-v0 toy/x-v0 | 1 | toy/x-v0
delete --yes toy/a-v0 toy | 1 | has no version
delete --yes toy/a-v0 "" | 1 | Malformed
delete --yes toy/a-v0 ../toy/a-v0 | 1 | Malformed
delete --yes toi/a-v0 | 1 | Did you mean 'toy/a-v0'?
clean x-v0 -y | 1 | There is no dataset at
convert toy/x-v0 toy/c-v0 | 1 | toy/x-v0; Not found
convert toy/A-v0 c-v0 | 1 | Did you mean 'toy/a-v0'?
convert toy/a-v0 toy/a-v0 | 1 | toy/a-v0; already exists
convert toy/a-v0 toy/c | 1 | 'toy/c'; has no version
convert toy/a-v0 ../c-v0 | 1 | ../c-v0
convert toy/a-v0 new/c-v0 --format csv | 1 | 'csv'; 'hdf5'
convert toy/a-v0 new/c-v0 --format parqet | 1 | Did you mean 'parquet'?
convert toy/a-v0 new/c-v0 --compatible-with 0.3 | 1 | '0.3', expected '0.5'
convert toy/a-v0 new/c-v0 --compression zip | 1 | 'zip'; 'gzip'
convert toy/a-v0 new/c-v0 --compression gizp | 1 | Did you mean 'gzip'?
convert toy/a-v0 new/c-v0 --compression gzip:99 | 1 | 99; 0 to 9
convert toy/a-v0 new/c-v0 --compression gzip: | 1 | 'gzip:'
convert toy/a-v0 new/c-v0 --compression reward=gzip | 1 | 'reward'; 'rewards'
convert toy/a-v0 new/c-v0 --compression gzip --compression lzf | 2 | gzip, lzf
convert toy/a-v0 new/c-v0 --compression rewards=gzip --compression lzf | 2 | rewards=gzip, lzf
repack toy/x-v0 | 1 | toy/x-v0; Not found
repack toy | 1 | has no version
repack toy/a-v0 --compression zip | 1 | 'zip'; 'gzip'
repack toy/a-v0 --compression observations/x=gzip | 1 | 'observations/x'; 'observations'
repack toy/a-v0 --compression actions=gzip --compression actions=none | 2 | actions=gzip,
record CartPole-v1 --dataset-id new/a-v0 --format csv | 1 | 'csv'
record CartPole-v1 --dataset-id new/a-v0 --compression zip | 1 | 'zip'
record CartPole-v1 --dataset-id new/a-v0 --compression observation=gzip | 1 | 'observation'
record CartPole-v1 --dataset-id new/a-v0 --compression gzip --compression gzip | 2 | gzip, gzip
record CartPole-v1 --dataset-id new/a-v0 --format hdf5 --compression gzip --append | 2 | --format, --compression
record CartPoel-v1 --dataset-id new/a-v0 | 1 | Did you mean: `CartPole`?
record Nothing-v0 --dataset-id new/a-v0 | 1 | The environment 'Nothing-v0' cannot be made:
record missing_module:Nothing-v0 --dataset-id new/a-v0 | 1 | The environment 'missing_module:Nothing-v0' cannot be made
record "" --dataset-id new/a-v0 | 1 | The environment '' cannot be made:
record own:Counting-v0 --dataset-id new/a-v0 --policy rondom | 2 | give 'random' or 'package.module:callable'
record own:Counting-v0 --dataset-id new/a-v0 --policy own: | 2 | give 'random' or
record own:Counting-v0 --dataset-id new/a-v0 --policy own:missing | 2 | AttributeError
record own:Counting-v0 --dataset-id new/a-v0 --policy missing_module:policy | 2 | No module named 'missing_module'
record own:Counting-v0 --dataset-id new/a-v0 --policy own:number | 2 | expected something that can be called
record own:Counting-v0 --dataset-id new/a-v0 --policy own.py:any | 2 | give it as own:any
record own:Counting-v0 --dataset-id new/a-v0 --episodes 1 --steps 1 | 2 | Both --episodes and --steps are given
record own:Counting-v0 --dataset-id new/a | 1 | has no version
record own:Counting-v0 --dataset-id ../a-v0 | 1 | Malformed
record own:Counting-v0 --dataset-id toy/a-v0 | 1 | already exists
record own:Counting-v0 --dataset-id toy/a-v0 --append | 1 | observation_space
record own:Counting-v0 --dataset-id new/a-v0 --append | 1 | leave out --append
record own:Counting-v0 --dataset-id new/a-v0 --env-kwargs { | 2 | --env-kwargs is '{', which is not valid JSON
record own:Counting-v0 --dataset-id new/a-v0 --env-kwargs [1] | 2 | expected a JSON object
record own:Counting-v0 --dataset-id new/a-v0 --env-kwargs '{"unheard": 1}' | 1 | cannot be made: TypeError
record own:Counting-v0 --dataset-id new/a-v0 --eval-env Nothing-v0 | 1 | No environment is registered as 'Nothing-v0'
show toy/missing-v0 | 1 | There is no dataset toy/missing-v0 in
show toy/aa-v0 | 1 | Did you mean 'toy/a-v0'?
show toy/missing | 1 | has no version
show ../missing-v0 | 1 | There is no directory
show /nowhere/missing | 1 | There is no directory /nowhere/missing
show "" | 1 | Malformed
show . | 1 | No data found
show ./own.py | 1 | own.py is a file; give the directory of a dataset
show nowhere://bucket/toy/x-v0 | 1 | nowhere
validate | 2
validate toy/a-v0 --all | 2
validate toy/none-v0 | 1
validate toy/a-v3 | 1 | `minari list local --all` shows which there are. Did you mean 'toy/a-v0'?
validate toy/a-v3 --fix | 1 | `minari list local --all` shows which there are. Did you mean 'toy/a-v0'?
verify toy/a-v3 | 1 | `minari list local --all` shows which there are. Did you mean 'toy/a-v0'?
diff toy/a-v0 toy/a-v3 | 2 | `minari list local --all` shows which there are. Did you mean 'toy/a-v0'?
edit toy/a-v3 --set a=1 | 1 | `minari list local --all` shows which there are. Did you mean 'toy/a-v0'?
split toy/a-v3 --sizes 1,1 | 1 | `minari list local --all` shows which there are. Did you mean 'toy/a-v0'?
validate "no id" | 1
list locl | 1 | Did you mean 'local'?
list communty | 1 | Did you mean 'community'?
list ./shelf | 1 | For a directory, write file://
list nowhere://bucket | 1
list nonsense | 1
list remote --recordings | 2
download toy/a | 1
download nowhere://bucket | 1
download "" | 1
download ../a-v0 | 1
download ./shelf/x-v0 | 1 | is a path, expected an id
download file:///shelf/toy/a-v1 --remote file:///shelf | 2 | --remote
upload toy/a-v2 --remote file:/// | 1 | Did you mean 'toy/a-v0'?
upload toy/a-v0 toy/x-v0 --key-path key | 1 | toy/x-v0; nothing was uploaded
upload toy/a-v0 --key-path key | 2 | key
recover nothing --dataset-id a-v0 | 1
recover nothing | 2
recover x --all | 2
recover x --discard x | 2
recover --all --dataset-id toy/one-v0 | 2 | --all takes no --dataset-id
recover --dataset-id toy/one-v0 | 2 | minari recover NAME --dataset-id toy/one-v0
"""


def rows_of(table: str) -> list[list[str]]:
    return [line.split(" | ") for line in table.strip("\n").splitlines()]


@pytest.mark.parametrize(("command", "part"), rows_of(MISTYPED))
def test_mistyped_command_is_refused_by_typer(run: Minari, command: str, part: str) -> None:
    done = run(*shlex.split(command))
    assert (done.code, done.out) == (2, "")
    assert part in " ".join(done.err.replace("│", " ").split())


@pytest.mark.parametrize("row", rows_of(REFUSED), ids=lambda row: row[0])
def test_refused_in_one_line(
    run: Minari, make_dataset: MakeDataset, own_module: Path, datasets_root: Path, row: list[str]
) -> None:
    def visible() -> dict[str, bytes | None]:
        return {name: content for name, content in listing(datasets_root).items() if "/." not in name}

    make_dataset("toy/a-v0")
    make_dataset("toy/b-v0", env="CartPole-v1")
    before = visible()
    command, code, *parts = row
    done = run(*shlex.split(command), MINARI_REMOTE="nowhere://bucket")
    done.assert_refused(*"".join(parts).split("; "), code=int(code))
    assert done.out == ""
    assert visible() == before


def test_variable_at_fault_is_named(run: Minari, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    run("list", MINARI_DATASETS_PATH=str(tmp_path / "file")).assert_refused("MINARI_DATASETS_PATH is")
    run("list", "remote", MINARI_REMOTE="/some/where").assert_refused("named by MINARI_REMOTE")
    root = tmp_path / "file" / "root"
    refused = f"Error: MINARI_DATASETS_PATH is {root}, which cannot be made (Not a dir"
    run("delete", "a-v0", MINARI_DATASETS_PATH=str(root)).assert_refused(refused)


def test_traceback_is_shown_when_it_is_asked_for(run: Minari) -> None:
    run("show", "nothing-v0", MINARI_DEBUG="0").assert_refused()
    done = run("show", "nothing-v0", MINARI_DEBUG="1")
    assert done.code == 1
    assert "Traceback" in done.err
    assert "DatasetNotFoundError" in done.complaints[-1]


def test_something_unexpected_is_one_line_too(process_environment: dict[str, str]) -> None:
    program = (
        "import sys, minari.cli.listing as c; from minari.cli import main\n"
        "def broken(**_): raise KeyError('odd\\nkey')\n"
        "c.list_datasets = broken; sys.argv = ['minari', 'list', 'local']; main()"
    )
    done = output_of([sys.executable, "-c", program], process_environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: KeyError: 'odd\\nkey' (this was not expected; MINARI_DEBUG=1 shows")
    assert done.stderr.count("\n") == 1
