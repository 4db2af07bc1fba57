// ONNX models of one node, written as protocol buffers by hand: a model is a few dozen bytes around
// the weights, and a schema compiler would be the heavier dependency.

/** A protocol buffer being written: fields of numbers (varints), and of bytes with their length. */
class Message {
  readonly #parts: Uint8Array[] = [];

  #varint(value: number): this {
    const bytes: number[] = [];
    while (value > 127) {
      bytes.push(value % 128 + 128);
      value = Math.floor(value / 128);
    }
    this.#parts.push(Uint8Array.of(...bytes, value));
    return this;
  }

  number(field: number, value: number): this {
    return this.#varint(field * 8).#varint(value);
  }

  bytes(field: number, value: Uint8Array): this {
    this.#varint(field * 8 + 2).#varint(value.length);
    this.#parts.push(value);
    return this;
  }

  text(field: number, value: string): this {
    return this.bytes(field, new TextEncoder().encode(value));
  }

  message(field: number, value: Message): this {
    return this.bytes(field, value.finish());
  }

  finish(): Uint8Array {
    const length = this.#parts.reduce((sum, part) => sum + part.length, 0);
    const all = new Uint8Array(length);
    let offset = 0;
    for (const part of this.#parts) {
      all.set(part, offset);
      offset += part.length;
    }
    return all;
  }
}

// onnx.proto: TensorProto.DataType
const FLOAT = 1;
const UINT8 = 2;

const bytesOf = (array: Float32Array | Uint8Array) =>
  new Uint8Array(array.buffer, array.byteOffset, array.byteLength);

function constant(
  name: string,
  dims: readonly number[],
  data: Float32Array | Uint8Array,
): Message {
  const tensor = new Message();
  for (const dim of dims) tensor.number(1, dim);
  return tensor.number(2, data instanceof Uint8Array ? UINT8 : FLOAT).text(
    8,
    name,
  )
    .bytes(9, bytesOf(data));
}

function floats(name: string, dims: readonly number[]): Message {
  const shape = new Message();
  for (const dim of dims) shape.message(1, new Message().number(1, dim));
  const tensor = new Message().number(1, FLOAT).message(2, shape);
  return new Message().text(1, name).message(
    2,
    new Message().message(1, tensor),
  );
}

function model(
  node: Message,
  constants: Message[],
  batch: number,
  rows: number,
  cols: number,
): Uint8Array {
  const graph = new Message().message(1, node).text(2, "product");
  for (const each of constants) graph.message(5, each);
  graph.message(11, floats("x", [batch, cols])).message(
    12,
    floats("y", [batch, rows]),
  );
  return new Message().number(1, 8)
    .message(7, graph)
    .message(8, new Message().text(1, "").number(2, 17))
    .message(8, new Message().text(1, "com.microsoft").number(2, 1))
    .finish();
}

/** y = x w, with `transposed` weights [cols, rows] in fp32. */
export function matMul(
  transposed: Float32Array,
  batch: number,
  rows: number,
  cols: number,
): Uint8Array {
  const node = new Message().text(1, "x").text(1, "w").text(2, "y").text(
    4,
    "MatMul",
  );
  return model(
    node,
    [constant("w", [cols, rows], transposed)],
    batch,
    rows,
    cols,
  );
}

/** Columns that share a scale in `matMulNBits`. */
export const BLOCK = 128;

const attribute = (name: string, value: number) =>
  // AttributeProto: 3 is `i`, 20 the type, of which 2 is INT.
  new Message().text(1, name).number(3, value).number(20, 2);

/**
 * y = x w with 2-bit weights: codes 0 to 3 mean (code - 2) times the scale of their block; four
 * codes a byte, low bits first. Accuracy level 4 lets the kernel quantise activations to int8.
 */
export function matMulNBits(
  codes: Uint8Array,
  scales: Float32Array,
  batch: number,
  rows: number,
  cols: number,
): Uint8Array {
  const blocks = cols / BLOCK;
  const node = new Message().text(1, "x").text(1, "w").text(1, "s").text(2, "y")
    .text(4, "MatMulNBits")
    .message(5, attribute("K", cols)).message(5, attribute("N", rows))
    .message(5, attribute("bits", 2)).message(5, attribute("block_size", BLOCK))
    .message(5, attribute("accuracy_level", 4))
    .text(7, "com.microsoft");
  const constants = [
    constant("w", [rows, blocks, BLOCK / 4], codes),
    constant("s", [rows, blocks], scales),
  ];
  return model(node, constants, batch, rows, cols);
}
