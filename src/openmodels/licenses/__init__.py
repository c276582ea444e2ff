"""Licenses: what a name, an SPDX expression or a text allows.

`find` reads names and expressions, `identification.identify` whole texts, `register` adds a license.
"""

from openmodels.licenses.expressions import (
    find as find,
    find_stated as find_stated,
    license_class as license_class,
    normalise as normalise,
)
from openmodels.licenses.table import (
    LicenseClass as LicenseClass,
    LicenseTerms as LicenseTerms,
    Restriction as Restriction,
    is_unspecific as is_unspecific,
    most_restrictive as most_restrictive,
    register as register,
)
