//! Exports for CUDA devices: what there is, tensors in device memory, weights, products.

const std = @import("std");
const abi = @import("../abi.zig");
const backend = @import("../cuda/backend.zig");
const cpu_weights = @import("../cpu/weights.zig");
const driver = @import("../cuda/driver.zig");
const expectLength = @import("options.zig").expectLength;
const handles = @import("../handles.zig");
const product = @import("../cuda/product.zig");
const weights_file = @import("../cuda/weights.zig");

const Buffer = backend.Buffer;
const Weights = weights_file.Weights;

/// A JSON array with {"device","name","computeCapability","memoryBytes","driver"} for every device, or
/// null for one that the kernels do not run on; `length` receives its size in bytes. A failure says
/// why there is no CUDA at all.
pub fn cuda_devices(text: ?[*]u8, text_length: u32, length: ?[*]u32, length_length: u32) callconv(.c) i32 {
    return abi.finish(describe(text, text_length, length, length_length));
}

/// Bytes of device memory that live tensors and weights hold.
pub fn cuda_allocated_bytes(bytes: ?[*]u64, bytes_length: u32) callconv(.c) i32 {
    return abi.finish(putOne(bytes, bytes_length, backend.allocatedBytes()));
}

/// Waits until the device has done everything that the calling thread has asked for.
pub fn cuda_synchronize(device: u32) callconv(.c) i32 {
    return abi.finish(synchronize(device));
}

/// Memory for a tensor; its content is undefined.
pub fn cuda_tensor_create(device: u32, bytes: u64, handle: ?[*]u64, handle_length: u32) callconv(.c) i32 {
    return abi.finish(createTensor(device, bytes, handle, handle_length));
}

/// A further handle to the same memory, which goes with its last handle.
pub fn cuda_tensor_share(tensor: u64, handle: ?[*]u64, handle_length: u32) callconv(.c) i32 {
    return abi.finish(share(tensor, handle, handle_length));
}

/// A copy on a device, also on the same one.
pub fn cuda_tensor_copy(tensor: u64, device: u32, handle: ?[*]u64, handle_length: u32) callconv(.c) i32 {
    return abi.finish(copyTensor(tensor, device, handle, handle_length));
}

/// Copies bytes to the tensor from byte `offset` on.
pub fn cuda_tensor_write(tensor: u64, offset: u64, bytes: ?[*]const u8, bytes_length: u32) callconv(.c) i32 {
    return abi.finish(write(tensor, offset, bytes, bytes_length));
}

/// Copies bytes of the tensor from byte `offset` on, when everything asked for before is done.
pub fn cuda_tensor_read(tensor: u64, offset: u64, bytes: ?[*]u8, bytes_length: u32) callconv(.c) i32 {
    return abi.finish(read(tensor, offset, bytes, bytes_length));
}

/// A mark in the tensor's stream of work, for `cuda_mark_passed`.
pub fn cuda_tensor_mark(tensor: u64, handle: ?[*]u64, handle_length: u32) callconv(.c) i32 {
    return abi.finish(createMark(tensor, handle, handle_length));
}

/// passed[0] = 1 when the device has come to the mark, else 0; does not wait.
pub fn cuda_mark_passed(mark: u64, passed: ?[*]u64, passed_length: u32) callconv(.c) i32 {
    return abi.finish(markPassed(mark, passed, passed_length));
}

/// A copy of prepared CPU weights on a device.
pub fn cuda_weights_copy(weights: u64, device: u32, handle: ?[*]u64, handle_length: u32) callconv(.c) i32 {
    return abi.finish(copyWeights(weights, device, handle, handle_length));
}

/// Weights from a tensor of int8 trits and scales of the host.
pub fn cuda_weights_from_ternary(
    ternary: u64,
    scales: ?[*]const f32,
    scales_length: u32,
    rows: u32,
    cols: u32,
    handle: ?[*]u64,
    handle_length: u32,
) callconv(.c) i32 {
    return abi.finish(fromTernary(ternary, scales, scales_length, rows, cols, handle, handle_length));
}

/// Weights from a tensor of f32, quantised by the mean magnitude of every group of `group` columns.
pub fn cuda_weights_from_f32(weights: u64, rows: u32, cols: u32, group: u32, handle: ?[*]u64, handle_length: u32) callconv(.c) i32 {
    return abi.finish(fromFloats(weights, rows, cols, group, handle, handle_length));
}

/// info = [rows, cols, group size, number of scales, bytes of memory, nonzero weights, device]
pub fn cuda_weights_info(weights: u64, info: ?[*]u64, info_length: u32) callconv(.c) i32 {
    return abi.finish(weightsInfo(weights, info, info_length));
}

/// The weights in the wire format.
pub fn cuda_weights_to_packed(weights: u64, packed_bytes: ?[*]u8, packed_length: u32) callconv(.c) i32 {
    return abi.finish(toPacked(weights, packed_bytes, packed_length));
}

/// The scales, row by row.
pub fn cuda_weights_scales(weights: u64, scales: ?[*]f32, scales_length: u32) callconv(.c) i32 {
    return abi.finish(scalesOf(weights, scales, scales_length));
}

/// output = input x weights^T + bias (0 for none), tensors of f32, with the activations as f32 (0) or
/// quantised to int8 per token (1). Returns before the device has done it.
pub fn cuda_matmul(weights: u64, input: u64, bias: u64, output: u64, activations: u32) callconv(.c) i32 {
    return abi.finish(matmul(weights, input, bias, output, activations));
}

fn putOne(pointer: ?[*]u64, length: u32, value: u64) abi.Failure!void {
    const target = try abi.writable(u64, pointer, length, "the result");
    if (target.len < 1) return abi.fail(error.InvalidLength, "Expected room for one element, got none", .{});
    target[0] = value;
}

/// A text that grows.
const Description = struct { found: *const driver.Table, text: []u8, used: usize = 0 };

fn describe(text: ?[*]u8, text_length: u32, length: ?[*]u32, length_length: u32) abi.Failure!void {
    const found = try backend.table();
    const target = try abi.writable(u8, text, text_length, "text");
    const size = try abi.writable(u32, length, length_length, "the length");
    if (size.len < 1) return abi.fail(error.InvalidLength, "Expected room for one element, got none", .{});
    var self: Description = .{ .found = found, .text = target };
    try put(&self, "[", .{});
    var version: c_int = 0;
    _ = found.cuDriverGetVersion(&version);
    for (0..backend.deviceCount(found)) |index| {
        if (index > 0) try put(&self, ",", .{});
        var device: driver.Device = undefined;
        const there = found.cuDeviceGet(&device, @intCast(index)) == .success;
        if (!there or !backend.isUsable(found, device)) {
            try put(&self, "null", .{});
            continue;
        }
        try describeDevice(&self, @intCast(index), device, @intCast(version));
    }
    try put(&self, "]", .{});
    size[0] = @intCast(self.used);
}

fn describeDevice(self: *Description, index: u32, device: driver.Device, version: u32) abi.Failure!void {
    var name: [128]u8 = @splat(0);
    _ = self.found.cuDeviceGetName(&name, name.len, device);
    const shown = std.mem.sliceTo(&name, 0);
    // Names are plain, but a quote would break the JSON.
    for (shown) |*byte| if (byte.* < ' ' or byte.* > '~' or byte.* == '"' or byte.* == '\\') {
        byte.* = ' ';
    };
    var bytes: usize = 0;
    _ = self.found.cuDeviceTotalMem_v2(&bytes, device);
    try put(self, "{{\"device\":\"cuda:{d}\",\"name\":\"{s}\",\"computeCapability\":\"{d}.{d}\",\"memoryBytes\":{d},\"driver\":\"{d}.{d}\"}}", .{
        index,
        shown,
        backend.attribute(self.found, device, .compute_capability_major),
        backend.attribute(self.found, device, .compute_capability_minor),
        bytes,
        version / 1000,
        version % 1000 / 10,
    });
}

fn put(self: *Description, comptime format: []const u8, arguments: anytype) abi.Failure!void {
    const piece = std.fmt.bufPrint(self.text[self.used..], format, arguments) catch
        return abi.fail(error.InvalidLength, "Expected more room than {d} bytes for the description", .{self.text.len});
    self.used += piece.len;
}

fn synchronize(index: u32) abi.Failure!void {
    const device = try backend.open(index);
    const stream = try device.stream();
    return stream.synchronize();
}

fn destroyBuffer(object: *anyopaque) void {
    const buffer: *Buffer = @ptrCast(@alignCast(object));
    buffer.release();
}

/// Hands an object over to a handle; it goes where that fails.
fn registerBuffer(buffer: *Buffer, pointer: ?[*]u64, length: u32) abi.Failure!void {
    errdefer buffer.release();
    try putOne(pointer, length, 0);
    pointer.?[0] = try handles.create(.tensor, buffer, destroyBuffer);
}

fn createTensor(index: u32, bytes: u64, handle: ?[*]u64, handle_length: u32) abi.Failure!void {
    const device = try backend.open(index);
    return registerBuffer(try .create(device, bytes), handle, handle_length);
}

fn share(tensor: u64, handle: ?[*]u64, handle_length: u32) abi.Failure!void {
    const buffer = try handles.acquire(Buffer, .tensor, tensor);
    defer handles.release(tensor);
    buffer.retain();
    return registerBuffer(buffer, handle, handle_length);
}

fn copyTensor(tensor: u64, index: u32, handle: ?[*]u64, handle_length: u32) abi.Failure!void {
    const source = try handles.acquire(Buffer, .tensor, tensor);
    defer handles.release(tensor);
    const device = try backend.open(index);
    const target: *Buffer = try .create(device, source.bytes);
    errdefer target.release();
    const stream = try device.stream();
    const from = try source.use(stream);
    const to = try target.use(stream);
    const bytes: usize = @intCast(source.bytes);
    try device.check(device.driver.cuMemcpyPeerAsync(to, device.context, from, source.device.context, bytes, stream.handle), "copy between devices");
    try putOne(handle, handle_length, 0);
    handle.?[0] = try handles.create(.tensor, target, destroyBuffer);
}

fn checkRange(buffer: *const Buffer, offset: u64, length: u64) abi.Failure!void {
    if (offset > buffer.bytes or length > buffer.bytes - offset) return abi.fail(
        error.InvalidLength,
        "Expected a range within the tensor's {d} bytes, got {d} bytes at offset {d}",
        .{ buffer.bytes, length, offset },
    );
}

fn write(tensor: u64, offset: u64, pointer: ?[*]const u8, length: u32) abi.Failure!void {
    const buffer = try handles.acquire(Buffer, .tensor, tensor);
    defer handles.release(tensor);
    const bytes = try abi.readable(u8, pointer, length, "the bytes");
    try checkRange(buffer, offset, bytes.len);
    const stream = try buffer.device.stream();
    return stream.upload(try buffer.use(stream) + offset, bytes);
}

fn read(tensor: u64, offset: u64, pointer: ?[*]u8, length: u32) abi.Failure!void {
    const buffer = try handles.acquire(Buffer, .tensor, tensor);
    defer handles.release(tensor);
    const bytes = try abi.writable(u8, pointer, length, "the bytes");
    try checkRange(buffer, offset, bytes.len);
    const stream = try buffer.device.stream();
    return stream.download(try buffer.use(stream) + offset, bytes);
}

const Mark = struct { device: *backend.Device, event: driver.Event };

fn destroyMark(object: *anyopaque) void {
    const mark: *Mark = @ptrCast(@alignCast(object));
    _ = mark.device.driver.cuCtxSetCurrent(mark.device.context);
    _ = mark.device.driver.cuEventDestroy_v2(mark.event);
    std.heap.c_allocator.destroy(mark);
}

fn createMark(tensor: u64, handle: ?[*]u64, handle_length: u32) abi.Failure!void {
    const buffer = try handles.acquire(Buffer, .tensor, tensor);
    defer handles.release(tensor);
    const device = buffer.device;
    const stream = try device.stream();
    _ = try buffer.use(stream);
    try putOne(handle, handle_length, 0);
    const mark = try std.heap.c_allocator.create(Mark);
    errdefer std.heap.c_allocator.destroy(mark);
    mark.device = device;
    try device.check(device.driver.cuEventCreate(&mark.event, driver.event_disable_timing), "create an event");
    errdefer _ = device.driver.cuEventDestroy_v2(mark.event);
    try device.check(device.driver.cuEventRecord(mark.event, stream.handle), "record an event");
    handle.?[0] = try handles.create(.mark, mark, destroyMark);
}

fn markPassed(handle: u64, passed: ?[*]u64, passed_length: u32) abi.Failure!void {
    const mark = try handles.acquire(Mark, .mark, handle);
    defer handles.release(handle);
    try mark.device.check(mark.device.driver.cuCtxSetCurrent(mark.device.context), "use its context");
    const result = mark.device.driver.cuEventQuery(mark.event);
    if (result != .not_ready) try mark.device.check(result, "finish its work");
    return putOne(passed, passed_length, @intFromBool(result != .not_ready));
}

fn destroyWeights(object: *anyopaque) void {
    const weights: *Weights = @ptrCast(@alignCast(object));
    weights.destroy();
}

fn registerWeights(weights: *Weights, pointer: ?[*]u64, length: u32) abi.Failure!void {
    errdefer weights.destroy();
    try putOne(pointer, length, 0);
    pointer.?[0] = try handles.create(.device_weights, weights, destroyWeights);
}

fn copyWeights(handle: u64, index: u32, target: ?[*]u64, target_length: u32) abi.Failure!void {
    const source = try handles.acquire(cpu_weights.Weights, .weights, handle);
    defer handles.release(handle);
    return registerWeights(try weights_file.fromCpu(try backend.open(index), source), target, target_length);
}

fn fromTernary(ternary: u64, scales: ?[*]const f32, scales_length: u32, rows: u32, cols: u32, handle: ?[*]u64, handle_length: u32) abi.Failure!void {
    const buffer = try handles.acquire(Buffer, .tensor, ternary);
    defer handles.release(ternary);
    const given = try abi.readable(f32, scales, scales_length, "scales");
    return registerWeights(try weights_file.fromTrits(buffer, given, rows, cols), handle, handle_length);
}

fn fromFloats(tensor: u64, rows: u32, cols: u32, group: u32, handle: ?[*]u64, handle_length: u32) abi.Failure!void {
    const buffer = try handles.acquire(Buffer, .tensor, tensor);
    defer handles.release(tensor);
    return registerWeights(try weights_file.fromAbsmean(buffer, rows, cols, group), handle, handle_length);
}

fn weightsInfo(handle: u64, pointer: ?[*]u64, length: u32) abi.Failure!void {
    const weights = try handles.acquire(Weights, .device_weights, handle);
    defer handles.release(handle);
    const info = try abi.writable(u64, pointer, length, "info");
    if (info.len < 7) return abi.fail(error.InvalidLength, "Expected room for 7 fields of info, got {d}", .{info.len});
    info[0..7].* = .{
        weights.rows,
        weights.columns.columns,
        weights.columns.group_columns,
        @as(u64, weights.rows) * weights.columns.groups,
        weights.memoryBytes(),
        weights.nonzeros,
        weights.device.index,
    };
}

fn toPacked(handle: u64, pointer: ?[*]u8, length: u32) abi.Failure!void {
    const weights = try handles.acquire(Weights, .device_weights, handle);
    defer handles.release(handle);
    const bytes = try abi.writable(u8, pointer, length, "packed");
    const row_bytes = (weights.columns.columns + 3) / 4;
    try expectLength("packed", bytes.len, @as(u64, weights.rows) * row_bytes);
    return weights.toWire(bytes);
}

fn scalesOf(handle: u64, pointer: ?[*]f32, length: u32) abi.Failure!void {
    const weights = try handles.acquire(Weights, .device_weights, handle);
    defer handles.release(handle);
    const scales = try abi.writable(f32, pointer, length, "scales");
    try expectLength("scales", scales.len, @as(u64, weights.rows) * weights.columns.groups);
    return weights.readScales(scales);
}

fn matmul(handle: u64, input_handle: u64, bias_handle: u64, output_handle: u64, activations: u32) abi.Failure!void {
    const weights = try handles.acquire(Weights, .device_weights, handle);
    defer handles.release(handle);
    const input = try handles.acquire(Buffer, .tensor, input_handle);
    defer handles.release(input_handle);
    const output = try handles.acquire(Buffer, .tensor, output_handle);
    defer handles.release(output_handle);
    if (activations > 1) return abi.fail(error.InvalidOption, "Expected activations 0 (f32) or 1 (int8), got {d}", .{activations});
    if (bias_handle == 0) return product.multiply(weights, input, null, output, activations == 1);
    const bias = try handles.acquire(Buffer, .tensor, bias_handle);
    defer handles.release(bias_handle);
    return product.multiply(weights, input, bias, output, activations == 1);
}
