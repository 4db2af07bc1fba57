// Where weights are kept, and how they lie there.

import { checkChoice, checkOptions } from "../checks.ts";
import { type Device, type Place, placeOf } from "../device.ts";
import { tritterError } from "../errors.ts";
import { Tensor } from "../tensor.ts";

/**
 * How prepared weights lie in memory.
 *
 * | layout      | bits a weight | activations | for                                                  |
 * | ----------- | ------------- | ----------- | ---------------------------------------------------- |
 * | `"planes"`  | 2             | both        | everything; the fastest with int8 activations        |
 * | `"triples"` | 1.78          | f32         | f32 activations with AVX-512, a third to a half faster |
 * | `"base3"`   | 1.6           | int8        | less memory; fast only where memory is the limit     |
 *
 * Groups of columns are padded to whole multiples of 16, 18 or 20 columns. On CUDA there is one
 * layout, 2 bits a weight, which `"planes"` stands for: rows are padded to multiples of 16, groups to
 * multiples of 64 columns and all columns together to a multiple of 256.
 */
export type WeightLayout = "planes" | "base3" | "triples";

/** Options of packing. */
export interface PackOptions {
  /** Where to keep the weights. Default: the default device. */
  device?: Device | undefined;
  /** How to lay the weights out. Default: `"planes"`. */
  layout?: WeightLayout | undefined;
}

/** The layouts, in the order of the native library. */
export const LAYOUTS = ["planes", "base3", "triples"] as const;

/** Where and how to keep weights. */
export interface Keep {
  place: Place;
  layout: WeightLayout;
}

/** Checks where and how to keep weights; `own` is where a tensor is that they are made from. */
export function keepOf(options: PackOptions | undefined, name: string, own?: Tensor): Keep {
  const { device, layout } = checkOptions(options, name);
  const place = device === undefined && own !== undefined ? own.device : placeOf(device);
  const chosen = checkChoice(layout, LAYOUTS, "layout", "planes");
  if (place !== "cpu" && chosen !== "planes") {
    throw tritterError("invalid_option", `layout must be "planes" on CUDA, got "${chosen}"`);
  }
  return { place, layout: chosen };
}

/** A tensor that is on CUDA, where the weights shall be too. */
export function residentOf(value: unknown, { place }: Keep, name: string): Tensor | undefined {
  if (!(value instanceof Tensor) || value.device === "cpu") return undefined;
  if (value.device === place) return value;
  throw tritterError(
    "invalid_option",
    `device must be that of ${name}, "${value.device}", got "${place}"`,
  );
}
