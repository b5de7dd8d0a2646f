"""What an objective's value says about the fit, in words."""

from pyro_ldm.training import Fit


def verdict(fit: Fit) -> str:
    """Whether the latents match their prior, judged beside what draws from the prior itself measure.

    They do if the value lies within those draws' range, widened by its width on either side. Below it, an estimate of
    entropy has been exploited; but of "KL - I", which is also low where views or steps share more than the prior's do,
    that alone says nothing. What is no divergence of two distributions gets no such verdict, nor does minus an ELBO.

    Example:
        >>> terms = ldm.Terms(-3.0, 2.5, 0.5, 0.0, "KL")
        >>> verdict(ldm.Fit(None, terms, [], reference=(-0.01, 0.03)))
        'not matched: KL 0.50 nats, where draws from the prior itself measure -0.01 to 0.03'
    """
    terms = fit.terms
    value = f"{terms.divergence} {terms.kl:.2f} nats"
    if terms.objective == "-ELBO":
        parameters = f" plus {terms.global_kl:.2f} of the prior's parameters" if terms.global_kl else ""
        return (
            f"-ELBO {terms.loss:.2f} nats, minus a lower bound on the evidence: {value}{parameters} less "
            f"reconstruction {terms.reconstruction:.2f}; compare it with other models' on the same data"
        )
    if terms.divergence == "KL + I":
        return (
            f"{value}: the guide is scored by its conditionals, and no likelihood asks anything of x: keep one, or use "
            "another estimator"
        )
    if terms.divergence == "cross-entropy":
        return f"{value}: compare it with other priors' and encoders' on the same data, whose entropy is not known"
    if terms.divergence == "score":
        return f"{value}: there is no entropy in it, or a flat prior; compare it with itself over training only"
    if not fit.reference:
        return f"{value}: how much of it is the estimator's bias is not known for this prior or estimator"
    if terms.reconstruction is not None:
        value = f"-(ELBO + I) {terms.loss:.2f} nats, no bound on the evidence, in it {value}"
    low, high = min(fit.reference), max(fit.reference)
    beside = f"{value}, where draws from the prior itself measure {low:.2f} to {high:.2f}"
    if terms.kl < low - (high - low):
        if terms.divergence == "KL - I":
            return (
                f"lower than the prior's own: {beside}; the views or steps of these latents tell more of one another "
                "than the prior's do, or the entropy is overestimated: try another estimator to see which"
            )
        return (
            f"exploited: {beside}; nothing matches better than those, so the entropy of these latents is "
            "overestimated: use another estimator, a larger batch, or a less flexible encoder"
        )
    return f"matched: {beside}" if terms.kl <= high + (high - low) else f"not matched: {beside}"
