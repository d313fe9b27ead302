"""llama.cpp's own HTTP server, from the xllamacpp wheel, in a process of its own: ``python llama_server.py MODEL``.

Says its address in a line on standard output and serves until standard input ends. One slot: a request that is not
given up when its client has gone makes the next one wait.
"""

from __future__ import annotations

import sys

import xllamacpp


def main(model: str, key: str) -> None:
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.model_alias = {"chain"}
    params.n_ctx = 32768
    params.n_parallel = 1
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    params.fit_params = False
    params.warmup = False
    params.cache_ram_mib = 0
    params.sampling.temp = 0.0
    params.api_keys = [key] if key else []
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "")
