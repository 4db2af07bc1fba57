// Where a product whose input starts and whose result is wanted on the CPU is fastest: what "auto" goes by.
// Run with Bun or Deno on a machine with a GPU.
import { info, PackedTernary } from "../mod.ts";

/** Median milliseconds of a call. */
function time(run: () => void): number {
  run();
  const times: number[] = [];
  const end = performance.now() + 150;
  while (times.length < 5 || (performance.now() < end && times.length < 201)) {
    const start = performance.now();
    run();
    times.push(performance.now() - start);
  }
  return times.sort((a, b) => a - b)[times.length >> 1]!;
}

const { cuda, isa, threads } = info();
console.log(`${cuda?.name}, ${threads} threads of ${isa}`);
console.log("rows x cols, tokens, activations: CPU, GPU, GPU with weights that must travel (ms)");
for (const [rows, cols] of [[1024, 1024], [2560, 2560], [4096, 4096], [14336, 4096]] as const) {
  const trits = Int8Array.from({ length: rows * cols }, (_, i) => (i * 7 + (i >> 3)) % 3 - 1);
  const scales = new Float32Array(rows).fill(1);
  using cpu = PackedTernary.fromTernary(trits, scales, [rows, cols]);
  using gpu = cpu.to("cuda");
  const travel = time(() => cpu.to("cuda")[Symbol.dispose]());
  for (const tokens of [1, 8, 32, 128, 512]) {
    const input = Float32Array.from({ length: tokens * cols }, (_, i) => (i * 13 % 1001) / 500 - 1);
    const out = new Float32Array(tokens * rows);
    for (const activations of ["int8", "f32"] as const) {
      const here = time(() => void cpu.matmul(input, { activations, out }));
      const there = time(() => void gpu.matmul(input, { activations, out }));
      console.log(
        `${rows} x ${cols}, ${tokens}, ${activations}: ${here.toFixed(3)}, ${there.toFixed(3)}, ` +
          `${(there + travel).toFixed(3)}${there < here ? "  resident wins" : ""}` +
          `${there + travel < here ? ", travelling too" : ""}`,
      );
    }
  }
}
