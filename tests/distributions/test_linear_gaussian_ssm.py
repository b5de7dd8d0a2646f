"""The state space against the dense joint Gaussian, and against Pyro's GaussianHMM where the two overlap."""

import warnings

import pyro
import pytest
import torch
from pyro import distributions as dist
from torch.autograd import gradcheck, gradgradcheck
from torch.distributions import MultivariateNormal

import pyro_ldm as ldm
from pyro_ldm.distributions import LinearGaussianSSM
from pyro_ldm.distributions.state_space import filter as filter_module
from pyro_ldm.distributions.state_space import likelihood, recurrence, reduction
from pyro_ldm.distributions.state_space.scan import associative_scan

# (T, S, L, does it change per step, is it a series' own)
CASES = [
    (7, 2, 2, False, False),
    (6, 3, 2, True, False),
    (5, 2, 3, True, True),
    (1, 2, 2, False, False),
    (9, 1, 1, False, True),
    (2, 2, 2, False, False),  # as many steps as coordinates
]
NUM = 3


def covariance(*shape):
    factor = torch.randn(*shape, shape[-1])
    return 0.2 * factor @ factor.mT + 0.3 * torch.eye(shape[-1])


def arguments(steps, states, observed, per_step, per_series, leaves=None):
    """Constructor's arguments as functions of leaf tensors, so that both sides can differentiate by them."""
    time = steps if per_step else 1
    lead = (NUM, time) if per_series else (time,) if per_step else ()
    if leaves is None:
        leaves = {
            "m": torch.randn(states),
            "P": covariance(states),
            "A": 0.6 * torch.randn(*lead, states, states),
            "b": torch.randn(*lead, states),
            "Q": covariance(*lead, states),
            "C": torch.randn(*lead, states, observed),
            "d": torch.randn(*lead, observed),
            "R": covariance(*lead, observed),
        }
    return leaves


def build(leaves, steps, mask=None):
    return LinearGaussianSSM(
        dist.MultivariateNormal(leaves["m"], leaves["P"]),
        leaves["A"],
        dist.MultivariateNormal(leaves["b"], leaves["Q"]),
        leaves["C"],
        dist.MultivariateNormal(leaves["d"], leaves["R"]),
        duration=steps,
        mask=mask,
        validate_args=False,
    )


def dense(leaves, steps, series):
    """Mean and covariance of (h_0 .. h_T, z_1 .. z_T), from the linear system that defines them."""

    def at(name, event_dim, t):
        value = leaves[name]
        value = value.expand(NUM, steps, *value.shape[value.dim() - event_dim :])
        return value[series, t]

    states, observed = leaves["C"].shape[-2:]
    first = (steps + 1) * states
    size = first + steps * observed
    system, offset, noise = torch.eye(size), torch.zeros(size), torch.zeros(size, size)
    offset[:states], noise[:states, :states] = leaves["m"], leaves["P"]
    for t in range(steps):
        now, past = slice((t + 1) * states, (t + 2) * states), slice(t * states, (t + 1) * states)
        seen = slice(first + t * observed, first + (t + 1) * observed)
        system[now, past], offset[now], noise[now, now] = -at("A", 2, t).T, at("b", 1, t), at("Q", 2, t)
        system[seen, now], offset[seen], noise[seen, seen] = -at("C", 2, t).T, at("d", 1, t), at("R", 2, t)
    solved = torch.linalg.inv(system)
    return solved @ offset, solved @ noise @ solved.T, first


def condition(mean, cov, wanted, known, value):
    """Moments of some coordinates given others."""
    gain = torch.linalg.solve(cov[known][:, known], cov[known][:, wanted]).T
    return mean[wanted] + gain @ (value - mean[known]), cov[wanted][:, wanted] - gain @ cov[known][:, wanted]


@pytest.fixture(params=["loop", "scan", "path", "reduced path"])
def way(request, monkeypatch):
    """All ways over time, whatever the sizes."""
    for module in (filter_module, recurrence):
        monkeypatch.setattr(module, "step_by_step", lambda *_: request.param == "loop")
    if request.param in ("loop", "scan"):
        monkeypatch.setattr(likelihood, "path", lambda *_: None)
    elif request.param == "reduced path":
        monkeypatch.setitem(reduction.DENSE, "cpu", 0)


@pytest.fixture
def taken(monkeypatch):
    """Of each log-likelihood, whether the path was solved for."""
    found = []

    def path(model, y):
        solved = own(model, y)
        found.append(solved is not None)
        return solved

    own = likelihood.path
    monkeypatch.setattr(likelihood, "path", path)
    return found


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("case", CASES)
class TestDense:
    def test_log_prob_and_its_gradient(self, case):
        steps, _, observed, *_ = case
        leaves = {name: value.requires_grad_() for name, value in arguments(*case).items()}
        z = torch.randn(NUM, steps, observed, requires_grad=True)
        score = build(leaves, steps).log_prob(z)
        expected = []
        for n in range(NUM):
            mean, cov, first = dense(leaves, steps, n)
            expected.append(MultivariateNormal(mean[first:], cov[first:, first:]).log_prob(z[n].flatten()))
        expected = torch.stack(expected)
        torch.testing.assert_close(score, expected, rtol=0, atol=1e-9)
        weights, inputs = torch.randn(NUM), [z, *leaves.values()]
        for ours, theirs in zip(
            torch.autograd.grad(score @ weights, inputs), torch.autograd.grad(expected @ weights, inputs), strict=True
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)

    def test_filter_smoother_and_predictions(self, case):
        steps, states, observed, *_ = case
        leaves = arguments(*case)
        ssm, z = build(leaves, steps), torch.randn(NUM, steps, observed)
        filtered, smoothed, predictive = ssm.filter(z), ssm.smooth(z), ssm.predictive(z)
        imputed = ssm.observe(smoothed)
        for n in range(NUM):
            mean, cov, first = dense(leaves, steps, n)
            for t in range(steps):
                state = torch.arange((t + 1) * states, (t + 2) * states)
                seen = torch.arange(first + t * observed, first + (t + 1) * observed)
                past, now = torch.arange(first, int(seen[0])), torch.arange(first, int(seen[-1]) + 1)
                value = z[n].flatten()
                for ours, wanted, known in (
                    (filtered, state, now),
                    (smoothed, state, torch.arange(first, len(mean))),
                    (predictive, seen, past),
                ):
                    loc, spread = condition(mean, cov, wanted, known, value[known - first])
                    torch.testing.assert_close(ours.mean[n, t], loc, rtol=0, atol=1e-9)
                    torch.testing.assert_close(ours.covariance_matrix[n, t], spread, rtol=0, atol=1e-9)
                c, d, r = (
                    leaves[k].expand(NUM, steps, *leaves[k].shape[-e:])[n, t] for k, e in (("C", 2), ("d", 1), ("R", 2))
                )
                torch.testing.assert_close(imputed.mean[n, t], smoothed.mean[n, t] @ c + d)
                torch.testing.assert_close(
                    imputed.covariance_matrix[n, t], c.T @ smoothed.covariance_matrix[n, t] @ c + r
                )

    def test_log_prob_is_the_sum_of_predictions(self, case):
        ssm, z = build(arguments(*case), case[0]), torch.randn(NUM, case[0], case[2])
        torch.testing.assert_close(ssm.predictive(z).log_prob(z).sum(-1), ssm.log_prob(z))

    @pytest.mark.parametrize("by", ["step", "coordinate"])
    def test_missing_data(self, case, by):
        steps, states, observed, *_ = case
        leaves = arguments(*case)
        there = torch.rand(NUM, steps, observed) < 0.6
        if by == "step":
            there = there[..., :1].expand(NUM, steps, observed)
        z = torch.randn(NUM, steps, observed).masked_fill(~there, torch.nan)
        ssm = build(leaves, steps, there[..., :1] if by == "step" else there)
        score, smoothed = ssm.log_prob(z), ssm.smooth(z)
        for n in range(NUM):
            mean, cov, first = dense(leaves, steps, n)
            known = first + there[n].flatten().nonzero().squeeze(-1)
            value = z[n].flatten()[known - first]
            expected = (
                MultivariateNormal(mean[known], cov[known][:, known]).log_prob(value) if len(known) else torch.zeros(())
            )
            torch.testing.assert_close(score[n], expected, rtol=0, atol=1e-9)
            loc, spread = condition(mean, cov, torch.arange(states, first), known, value)
            torch.testing.assert_close(smoothed.mean[n].flatten(), loc, rtol=0, atol=1e-9)
            torch.testing.assert_close(smoothed.variance[n].flatten(), spread.diagonal(), rtol=0, atol=1e-9)

    def test_moments_before_any_observation(self, case):
        steps = case[0]
        leaves = arguments(*case)
        ssm = build(leaves, steps).expand((NUM,))
        for n in range(NUM):
            mean, cov, first = dense(leaves, steps, n)
            torch.testing.assert_close(ssm.mean[n].flatten(), mean[first:])
            torch.testing.assert_close(ssm.variance[n].flatten(), cov.diagonal()[first:])

    def test_samples_have_the_moments(self, case):
        steps, _, observed, *_ = case
        leaves = arguments(*case)
        ssm = build(leaves, steps).expand((NUM,))
        z = ssm.sample((20_000,))
        assert z.shape == (20_000, NUM, steps, observed)
        _, cov, first = dense(leaves, steps, 0)
        found = z[:, 0].flatten(1).T.cov()
        scale = cov.diagonal()[first:].sqrt()
        torch.testing.assert_close(
            found / scale / scale[:, None], cov[first:, first:] / scale / scale[:, None], rtol=0, atol=0.05
        )
        assert ((z.mean(0) - ssm.mean).abs() < 5 * (ssm.variance / len(z)).sqrt()).all()


def oscillator(duration=None, mask=None, radius=0.95, noise=0.3, batch=()):
    turn = radius * torch.tensor([[0.8, 0.6], [-0.6, 0.8]])
    normal = dist.Normal(torch.zeros(*batch, 2), noise).to_event(1)
    return LinearGaussianSSM(
        dist.Normal(torch.zeros(2), 1.0).to_event(1), turn, normal, torch.eye(2), normal, duration=duration, mask=mask
    )


def single(ssm):
    """The same in float32."""
    start, process, observation = (
        dist.Normal(fn.base_dist.loc.float(), fn.base_dist.scale.float()).to_event(1)
        for fn in (ssm.initial_dist, ssm.transition_dist, ssm.observation_dist)
    )
    transition, matrix = ssm.transition_matrix.float(), ssm.observation_matrix.float()
    return LinearGaussianSSM(start, transition, process, matrix, observation, duration=ssm.event_shape[0])


def test_equals_pyros_gaussian_hmm():
    leaves = arguments(6, 3, 2, True, False)
    hmm = dist.GaussianHMM(
        dist.MultivariateNormal(leaves["m"], leaves["P"]),
        leaves["A"],
        dist.MultivariateNormal(leaves["b"], leaves["Q"]),
        leaves["C"],
        dist.MultivariateNormal(leaves["d"], leaves["R"]),
    )
    ssm, z = build(leaves, 6), torch.randn(NUM, 6, 2)
    torch.testing.assert_close(ssm.log_prob(z), hmm.log_prob(z), rtol=0, atol=1e-9)
    last = hmm.filter(z[0])
    torch.testing.assert_close(ssm.filter(z).mean[0, -1], last.mean, rtol=0, atol=1e-9)
    torch.testing.assert_close(ssm.filter(z).covariance_matrix[0, -1], last.covariance_matrix, rtol=0, atol=1e-9)


def test_gradients_everywhere():
    steps = 4
    leaves = arguments(steps, 2, 2, False, False)
    names = list(leaves)
    z = torch.randn(2, steps, 2, requires_grad=True)

    def of(method):
        def call(value, *tensors):
            given = dict(zip(names, tensors, strict=True))
            for name in "PQR":  # a symmetric perturbation
                given[name] = 0.5 * (given[name] + given[name].mT)
            result = getattr(build(given, steps), method)(value)
            return (result.mean, result.variance) if hasattr(result, "mean") and method != "log_prob" else result

        return call

    values = [z, *(value.requires_grad_() for value in leaves.values())]
    for method in ("log_prob", "filter", "smooth", "predictive"):
        assert gradcheck(of(method), values), method


def test_covariances_are_computed_once_for_all_series():
    push = torch.randn(5, 6, 2)  # the means of the noise are a series' own, its scale is not
    process = dist.Normal(push, 0.3).to_event(1)
    noise = dist.Normal(torch.zeros(2), 0.1).to_event(1)
    ssm = LinearGaussianSSM(noise, 0.9 * torch.eye(2), process, torch.eye(2), noise)
    states = ssm.smooth(torch.randn(5, 6, 2))
    assert states.scale_tril.shape == (5, 6, 2, 2) and states.scale_tril.stride(0) == 0


@pytest.mark.parametrize(("steps", "states", "observed"), [(3, 2, 2), (2, 3, 1), (1, 1, 2)])
def test_second_derivatives(steps, states, observed):
    leaves = arguments(steps, states, observed, False, False)
    names = list(leaves)

    def call(value, *tensors):
        given = dict(zip(names, tensors, strict=True))
        for name in "PQR":
            given[name] = 0.5 * (given[name] + given[name].mT)
        return build(given, steps).log_prob(value)

    z = torch.randn(2, steps, observed, requires_grad=True)
    assert gradgradcheck(call, [z, *(value.requires_grad_() for value in leaves.values())])


@pytest.mark.parametrize("own", [False, True], ids=["shared", "own"])
@pytest.mark.parametrize("missing", [False, True], ids=["complete", "missing"])
def test_all_states_at_once_equal_the_filter(own, missing, taken, monkeypatch):
    steps, mask = 61, torch.rand(NUM, 61) < 0.7 if missing else None
    leaves = arguments(steps, 3, 2, False, False)
    if own:
        leaves["R"] = covariance(NUM, steps, 2)
    z = torch.randn(NUM, steps, 2)
    inputs = [t.requires_grad_() for t in (z, *leaves.values())]
    found = build(leaves, steps, mask).log_prob(z)
    slopes = torch.autograd.grad(found @ torch.arange(1.0, 1 + NUM), inputs)
    assert taken == [True]
    monkeypatch.setattr(likelihood, "path", lambda *_: None)
    expected = build(leaves, steps, mask).log_prob(z)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    theirs = torch.autograd.grad(expected @ torch.arange(1.0, 1 + NUM), inputs)
    torch.testing.assert_close(slopes, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("way", ["filter", "path"])
@pytest.mark.parametrize("seed", range(40))
def test_every_mixture_of_shapes_and_wanted_gradients(seed, way, monkeypatch):
    if way == "filter":
        monkeypatch.setattr(likelihood, "path", lambda *_: None)
    torch.manual_seed(seed)
    steps, states, observed = int(torch.randint(1, 6, ())), int(torch.randint(1, 4, ())), int(torch.randint(1, 4, ()))
    leads = [(), (steps,), (NUM, 1), (NUM, steps)]
    events = {"A": (states, states), "b": (states,), "Q": (states,), "C": (states, observed), "d": (observed,)}
    events |= {"R": (observed,), "m": (states,), "P": (states,)}
    leaves = {}
    for name, event in events.items():
        lead = leads[int(torch.randint(len(leads), ()))]
        lead = lead if name not in "mP" else lead[:1] if len(lead) == 2 else ()
        leaves[name] = covariance(*lead, *event) if name in "QRP" else 0.6 * torch.randn(*lead, *event)
    leaves["z"] = torch.randn(NUM, steps, observed)
    wanted = [name for name in leaves if torch.rand(()) < 0.5] or ["z"]
    for name in wanted:
        leaves[name].requires_grad_()
    score = build(leaves, steps).log_prob(leaves["z"])
    expected = []
    for n in range(NUM):
        series = leaves | {
            name: leaves[name].expand(NUM, *events[name], *(states,) * (name == "P"))[n] for name in "mP"
        }
        mean, cov, first = dense(series, steps, n)
        expected.append(MultivariateNormal(mean[first:], cov[first:, first:]).log_prob(leaves["z"][n].flatten()))
    expected = torch.stack(expected)
    torch.testing.assert_close(score, expected.expand_as(score), rtol=0, atol=1e-9)
    inputs, weights = [leaves[name] for name in wanted], torch.randn(NUM)
    ours, theirs = (torch.autograd.grad(value @ weights, inputs) for value in (score, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("rough", ["z", "all but z", "initial"])
def test_single_and_double_precision_mix(rough):
    leaves = arguments(5, 2, 2, False, False) | {"z": torch.randn(NUM, 5, 2)}
    exact = {name: value.clone().requires_grad_() for name, value in leaves.items()}
    expected = torch.autograd.grad(build(exact, 5).log_prob(exact["z"]).sum(), list(exact.values()))
    for name, value in leaves.items():
        single = {"z": name == "z", "all but z": name != "z", "initial": name in "mP"}[rough]
        leaves[name] = (value.float() if single else value).requires_grad_()
    found = torch.autograd.grad(build(leaves, 5).log_prob(leaves["z"]).sum(), list(leaves.values()))
    for value, ours, theirs in zip(leaves.values(), found, expected, strict=True):
        assert ours.dtype == value.dtype
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scale", [1e4, 1e7])
def test_a_start_of_which_nothing_is_known(scale, taken):
    # Where nothing is seen before the tenth step, its state has the variance that is left of the start's.
    there = torch.arange(10) == 9
    ssm = LinearGaussianSSM(
        dist.Normal(torch.zeros(1), scale).to_event(1),
        torch.full((1, 1), 0.1),
        dist.Normal(torch.zeros(1), 1.0).to_event(1),
        torch.eye(1),
        dist.Normal(torch.zeros(1), 1.0).to_event(1),
        mask=there,
    )
    variance = 1.0 + sum(0.01**t for t in range(10)) + scale**2 * 0.01**10
    expected = dist.Normal(0.0, variance**0.5).log_prob(torch.tensor(1.0))
    torch.testing.assert_close(ssm.log_prob(torch.ones(10, 1)), expected, rtol=0, atol=1e-9)
    assert taken == [scale < 1e5]


@pytest.mark.parametrize("name", ["P", "Q"])
@pytest.mark.parametrize("noise", [0.0, 1e-12])
def test_without_noise_the_filter_is_taken(name, noise, taken):
    leaves = arguments(7, 2, 2, False, False) | {name: noise * torch.eye(2)}
    start, push, seen = (
        dist.Normal(leaves[m], leaves[v].diagonal().sqrt(), validate_args=False).to_event(1)
        if v == name
        else dist.MultivariateNormal(leaves[m], leaves[v])
        for m, v in (("m", "P"), ("b", "Q"), ("d", "R"))
    )
    ssm, z = LinearGaussianSSM(start, leaves["A"], push, leaves["C"], seen, duration=7), torch.randn(NUM, 7, 2)
    mean, cov, first = dense(leaves, 7, 0)
    expected = MultivariateNormal(mean[first:], cov[first:, first:]).log_prob(z.flatten(1))
    torch.testing.assert_close(ssm.log_prob(z), expected, rtol=0, atol=1e-9)
    assert taken == [name == "P" and noise > 0]  # a start that is known well ties nothing that is not


def test_many_series_that_share_their_matrices_are_filtered(taken, monkeypatch):
    monkeypatch.setattr(likelihood, "MANY", 5)
    shared, own = (build(arguments(4, 1, 1, False, each), 4) for each in (False, True))
    shared.log_prob(torch.randn(NUM, 4, 1))
    assert not taken
    own.log_prob(torch.randn(NUM, 4, 1))
    assert taken == [True]
    leaves = arguments(4, 1, 1, False, False)
    for name, lead in (("Q", (NUM, 1)), ("P", (NUM,))):
        build(leaves | {name: covariance(*lead, 1)}, 4).log_prob(torch.randn(NUM, 4, 1))
    assert taken == [True] * 3


def test_half_precision_of_autocast_is_not_the_filter_s():
    ssm, z = single(oscillator(duration=50)), torch.randn(3, 50, 2).bfloat16()
    states = ssm.smooth(z.float())
    expected = ssm.log_prob(z.float()), states.mean, ssm.predictive(z.float()).variance, ssm.observe(states).mean
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = ssm.log_prob(z), ssm.smooth(z).mean, ssm.predictive(z).variance, ssm.observe(states).mean
        assert ssm.forecast(z, 3).sample().dtype == ssm.posterior_sample(z).dtype == torch.float32
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours, theirs)


def test_float32_scores_more_coordinates_than_states():
    # Differences of coordinates are known to the noise, their sum to the state: a condition of 1e6.
    start, push, noise = (dist.Normal(torch.zeros(d), s).to_event(1) for d, s in ((1, 1.0), (1, 1.0), (2, 1e-3)))
    ssm = LinearGaussianSSM(start, torch.eye(1), push, torch.ones(1, 2), noise, duration=3)
    z, rough = ssm.sample((4,)).float(), single(ssm)
    expected = ssm.log_prob(z.double())
    torch.testing.assert_close(rough.log_prob(z).double(), expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(rough.predictive(z).log_prob(z).sum(-1).double(), expected, rtol=0, atol=1e-3)


def test_float32_has_the_gradient_of_a_small_process_noise():
    # Steps of 1e-5 between states of size 1: most of their digits are gone in the states' difference.
    start, process, observation = (dist.Normal(torch.zeros(2), s).to_event(1) for s in (1.0, 1e-5, 0.1))
    turn = 0.99 * torch.tensor([[0.8, 0.6], [-0.6, 0.8]])
    process.base_dist.scale = scale = torch.full((2,), 1e-5, requires_grad=True)
    exact = LinearGaussianSSM(start, turn.requires_grad_(), process, torch.eye(2), observation, duration=200)
    z = exact.sample((3,)).float()
    expected = torch.autograd.grad(exact.log_prob(z.double()).sum(), [turn, scale])
    found = torch.autograd.grad(single(exact).log_prob(z).sum(), [turn, scale])
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours - theirs).norm() < 1e-3 * theirs.norm()


def test_the_gradient_of_next_to_no_process_noise():
    # By the scale it is proportional to it, as long as it is small.
    slopes, z = [], torch.randn(NUM, 20, 2)
    for scale in (1e-7, 1e-4):
        small = torch.full((2,), scale, requires_grad=True)
        ssm = LinearGaussianSSM(
            dist.Normal(torch.zeros(2), 1.0).to_event(1),
            torch.tensor([[0.9, 0.1], [0.0, 0.8]]),
            dist.Normal(torch.zeros(2), small).to_event(1),
            torch.eye(2),
            dist.Normal(torch.zeros(2), 0.5).to_event(1),
            duration=20,
        )
        slopes.append(torch.autograd.grad(ssm.log_prob(z).sum(), small)[0] / scale)
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-5, atol=0)


def test_a_scan_equals_a_loop():
    for length in range(1, 20):
        elements = torch.randn(length, 3, 3)
        (found,) = associative_scan(lambda left, right: (left[0] @ right[0],), (elements,))
        product = torch.eye(3)
        for step in range(length):
            product = product @ elements[step]
            torch.testing.assert_close(found[step], product)


def test_forecast_is_the_posterior_of_what_comes():
    ssm = oscillator(duration=12)
    z = ssm.sample((4,))
    future = oscillator(duration=8).forecast(z[:, :8], 4)
    assert future.batch_shape == (4,) and future.event_shape == (4, 2)
    torch.testing.assert_close(future.log_prob(z[:, 8:]), ssm.log_prob(z) - oscillator(duration=8).log_prob(z[:, :8]))
    # The same from the longer series, the rest of it missing.
    there = torch.arange(12) < 8
    gap = oscillator(mask=there, duration=12)
    states = gap.observe(gap.filter(z.masked_fill(~there[:, None], torch.nan)))
    torch.testing.assert_close(future.mean, states.mean[:, 8:])
    torch.testing.assert_close(future.variance, states.variance[:, 8:])


def test_forecast_with_actions_wants_those_to_come():
    push = dist.Normal(torch.randn(5, 10, 2), 0.3).to_event(1)
    noise = dist.Normal(torch.zeros(2), 0.1).to_event(1)
    ssm = LinearGaussianSSM(noise, 0.9 * torch.eye(2), push, torch.eye(2), noise)
    z = ssm.sample()
    assert z.shape == (5, 10, 2)
    with pytest.raises(ValueError, match="transition_dist differ"):
        ssm.forecast(z, 3)
    further = dist.Normal(torch.full((5, 3, 2), 100.0), 0.3).to_event(1)
    assert (ssm.forecast(z, 3, transition_dist=further).mean > 50).all()


def test_posterior_samples_have_the_smoothers_moments():
    there = torch.tensor([True, True, False, False, True])
    ssm = oscillator(mask=there)
    z = oscillator(duration=5).sample((2,)).masked_fill(~there[:, None], torch.nan)
    draws, smoothed = ssm.posterior_sample(z, (20_000,)), ssm.smooth(z)
    assert draws.shape == (20_000, 2, 5, 2)
    error = (draws.mean(0) - smoothed.mean) / (smoothed.variance / len(draws)).sqrt()
    assert error.abs().max() < 4.5
    torch.testing.assert_close(draws.var(0), smoothed.variance, rtol=0.06, atol=0)
    steps = draws[:, 0, 1:3, 0].T.corrcoef()[0, 1]
    assert 0.1 < steps < 0.9  # drawn jointly over time


def test_all_steps_missing_return_the_prior():
    ssm = oscillator(mask=torch.zeros(6, dtype=torch.bool))
    z = torch.full((3, 6, 2), torch.nan)
    torch.testing.assert_close(ssm.log_prob(z), torch.zeros(3))
    torch.testing.assert_close(ssm.observe(ssm.smooth(z)).variance[0], oscillator(duration=6).variance)


def test_series_of_different_length_equal_the_shorter_ones():
    z = oscillator(duration=9).sample((2,))
    there = torch.arange(9) < torch.tensor([[9], [5]])
    masked = oscillator(mask=there).log_prob(torch.where(there[..., None], z, torch.nan))
    torch.testing.assert_close(masked[0], oscillator(duration=9).log_prob(z[0]))
    torch.testing.assert_close(masked[1], oscillator(duration=5).log_prob(z[1, :5]))


def test_stop_gradient_equals_the_loss_written_by_hand():
    steps = 6
    turn = (0.9 * torch.tensor([[0.8, 0.6], [-0.6, 0.8]])).requires_grad_()
    scale = torch.tensor(0.3, requires_grad=True)
    x, weight = torch.randn(5, steps, 3), torch.randn(3, 2, requires_grad=True)

    def make():
        noise = dist.Normal(torch.zeros(2), scale).to_event(1)
        start = dist.Normal(torch.zeros(2), 1.0).to_event(1)
        return LinearGaussianSSM(start, turn, noise, torch.eye(2), noise, duration=steps)

    def prior(x):
        with pyro.plate("batch", len(x)):
            pyro.sample("z", make())

    def guide(x):
        with pyro.plate("batch", len(x)):
            pyro.sample("z", ldm.Pushforward(x @ weight, ldm.entropy.Zero(), event_dim=2))

    # By hand: a plain loop over steps, the filter fed with what has a gradient, scored at what has none.
    z = x @ weight
    mean, cov, eye, by_hand = torch.zeros(5, 2), torch.eye(2), torch.eye(2), 0.0
    for t in range(steps):
        mean, cov = mean @ turn, turn.T @ cov @ turn + scale**2 * eye
        spread = cov + scale**2 * eye
        by_hand = by_hand - MultivariateNormal(mean, spread).log_prob(z[:, t].detach())
        gain = torch.linalg.solve(spread, cov)
        mean, cov = mean + (z[:, t] - mean) @ gain, cov - cov @ gain
    loss = ldm.Objective(ldm.stop_gradient(prior, sites=["z"]), guide)(x)
    torch.testing.assert_close(loss, by_hand.mean())
    leaves = [turn, scale, weight]
    for ours, theirs in zip(
        torch.autograd.grad(loss, leaves), torch.autograd.grad(by_hand.mean(), leaves), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_stop_gradient_leaves_missing_steps_out():
    there = torch.tensor([True, False, True, True])
    ssm, z = oscillator(mask=there), torch.randn(3, 4, 2)
    torch.testing.assert_close(ssm.predictive(z).log_prob(z).sum(-1), ssm.log_prob(z))


def test_series_without_a_batch_and_of_more_dims():
    there = torch.rand(3, 4) < 0.6
    ssm, z = oscillator(mask=there), torch.randn(5, 3, 4, 2)
    score, smoothed = ssm.log_prob(z), ssm.smooth(z).mean
    assert ssm.posterior_sample(z, (2,)).shape == (2, 5, 3, 4, 2)
    alone = oscillator(mask=there[1])
    assert alone.batch_shape == () and alone.log_prob(z[0, 1]).shape == ()
    torch.testing.assert_close(alone.log_prob(z[:, 1]), score[:, 1])
    torch.testing.assert_close(alone.smooth(z[2, 1]).mean, smoothed[2, 1])


@pytest.mark.parametrize("noise", [1e-3, 0.3])
def test_float32_is_stable_over_ten_thousand_steps(noise):
    exact = oscillator(duration=10_000, noise=noise, radius=0.9999)
    z = exact.sample((2,))
    ssm, rough = single(exact), z.float().requires_grad_()
    score = ssm.log_prob(rough)
    torch.testing.assert_close(score.double(), exact.log_prob(z), rtol=1e-4, atol=0)
    (gradient,) = torch.autograd.grad(score.sum(), rough)
    fine = z.requires_grad_()
    (expected,) = torch.autograd.grad(exact.log_prob(fine).sum(), fine)
    assert (gradient.double() - expected).norm() < 2e-3 * expected.norm()
    smoothed, reference = ssm.smooth(rough).mean.double(), exact.smooth(z).mean
    assert (smoothed - reference).abs().max() < 1e-4 * reference.abs().max()


def test_particles_and_plates_broadcast():
    scale = torch.rand(7, 1, 1, 1) + 0.5  # particles, series, steps, dims
    noise = dist.Normal(torch.zeros(2), scale).to_event(1)
    ssm = LinearGaussianSSM(
        dist.Normal(torch.zeros(2), 1.0).to_event(1), 0.5 * torch.eye(2), noise, torch.eye(2), noise, duration=4
    )
    assert ssm.batch_shape == (7, 1)
    z = torch.randn(5, 4, 2)
    score = ssm.expand((7, 5)).log_prob(z)
    assert score.shape == (7, 5) and ssm.expand((7, 5)).sample().shape == (7, 5, 4, 2)
    one = dist.Normal(torch.zeros(2), scale[3, 0, 0]).to_event(1)
    alone = LinearGaussianSSM(
        dist.Normal(torch.zeros(2), 1.0).to_event(1), 0.5 * torch.eye(2), one, torch.eye(2), one, duration=4
    )
    torch.testing.assert_close(score[3], alone.log_prob(z))


class TestBadInput:
    def test_nan_names_series_and_step(self):
        z = torch.zeros(3, 5, 2)
        z[1, 4, 0] = torch.nan
        with pytest.raises(ValueError, match=r"step 4 of series 1.*mask=~z\.isnan\(\)"):
            oscillator(duration=5).log_prob(z)
        with pytest.raises(ValueError, match="infinite at step 4, and in 1"):
            oscillator(duration=5).log_prob(z[1])

    def test_a_transition_that_is_not_finite(self):
        with pytest.raises(ValueError, match=r"transition_matrix is NaN or infinite: .*training has diverged"):
            oscillator(duration=3, radius=torch.nan)

    def test_noise_must_be_gaussian(self):
        normal = dist.Normal(torch.zeros(2), 1.0).to_event(1)
        for other in (dist.StudentT(3.0, torch.zeros(2)), dist.LogNormal(torch.zeros(2), 1.0)):
            with pytest.raises(TypeError, match=f"observation_dist is {type(other).__name__}, and is to be Gaussian"):
                LinearGaussianSSM(normal, torch.eye(2), normal, torch.eye(2), other.to_event(1), duration=3)

    def test_an_unstable_transition_warns_and_is_right(self):
        with pytest.warns(UserWarning, match=r"spectral radius 1\.2, over 1"):
            ssm = oscillator(duration=3, radius=1.2)
        z = torch.randn(2, 3, 2)
        torch.testing.assert_close(ssm.predictive(z).log_prob(z).sum(-1), ssm.log_prob(z))

    def test_a_rotation_does_not_warn(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            oscillator(duration=3, radius=1.0)

    def test_noise_must_be_positive(self):
        with pytest.raises(ValueError, match="scale"):
            oscillator(duration=3, noise=0.0)

    def test_lengths_must_be_known_and_agree(self):
        with pytest.raises(ValueError, match="pass duration=T"):
            oscillator()
        with pytest.raises(ValueError, match="at least one step, got 0"):
            oscillator(duration=4).forecast(torch.zeros(3, 4, 2), 0)
        with pytest.raises(ValueError, match=r"same everywhere.*'mask': 4"):
            oscillator(duration=5, mask=torch.ones(3, 4, 2, dtype=torch.bool))
        with pytest.raises(ValueError, match=r"same everywhere.*'mask': 4"):
            oscillator(duration=5, mask=torch.ones(4, dtype=torch.bool))
        with pytest.raises(ValueError, match=r"shape \(2, 4, 2\) where \(\.\.\., 5, 2\)"):
            oscillator(duration=5).log_prob(torch.zeros(2, 4, 2))

    def test_shapes_must_agree(self):
        noise = dist.Normal(torch.zeros(2), 1.0).to_event(1)
        with pytest.raises(ValueError, match=r"transition_matrix has .* \(2, 3\) where \(2, 2\)"):
            LinearGaussianSSM(noise, torch.ones(2, 3), noise, torch.eye(2), noise, duration=3)
        with pytest.raises(ValueError, match=r"initial_dist has .* \(\) .*to_event\(1\)"):
            LinearGaussianSSM(dist.Normal(torch.zeros(2), 1.0), torch.eye(2), noise, torch.eye(2), noise, duration=3)

    def test_masks_are_boolean_and_say_what_they_mask(self):
        with pytest.raises(ValueError, match="boolean"):
            oscillator(mask=torch.ones(4))
        with pytest.raises(ValueError, match="may be of steps"):
            oscillator(mask=torch.ones(2, 2, dtype=torch.bool))
