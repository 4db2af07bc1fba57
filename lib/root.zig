//! The shared library: every function of api.zig, exported in one block.

const api = @import("api.zig");

comptime {
    for (api.modules) |module| {
        for (@typeInfo(module).@"struct".decl_names) |name| {
            @export(&@field(module, name), .{ .name = "tritter_" ++ name });
        }
    }
}
