"""What the guide on people says of signing in by a provider holds: its sample loads, its figures are the program's."""

import re
from pathlib import Path
from typing import Final

from ruamel.yaml import YAML

from faregate.manager.cases import access_tokens, oidc, second_factor
from faregate.manager.people import id_tokens, provider
from faregate.model.sign_in import SignIn

TEXT: Final = (Path(__file__).parents[2] / "docs" / "guides" / "people.md").read_text()
PART: Final = " ".join(TEXT.partition("## Signing in by a provider")[2].partition("\n## ")[0].split())


def test_the_sample_is_a_configuration() -> None:
    sample = re.search(r"```yaml\n(gateway:.*?)```", TEXT, re.DOTALL)
    assert sample is not None
    told = YAML(typ="safe").load(sample[1])["gateway"]["manager"]["sign_in"]
    assert len(SignIn.model_validate(told).grants) == 2


def test_the_figures_are_the_programs() -> None:
    assert f"live {access_tokens.LIFE_PROVIDER_S // 3600} hours at most" in PART
    assert second_factor.FRESH_MS == 5 * 60_000
    assert "within five minutes of a sign-in" in PART
    assert id_tokens.AGE_MAX_S == 600
    assert "at most ten minutes old" in PART
    assert oidc.FLOW_MS == 600_000
    assert "An answer works once, within ten minutes" in PART
    assert (provider.KEYS_MS, provider.DISCOVERY_MS) == (300_000, 3_600_000)
    assert "Keys are kept for five minutes, the discovery document for an hour" in PART
