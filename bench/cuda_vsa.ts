// Hypervectors on a GPU and on the CPU's cores, through the API: run with Bun or Deno on a machine with a GPU.
import { getThreads, HypervectorBatch, info } from "../mod.ts";
import { note } from "./cuda_rows.ts";

const [COUNT, DIM] = [65_536, 10_240];
/** What a batch takes, and what one H100 reads in a microsecond. */
const BYTES = COUNT * DIM / 4;
const BYTES_PER_US = 2.9e6;

function median(times: number[]): number {
  return times.sort((a, b) => a - b)[times.length >> 1]!;
}

/** Microseconds of a call: the median of `rounds` bursts of `burst` calls, each waited for at its end. */
function measure(
  run: () => void,
  settle: () => void,
  burst: number,
  rounds = 9,
): number {
  const times: number[] = [];
  for (let round = -1; round < rounds; round++) {
    settle();
    const start = performance.now();
    for (let call = 0; call < burst; call++) run();
    settle();
    if (round >= 0) times.push((performance.now() - start) * 1e3 / burst);
  }
  return median(times);
}

function vectorsOn(device: "cpu" | "cuda") {
  const random = (count: number, seed: number) =>
    HypervectorBatch.random(count, DIM, seed, { device });
  return {
    device,
    a: random(COUNT, 1),
    b: random(COUNT, 2),
    out: random(COUNT, 3),
    bundles: random(COUNT / 16, 4),
    one: random(1, 5),
    queries: random(1024, 6),
  };
}
type Vectors = ReturnType<typeof vectorsOn>;

/** One search with results that are used again. */
function searchFor(
  { a, one, queries }: Vectors,
  many: boolean,
  metric: "hamming" | "cosine",
) {
  const k = 10;
  const asked = many ? queries : one;
  const out = {
    indices: new Uint32Array(asked.count * k),
    scores: new Float64Array(asked.count * k),
  };
  return () => void a.topK(asked, k, { metric, out });
}

const cases: readonly [string, number, (vectors: Vectors) => () => void][] = [
  ["bind", 3 * BYTES, ({ a, b, out }) => () => void a.bind(b, { out })],
  [
    "bundle(16)",
    17 / 16 * BYTES,
    ({ a, bundles }) => () => void a.bundleGroups(16, { out: bundles }),
  ],
  [
    "Hamming search, 1 query, k = 10",
    BYTES,
    (vectors) => searchFor(vectors, false, "hamming"),
  ],
  [
    "cosine search, 1 query, k = 10",
    BYTES,
    (vectors) => searchFor(vectors, false, "cosine"),
  ],
  [
    "Hamming search, 1,024 queries",
    0,
    (vectors) => searchFor(vectors, true, "hamming"),
  ],
  [
    "cosine search, 1,024 queries",
    0,
    (vectors) => searchFor(vectors, true, "cosine"),
  ],
];

console.log(info().cuda?.name, `${getThreads()} threads of the CPU`);
const [gpu, cpu] = [vectorsOn("cuda"), vectorsOn("cpu")];
for (const [name, bytes, make] of cases) {
  const isLong = bytes === 0;
  const onGpu = measure(
    make(gpu),
    () => void gpu.one.toInt8Array(),
    isLong ? 5 : 20,
  );
  const share = bytes === 0
    ? ""
    : `, ${(100 * bytes / onGpu / BYTES_PER_US).toFixed(1)} % of 2.9 TB/s`;
  console.log(`${name}: ${onGpu.toFixed(1)} us on the GPU${share}`);
  const onCpu = measure(make(cpu), () => {}, 1, isLong ? 1 : 7);
  console.log(
    `${name}: ${onCpu.toFixed(0)} us on the CPU, ${(onCpu / onGpu).toFixed(1)}x`,
  );
  note(`hypervectors: ${name}`, {
    us: onGpu,
    floor_us: bytes / BYTES_PER_US,
    cpu_us: onCpu,
  });
}
