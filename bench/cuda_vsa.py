"""The kernels of hypervectors by themselves: checked against the library's CPU kernels, timed.

Needs PyTorch, an NVIDIA GPU, cuda/kernels.fatbin and a library, zig-out/lib/libtritter.so or the one
of TRITTER_ACCEL_LIB. Times are medians of graph replays, per launch; two batches of 168 MB take turns,
so that none is in the L2 cache. Shares are of 2.9 TB/s.

    python3 bench/cuda_vsa.py
"""
import ctypes
import os
import statistics
import sys
import time

import numpy as np
import torch

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
LIBRARY = os.environ.get("TRITTER_ACCEL_LIB", os.path.join(ROOT, "zig-out", "lib", "libtritter.so"))
cuda = ctypes.CDLL("libcuda.so.1")
T0 = time.time()


def check(status, what):
    if status != 0:
        name = ctypes.c_char_p()
        cuda.cuGetErrorName(status, ctypes.byref(name))
        raise RuntimeError(f"{what}: {name.value}")


def struct(**fields):
    kinds = {"p": ctypes.c_uint64, "q": ctypes.c_uint64, "u": ctypes.c_uint32}
    return type("S", (ctypes.Structure,), {"_fields_": [(k, kinds[v]) for k, v in fields.items()]})


Random = struct(out="p", seed="q", count="q", words="u", dim="u", below="u", reserved="u")
Bind = struct(a="p", b="p", out="p", count="q", a_stride="u", b_stride="u", pieces="u", operation="u", group="u", reserved="u")
Bundle = struct(source="p", out="p", weights="p", counts="p", seed="q", count="q", group="u", words="u", dim="u", threshold="u", tie="u", part="u")
Pairs = struct(a="p", b="p", scores="p", count="q", a_stride="u", b_stride="u", pieces="u", dim="u", metric="u", reserved="u")
Scan = struct(rows="p", query="p", keys="p", places="p", after_key="p", after_row="p", count="q", pieces="u", dim="u", metric="u", k="u")
Matrix = struct(queries="p", rows="p", sums="p", tops="p", query_counts="p", row_counts="p", query_count="u", row_count="u", stride="u", pieces="u", stages="u", metric="u")
Select = struct(sums="p", tops="p", query_counts="p", row_counts="p", after_key="p", after_row="p", best_keys="p", indices="p",
                count="u", stride="u", after_stride="u", out_stride="u", dim="u", metric="u", k="u", reserved="u")
Scores = struct(sums="p", query_counts="p", row_counts="p", scores="p", query_count="u", row_count="u", stride="u", out_stride="u", dim="u", metric="u")

Merge = struct(keys="p", places="p", best_keys="p", indices="p", lists="u", k="u")
STAGE = 384 * 128
MATRIX = ["vsa_matrix_dot", "vsa_matrix_dot", "vsa_matrix_distance", "vsa_matrix_distance", "vsa_matrix_common", "vsa_matrix_common"]


class Module:
    def __init__(self, path):
        torch.zeros(1, device="cuda")
        self.image = open(path, "rb").read()
        self.module = ctypes.c_void_p()
        check(cuda.cuModuleLoadData(ctypes.byref(self.module), self.image), "load")
        self.functions = {}

    def function(self, name, shared):
        if name not in self.functions:
            f = ctypes.c_void_p()
            check(cuda.cuModuleGetFunction(ctypes.byref(f), self.module, name.encode()), name)
            if shared:
                check(cuda.cuFuncSetAttribute(f, 8, shared), "shared")
            self.functions[name] = f
        return self.functions[name]

    def launch(self, name, blocks, threads, arguments, blocks_y=1, shared=0):
        if isinstance(arguments, tuple):
            parameters = (ctypes.c_void_p * len(arguments))(*[ctypes.addressof(a) for a in arguments])
        else:
            parameters = (ctypes.c_void_p * 1)(ctypes.addressof(arguments))
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        check(cuda.cuLaunchKernel(self.function(name, shared), blocks, blocks_y, 1, threads, 1, 1, shared, stream, parameters, None), name)


def time_us(launches, repeats=15):
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
    for index in range(repeats + 2):
        start, end = torch.cuda.Event(True), torch.cuda.Event(True)
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        if index >= 2:
            times.append(start.elapsed_time(end) * 1e3 / len(launches))
    return statistics.median(times)


lib = ctypes.CDLL(LIBRARY)


def call(name, *arguments):
    status = getattr(lib, "tritter_" + name)(*arguments)
    if status != 0:
        text = ctypes.create_string_buffer(4096)
        length = ctypes.c_uint32()
        lib.tritter_last_error(text, 4096, ctypes.byref(length), 1)
        raise RuntimeError(f"{name}: {text.value}")


U32, U64, I32 = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_int32


def up(a, b):
    return -(-a // b)


class Batch:
    """The same vectors on both."""

    def __init__(self, count, dim, device=True):
        self.count, self.dim = count, dim
        handle = U64()
        call("vectors_create", U32(count), U32(dim), ctypes.byref(handle), U32(1))
        self.handle = handle.value
        self.words = up(dim, 512) * 16
        self.pieces = self.words // 4
        self.gpu = torch.full((count, 2 * self.words), -1, dtype=torch.int32, device="cuda") if device else None

    def random(self, seed, below):
        call("vectors_random", U64(self.handle), U64(seed), U32(below))
        return self

    def cpu(self):
        """Planes as the device has them."""
        plane = up(self.dim, 8)
        raw = np.empty((self.count, 2, plane), np.uint8)
        call("vectors_read_planes", U64(self.handle), U32(0), raw.ctypes.data_as(ctypes.c_void_p), U32(raw.size))
        padded = np.zeros((self.count, 2, self.words * 4), np.uint8)
        padded[:, :, :plane] = raw
        return padded.view(np.int32).reshape(self.count, 2 * self.words)

    def upload(self):
        self.gpu.copy_(torch.from_numpy(self.cpu()))
        return self

    def same(self):
        return bool(np.array_equal(self.gpu.cpu().numpy(), self.cpu()))

    def free(self):
        call("free", U64(self.handle))
        self.gpu = None

    @property
    def pointer(self):
        return self.gpu.data_ptr()


bad = []


def expect(good, *label):
    if not good:
        bad.append(label)
        print("WRONG", *label, flush=True)


THIRD = 2**32 // 3
SM = torch.cuda.get_device_properties(0).multi_processor_count


def flat(n, per=256):
    return max(1, min(up(n, per), SM * 64))


def gpu_random(m, b, seed, below):
    if below == 2**32 - 1:
        m.launch("vsa_random_bipolar", flat(b.count * b.pieces), 256, Random(b.pointer, seed, b.count, b.words, b.dim, below))
    else:
        m.launch("vsa_random", flat(b.count * b.words), 256, Random(b.pointer, seed, b.count, b.words, b.dim, below))


def gpu_bundle(m, src, out, group, thr, tie, seed, weights=None, force_count=False):
    w = 0 if weights is None else weights.data_ptr()
    p = Bundle(src.pointer, out.pointer, w, 0, seed, out.count, group, src.words, src.dim, thr, tie, 0)
    n = out.count * src.words
    if weights is not None:
        return m.launch("vsa_bundle_weighted", flat(n, 8), 256, p)
    if force_count:
        part = 127
        counts = torch.zeros(n * 32, dtype=torch.int32, device="cuda")
        p.counts, p.part = counts.data_ptr(), part
        m.launch("vsa_count", up(n, 128), 128, p, min(up(group, part), 65535))
        m.launch("vsa_count_signs", up(n, 128), 128, p)
        return torch.cuda.synchronize()
    name = "vsa_bundle_few" if group <= 31 else "vsa_bundle_some" if group <= 1023 else "vsa_bundle_many"
    m.launch(name, up(n, 256), 256, p)


def counts_of(m, b):
    c = torch.empty(b.count, 2, dtype=torch.int32, device="cuda")
    m.launch("vsa_count_rows", flat(b.count, 8), 256, Pairs(b.pointer, b.pointer, c.data_ptr(), b.count, 2 * b.pieces, 0, b.pieces, b.dim, 0))
    return c


SCANS = ["vsa_scan_dot", "vsa_scan_dot", "vsa_scan_distance", "vsa_scan_distance", "vsa_scan_common", "vsa_scan_common"]


def gpu_topk(m, rows, queries, metric, k):
    """Rounds of 32."""
    keys, idx = [], []
    sums = None
    nq = queries.count
    out_k = torch.zeros(nq, k, dtype=torch.float64, device="cuda")
    out_i = torch.full((nq, k), -1, dtype=torch.int32, device="cuda")
    if nq > 1:
        qc, rc = counts_of(m, queries), counts_of(m, rows)
        stride = up(rows.count, 4) * 4
        sums = torch.empty(nq * stride, dtype=torch.int32, device="cuda")
        stages = 2 if k == 1 else 4
        tops = torch.full((nq * up(rows.count, 64),), float("nan"), device="cuda")
        m.launch(MATRIX[metric], up(nq, 128) * up(rows.count, 256), 256,
                 Matrix(queries.pointer, rows.pointer, sums.data_ptr(), tops.data_ptr(), qc.data_ptr(), rc.data_ptr(), nq, rows.count, stride, rows.pieces, stages, metric), shared=4 * STAGE)
    for first in range(0, k, 32):
        part = min(32, k - first)
        ak = out_k.data_ptr() + 8 * (first - 1) if first else 0
        ai = out_i.data_ptr() + 4 * (first - 1) if first else 0
        ok, oi = out_k.data_ptr() + 8 * first, out_i.data_ptr() + 4 * first
        if nq > 1:
            m.launch("vsa_select", nq, 256, Select(sums.data_ptr(), tops.data_ptr(), qc.data_ptr(), rc.data_ptr(), ak, ai, ok, oi, rows.count, stride, k, k, rows.dim, metric, part))
        else:
            blocks = max(1, min(up(rows.count, 8), SM * 4))
            lk = torch.empty(blocks * part, dtype=torch.float64, device="cuda")
            li = torch.empty(blocks * part, dtype=torch.int32, device="cuda")
            m.launch(SCANS[metric], blocks, 256, Scan(rows.pointer, queries.pointer, lk.data_ptr(), li.data_ptr(), ak, ai, rows.count, rows.pieces, rows.dim, metric, part))
            m.launch("vsa_merge", 1, 1024, Merge(lk.data_ptr(), li.data_ptr(), ok, oi, blocks, part))
            torch.cuda.synchronize()
    torch.cuda.synchronize()
    score = out_k.cpu().numpy()
    if metric == 2:
        score = 0 - score
    return out_i.cpu().numpy().view(np.uint32), score, sums


def cpu_topk(rows, queries, metric, k):
    i = np.empty((queries.count, k), np.uint32)
    s = np.empty((queries.count, k), np.float64)
    call("vectors_top_k", U64(rows.handle), U32(rows.count), U64(queries.handle), U32(metric), U32(k),
         i.ctypes.data_as(ctypes.c_void_p), U32(i.size), s.ctypes.data_as(ctypes.c_void_p), U32(s.size))
    return i, s


def bits(x):
    return x.view(np.uint64)


def correctness(m):
    for dim in (1, 3, 31, 33, 512, 513, 1000, 10240):
        for count in (1, 3, 37, 200):
            a, b, o, one = (Batch(count, dim), Batch(count, dim), Batch(count, dim), Batch(1, dim))
            for below in (THIRD, 2**29, 0, 2**31, 2**32 - 1):
                a.random(0x1234567890 + dim, below)
                gpu_random(m, a, 0x1234567890 + dim, below)
                expect(a.same(), "random", dim, count, below)
            a.random(5, THIRD).upload()
            b.random(6, THIRD).upload()
            one.random(7, THIRD).upload()
            for op, name in enumerate(("vsa_add", "vsa_subtract", "vsa_multiply")):
                for y in (b, one):
                    call("vectors_bind", U64(a.handle), U64(y.handle), U64(o.handle), U32(op))
                    o.gpu.fill_(-1)
                    m.launch(name, up(count * a.pieces, 512), 256, Bind(a.pointer, y.pointer, o.pointer, count, 2 * a.pieces, 0 if y.count == 1 else 2 * a.pieces, a.pieces, op))
                    expect(o.same(), name, dim, count, y.count)
            call("vectors_negate", U64(a.handle), U64(o.handle))
            m.launch("vsa_negate", flat(count * a.pieces), 256, Bind(a.pointer, 0, o.pointer, count, 2 * a.pieces, 0, a.pieces))
            expect(o.same(), "negate", dim, count)
            for g in sorted({1, count}):
                r = Batch(count // g, dim)
                for op in range(3):
                    call("vectors_bind_rows", U64(a.handle), U32(g), U64(r.handle), U32(op))
                    r.gpu.fill_(-1)
                    m.launch("vsa_fold", flat(r.count * a.pieces), 256, Bind(a.pointer, 0, r.pointer, r.count, 2 * a.pieces, 0, a.pieces, op, g))
                    expect(r.same(), "fold", dim, count, g, op)
                r.free()
            for y in (b, one):
                s = torch.empty(count, dtype=torch.float64, device="cuda")
                for metric in range(6):
                    want = np.empty(count)
                    call("vectors_similarity", U64(a.handle), U64(y.handle), U32(metric), want.ctypes.data_as(ctypes.c_void_p), U32(count))
                    m.launch("vsa_pairs", flat(count, 8), 256, Pairs(a.pointer, y.pointer, s.data_ptr(), count, 2 * a.pieces, 0 if y.count == 1 else 2 * a.pieces, a.pieces, dim, metric))
                    got = s.cpu().numpy()
                    expect(np.array_equal(bits(got), bits(want)), "pairs", dim, count, y.count, metric)
            c = counts_of(m, a).cpu().numpy().view(np.uint32)
            want = np.empty((count, 2), np.uint32)
            call("vectors_count_rows", U64(a.handle), want.ctypes.data_as(ctypes.c_void_p), U32(want.size))
            expect(np.array_equal(c, want), "count_rows", dim, count)
            for x in (a, b, o, one):
                x.free()
    print(f"elementwise checked at {time.time() - T0:.1f} s; wrong: {len(bad)}", flush=True)
    for dim in (1, 33, 513, 1000):
        for group, out_count in ((1, 5), (2, 5), (3, 37), (15, 3), (16, 20), (31, 3), (32, 3), (100, 2), (1023, 2), (1024, 1), (3000, 1)):
            src, out = Batch(group * out_count, dim), Batch(out_count, dim)
            src.random(group, THIRD).upload()
            weights = np.random.default_rng(group).normal(size=group).astype(np.float32)
            for thr, tie in ((0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (5, 0), (5000, 0)):
                none = ctypes.c_void_p()
                call("vectors_bundle_rows", U64(src.handle), U32(group), U64(out.handle), none, U32(0), U32(thr), U32(tie), U64(77))
                out.gpu.fill_(-1)
                gpu_bundle(m, src, out, group, thr, tie, 77)
                expect(out.same(), "bundle", dim, group, out_count, thr, tie)
                out.gpu.fill_(-1)
                gpu_bundle(m, src, out, group, thr, tie, 77, force_count=True)
                expect(out.same(), "bundle by counts", dim, group, out_count, thr, tie)
                if group <= 100:
                    call("vectors_bundle_rows", U64(src.handle), U32(group), U64(out.handle), weights.ctypes.data_as(ctypes.c_void_p), U32(group), U32(thr), U32(tie), U64(77))
                    out.gpu.fill_(-1)
                    gpu_bundle(m, src, out, group, thr, tie, 77, torch.from_numpy(weights).cuda())
                    expect(out.same(), "weighted", dim, group, out_count, thr, tie)
            src.free()
            out.free()
    print(f"bundles checked at {time.time() - T0:.1f} s; wrong: {len(bad)}", flush=True)
    for dim, count, nq in ((1, 3, 2), (33, 200, 1), (33, 200, 3), (513, 129, 130), (1000, 1000, 7), (1000, 5000, 1), (10240, 700, 131), (2048, 3001, 260)):
        rows, queries = Batch(count, dim), Batch(nq, dim)
        rows.random(1, 2**30).upload()
        queries.random(2, THIRD).upload()
        for metric in range(6):
            for k in sorted({1, min(10, count), min(32, count), min(75, count)}):
                i, s, sums = gpu_topk(m, rows, queries, metric, k)
                wi, ws = cpu_topk(rows, queries, metric, k)
                expect(np.array_equal(i, wi) and np.array_equal(bits(s), bits(ws)), "topk", dim, count, nq, metric, k, i[0][:5], wi[0][:5], s[0][:5], ws[0][:5])
            if sums is not None:
                want = np.empty((count, nq))
                call("vectors_similarity_matrix", U64(rows.handle), U64(queries.handle), U32(metric), want.ctypes.data_as(ctypes.c_void_p), U32(want.size))
                got = torch.zeros(count, nq, dtype=torch.float64, device="cuda")
                qc, rc = counts_of(m, queries), counts_of(m, rows)
                m.launch("vsa_scores", up(nq, 32) * up(count, 32), 256, Scores(sums.data_ptr(), qc.data_ptr(), rc.data_ptr(), got.data_ptr(), nq, count, up(count, 4) * 4, nq, dim, metric))
                g = got.cpu().numpy()
                expect(np.array_equal(bits(g), bits(want)), "matrix", dim, count, nq, metric, g.flat[:5], want.flat[:5])
        rows.free()
        queries.free()
    print(f"searches checked at {time.time() - T0:.1f} s; wrong: {len(bad)}", flush=True)


def share(nbytes, us):
    return f"{us:8.1f} us  {nbytes / us / 1e6:5.2f} TB/s  {100 * nbytes / us / 2.9e6:5.1f} % of 2.9"


def big(m):
    n, dim = 65536, 10240
    row = 2 * up(dim, 512) * 64
    print("row bytes", row, "batch", n * row / 1e6, "MB", flush=True)
    words = up(dim, 512) * 16
    pieces = words // 4
    A, B, C = (torch.empty(n, 2 * words, dtype=torch.int32, device="cuda") for _ in range(3))
    for t, seed in ((A, 1), (B, 2), (C, 3)):
        m.launch("vsa_random", flat(n * words), 256, Random(t.data_ptr(), seed, n, words, dim, THIRD))
    torch.cuda.synchronize()
    us = time_us([lambda: m.launch("vsa_random", flat(n * words), 256, Random(A.data_ptr(), 1, n, words, dim, THIRD))], 5)
    print("random third ", share(n * row, us))
    us = time_us([lambda: m.launch("vsa_random_bipolar", flat(n * pieces), 256, Random(C.data_ptr(), 1, n, words, dim, 2**32 - 1))], 5)
    print("random bipolar", share(n * row, us))
    p = Bind(A.data_ptr(), B.data_ptr(), C.data_ptr(), n, 2 * pieces, 2 * pieces, pieces, 0)
    for name in ("vsa_add", "vsa_multiply"):
        us = time_us([lambda: m.launch(name, up(n * pieces, 512), 256, p)] * 3)
        print(f"{name}      ", share(3 * n * row, us), flush=True)
    for tie in (0, 1, 2, 3):
        p = Bundle(A.data_ptr(), C.data_ptr(), 0, 0, 0, n // 16, 16, words, dim, 0, tie, 0)
        us = time_us([lambda: m.launch("vsa_bundle_few", up(n // 16 * words // 2, 256), 256, p)] * 3)
        print(f"bundle16 tie {tie}", share(n * row * 17 / 16, us), flush=True)
    counts = torch.zeros(words * 32, dtype=torch.int32, device="cuda")
    for part in (127,):
        p = Bundle(A.data_ptr(), C.data_ptr(), 0, counts.data_ptr(), 0, 1, n, words, dim, 0, 0, part)
        us = time_us([lambda: m.launch("vsa_count", up(words, 128), 128, p, up(n, part))] * 3)
        print(f"count all part {part}", share(n * row, us), flush=True)
    k = 10
    lk = torch.empty(SM * 8 * 32, dtype=torch.float64, device="cuda")
    li = torch.empty(SM * 8 * 32, dtype=torch.int32, device="cuda")
    ok = torch.empty(32, dtype=torch.float64, device="cuda")
    oi = torch.empty(32, dtype=torch.int32, device="cuda")
    for name, metric in (("vsa_scan_distance", 2), ("vsa_scan_dot", 1), ("vsa_scan_common", 5)):
        ps = [Scan(x.data_ptr(), C.data_ptr(), lk.data_ptr(), li.data_ptr(), 0, 0, n, pieces, dim, metric, k) for x in (A, B)]
        us = time_us([lambda x=x: m.launch(name, SM * 4, 256, x) for x in ps * 2], 9)
        print(f"{name}", share(n * row, us), flush=True)
    for kk in (1, 10, 32):
        ps = [Scan(x.data_ptr(), C.data_ptr(), lk.data_ptr(), li.data_ptr(), 0, 0, n, pieces, dim, 2, kk) for x in (A, B)]
        s = Merge(lk.data_ptr(), li.data_ptr(), ok.data_ptr(), oi.data_ptr(), SM * 4, kk)
        def both(x):
            m.launch("vsa_scan_distance", SM * 4, 256, x)
            m.launch("vsa_merge", 1, 1024, s)
        us = time_us([lambda x=x: both(x) for x in ps * 2], 9)
        print(f"hamming search k {kk}, scan and merge", share(n * row, us), flush=True)
        us = time_us([lambda: m.launch("vsa_merge", 1, 1024, s)] * 20)
        print(f"merge of {SM * 4} lists of {kk}: {us:.2f} us", flush=True)
    rc = torch.empty(n, 2, dtype=torch.int32, device="cuda")
    m.launch("vsa_count_rows", flat(n, 8), 256, Pairs(A.data_ptr(), A.data_ptr(), rc.data_ptr(), n, 2 * pieces, 0, pieces, dim, 0))
    for nq in (16, 128, 1024):
        sums = torch.empty(nq * n, dtype=torch.int32, device="cuda")
        tops = torch.empty(nq * n // 64, device="cuda")
        ok = torch.empty(nq * 32, dtype=torch.float64, device="cuda")
        oi = torch.empty(nq * 32, dtype=torch.int32, device="cuda")
        for name, metric in (("dot", 0), ("dot", 1), ("distance", 2), ("common", 4)):
            for with_tops in (0, 1):
                for stages in (2, 4) if nq == 1024 else (4,):
                    p = Matrix(B.data_ptr(), A.data_ptr(), sums.data_ptr(), tops.data_ptr() * with_tops, rc.data_ptr(), rc.data_ptr(), nq, n, n, pieces, stages, metric)
                    us = time_us([lambda: m.launch(f"vsa_matrix_{name}", up(nq, 128) * up(n, 256), 256, p, shared=stages * STAGE)] * 2, 9)
                    print(f"matrix {name} metric {metric} {nq} x {n} stages {stages} tops {with_tops}: {us:.1f} us, {2.0 * nq * n * dim / us / 1e6:.0f} T trit op/s", flush=True)
            for kk in (1, 10, 32):
                s = Select(sums.data_ptr(), tops.data_ptr(), rc.data_ptr(), rc.data_ptr(), 0, 0, ok.data_ptr(), oi.data_ptr(), n, n, kk, kk, dim, metric, kk)
                us = time_us([lambda: m.launch("vsa_select", nq, 256, s)] * 2, 7)
                def whole():
                    m.launch(f"vsa_matrix_{name}", up(nq, 128) * up(n, 256), 256, p, shared=4 * STAGE)
                    m.launch("vsa_select", nq, 256, s)
                print(f"select {nq} k {kk} metric {metric}: {us:.1f} us, with the sums {time_us([whole] * 2, 7):.1f} us", flush=True)
    # int8 peer
    del A, B, C
    a = torch.randint(-1, 2, (1024, dim), dtype=torch.int8, device="cuda")
    b = torch.randint(-1, 2, (n, dim), dtype=torch.int8, device="cuda")
    us = time_us([lambda: torch._int_mm(a, b.T)], 7)
    print(f"PEER torch._int_mm of int8: {us:.1f} us")


def cpu_times():
    n, dim = 65536, 10240
    call("set_threads", U32(16))
    a, b, o, g, q = Batch(n, dim, False), Batch(n, dim, False), Batch(n, dim, False), Batch(n // 16, dim, False), Batch(1, dim, False)
    for x, s in ((a, 1), (b, 2), (q, 3)):
        x.random(s, THIRD)
    i, s = np.empty(10, np.uint32), np.empty(10)
    none = ctypes.c_void_p()
    ip, sp = i.ctypes.data_as(ctypes.c_void_p), s.ctypes.data_as(ctypes.c_void_p)
    for name, f in (("bind", lambda: call("vectors_bind", U64(a.handle), U64(b.handle), U64(o.handle), U32(0))),
                    ("bundle16", lambda: call("vectors_bundle_rows", U64(a.handle), U32(16), U64(g.handle), none, U32(0), U32(0), U32(0), U64(0))),
                    ("hamming search k 10", lambda: call("vectors_top_k", U64(a.handle), U32(n), U64(q.handle), U32(2), U32(10), ip, U32(10), sp, U32(10)))):
        for threads in (16, 8):
            call("set_threads", U32(threads))
            f()
            times = []
            for _ in range(9):
                t = time.perf_counter()
                f()
                times.append((time.perf_counter() - t) * 1e6)
            print(f"CPU {name} {threads} threads: median {statistics.median(times):.0f} us, best {min(times):.0f} us", flush=True)


if __name__ == "__main__":
    print(torch.cuda.get_device_name(), flush=True)
    m = Module(os.path.join(ROOT, "cuda", "kernels.fatbin"))
    correctness(m)
    big(m)
    cpu_times()
    print("WRONG in all:", len(bad), f"{time.time() - T0:.1f} s")
    sys.exit(1 if bad else 0)
