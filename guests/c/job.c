// Checksums of the string in the job's args, {"text": "…"}, as a typed job.
#include "bindings/job.h"
#include "checksum.h"
#include <string.h>

// The places of a JSON text still to be read.
struct cursor {
    const uint8_t *at, *end;
};

static bool skip(struct cursor *json, const char *text) {
    while (json->at < json->end && strchr(" \t\r\n", *json->at)) {
        json->at++;
    }
    size_t len = strlen(text);
    if ((size_t)(json->end - json->at) < len || memcmp(json->at, text, len) != 0) {
        return false;
    }
    json->at += len;
    return true;
}

static size_t utf8(uint32_t c, uint8_t *to) {
    if (c < 0x80) {
        to[0] = c;
        return 1;
    }
    size_t more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    for (size_t i = more; i > 0; i--, c >>= 6) {
        to[i] = 0x80 | (c & 0x3f);
    }
    to[0] = (0xff << (7 - more)) | c;
    return more + 1;
}

static bool hex4(struct cursor *json, uint32_t *c) {
    *c = 0;
    for (int i = 0; i < 4; i++, json->at++) {
        const char *digits = "0123456789abcdef", *digit;
        if (json->at == json->end || !(digit = strchr(digits, *json->at | 0x20)) || !*digit) {
            return false;
        }
        *c = *c << 4 | (uint32_t)(digit - digits);
    }
    return true;
}

// Adds what follows a backslash.
static bool escaped(struct cursor *json, struct checksum *sum) {
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    uint8_t bytes[4];
    if (json->at == json->end) {
        return false;
    }
    uint8_t name = *json->at++;
    const char *known = name ? strchr(names, name) : NULL;
    if (known) {
        checksum_add(sum, (const uint8_t *)&values[known - names], 1);
        return true;
    }
    uint32_t c, low;
    if (name != 'u' || !hex4(json, &c)) {
        return false;
    }
    if (c >= 0xd800 && c < 0xdc00) {
        if (!skip(json, "\\u") || !hex4(json, &low) || low < 0xdc00 || low > 0xdfff) {
            return false;
        }
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    }
    checksum_add(sum, bytes, utf8(c, bytes));
    return c < 0xdc00 || c > 0xdfff;
}

// Reads {"text": "…"}, and adds the string's bytes.
static bool read_text(struct cursor json, struct checksum *sum) {
    if (!skip(&json, "{") || !skip(&json, "\"text\"") || !skip(&json, ":") || !skip(&json, "\"")) {
        return false;
    }
    while (json.at < json.end && *json.at != '"') {
        if (*json.at++ != '\\') {
            checksum_add(sum, json.at - 1, 1);
        } else if (!escaped(&json, sum)) {
            return false;
        }
    }
    return skip(&json, "\"") && skip(&json, "}");
}

bool exports_bellcage_job_entry_run(exports_bellcage_job_entry_context_t *context, job_string_t *input, job_string_t *ret,
                                    exports_bellcage_job_entry_failure_t *err) {
    struct checksum sum = checksum_start();
    bool understood = read_text((struct cursor){input->ptr, input->ptr + input->len}, &sum);
    job_string_free(input);
    if (!understood) {
        err->tag = BELLCAGE_JOB_TYPES_FAILURE_PERMANENT;
        job_string_dup(&err->val.permanent, "args need text, a string, and nothing else");
        return false;
    }
    char json[128];
    checksum_json(&sum, json, sizeof json);
    job_string_t module, message;
    job_string_set(&module, "checksum");
    job_string_set(&message, json);
    bellcage_job_logging_log(BELLCAGE_JOB_LOGGING_LEVEL_INFO, &module, &message);
    exports_bellcage_job_entry_context_free(context);
    job_string_dup(ret, json);
    return true;
}
