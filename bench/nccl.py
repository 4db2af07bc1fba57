"""All-reduce through torch.distributed, as bench/nccl.ts measures it: the same sizes, rounds and clock.

RANK=0 WORLD_SIZE=2 LOCAL_RANK=0 MASTER_ADDR=localhost MASTER_PORT=29500 python3 bench/nccl.py
"""
import json
import os
import statistics
import sys
import time

import torch
import torch.distributed as dist

rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", rank)))
torch.cuda.set_device(device)
dist.init_process_group("nccl", device_id=device)
probe = torch.zeros(1, device=device)


def settle():
    dist.all_reduce(probe)
    probe.item()


for megabytes in [int(part) for part in (sys.argv[1] if len(sys.argv) > 1 else "1,16,256,1024").split(",")]:
    tensor = torch.zeros(megabytes * 2**18, device=device)
    calls = max(1, min(20, 512 // megabytes))
    times = []
    for turn in range(-5, 20):
        settle()
        begun = time.perf_counter()
        for _ in range(calls):
            dist.all_reduce(tensor)
        settle()
        if turn >= 0:
            times.append((time.perf_counter() - begun) / calls)
    seconds = statistics.median(times)
    rate = 2 * (size - 1) / size * 4 * tensor.numel() / seconds / 1e9
    if rank == 0:
        print(json.dumps({"megabytes": megabytes, "ranks": size, "seconds": seconds, "gigabytesPerSecond": rate}), flush=True)
dist.destroy_process_group()
