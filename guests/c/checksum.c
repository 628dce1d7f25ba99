#include "checksum.h"
#include <stdio.h>

struct checksum checksum_start(void) {
    return (struct checksum){.bytes = 0, .crc32 = 0, .adler32 = 1};
}

void checksum_add(struct checksum *sum, const uint8_t *bytes, size_t len) {
    uint32_t crc = ~sum->crc32, a = sum->adler32 & 0xffff, b = sum->adler32 >> 16;
    for (size_t i = 0; i < len; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ (0xedb88320u & (0u - (crc & 1)));
        }
        a = (a + bytes[i]) % 65521;
        b = (b + a) % 65521;
    }
    sum->crc32 = ~crc;
    sum->adler32 = b << 16 | a;
    sum->bytes += len;
}

void checksum_json(const struct checksum *sum, char *to, size_t size) {
    snprintf(to, size, "{\"bytes\":%llu,\"crc32\":\"%08x\",\"adler32\":\"%08x\"}", (unsigned long long)sum->bytes, sum->crc32, sum->adler32);
}
