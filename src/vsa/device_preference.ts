// What a user prefers to compute on, and the device that this is.

import { describe } from "../checks.ts";
import { type Device, type Place, placeOf } from "../device.ts";
import { tritterError } from "../errors.ts";

/** A device by name, where `"gpu"` is the same as `"cuda"`; upper and lower case are the same. */
export type DevicePreference = Device | "gpu";

/** Returns the name of the device that is preferred; undefined means the choice of `setDevice`. */
function deviceOfPreference(preference: DevicePreference | undefined): Device | undefined {
  if (preference === undefined) return undefined;
  const name = typeof preference === "string" ? preference.toLowerCase() : "";
  if (name === "gpu") return "cuda";
  if (/^(auto|cpu|cuda(:\d+)?)$/.test(name)) return name as Device;
  throw tritterError(
    "invalid_option",
    `device must be "auto", "cpu", "gpu", "cuda" or "cuda:N", got ${describe(preference)}`,
  );
}

/**
 * Returns the device of a preference.
 *
 * A GPU that is not there is an error, never a silent fall back: only `"auto"` chooses.
 */
export function preferredPlace(preference?: DevicePreference): Place {
  return placeOf(deviceOfPreference(preference));
}
