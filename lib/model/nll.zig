//! The mean negative log-likelihood of a text under a model: how surprised it is by each token after
//! the ones before.
//!
//! The text runs through the model in pieces of 64 tokens, so that the logits of a piece, not of the
//! whole text, are in memory.

const abi = @import("../abi.zig");
const dispatch = @import("../cpu/dispatch.zig");
const forward_file = @import("forward.zig");
const memory = @import("../memory.zig");
const Model = @import("model.zig").Model;
const logSumExp = @import("sampling.zig").logSumExp;

const piece_tokens = 64;

pub fn meanNll(model: *const Model, ids: []const u32) abi.Failure!f64 {
    if (ids.len < 2) return abi.fail(error.InvalidLength, "Expected at least 2 token ids, got {d}", .{ids.len});
    const vocab: usize = model.options.vocab;
    // All of them at once: a piece's last target is the next piece's first token.
    try forward_file.checkIds(&model.options, ids);
    const inputs = ids.len - 1;
    const nn = &(try dispatch.kernels()).nn;
    const logits = try memory.alloc(f32, vocab * @min(inputs, piece_tokens));
    defer memory.free(f32, logits);
    const cache = try forward_file.createCache(model, inputs);
    defer cache.destroy();

    var total: f64 = 0;
    var done: usize = 0;
    while (done < inputs) {
        const tokens = @min(inputs - done, piece_tokens);
        const piece = logits[0 .. tokens * vocab];
        try forward_file.forward(model, cache, ids[done..][0..tokens], piece);
        for (0..tokens) |t| {
            const row = piece[t * vocab ..][0..vocab];
            total += logSumExp(nn, row) - row[@min(ids[done + t + 1], vocab - 1)];
        }
        done += tokens;
    }
    return total / @as(f64, @floatFromInt(inputs));
}
