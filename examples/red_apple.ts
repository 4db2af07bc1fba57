// Binds two hypervectors and takes them apart again: the smallest vector symbolic program.
//
//   bun examples/red_apple.ts
//   deno run --allow-ffi --allow-read examples/red_apple.ts

import { vsaBind, vsaBundle, vsaRandom, vsaSimilarity, vsaUnbind } from "tritter-accel";

const DIM = 10_000;

const apple = vsaRandom(DIM, 42);
const red = vsaRandom(DIM, 43);
const green = vsaRandom(DIM, 44);

const redApple = vsaBind(apple, red);
const query = vsaUnbind(redApple, apple);
const basket = vsaBundle([apple, red, green]);

const similarities: [question: string, similarity: number][] = [
  ["the red apple and red", vsaSimilarity(redApple, red)],
  ["its colour and red", vsaSimilarity(query, red)],
  ["its colour and green", vsaSimilarity(query, green)],
  ["red, green, apple together and red", vsaSimilarity(basket, red)],
];

console.log(`${DIM} trits each; unrelated vectors have a cosine of about 0.00\n`);
for (const [question, similarity] of similarities) {
  // Adding 0 makes 0 of -0.
  const rounded = Math.round(100 * similarity) / 100 + 0;
  console.log(`${question.padEnd(36)}${rounded.toFixed(2).padStart(6)}`);
}
if (!(vsaSimilarity(query, red) > 0.9)) throw new Error("red was not recovered");
if (Math.abs(vsaSimilarity(query, green)) > 0.1) throw new Error("green was found in a red apple");
if (!(vsaSimilarity(basket, red) > 0.3)) throw new Error("red was not found in the basket");
