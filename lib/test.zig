test {
    _ = @import("cpu/gradients_coders_test.zig");
}
