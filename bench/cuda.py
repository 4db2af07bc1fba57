"""The CUDA kernels by themselves: checked against PyTorch, timed in CUDA graphs, next to cuBLAS.

Needs PyTorch and an NVIDIA GPU, and nothing of this package but cuda/kernels.fatbin. Weights rotate
among copies that exceed the L2 cache; times are medians of graph replays, per launch.

    python3 bench/cuda.py [--only one|several|floats|memory] [--programmatic] [--quick] [--json FILE]
"""
import argparse
import ctypes
import json
import os
import statistics
import sys

import torch

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
L2_BYTES = 50e6
FLOOR_BYTES_PER_US = 2.9e6
LAUNCH_US = 1.03
MULTIPROCESSORS = 132

cuda = ctypes.CDLL("libcuda.so.1")


def check(status, what):
    if status != 0:
        name = ctypes.c_char_p()
        cuda.cuGetErrorName(status, ctypes.byref(name))
        raise RuntimeError(f"{what}: {name.value}")


class Columns(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in
                ("columns", "groups", "group_columns", "group_blocks", "chunks", "reserved")]


class Tokens(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("input", "padded", "sums", "scales")] + \
        [("columns", Columns)] + \
        [(name, ctypes.c_uint32) for name in ("count", "padded_count", "slabs", "reserved")]


class Packing(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("source", "weights", "row_scales", "found")] + \
        [("columns", Columns), ("rows", ctypes.c_uint32), ("tiles", ctypes.c_uint32)]


class Product(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in
                ("weights", "row_scales", "tokens", "token_sums", "token_scales", "bias", "output")] + \
        [("columns", Columns), ("rows", ctypes.c_uint32), ("count", ctypes.c_uint32)]


def up(a, b):
    return (a + b - 1) // b


def columns_of(k):
    return Columns(k, 1, k, up(k, 64), up(up(k, 64), 4), 0)


def split_shared(name):
    _, tokens, stages = (int(part) for part in name.split("_")[2:])
    return stages * (tokens * 384 + 16) + 1024


class LaunchAttribute(ctypes.Structure):
    _fields_ = [("id", ctypes.c_int), ("padding", ctypes.c_int), ("value", ctypes.c_uint64), ("rest", ctypes.c_uint8 * 56)]


class LaunchConfig(ctypes.Structure):
    _fields_ = [("grid", ctypes.c_uint * 3), ("block", ctypes.c_uint * 3), ("shared", ctypes.c_uint),
                ("stream", ctypes.c_void_p), ("attributes", ctypes.POINTER(LaunchAttribute)), ("count", ctypes.c_uint)]


class Module:
    """The fat binary in PyTorch's context."""

    def __init__(self, programmatic=False):
        # Kernels may start before those before them are done, as the library launches products.
        self.programmatic = programmatic
        torch.zeros(1, device="cuda")
        with open(os.path.join(ROOT, "cuda", "kernels.fatbin"), "rb") as file:
            self.image = file.read()
        self.module = ctypes.c_void_p()
        check(cuda.cuModuleLoadData(ctypes.byref(self.module), self.image), "load the kernels")
        self.functions = {}

    def function(self, name):
        if name not in self.functions:
            function = ctypes.c_void_p()
            check(cuda.cuModuleGetFunction(ctypes.byref(function), self.module, name.encode()), name)
            # As much as a block may have is asked for, where a kernel may take more than the usual 48 KiB.
            if any(part in name for part in ("many", "wgmma", "split_", "absmean_rows")) and name != "split_tokens":
                check(cuda.cuFuncSetAttribute(function, 8, 220 << 10), "shared memory")
            self.functions[name] = function
        return self.functions[name]

    def launch(self, name, blocks, threads, arguments, blocks_y=1, shared=0):
        parameters = (ctypes.c_void_p * 1)(ctypes.addressof(arguments))
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        if self.programmatic and name.startswith(("multiply_", "quantize_tokens", "split_tokens")):
            attribute = LaunchAttribute(6, 0, 1)
            config = LaunchConfig((blocks, blocks_y, 1), (threads, 1, 1), shared, stream, ctypes.pointer(attribute), 1)
            return check(cuda.cuLaunchKernelEx(ctypes.byref(config), self.function(name), parameters, None), name)
        check(cuda.cuLaunchKernel(self.function(name), blocks, blocks_y, 1, threads, 1, 1, shared,
                                  stream, parameters, None), name)


MANY_SHARED = 2 * (8 * 1024 + 128 * 256)
ROWS_SHARED = 3 * 32 * 64


def wgmma_parts(name):
    """Groups, blocks, tokens and stages of a variant; its threads."""
    groups, blocks, tokens, stages = (int(part) for part in name.split("_")[2:])
    return groups, blocks, tokens, stages, groups * 128 + (128 if blocks * tokens >= 256 else 32)


def wgmma_shared(name):
    groups, blocks, tokens, stages, _ = wgmma_parts(name)
    return stages * (tokens * 256 + groups * blocks * 4096 + 16) + 1024


def time_us(launches, repeats=15):
    """Microseconds of each of some launches, which are captured in one graph."""
    # What was asked for before may still be working on memory that the launches write.
    torch.cuda.synchronize()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for launch in launches[:3]:
            launch()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for launch in launches:
            launch()
    times = []
    for index in range(repeats + 3):
        start, end = torch.cuda.Event(True), torch.cuda.Event(True)
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        if index >= 3:
            times.append(start.elapsed_time(end) * 1e3 / len(launches))
    return statistics.median(times)


def in_rotation(make, count, copies):
    return [make(index % copies) for index in range(count)]


class Layer:
    """Random ternary weights of which there are enough copies to exceed the L2 cache."""

    def __init__(self, module, n, k):
        self.module, self.n, self.k, self.label = module, n, k, f"{n}x{k}"
        self.columns = columns_of(k)
        self.tiles = up(n, 16)
        size = self.tiles * self.columns.chunks * 1024
        self.bytes = size
        self.copies = max(2, min(64, int(2.5 * L2_BYTES / size) + 1))
        self.trits = torch.randint(-1, 2, (n, k), dtype=torch.int8, device="cuda")
        self.scales = torch.rand(n, device="cuda") + 0.5
        first = torch.zeros(size, dtype=torch.uint8, device="cuda")
        found = torch.zeros(2, dtype=torch.int64, device="cuda")
        packing = Packing(self.trits.data_ptr(), first.data_ptr(), 0, found.data_ptr(), self.columns, n, self.tiles)
        module.launch("pack_trits", 4096, 256, packing)
        assert found.tolist() == [int((self.trits != 0).sum()), 0], "pack_trits counts wrong"
        self.data = [first] + [first.clone() for _ in range(self.copies - 1)]

    def tokens(self, m, slabs=0):
        padded = m if m == 1 else max(8, 1 << (m - 1).bit_length()) if m <= 32 else up(m, 8) * 8
        if slabs:
            padded = up(m, 8) * 8
        x = torch.randn(m, self.k, device="cuda")
        # The last slab is read beyond its end.
        slack = 128 if slabs else 0
        q = torch.full((padded + slack, self.columns.chunks * 256), 55, dtype=torch.int8, device="cuda")
        sums = torch.zeros(m, dtype=torch.int32, device="cuda")
        scales = torch.zeros(m, device="cuda")
        arguments = Tokens(x.data_ptr(), q.data_ptr(), sums.data_ptr(), scales.data_ptr(), self.columns, m, padded, slabs, 0)
        self.module.launch("quantize_tokens", padded, 1024 if m < 264 else 256, arguments)
        absmax = x.abs().amax(1)
        most = torch.full_like(absmax, 127)
        torch.cuda.synchronize()
        # Of tensors: a number would be divided by multiplying with its reciprocal.
        assert torch.equal(scales, torch.div(absmax, most)), "scales of tokens"
        expected = torch.round(x * torch.div(most, absmax)[:, None]).to(torch.int8)
        if slabs:
            self.rows_of_tokens = expected
        else:
            assert torch.equal(q[:m, :self.k], expected), "quantised tokens"
        assert torch.equal(sums, expected.sum(1, dtype=torch.int32)), "sums of tokens"
        return x, q, sums, scales, arguments

    def product(self, tokens, sums, scales, output, m, copy=0):
        return Product(self.data[copy].data_ptr(), self.scales.data_ptr(), tokens.data_ptr(),
                       sums.data_ptr() if sums is not None else 0,
                       scales.data_ptr() if scales is not None else 0, 0,
                       output.data_ptr(), self.columns, self.n, m)

    def expected_i8(self, q, scales, m):
        exact = (q[:m, :self.k].double() @ self.trits.double().T)
        return (exact.float() * self.scales) * scales[:, None]

    def expected_f32(self, x):
        return (x.double() @ self.trits.double().T) * self.scales.double()

    def magnitudes(self, x):
        return (x.double().abs() @ self.trits.double().abs().T) * self.scales.double()


def variants(kind):
    names = [line.split()[0] for line in open(os.path.join(ROOT, "cuda", "kernels.txt"))]
    for name in names:
        if name.startswith(f"multiply_{kind}_"):
            yield name, [int(part) for part in name.split("_")[2:]]


def peers(n, k, m, kinds):
    """Microseconds of cuBLAS through PyTorch, weights rotating."""
    result = {}
    for kind in kinds:
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[kind]
        weights = [torch.randn(n, k, device="cuda", dtype=dtype)]
        copies = max(1, min(32, int(2.5 * L2_BYTES / (weights[0].numel() * weights[0].element_size())) + 1))
        weights += [weights[0].clone() for _ in range(copies - 1)]
        x = torch.randn(m, k, device="cuda", dtype=dtype)
        y = torch.empty(m, n, device="cuda", dtype=dtype)
        count = max(copies, 4 if m >= 512 else 20)
        result[kind] = time_us(in_rotation(lambda c: lambda: torch.mm(x, weights[c].T, out=y), count, copies), 5 if m >= 512 else 9)
        del weights, x, y
    return result


def floor_us(layer):
    return layer.bytes / FLOOR_BYTES_PER_US + LAUNCH_US


rows = []


def note(name, **measured):
    """Notes what was measured for bench/cuda.json, as cuda_rows.ts does."""
    path = os.environ.get("TRITTER_BENCH_ROWS")
    if path:
        with open(path, "a") as file:
            file.write(json.dumps({"name": name, **measured}) + "\n")


def report(**fields):
    rows.append(fields)
    print("  ".join(f"{key}={value:.2f}" if isinstance(value, float) else f"{key}={value}"
                    for key, value in fields.items()), flush=True)


def poison(output):
    output.fill_(float("nan"))


def measure(layer, m, kind, name, tokens, sums, scales, expected, tolerance):
    output = torch.empty(m, layer.n, device="cuda")
    poison(output)
    products = [layer.product(tokens, sums, scales, output, m, copy) for copy in range(layer.copies)]
    how = Launch(name, layer, m)
    launch = lambda copy: layer.module.launch(name, how.blocks, how.threads, products[copy], how.blocks_y, how.shared)
    launch(-1)
    torch.cuda.synchronize()
    if tolerance is None:
        good = torch.equal(output, expected)
    else:
        good = bool(((output.double() - expected).abs() <= tolerance).all())
    count = max(layer.copies, 10 if m >= 512 else 40)
    us = time_us(in_rotation(lambda c: lambda: launch(c), count, layer.copies), 9)
    report(kind=kind, shape=layer.label, m=m, kernel=name, ok=good, us=us, tbs=layer.bytes / us / 1e6, floor=100 * floor_us(layer) / us)
    if not good:
        difference = (output.double() - expected.double()).abs()
        bad = torch.nonzero(~(difference <= (0 if tolerance is None else tolerance)))
        print("WRONG", name, layer.label, m, "first", bad[:4].tolist(), "of", len(bad), flush=True)
    return us if good else None


def best_of(results, label, m, kind, peer):
    good = {name: us for name, us in results.items() if us is not None}
    if not good:
        return print("NOTHING RIGHT", kind, label, m)
    name = min(good, key=good.get)
    ratios = "  ".join(f"{key}={us:.1f} ({us / good[name]:.2f}x)" for key, us in peer.items())
    line = f"BEST {kind} {label} M={m}: {name} {good[name]:.2f} us  {ratios}"
    summary.append(line)
    print(line, flush=True)
    note(f"product: {kind} {label} M={m}", us=good[name], **{f"{key}_us": us for key, us in peer.items()})


summary = []
SHAPES = [(2560, 2560), (3840, 2560), (6912, 2560), (2560, 6912), (13824, 2560), (4096, 4096),
          (14336, 4096), (8192, 8192), (28672, 8192)]


class Launch:
    """How a kernel is launched for a layer and some tokens; its name says the rest."""

    def __init__(self, name, layer, m):
        kind, *parts = name.removeprefix("multiply_").split("_")
        parts = [int(part) for part in parts]
        n, chunks = layer.n, layer.columns.chunks
        self.name, self.shared, self.blocks_y = name, 0, 1
        if kind in ("one", "token"):
            self.blocks, self.threads = up(n, 8 * parts[1]), 32 * parts[0]
            self.shared = chunks * 256 if kind == "token" else 0
        elif kind == "few":
            self.blocks, self.threads = up(n, 16 * parts[1]), 32 * parts[0]
        elif kind == "many":
            self.blocks, self.threads, self.blocks_y, self.shared = up(n, 128), 256, up(m, 128), MANY_SHARED
        elif kind == "wgmma":
            groups, blocks, tokens, _, self.threads = wgmma_parts(name)
            self.blocks, self.shared = up(n, groups * blocks * 64) * up(m, tokens), wgmma_shared(name)
        elif kind == "split":
            groups, tokens, _ = parts
            self.blocks, self.threads = up(n, groups * 64) * up(m, tokens), groups * 128 + (128 if tokens >= 128 else 32)
            self.shared = split_shared(name)
        else:
            warps, halves, tokens = parts
            self.blocks, self.threads, self.blocks_y = up(n, 8 * halves), 32 * warps, up(m, tokens)


def run(module, options):
    quick = options.quick
    if options.only in (None, "memory"):
        memory(module, quick)
    if options.only == "memory":
        return
    for n, k in SHAPES[:2] if quick else SHAPES:
        layer = Layer(module, n, k)
        wanted = lambda kind: options.only in (None, kind)
        if wanted("one"):
            one_token(layer, {} if quick else peers(n, k, 1, ["fp32", "bf16"]))
        if (n, k) in [(4096, 4096), (14336, 4096), (28672, 8192)] or quick:
            for m in [8, 32, 128] if quick else [8, 32, 128, 512, 4096]:
                if wanted("several"):
                    several_tokens(layer, m, {} if quick else peers(n, k, m, ["fp32", "bf16"]))
            for m in [2, 8, 32, 128]:
                if wanted("floats"):
                    several_floats(layer, m, {} if quick else peers(n, k, m, ["fp32"]))
        del layer
        torch.cuda.empty_cache()


def one_token(layer, peer):
    x, q, sums, scales, arguments = layer.tokens(1)
    expected = layer.expected_i8(q, scales, 1)
    for kind, tokens in (("one", q), ("token", x)):
        results = {name: measure(layer, 1, kind, name, tokens, sums, scales, expected, None) for name, _ in variants(kind)}
        best_of(results, layer.label, 1, "int8" if kind == "one" else "int8, quantised inside", peer)
    us = time_us([lambda: layer.module.launch("quantize_tokens", 1, 1024 if layer.k >= 4096 else 256, arguments)] * 40)
    report(kind="quantize one token", shape=layer.label, us=us)
    padded = torch.zeros(1, layer.columns.chunks * 256, device="cuda")
    padded[:, :layer.k] = x
    expected, tolerance = layer.expected_f32(x), 1e-5 * layer.magnitudes(x)
    results = {name: measure(layer, 1, "floats", name, padded, None, None, expected, tolerance)
               for name, (_, _, tokens) in variants("floats") if tokens == 1}
    best_of(results, layer.label, 1, "f32", peer)


def several_tokens(layer, m, peer):
    results = {}
    for slabs in (0, 1):
        _, q, sums, scales, _ = layer.tokens(m, slabs)
        expected = layer.expected_i8(layer.rows_of_tokens if slabs else q, scales, m)
        names = [name for name, (_, _, tokens, _) in variants("wgmma") if m <= tokens * 2 and tokens <= 2 * m or m > 128 <= tokens]
        if not slabs:
            eights = 1 if m <= 8 else 2 if m <= 16 else 4
            names = [name for name, parts in variants("few") if m <= 32 and parts[2] == eights] + ["multiply_many"] * (m > 32)
        for name in names:
            us = measure(layer, m, "slabs" if slabs else "rows", name, q, sums, scales, expected, None)
            results[name] = us
            if us and m >= 128:
                report(kind="rate", kernel=name, tops=2.0 * layer.n * layer.k * m / us / 1e6)
    best_of(results, layer.label, m, "int8", peer)


def several_floats(layer, m, peer):
    x = torch.randn(m, layer.k, device="cuda")
    expected, tolerance = layer.expected_f32(x), 1e-5 * layer.magnitudes(x)
    results = {}
    tokens = 2 if m == 2 else 4
    for name, parts in variants("floats"):
        if parts[2] == tokens and m <= 8:
            results[name] = measure(layer, m, "floats", name, x, None, None, expected, tolerance)
    padded = up(m, 8) * 8
    parts = torch.zeros(layer.columns.chunks * 12 * padded + 128, 64, dtype=torch.bfloat16, device="cuda")
    arguments = Tokens(x.data_ptr(), parts.data_ptr(), 0, 0, layer.columns, m, padded, 1, 0)
    split = lambda: layer.module.launch("split_tokens", up(layer.columns.chunks * 256, 512), 256, arguments, padded)
    split()
    us = time_us([split] * 20)
    report(kind="cut into parts", shape=layer.label, m=m, us=us)
    for name, (_, tokens, _) in variants("split"):
        if m <= tokens * 2 and tokens <= max(8, 2 * m):
            alone = measure(layer, m, "parts", name, parts, None, None, expected, tolerance)
            results[f"{name} and cutting"] = alone and alone + us
    best_of(results, layer.label, m, "f32", peer)


def memory(module, quick):
    """What moves bytes: 1 GB in, shares of 2.9 TB/s."""
    n, k = (1024, 4096) if quick else (65536, 4096)
    columns, tiles = columns_of(k), up(n, 16)
    x = torch.randn(n, k, device="cuda")
    weights = torch.zeros(tiles * columns.chunks * 1024, dtype=torch.uint8, device="cuda")
    found = torch.zeros(2, dtype=torch.int64, device="cuda")
    scales = torch.zeros(n, device="cuda")
    sums = torch.zeros(n, dtype=torch.int32, device="cuda")
    q = torch.empty(n, k, dtype=torch.int8, device="cuda")
    trits = torch.randint(-1, 2, (n, k), dtype=torch.int8, device="cuda")
    wire = torch.zeros(n, k // 4, dtype=torch.uint8, device="cuda")
    pack = lambda source: Packing(source.data_ptr(), weights.data_ptr(), scales.data_ptr(), found.data_ptr(), columns, n, tiles)
    quantize = lambda slabs: Tokens(x.data_ptr(), q.data_ptr(), sums.data_ptr(), scales.data_ptr(), columns, n, n, slabs, 0)
    warps = min(16, up(k, 512))
    cases = [
        ("quantize_tokens", n, 256, quantize(0), 5, 0),
        ("quantize_tokens", n, 256, quantize(1), 5, 0),
        ("quantize_absmean_rows", MULTIPROCESSORS * (32 // warps), 32 * warps, pack(x), 4.25, ROWS_SHARED * warps),
        ("quantize_absmean", tiles, 256, pack(x), 4.25, 0),
        ("pack_trits", MULTIPROCESSORS * 32, 256, pack(trits), 1.25, 0),
        ("pack_wire", MULTIPROCESSORS * 32, 256, pack(wire), 0.5, 0),
        ("unpack_wire", MULTIPROCESSORS * 32, 256, pack(wire), 0.5, 0),
    ]
    for name, blocks, threads, arguments, bytes_each, shared in cases:
        moved = bytes_each * n * k
        us = time_us([lambda: module.launch(name, blocks, threads, arguments, 1, shared)] * 3, 7)
        report(kind="memory", kernel=name, us=us, tbs=moved / us / 1e6, share=100 * moved / us / FLOOR_BYTES_PER_US)
        note(f"memory: {name}", us=us, share=moved / us / FLOOR_BYTES_PER_US)
        summary.append(f"MEMORY {name}: {us:.0f} us, {100 * moved / us / FLOOR_BYTES_PER_US:.0f} % of 2.9 TB/s")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--programmatic", action="store_true")
    parser.add_argument("--json")
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.manual_seed(1)
    print(torch.cuda.get_device_name(), torch.version.cuda, torch.__version__, flush=True)
    run(Module(options.programmatic), options)
    print("\n".join(["", *summary]))
    if options.json:
        with open(options.json, "w") as file:
            json.dump(rows, file, indent=1)
    return 0 if all(row.get("ok", True) for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
