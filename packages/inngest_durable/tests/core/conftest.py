"""Settings of Hypothesis: the same examples in every run, unless one asks for new ones to look for bugs."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

# The virtual event loops make the time of an example vary more than it means.
settings.register_profile(
    "repeatable",
    derandomize=True,
    max_examples=200,
    deadline=None,
    print_blob=True,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow],
)
# HYPOTHESIS_PROFILE=explore pytest packages/inngest_durable/tests/core
settings.register_profile("explore", settings.get_profile("repeatable"), derandomize=False, max_examples=5_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))
