//! Counts standard input; prints the counts as JSON.
const std = @import("std");
const wasi = std.os.wasi;
const stats = @import("stats.zig");

pub fn main() u8 {
    var counter: stats.Counter = .{};
    var block: [16384]u8 = undefined;
    while (true) {
        const into = [_]wasi.iovec_t{.{ .base = &block, .len = block.len }};
        var got: usize = 0;
        if (wasi.fd_read(0, &into, into.len, &got) != .SUCCESS) return 1;
        if (got == 0) break;
        counter.add(block[0..got]);
    }
    const s = counter.end();
    const json = std.fmt.bufPrint(
        &block,
        "{{\"bytes\":{d},\"characters\":{d},\"words\":{d},\"lines\":{d},\"longest_line\":{d}}}\n",
        .{ s.bytes, s.characters, s.words, s.lines, s.longest_line },
    ) catch return 1;
    const from = [_]wasi.ciovec_t{.{ .base = json.ptr, .len = json.len }};
    var put: usize = 0;
    return if (wasi.fd_write(1, &from, from.len, &put) == .SUCCESS) 0 else 1;
}
