"""Spread many prompts over a cluster: Ray Data feeds `Model.map`, two workers answer.

pip install 'ray[data]'
python examples/ray_data.py [MODEL]

On a cluster, run it on any node after `ray start`; "local:…" puts the model into every worker,
"server:…" lets all of them ask one server.
"""

import os
import sys
from typing import Any

import ray
from ray.data import ActorPoolStrategy

import openmodels as om


class Answer:
    """One worker: opens the model once and answers batch after batch."""

    def __init__(self, reference: str) -> None:
        self.model = om.Model(reference).load()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the batch with an answer or an error for each prompt."""
        with self.model.map(batch["prompt"].tolist(), concurrency=16, max_tokens=30, progress=False) as run:
            items = list(run)
        batch["answer"] = [item.reply.text if item.reply else None for item in items]
        batch["error"] = [type(item.error).__name__ if item.error else None for item in items]
        batch["process"] = [os.getpid()] * len(items)
        return batch


if __name__ == "__main__":
    reference = sys.argv[1] if len(sys.argv) > 1 else om.DEFAULT_MODEL
    ray.init(log_to_driver=False)  # the cluster of this node, else one on this machine
    ray.data.DataContext.get_current().enable_progress_bars = False
    prompts = [{"number": number, "prompt": f"What is {number} plus {number}?"} for number in range(64)]
    answered = ray.data.from_items(prompts, override_num_blocks=8).map_batches(
        Answer,
        fn_constructor_args=(reference,),
        compute=ActorPoolStrategy(size=2),
        batch_size=8,
        num_cpus=0.5,
    )
    rows = answered.sort("number").take_all()  # write_parquet and write_json keep large results off this machine
    for row in rows[:3]:
        print(row["answer"])
    print(f"({len(rows)} answers from {len({row['process'] for row in rows})} processes)")
    ray.shutdown()
