// The 16-bit floats of model files: IEEE half precision and bfloat16.

/** Returns the value of the bits of a float16. */
export function float16Value(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}

/** Returns the bits of the float16 nearest to each number, ties to the even one. */
export function float16Bits(values: Float32Array): Uint16Array<ArrayBuffer> {
  return new Uint16Array(new Float16Array(values).buffer);
}

/** Returns the bits of the bfloat16 nearest to each number, ties to the even one; NaN stays NaN. */
export function bfloat16Bits(values: Float32Array): Uint16Array<ArrayBuffer> {
  const own = new Uint32Array(new Float32Array(values).buffer);
  return Uint16Array.from(own, (bits) => {
    // A NaN whose upper half alone would be an infinity keeps a bit that tells.
    if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40;
    return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
  });
}
