// tritter quantize: a model with float weights becomes one with packed ternary weights.

import { quantizeModel } from "../inference/quantize_model.ts";
import { choiceOf, type Command, textsOf } from "./command.ts";
import { bytes, percent, table } from "./text.ts";

/** Quantises a model directory. */
export const quantize: Command = {
  summary: "a Hugging Face directory with float weights becomes a packed BitNet directory",
  usage: `<directory with float weights> <new directory> [options]
  --skip PATTERN    layers that keep their float weights, like model.layers.0.* or *.down_proj; may be
                    given more than once (such models are for transformers, this library has no float layers)
  --linear-class C  autobitlinear (default) multiplies by the scales, bitlinear divides by them
  --overwrite       replaces the directory if it is there
  --json            {layers, skipped, bytesBefore, bytesAfter}`,
  arguments: [2, 2],
  options: {
    skip: { type: "string", multiple: true },
    "linear-class": { type: "string" },
    overwrite: { type: "boolean", default: false },
  },
  async run([from, to], values, { write, progress, signal }) {
    const result = await quantizeModel(from!, to!, {
      skip: textsOf(values, "skip"),
      linearClass: choiceOf(values, "linear-class", ["autobitlinear", "bitlinear"]),
      overwrite: values.overwrite === true,
      signal,
      onProgress: ({ name }, done, total) => progress(`${done} of ${total}: ${name}`),
    });
    write(table([
      ["layer", "shape", "scale", "-1", "0", "+1", "error", "bytes"],
      ...result.layers.map((layer) => [
        layer.name,
        `${layer.rows} x ${layer.cols}`,
        layer.scale.toPrecision(4),
        percent(layer.negatives),
        percent(layer.zeros),
        percent(layer.positives),
        percent(layer.relativeError),
        layer.bytesAfter,
      ]),
    ]));
    write(
      `\n${result.layers.length} layers quantised, ${result.skipped.length} skipped; ` +
        `${bytes(result.bytesBefore)} became ${bytes(result.bytesAfter)} in ${to}\n`,
    );
    return result;
  },
};
