//! What a text is made of.
const std = @import("std");

/// In the order and with the sizes of the record in wit/textstats.wit.
pub const Stats = extern struct {
    bytes: u32 = 0,
    characters: u32 = 0,
    words: u32 = 0,
    lines: u32 = 0,
    longest_line: u32 = 0,
};

/// Counts a text that comes in pieces.
pub const Counter = struct {
    stats: Stats = .{},
    in_word: bool = false,
    line: u32 = 0,

    pub fn add(self: *Counter, text: []const u8) void {
        for (text) |byte| {
            self.stats.bytes += 1;
            // Every byte of UTF-8 but those that continue a character begins one.
            if (byte & 0xc0 != 0x80) {
                self.stats.characters += 1;
                self.line += 1;
            }
            const space = std.ascii.isWhitespace(byte);
            if (!space and !self.in_word) self.stats.words += 1;
            self.in_word = !space;
            if (byte == '\n') {
                self.line -= 1;
                self.endLine();
            }
        }
    }

    pub fn end(self: *Counter) Stats {
        if (self.line > 0) self.endLine();
        return self.stats;
    }

    fn endLine(self: *Counter) void {
        self.stats.lines += 1;
        self.stats.longest_line = @max(self.stats.longest_line, self.line);
        self.line = 0;
    }
};
