"""The progress bar counts the steps of the whole fit, and says what was reached."""

import pytest
import torch
from pytorch_lightning.callbacks import ProgressBar

import pyro_ldm as ldm
from pyro_ldm.entropy import LogDet


def fit(**settings):
    torch.manual_seed(0)
    guide = ldm.guides.Deterministic(torch.nn.Linear(6, 2), LogDet())
    settings = {"lr": 0.03, "batch_size": 50, "epochs": 3, **settings}
    return ldm.fit(ldm.priors.Gaussian(2), guide, torch.randn(200, 6), **settings)


def last_line(capsys):
    out, err = capsys.readouterr()
    assert not out
    return err.strip().split("\r")[-1]


def test_one_bar_for_the_whole_fit(capsys):
    result = fit()
    line = last_line(capsys)
    assert line.startswith("fit: 100%") and "12/12" in line
    row = result.history[-1]
    assert f"epoch 3, loss {row['loss']:.4g}, alignment {row['alignment']:.4g}, uniformity" in line


def test_goes_on_where_the_fit_does(capsys, tmp_path):
    fit(epochs=1, checkpoint=tmp_path / "it.ckpt")
    assert "4/4" in last_line(capsys)
    fit(checkpoint=tmp_path / "it.ckpt")
    assert "12/12" in last_line(capsys)


def test_none(capsys):
    fit(progress=False)
    assert capsys.readouterr() == ("", "")


def test_one_of_the_user_s_own_takes_its_place(capsys):
    class Counts(ProgressBar):
        steps = 0

        def disable(self):
            pass

        def on_train_batch_end(self, *args):
            self.steps += 1

    own = Counts()
    fit(callbacks=(own,))
    assert own.steps == 12 and capsys.readouterr() == ("", "")


def test_an_error_stands_on_a_line_of_its_own(capsys):
    with pytest.raises(ValueError, match="lower the learning rate"):
        fit(lr=1e200)
    assert capsys.readouterr().err.endswith("\n")
