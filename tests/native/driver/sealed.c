#include "sealed.h"

#include <string.h>

static uint64_t word_at(uint64_t seed, uint64_t i) {
    uint64_t word = (seed + i) * 0x9e3779b97f4a7c15ull;
    return word ^ word >> 29;
}

void seal(uint8_t *to, uint64_t len, uint64_t key, uint64_t seed) {
    const uint64_t start[] = {seed, key, len};
    memcpy(to, start, sizeof start);
    for (uint64_t at = sizeof start; at < len; at += 8) {
        uint64_t word = word_at(seed, at);
        memcpy(to + at, &word, len - at < 8 ? len - at : 8);
    }
}

enum seal seal_check_start(const uint8_t *bytes, uint64_t have, uint64_t key) {
    uint64_t start[3];
    if (have < sizeof start) return SEAL_WHOLE;
    memcpy(start, bytes, sizeof start);
    for (uint64_t at = sizeof start; at < have; at += 8) {
        uint64_t word = word_at(start[0], at);
        if (memcmp(bytes + at, &word, have - at < 8 ? have - at : 8) != 0) return SEAL_TORN;
    }
    return start[1] == key ? SEAL_WHOLE : SEAL_FOREIGN;
}

enum seal seal_check(const uint8_t *bytes, uint64_t len, uint64_t key) {
    uint64_t noted;
    if (len < SEALED_MIN) return SEAL_TORN;
    memcpy(&noted, bytes + 16, sizeof noted);
    return noted == len ? seal_check_start(bytes, len, key) : SEAL_TORN;
}

uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}
