"""What the endpoints of a server share."""

from dataclasses import dataclass, field

from openmodels.serve.admission import Admission
from openmodels.serve.exchange import RequestLimits
from openmodels.serve.keys import KeyRing
from openmodels.serve.metrics import Metrics
from openmodels.serve.served_models import ServedModels


@dataclass
class ServerState:
    """What the endpoints of a server share.

    Attributes:
        models: The models by name.
        keys: The keys of clients.
        admission: Which requests run and which wait.
        limits: What one request may take.
        timeout: Seconds that a call may take, loading and waiting included.
        max_output_tokens: Tokens that an answer has at most; None leaves it to the model.
        metrics: The counters of `/metrics`.
        is_draining: Whether the server ends: it takes no new requests.
    """

    models: ServedModels
    keys: KeyRing
    admission: Admission
    limits: RequestLimits
    timeout: float
    max_output_tokens: int | None
    metrics: Metrics = field(default_factory=Metrics)
    is_draining: bool = False
