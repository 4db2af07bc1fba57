//! What the exports of hypervectors share: handles to vectors and checks of their shapes.

const abi = @import("../abi.zig");
const expectLength = @import("options.zig").expectLength;
const handles = @import("../handles.zig");
const Vectors = @import("../cpu/vsa_vectors.zig").Vectors;

fn destroyVectors(object: *anyopaque) void {
    const vectors: *Vectors = @ptrCast(@alignCast(object));
    vectors.destroy();
}

/// Hands new vectors to the caller.
pub fn register(vectors: *Vectors, handle: []u64) abi.Failure!void {
    errdefer vectors.destroy();
    try expectLength("the handle", handle.len, 1);
    handle[0] = try handles.create(.vectors, vectors, destroyVectors);
}

/// The vectors behind handles, held until `releaseEach`.
pub fn acquire(comptime n: usize, values: [n]u64) abi.Failure![n]*Vectors {
    var objects: [n]*Vectors = undefined;
    try handles.acquireEach(Vectors, .vectors, &values, &objects);
    return objects;
}

/// The rows that a buffer of one element a trit has room for.
pub fn rowsOf(vectors: *const Vectors, row: u32, length: usize) abi.Failure!u32 {
    if (length % vectors.dim != 0) return abi.fail(
        error.InvalidLength,
        "Expected whole rows of {d} trits, got {d} trits",
        .{ vectors.dim, length },
    );
    const rows = length / vectors.dim;
    try vectors.expectRows(row, rows);
    return @intCast(rows);
}

pub fn expectSameShape(a: *const Vectors, b: *const Vectors) abi.Failure!void {
    try a.expectDim(b.dim);
    if (a.count != b.count)
        return abi.fail(error.InvalidShape, "Expected {d} vectors, got {d}", .{ b.count, a.count });
}
