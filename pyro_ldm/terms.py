r"""An objective split into its terms, in nats per datum."""

from typing import NamedTuple


class Terms(NamedTuple):
    """An objective's split, in nats per datum; loss = kl + global_kl - reconstruction.

    Attributes:
        alignment: Expected log-probability of the latents under the prior, E log P(z).
        uniformity: Entropy of the latents, H[z]; of a guide scored by its conditionals, H[z | x].
        kl: Minus their sum. What it is, ``divergence`` says.
        global_kl: KL of the posterior of global sites (the prior's parameters) from their prior, divided by the data.
        divergence: ``"KL"``: KL(R || P) itself; ``"KL - I"``: less the mutual information between views;
            ``"KL + I"``: plus that of x and z, the KL of a VAE, whose guide is scored by its conditionals;
            ``"cross-entropy"``: up to the unknown entropy of the data; ``"score"``: no entropy, or a flat prior.
        reconstruction: Expected log-probability of the data given the latents, E log p(x | z), of a program with a
            likelihood; ``None`` where nothing is observed.
    """

    alignment: float
    uniformity: float
    kl: float
    global_kl: float
    divergence: str
    reconstruction: float | None = None

    @property
    def loss(self) -> float:
        """kl + global_kl - reconstruction, nats per datum."""
        return self.kl + self.global_kl - (self.reconstruction or 0.0)

    @property
    def objective(self) -> str:
        """What the loss is: ``divergence``, where nothing is observed.

        With a likelihood ``"-ELBO"``, where the guide is scored by its conditionals: minus a lower bound on the
        evidence log p(x). Scored by its marginal, ``"-(ELBO + I)"``: that of an InfoVAE, which bounds no evidence.
        """
        if self.reconstruction is None:
            return self.divergence
        return {"KL + I": "-ELBO", "KL": "-(ELBO + I)"}.get(self.divergence, "score")
