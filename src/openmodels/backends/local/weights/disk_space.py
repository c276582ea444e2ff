"""Free disk, compared with what a download or a conversion needs."""

import shutil
from pathlib import Path

from openmodels.backends.local.weights.memory import gigabytes
from openmodels.errors import DoesNotFit


def check_disk(folder: Path, needed: int) -> None:
    """Raise DoesNotFit where the disk of a folder has fewer bytes free."""
    # The folder itself need not exist yet.
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise DoesNotFit(
            f"The download needs {gigabytes(needed)} of disk, {gigabytes(free)} are free.",
            next_step="Free some space, or point HF_HOME and OPENMODELS_CACHE to a larger disk.",
        )
