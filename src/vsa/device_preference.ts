// What a user prefers to compute on, and the device that this is.

import { describe } from "../checks.ts";
import { type Device, resolveDevice } from "../device.ts";
import { tritterError } from "../errors.ts";

/** A device by name, where `"gpu"` is the same as `"cuda"`; upper and lower case are the same. */
export type DevicePreference = Device | "gpu";

/**
 * Returns the device of a preference; undefined means the choice of `setDevice`.
 *
 * A GPU that is not there is an error, never a silent fall back: only `"auto"` chooses.
 */
export function resolvePreference(preference?: DevicePreference): "cpu" {
  if (preference === undefined) return resolveDevice();
  const name = typeof preference === "string" ? preference.toLowerCase() : "";
  if (name === "gpu") return resolveDevice("cuda");
  if (/^(auto|cpu|cuda(:\d+)?)$/.test(name)) return resolveDevice(name as Device);
  throw tritterError(
    "invalid_option",
    `device must be "auto", "cpu", "gpu", "cuda" or "cuda:N", got ${describe(preference)}`,
  );
}
