// Checksums of standard input, as JSON on standard output.
#include "checksum.h"
#include <stdio.h>

int main(void) {
    struct checksum sum = checksum_start();
    uint8_t block[16384];
    size_t got;
    while ((got = fread(block, 1, sizeof block, stdin)) > 0) {
        checksum_add(&sum, block, got);
    }
    if (ferror(stdin)) {
        perror("checksum: standard input");
        return 1;
    }
    char json[128];
    checksum_json(&sum, json, sizeof json);
    puts(json);
    fprintf(stderr, "checksum: %llu bytes\n", (unsigned long long)sum.bytes);
    return 0;
}
