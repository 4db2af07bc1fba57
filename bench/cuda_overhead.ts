// What a product with tensors on a GPU costs beyond its kernels: run with Bun or Deno on a machine with one.
import { info, PackedTernary, Tensor } from "../mod.ts";
import { note } from "./cuda_rows.ts";

/** Median microseconds of one call in a burst that the device's queue takes without waiting. */
function enqueue(run: () => void, settle: () => void): number {
  const times: number[] = [];
  for (let burst = 0; burst < 60; burst++) {
    const start = performance.now();
    for (let call = 0; call < 100; call++) run();
    times.push((performance.now() - start) * 10);
    settle();
  }
  return times.sort((a, b) => a - b)[30]!;
}

console.log(info().cuda);
const device = "cuda";
for (const [rows, cols] of [[64, 256], [2560, 2560], [14336, 4096]] as const) {
  const trits = Int8Array.from(
    { length: rows * cols },
    (_, index) => (index * 7 + (index >> 3)) % 3 - 1,
  );
  using weights = PackedTernary.fromTernary(
    trits,
    new Float32Array(rows).fill(1),
    [rows, cols],
    {
      device,
    },
  );
  using input = Tensor.from(new Float32Array(cols).fill(0.5), [1, cols], {
    device,
  });
  using out = Tensor.from(new Float32Array(rows), [1, rows], { device });
  for (const activations of ["int8", "f32"] as const) {
    const into = enqueue(
      () => void weights.matmul(input, { activations, out }),
      () => void out.data(),
    );
    const fresh = enqueue(() => {
      using _result = weights.matmul(input, { activations });
    }, () => void out.data());
    note(`call: ${rows}x${cols} ${activations}`, {
      into_us: into,
      fresh_us: fresh,
    });
    console.log(
      `${rows}x${cols} ${activations}: ${into.toFixed(2)} us a call into a tensor, ` +
        `${fresh.toFixed(2)} us with a new one`,
    );
  }
}
