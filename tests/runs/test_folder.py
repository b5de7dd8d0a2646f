"""A run folder is whole or not there; what an interrupted run left can be gone on with."""

import pytest

from pyro_ldm.runs import interrupted, run_folder
from pyro_ldm.runs.folder import CHECKPOINT


def test_appears_whole_at_the_end(tmp_path):
    run = tmp_path / "a" / "run"
    with run_folder(run) as folder:
        (folder / "file").write_text("x")
        (folder / CHECKPOINT).write_text("state")
        assert not run.exists()
    assert [path.name for path in run.iterdir()] == ["file"]
    assert [path.name for path in run.parent.iterdir()] == ["run"]


def test_an_error_leaves_nothing_behind(tmp_path):
    with pytest.raises(ZeroDivisionError), run_folder(tmp_path / "a" / "b" / "run") as folder:
        (folder / "file").write_text("x")
        1 / 0  # noqa: B018
    assert not list(tmp_path.iterdir())


def test_an_error_in_a_folder_that_was_there_keeps_it(tmp_path):
    with pytest.raises(ZeroDivisionError), run_folder(tmp_path / "run"):
        1 / 0  # noqa: B018
    assert tmp_path.is_dir() and not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, SystemExit])
def test_a_checkpoint_stays(tmp_path, error):
    run = tmp_path / "run"
    with pytest.raises(error), run_folder(run) as folder:
        (folder / CHECKPOINT).write_text("state")
        raise error
    assert (interrupted(run) / CHECKPOINT).read_text() == "state"
    with pytest.raises(ValueError, match=r"go on with it .*, or remove"), run_folder(run):
        pass
    with run_folder(run, resume=True) as folder:
        assert (folder / CHECKPOINT).exists()
    assert run.is_dir() and not interrupted(run).exists() and not (run / CHECKPOINT).exists()


def test_ctrl_c_before_the_first_checkpoint_keeps_the_config(tmp_path):
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt), run_folder(run) as folder:
        (folder / "config.yaml").write_text("x")
        raise KeyboardInterrupt
    assert (interrupted(run) / "config.yaml").exists()


def test_another_s_run_is_not_touched(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine").write_text("x")
    with pytest.raises(ValueError, match="choose another folder"), run_folder(tmp_path / "run"):
        pass
    assert (tmp_path / "run" / "mine").read_text() == "x"


def test_an_empty_folder_is_as_good_as_none(tmp_path):
    (tmp_path / "run").mkdir()
    with run_folder(tmp_path / "run") as folder:
        (folder / "file").write_text("x")
    assert (tmp_path / "run" / "file").exists()


def test_nothing_to_resume(tmp_path):
    with pytest.raises(ValueError, match="start it anew"), run_folder(tmp_path / "run", resume=True):
        pass


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="cannot be written"), run_folder(tmp_path / "file" / "run"):
        pass
