// CRC-32 (as in gzip, PNG) and Adler-32 (as in zlib) of a stream of bytes.
#pragma once
#include <stddef.h>
#include <stdint.h>

struct checksum {
    uint64_t bytes;
    uint32_t crc32;
    uint32_t adler32;
};

struct checksum checksum_start(void);
void checksum_add(struct checksum *sum, const uint8_t *bytes, size_t len);
// Writes the sums as one line of JSON; `size` of 128 is always enough.
void checksum_json(const struct checksum *sum, char *to, size_t size);
