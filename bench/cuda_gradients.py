"""The kernels of gradient codecs by themselves, timed in CUDA graphs: shares of 2.9 TB/s.

Needs PyTorch, an NVIDIA GPU and cuda/kernels.fatbin; that payloads are right is checked by
test/cuda_gradients_test.ts. Bytes are those read and written once.

    python3 bench/cuda_gradients.py [--quick]
"""
import ctypes
import math
import sys

import torch

from cuda import FLOOR_BYTES_PER_US, LAUNCH_US, Module, time_us, up


class Scaled(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("gradients", "scales", "codes", "sums", "found")] + \
        [(name, ctypes.c_uint32) for name in ("count", "block", "blocks", "rule")]


class Piece(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("start", "count", "size", "codes")] + [("factor", ctypes.c_float)]


class Rotation(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in
                ("gradients", "payload", "found", "seed", "places", "kept", "whole", "rest")] + \
        [("inverse", ctypes.c_double), ("full", ctypes.c_uint32), ("factor", ctypes.c_float),
         ("blocks", ctypes.c_uint32), ("option", ctypes.c_uint32), ("pieces", Piece * 13)]


class Thin(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("m", "p", "q", "found")] + \
        [(name, ctypes.c_uint32) for name in ("rows", "columns", "rank", "reserved")]


class Pass(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("source", "second", "target", "found", "count")] + \
        [("factor", ctypes.c_double), ("alpha", ctypes.c_float), ("beta", ctypes.c_float),
         ("option", ctypes.c_uint32), ("reserved", ctypes.c_uint32)]


def cases(count, x, y, payload, found):
    """Name, blocks, threads, arguments and bytes of every kernel."""
    def scaled(block, rule):
        blocks = up(count, block)
        return Scaled(x, payload, payload + 4 * blocks, 0, found, count, block, blocks, rule), 4 * blocks
    sign, scales = scaled(4096, 8)
    yield "gradients_sign_encode", up(sign.blocks, 2), 256, sign, 4 * count + count / 8 + scales
    yield "gradients_sign_decode", up(count, 4096), 256, sign, 4 * count + count / 8 + scales
    for rule, name in enumerate(("optimal", "twn")):
        ternary, scales = scaled(640, rule)
        yield f"gradients_ternary_encode {name}", up(ternary.blocks, 8), 256, ternary, 4 * count + count / 5 + scales
    yield "gradients_ternary_decode", up(count, 5120), 256, ternary, 4 * count + count / 5 + scales
    full = count // 4096
    for levels in (2, 3, 4, 8, 16):
        bits = {2: 1, 3: 1.6015625, 4: 2, 8: 3, 16: 4}[levels]
        rotation = Rotation(x, payload, found, 7, count, 0, 0, 0, 0, full, 0, full, 0)
        moved = 4 * count + bits * count / 8 + 4 * full
        yield f"gradients_rotated_encode_{levels}", full, 256, rotation, moved
        yield f"gradients_rotated_decode_{levels}", full, 256, rotation, moved
    for share in (10, 1):
        kept = count // share
        rotation = Rotation(x, payload, found, 7, count, kept, count // kept, count % kept, 1 / kept, full, 1 / 64, full, 1)
        yield f"gradients_projection_encode 1/{share}", full, 256, rotation, 4 * count + 4 * kept
        yield f"gradients_projection_decode 1/{share}", full, 256, rotation, 4 * count + 4 * kept
    members = 2
    dim = count // members
    bundle = Rotation(x, payload, found, 7, count, dim, 0, 0, 0, dim // 4096, 0, dim // 4096, members)
    yield "gradients_bundle_encode", dim // 4096, 256, bundle, 4 * count + dim / 5
    yield "gradients_bundle_scales", (dim // 4096, members), 256, bundle, 4 * count + members * dim / 5
    yield "gradients_bundle_decode", (dim // 4096, members), 256, bundle, 4 * count + members * dim / 5
    columns = 4096
    rows = count // columns
    thin = Thin(x, payload, y, found, rows, columns, 4)
    yield "gradients_lowrank_right", up(rows, 32), 128, thin, 4 * count
    yield "gradients_lowrank_left", up(columns, 32), 256, thin, 4 * count
    yield "gradients_lowrank_expand", (up(columns, 256), min(up(rows, 8), 65535)), 256, thin, 4 * count
    whole = up(count, 4096)
    one = Pass(x, y, x, found, count, 1.0, 1.0, 0.0, 2, 0)
    yield "floats_combine", whole, 256, one, 12 * count
    yield "floats_scale", whole, 256, one, 8 * count
    yield "floats_find", whole, 256, one, 4 * count
    yield "floats_sum_squares", up(count, 65536), 64, Pass(x, 0, 0, payload, count), 4 * count
    yield "floats_narrow", whole, 256, Pass(x, 0, y, 0, count, 0, 0, 0, 2, 0), 6 * count
    yield "floats_widen", whole, 256, Pass(y, 0, x, 0, count, 0, 0, 0, 2, 0), 6 * count


def main():
    module = Module()
    quick = "--quick" in sys.argv
    torch.manual_seed(1)
    for megabytes in (64,) if quick else (64, 1024):
        count = megabytes << 18
        copies = 3 if megabytes == 64 else 1
        xs = [torch.randn(count, device="cuda") for _ in range(copies)]
        y = torch.randn(count, device="cuda")
        payload = torch.zeros(4 * count + 1024, dtype=torch.uint8, device="cuda")
        found = torch.zeros(4, dtype=torch.int32, device="cuda")
        lists = [list(cases(count, x.data_ptr(), y.data_ptr(), payload.data_ptr(), found.data_ptr())) for x in xs]
        for which, (name, blocks, threads, _, moved) in enumerate(lists[0]):
            kernel = name.split()[0]
            first, second = blocks if isinstance(blocks, tuple) else (blocks, 1)
            launches = [(lambda c: lambda: module.launch(kernel, first, threads, lists[c % copies][which][3], second))(c)
                        for c in range(2 * copies)]
            us = time_us(launches, 9)
            floor = moved / FLOOR_BYTES_PER_US + LAUNCH_US
            print(f"{megabytes:5} MB {name:36} {us:8.1f} us  {moved / us / 1e6:5.2f} TB/s  {100 * floor / us:3.0f} % of the floor", flush=True)
        other = torch.empty_like(y)
        us = time_us([lambda: other.copy_(y)] * 4, 9)
        print(f"{megabytes:5} MB copy by PyTorch {us:.1f} us, {8 * count / us / 1e6:.2f} TB/s", flush=True)
        del xs, y, payload, other
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
