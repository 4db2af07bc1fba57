//! The unit tests of the native code, as one program: `zig build test`, and under qemu-user
//! `zig build test-aarch64`. Every kernel runs on every tier that the machine has.

test {
    _ = @import("abi_test.zig");
    _ = @import("cpu/gradients_coders_test.zig");
    _ = @import("cpu/gradients_test.zig");
    _ = @import("cpu/gradients_frequencies.zig");
    _ = @import("cpu/matmul_test.zig");
    _ = @import("cpu/packing_test.zig");
    _ = @import("cpu/precision_test.zig");
    _ = @import("cpu/quantization_test.zig");
    _ = @import("cpu/vsa_bundle_test.zig");
    _ = @import("cpu/threads_test.zig");
    _ = @import("cpu/nn_test.zig");
    _ = @import("cpu/limits_test.zig");
    _ = @import("cpu/vsa_places_test.zig");
    _ = @import("cpu/vsa_search_test.zig");
    _ = @import("cpu/vsa_test.zig");
    _ = @import("distributed/reductions.zig");
    _ = @import("distributed/world.zig");
    _ = @import("files_test.zig");
    _ = @import("model/cache_test.zig");
    _ = @import("model/head_test.zig");
    _ = @import("model/model_test.zig");
    _ = @import("model/parts.zig");
    _ = @import("cpu/normal.zig");
    _ = @import("philox.zig");
    _ = @import("model/rope.zig");
    _ = @import("model/sampling_test.zig");
}
