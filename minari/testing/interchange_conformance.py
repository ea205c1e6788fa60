"""The guarantees of every format of other programs that can be read and written, as tests to inherit."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest

from minari._model.episode import same_values
from minari._model.episode_buffer import EpisodeBuffer
from minari.dataset.from_buffers import create_dataset_from_buffers
from minari.dataset.minari_dataset import MinariDataset
from minari.errors import ArgumentError, DataPathError, DatasetExistsError, InterchangeError, MinariError
from minari.interchange import export_dataset, formats, get_format, import_dataset, read
from minari.interchange.registry import sniffed_format
from minari.storage.local import delete_dataset


_ID = "conformance/source-v0"
_AGAIN = "conformance/again-v0"


class InterchangeConformance:
    """The tests of a format, for pytest.

    Inherit from it in a class whose name begins with ``Test``, and set the name of the format, which must be registered
    (entry point ``minari.interchange``).

    Attributes:
        format: the name of the format.
        is_file: True if it writes a file, False if it writes a directory.
        export_options: options of the format for exports.
        import_options: options of the format for imports of these exports.
    """

    format: ClassVar[str]
    is_file: ClassVar[bool] = True
    export_options: ClassVar[dict[str, Any]] = {}
    import_options: ClassVar[dict[str, Any]] = {}

    @pytest.fixture(autouse=True)
    def datasets_root(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Return the root of the local datasets, empty."""
        directory = tmp_path / "datasets"
        directory.mkdir()
        monkeypatch.setenv("MINARI_DATASETS_PATH", str(directory))
        return directory

    def make(self) -> MinariDataset:
        """Return a dataset that the format can hold exactly: override it if this one is none."""
        generator = np.random.default_rng(0)
        episodes = [
            EpisodeBuffer(
                observations=generator.random((steps + 1, 3)).astype(np.float32),
                actions=generator.random((steps, 2)).astype(np.float32),
                rewards=generator.random(steps).astype(np.float32),
                terminations=np.arange(steps) == (steps - 1 if steps % 2 else -1),
                truncations=np.arange(steps) == (-1 if steps % 2 else steps - 1),
            )
            for steps in (3, 1, 4)
        ]
        return create_dataset_from_buffers(
            _ID,
            episodes,
            observation_space=gym.spaces.Box(-np.inf, np.inf, (3,), np.float32),
            action_space=gym.spaces.Box(-np.inf, np.inf, (2,), np.float32),
        )

    def assert_same(self, found: MinariDataset, expected: MinariDataset) -> None:
        """Compare two datasets: override it for what the format cannot hold, as its report says."""
        assert len(found) == len(expected)
        for ours, theirs in zip(found, expected, strict=True):
            for name in ("observations", "actions", "rewards", "terminations", "truncations"):
                assert same_values(getattr(ours, name), getattr(theirs, name)), f"{name} of episode {theirs.id}"

    def _exported(self, tmp_path: Path) -> tuple[MinariDataset, Path]:
        dataset, path = self.make(), tmp_path / "exported"
        export_dataset(dataset, path, self.format, **self.export_options)
        return dataset, path

    def test_it_is_found_by_name(self) -> None:
        """The registry has the format, under its own name."""
        assert self.format in formats()
        assert self.format == get_format(self.format).NAME

    def test_an_export_comes_back(self, tmp_path: Path) -> None:
        """All values come back, and the report is stored with the dataset."""
        dataset, path = self._exported(tmp_path)
        assert path.is_file() == self.is_file
        again = import_dataset(path, _AGAIN, self.format, **self.import_options)
        assert isinstance(again, MinariDataset)
        self.assert_same(again, dataset)
        report = again.storage.metadata["conversion"]
        assert report["format"] == self.format
        assert (report["episodes"], report["steps"]) == (len(dataset), dataset.total_steps)

    def test_a_view_is_exported_as_it_is(self, tmp_path: Path) -> None:
        """Exactly the episodes of a view are exported, in its order."""
        view = self.make()[[2, 0]]
        export_dataset(view, tmp_path / "exported", self.format, **self.export_options)
        again = import_dataset(tmp_path / "exported", _AGAIN, self.format, **self.import_options)
        assert isinstance(again, MinariDataset)
        self.assert_same(again, view)

    def test_an_export_is_recognized(self, tmp_path: Path) -> None:
        """Without the name of the format, the files tell it."""
        _, path = self._exported(tmp_path)
        assert self.format == sniffed_format(path).NAME

    def test_reading_makes_no_dataset(self, tmp_path: Path) -> None:
        """Episodes can be read on their own, one after the other."""
        dataset, path = self._exported(tmp_path)
        source = read(path, self.format, **self.import_options)
        assert source.report.episodes == 0
        assert sum(1 for _ in source.episodes) == len(dataset) == source.report.episodes
        assert source.total in (None, len(dataset))

    def test_a_dry_run_writes_nothing(self, tmp_path: Path, datasets_root: Path) -> None:
        """A dry run has the report and no files, whether in or out."""
        dataset, path = self._exported(tmp_path)
        before = sorted(map(str, [*tmp_path.rglob("*")]))
        exported = export_dataset(dataset, tmp_path / "dry", self.format, dry_run=True, **self.export_options)
        imported = import_dataset(path, _AGAIN, self.format, dry_run=True, **self.import_options)
        assert exported.episodes == getattr(imported, "episodes", None) == len(dataset)
        assert sorted(map(str, [*tmp_path.rglob("*")])) == before

    def test_nothing_is_overwritten(self, tmp_path: Path) -> None:
        """A path and an id that exist are refused."""
        dataset, path = self._exported(tmp_path)
        with pytest.raises(DataPathError, match="already exists"):
            export_dataset(dataset, path, self.format, **self.export_options)
        with pytest.raises(DatasetExistsError):
            import_dataset(path, _ID, self.format, **self.import_options)

    def test_unknown_options_are_refused(self, tmp_path: Path) -> None:
        """An option that the format does not have is one clear error."""
        dataset, path = self._exported(tmp_path)
        with pytest.raises(ArgumentError, match="no option 'no_option'"):
            import_dataset(path, _AGAIN, self.format, no_option=1)
        with pytest.raises(ArgumentError, match="no option 'no_option'"):
            export_dataset(dataset, tmp_path / "other", self.format, no_option=1)

    def test_damaged_files_are_one_clear_error(self, tmp_path: Path) -> None:
        """A file that is cut is read as before, or refused in one sentence; no dataset appears."""
        dataset, path = self._exported(tmp_path)
        files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
        for file in files:
            whole = file.read_bytes()
            for size in sorted({0, 1, len(whole) // 3, len(whole) // 2, max(0, len(whole) - 1)}):
                file.write_bytes(whole[:size])
                self._assert_same_or_refused(path, dataset)
            file.write_bytes(whole)

    def test_flipped_bytes_do_no_harm(self, tmp_path: Path) -> None:
        """A flipped byte gives other values or one clear error, and nothing else."""
        _, path = self._exported(tmp_path)
        files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
        generator = np.random.default_rng(1)
        for file in files:
            whole = file.read_bytes()
            for _ in range(8 if len(whole) else 0):
                place = int(generator.integers(len(whole)))
                file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x5A]) + whole[place + 1 :])
                message = ""
                try:
                    for _ in read(path, self.format, **self.import_options).episodes:
                        pass
                except MinariError as error:
                    message = str(error)
                assert "\n" not in message
            file.write_bytes(whole)

    def _assert_same_or_refused(self, path: Path, dataset: MinariDataset) -> None:
        message, imported = "", None
        try:
            imported = import_dataset(path, _AGAIN, self.format, **self.import_options)
        except (InterchangeError, DataPathError) as error:
            message = str(error)
        assert "\n" not in message
        if imported is None:
            return
        assert isinstance(imported, MinariDataset)
        self.assert_same(imported, dataset)
        delete_dataset(imported.id)
