"""Times arcrun's exact search against faiss's flat indexes, in interleaved pairs.

    python tools/parity/compare_topk.py target/release/run --pairs 9

Each pair runs `run bench topk` and faiss one after the other, each in a process of its own, on the
same numbers of queries, gallery embeddings, dimensions, hits and threads. faiss gets unit vectors,
while arcrun's time has the normalising in it. Prints the ratio of the queries per second
(arcrun / faiss) of each pair and the median.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve()


def faiss_speed(args):
    import faiss
    import numpy as np

    faiss.omp_set_num_threads(args.threads)
    draw = np.random.default_rng(0)
    gallery = draw.standard_normal((args.gallery, args.dim), dtype=np.float32)
    queries = draw.standard_normal((args.queries, args.dim), dtype=np.float32)
    if args.metric == "cosine":
        faiss.normalize_L2(gallery)
        faiss.normalize_L2(queries)
    index = (faiss.IndexFlatIP if args.metric == "cosine" else faiss.IndexFlatL2)(args.dim)
    index.add(gallery)
    seconds = []
    for _ in range(args.repeat + 1):
        begun = time.perf_counter()
        index.search(queries, args.k)
        seconds.append(time.perf_counter() - begun)
    # The first one warms up, as in `run bench topk`.
    print(json.dumps({"queries_per_second": args.queries / statistics.median(seconds[1:])}))


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("run", nargs="?", help="the program `run`")
    args.add_argument("--queries", type=int, default=2000)
    args.add_argument("--gallery", type=int, default=100_000)
    args.add_argument("--dim", type=int, default=512)
    args.add_argument("--k", type=int, default=10)
    args.add_argument("--metric", choices=["cosine", "euclidean"], default="cosine")
    args.add_argument("--threads", type=int, default=2)
    args.add_argument("--repeat", type=int, default=3)
    args.add_argument("--pairs", type=int, default=9)
    args.add_argument("--faiss", action="store_true", help=argparse.SUPPRESS)
    args = args.parse_args()
    if args.faiss:
        return faiss_speed(args)

    shared = []
    for key in ["queries", "gallery", "dim", "k", "metric", "threads", "repeat"]:
        shared += [f"--{key}", str(getattr(args, key))]
    ours = [args.run, "bench", "topk", "--json", *shared]
    theirs = [sys.executable, str(HERE), "--faiss", *shared]
    ratios = []
    for pair in range(args.pairs):
        speed = {}
        for name, command in [("ours", ours), ("theirs", theirs)][:: 1 if pair % 2 == 0 else -1]:
            output = subprocess.run(command, check=True, capture_output=True, text=True,
                                    env=os.environ | {"OMP_NUM_THREADS": str(args.threads)}).stdout
            speed[name] = json.loads(output.strip().splitlines()[-1])["queries_per_second"]
        ratios.append(speed["ours"] / speed["theirs"])
        print(f"pair {pair + 1}: {speed['ours']:.0f} / {speed['theirs']:.0f} = {ratios[-1]:.3f}",
              flush=True)
    print(f"{args.metric}: median ratio {statistics.median(ratios):.3f} over {len(ratios)} pairs")


if __name__ == "__main__":
    main()
