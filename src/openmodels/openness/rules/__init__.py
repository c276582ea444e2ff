"""The rules, one for each criterion.

A rule is a function from a model's context to a judgement. It says `open` only on strong evidence,
`closed` only with a reason, and otherwise `unknown` with what was missing.
"""

# The order of these imports is the order of the criteria in a report.
# isort: off
from openmodels.openness.rules import data as data
from openmodels.openness.rules import weights as weights
from openmodels.openness.rules import code as code
from openmodels.openness.rules import artifacts as artifacts
from openmodels.openness.rules import licenses as licenses
