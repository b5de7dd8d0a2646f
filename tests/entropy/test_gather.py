"""Across processes, values and gradients are those of one process with the whole batch."""

import subprocess
import sys

import pyro.distributions as dist
import pytest
import torch

from pyro_ldm.entropy import KDE, KNN, LogDet, Mixture

ESTIMATORS = {"LogDet": LogDet, "KDE": KDE, "KNN": KNN, "Mixture": Mixture}


def loss(estimator, rows, scale):
    q = dist.Normal(rows, scale).to_event(1)
    z = rows + scale * torch.sin(17 * rows)
    return estimator(z, q).mean()


def worker(file, directory, rank):
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    rows = torch.load(f"{directory}/rows.pt", weights_only=True).chunk(2)[rank]
    result = {}
    for name, make in ESTIMATORS.items():
        for include_self in (True, False) if name == "Mixture" else (None,):
            estimator = make() if include_self is None else make(include_self=include_self)
            scale = torch.tensor(0.5, requires_grad=True)
            local = rows.clone().requires_grad_()
            value = loss(estimator, local, scale)
            grad_rows, grad_scale = torch.autograd.grad(value, [local, scale])
            # What data-parallel training does with a parameter's gradient, and with the value.
            both = torch.stack([value.detach(), grad_scale])
            torch.distributed.all_reduce(both)
            result[f"{name} {include_self}"] = (both / 2, grad_rows / 2)
    torch.save(result, f"{directory}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no distributed package")
def test_two_processes_equal_one(tmp_path):
    rows = torch.randn(20, 3)
    torch.save(rows, tmp_path / "rows.pt")
    command = [sys.executable, __file__, str(tmp_path / "init"), str(tmp_path)]
    processes = [subprocess.Popen([*command, str(rank)]) for rank in range(2)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    for key in ranks[0]:
        name, include_self = key.split()
        estimator = ESTIMATORS[name](**({"include_self": include_self == "True"} if name == "Mixture" else {}))
        scale, whole = torch.tensor(0.5, requires_grad=True), rows.clone().requires_grad_()
        value = loss(estimator, whole, scale)
        grad_rows, grad_scale = torch.autograd.grad(value, [whole, scale])
        for rank in ranks:
            torch.testing.assert_close(rank[key][0], torch.stack([value.detach(), grad_scale]), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(torch.cat([rank[key][1] for rank in ranks]), grad_rows, rtol=1e-12, atol=1e-12)


if __name__ == "__main__":
    worker(sys.argv[1], sys.argv[2], int(sys.argv[3]))
