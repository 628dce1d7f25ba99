//! The function of wit/textstats.wit, with its canonical form written by hand.
const std = @import("std");
const stats = @import("stats.zig");

var result: stats.Stats = .{};

export fn analyse(text: [*]const u8, len: usize) *const stats.Stats {
    var counter: stats.Counter = .{};
    counter.add(text[0..len]);
    result = counter.end();
    return &result;
}

/// The host asks for room for the text with this. Nothing is ever freed: an instance serves one call.
export fn cabi_realloc(old: ?[*]u8, old_len: usize, alignment: usize, new_len: usize) [*]u8 {
    _ = alignment;
    const heap = std.heap.wasm_allocator;
    const block = if (old) |bytes| heap.realloc(bytes[0..old_len], new_len) else heap.alloc(u8, new_len);
    return (block catch @panic("out of memory")).ptr;
}
