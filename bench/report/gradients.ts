// Gradient codecs on one thread, as a share of what a plain copy of the gradients takes, and the
// projection next to the algorithm that it takes the place of.

import { type CodecOptions, createCodec, getThreads, setThreads } from "../../mod.ts";
import { addRow, type Context } from "./context.ts";
import { interleave, Timed } from "./interleave.ts";
import { median } from "./statistics.ts";

const SUITE = "gradients";

/** Codecs whose options are all that a case needs. */
type Name = "entropy" | "topk" | "rotated" | "ternary" | "sign" | "projection" | "vsa";

const CASES: readonly (readonly [label: string, name: Name, options: CodecOptions])[] = [
  ["rotated, 4 levels", "rotated", { bits: 2 }],
  ["rotated, 2 levels", "rotated", { bits: 1 }],
  ["rotated, 3 levels", "rotated", { bits: 1.58 }],
  ["rotated, 16 levels", "rotated", { bits: 4 }],
  ["ternary", "ternary", {}],
  ["sign", "sign", {}],
  ["projection, 10x", "projection", { ratio: 10 }],
  ["vsa, 40x", "vsa", { ratio: 40 }],
  ["topk, 100x", "topk", { ratio: 100 }],
  ...[10, 32, 100].map((ratio) =>
    [`topk (sampled), ${ratio}x`, "topk", { ratio, method: "sampled" }] as const
  ),
  ...[10, 16, 20, 32, 100].map((ratio) => [`entropy, ${ratio}x`, "entropy", { ratio }] as const),
];

/** Numbers of different size from place to place, cheap to make. */
function gradientsOf(count: number): Float32Array<ArrayBuffer> {
  let state = 1;
  return Float32Array.from({ length: count }, (_, index) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state / 2 ** 32 - 0.5) * (1 + (index >> 12) % 7);
  });
}

/** Numbers as heavy-tailed as gradients are, in rows of different size. */
function heavyTailedOf(count: number): Float32Array<ArrayBuffer> {
  const uniform = gradientsOf(count);
  let scale = 1;
  return Float32Array.from({ length: count }, (_, index) => {
    if (index % 320 === 0) scale = 2 ** (6 * (uniform[index]! / (1 + (index >> 12) % 7)));
    const [a, b, c] = [0, 1, 2].map((lag) => uniform[(index * 7 + lag * 1013) % count]!);
    return scale * a! * b! * c!;
  });
}

/** Rates of codecs that compute more than they move are compared with what was asked for. */
const ENTROPY_RATE = 1;

async function measureCase(
  context: Context,
  [label, name, options]: typeof CASES[number],
): Promise<void> {
  const names = ["compress", "decompress"].map((what) => `${what} 64 MB, ${label}`);
  if (!names.some((name) => context.wants(SUITE, name))) return;
  const make = ["entropy", "topk"].includes(name) ? heavyTailedOf : gradientsOf;
  const gradients = make(context.effort.quick ? 2 ** 16 : 2 ** 24);
  const codec = createCodec(name, options);
  // Memory that has been touched: what the system takes to hand it out is not ours.
  const out = new Uint8Array(codec.maxBytes(gradients.length)).fill(1);
  const restored = new Float32Array(gradients.length).fill(1);
  const copy = new Float32Array(gradients.length).fill(1);
  const bytes = codec.compress(gradients).slice();
  const timed = [
    new Timed(() => void copy.set(gradients)),
    new Timed(() => void codec.compress(gradients, { out })),
    new Timed(() => void codec.decompress(bytes, { out: restored })),
  ] as const;
  const load = await interleave(timed, context.effort);
  const rateOf = ({ samples_us }: Timed) => gradients.byteLength / median(samples_us) / 1000;
  const isEntropy = name === "entropy";
  const limit = isEntropy ? ENTROPY_RATE : rateOf(timed[0]);
  for (const [index, name] of names.entries()) {
    const rate = rateOf(timed[index + 1]!);
    addRow(context, timed[index + 1]!, {
      ...{ suite: SUITE, name, subject: "tritter-accel", rate, rate_unit: "GB/s" },
      ...{ limit, limit_unit: "GB/s", share: rate / limit },
      note: isEntropy
        ? "gradients; the limit is the rate that was asked for"
        : "gradients, against a plain copy of them",
    }, load);
  }
}

/** A subsampled Hadamard transform against n k random numbers, drawn by kernels of the library too. */
async function measureProjection(context: Context): Promise<void> {
  const count = context.effort.quick ? 2 ** 10 : 2 ** 16;
  const name = `project ${count} gradients to a tenth`;
  if (!context.wants(SUITE, name)) return;
  const gradients = gradientsOf(count);
  const [fast, dense] = ["hadamard", "dense"].map((method) => {
    const codec = createCodec("projection", { ratio: 10, method });
    const out = new Uint8Array(codec.maxBytes(count)).fill(1);
    return new Timed(() => void codec.compress(gradients, { out }));
  }) as [Timed, Timed];
  const load = await interleave([fast, dense], context.effort);
  const peer = "n x k random numbers";
  addRow(context, dense, { suite: SUITE, name, subject: peer }, load);
  addRow(context, fast, {
    ...{ suite: SUITE, name, subject: "tritter-accel", peer },
    ratio: median(dense.samples_us) / median(fast.samples_us),
    note: "the ratio grows as the number of gradients does",
  }, load);
}

export async function measureGradients(context: Context): Promise<void> {
  const threads = getThreads();
  setThreads(1);
  try {
    for (const kind of CASES) await measureCase({ ...context, threads: 1 }, kind);
    await measureProjection({ ...context, threads: 1 });
  } finally {
    setThreads(threads);
  }
}
