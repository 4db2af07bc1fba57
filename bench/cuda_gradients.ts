// Codecs of gradients on a GPU through the API: run with Bun or Deno on a machine with one.
import { createCodec, denseMatmul, info, Tensor, toBf16 } from "../mod.ts";

const device = "cuda";

/** Median milliseconds of a call. */
function time(run: () => void, calls: number): number {
  const times: number[] = [];
  for (let call = 0; call < calls; call++) {
    const start = performance.now();
    run();
    times.push(performance.now() - start);
  }
  return times.sort((a, b) => a - b)[calls >> 1]!;
}

console.log(info().cuda);
for (const megabytes of [64, 1024]) {
  const count = megabytes * 2 ** 18;
  const calls = megabytes === 64 ? 9 : 3;
  const array = Float32Array.from(
    { length: count },
    (_, index) => (index * 7919 % 10007) - 5003,
  );
  using gradients = Tensor.from(array, [count], { device });
  using one = Tensor.from(new Float32Array(1), [1], { device });
  for (
    const name of ["sign", "ternary", "rotated", "projection", "vsa"] as const
  ) {
    const codec = createCodec(name);
    const out = new Uint8Array(codec.maxBytes(count));
    const bytes = codec.compress(gradients, { out });
    using restored = codec.decompress(bytes, { device });
    const there = time(() => codec.compress(gradients, { out }), calls);
    const back = time(() => {
      codec.decompress(bytes, { out: restored });
      // Behind it in the same stream.
      one.data();
    }, calls);
    const cpu = time(() => codec.compress(array, { out }), 3);
    console.log(
      `${megabytes} MB, ${name}: compress ${there.toFixed(2)} ms, decompress ${
        back.toFixed(2)
      } ms; ` +
        `compress on the CPU ${cpu.toFixed(2)} ms`,
    );
  }
}

const size = 4096;
using a = Tensor.from(new Float32Array(size * size).fill(0.5), [size, size], {
  device,
});
using b = Tensor.from(new Float32Array(size * size).fill(0.25), [size, size], {
  device,
});
using x = toBf16(a);
using y = toBf16(b);
using out = Tensor.from(new Float32Array(size * size), [size, size], {
  device,
});
using mark = out.reshape([1, size * size]);
for (const [label, left, right] of [["f32", a, b], ["bf16", x, y]] as const) {
  const run = () => void denseMatmul(left, right, [size, size, size], { out });
  run();
  mark.data();
  const start = performance.now();
  for (let call = 0; call < 20; call++) run();
  const asked = performance.now() - start;
  using one = Tensor.from(new Float32Array(1), [1], { device });
  one.data();
  const milliseconds = (performance.now() - start) / 20;
  const rate = 2 * size ** 3 / milliseconds / 1e9;
  console.log(
    `dense ${size}^3 ${label}: ${milliseconds.toFixed(3)} ms, ${rate.toFixed(0)} TFLOP/s; ` +
      `asking takes ${(asked * 50).toFixed(1)} us`,
  );
}
