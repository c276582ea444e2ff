"""llama.cpp's own server on a random loopback port, until standard input ends.

python llamacpp.py MODEL.gguf [ANSWERS [CHAT_TEMPLATE]]
python llamacpp.py MODEL.gguf rank
"""

import os
import sys

import xllamacpp

if __name__ == "__main__":
    params = xllamacpp.CommonParams()
    params.model.path = sys.argv[1]
    params.model_alias = {"smollm2"}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    ranks = sys.argv[2:] == ["rank"]
    answers = int(sys.argv[2]) if len(sys.argv) > 2 and not ranks else 1
    if len(sys.argv) > 3:
        params.chat_template = sys.argv[3]
    params.n_ctx = 2048 * answers
    # By default, one answer at a time, and no reuse of an earlier prompt: the same request gives the same text.
    params.n_parallel = answers
    params.cache_prompt = False
    # More threads than processors wait for each other in every step.
    affinity = getattr(os, "sched_getaffinity", lambda _: (0, 1))
    params.cpuparams.n_threads = min(2, len(affinity(0)))
    params.endpoint_slots = True
    params.embedding = True
    pooling = xllamacpp.llama_pooling_type
    params.pooling_type = pooling.LLAMA_POOLING_TYPE_RANK if ranks else pooling.LLAMA_POOLING_TYPE_MEAN
    server = xllamacpp.Server(params)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()
