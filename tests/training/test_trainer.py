"""The trainer: Ctrl-C as Python has it, early stopping that survives a kill, one device."""

import signal
import warnings

import numpy
import pytest
import torch
from pytorch_lightning.callbacks import Callback

import pyro_ldm as ldm
from pyro_ldm.entropy import LogDet


def fit(x, **settings):
    torch.manual_seed(0)
    guide = ldm.guides.Deterministic(torch.nn.Linear(6, 2), LogDet())
    settings = {"progress": False, "lr": 0.03, "batch_size": 100, **settings}
    return ldm.fit(ldm.priors.Gaussian(2), guide, x, **settings)


class During(Callback):
    """Calls something in the third epoch."""

    def __init__(self, call):
        self.call = call

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == 2:
            self.call()


def test_an_interrupt_is_a_keyboard_interrupt_and_can_be_resumed(tmp_path):
    def interrupt():
        raise KeyboardInterrupt

    x, handler = torch.randn(200, 6), signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit(x, epochs=4, checkpoint=tmp_path / "part.ckpt", callbacks=(During(interrupt),))
    assert signal.getsignal(signal.SIGINT) is handler
    whole, resumed = fit(x, epochs=4), fit(x, epochs=4, checkpoint=tmp_path / "part.ckpt")
    assert whole.history == resumed.history and whole.terms == resumed.terms


def test_a_fit_killed_after_it_had_stopped_early_stays_stopped(tmp_path):
    x = torch.randn(230, 6)
    stopped = fit(x, epochs=60, patience=2, checkpoint=tmp_path / "it.ckpt")
    assert len(stopped.history) < 60
    resumed = fit(x, epochs=60, patience=2, checkpoint=tmp_path / "it.ckpt")
    assert stopped.history == resumed.history and stopped.terms == resumed.terms


def test_a_finished_fit_is_not_trained_further(tmp_path):
    x = torch.randn(230, 6)
    whole, again = (fit(x, epochs=3, checkpoint=tmp_path / "it.ckpt") for _ in range(2))
    assert whole.history == again.history and whole.terms == again.terms


def test_settings_may_be_numpy_s(tmp_path):
    x, path = torch.randn(200, 6), tmp_path / "it.ckpt"
    settings = {"lr": numpy.float64(0.03), "patience": numpy.int64(5), "gradient_clip": numpy.float64(9.0)}
    for epochs in (1, 2):
        assert len(fit(x, epochs=epochs, checkpoint=path, **settings).history) == epochs


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK"])
def test_a_checkpoint_that_is_none(tmp_path, content):
    (tmp_path / "it.ckpt").write_bytes(content)
    with pytest.raises(ValueError, match="no checkpoint to go on from: remove it"):
        fit(torch.randn(200, 6), epochs=1, checkpoint=tmp_path / "it.ckpt")


def test_an_accelerator_that_is_not_there():
    if torch.cuda.is_available():
        pytest.skip("it is there")
    with pytest.raises(ValueError, match="accelerator 'gpu' cannot be used here"):
        fit(torch.randn(200, 6), accelerator="gpu")


def test_warnings_of_the_user_s_own_code_pass():
    with pytest.warns(UserWarning, match="mine"):
        fit(torch.randn(200, 6), epochs=3, callbacks=(During(lambda: warnings.warn("mine", stacklevel=1)),))
