/* Bytes that tell by themselves whether they are whole and whose they are. */
#ifndef NATIVE_SEALED_H
#define NATIVE_SEALED_H

#include <stdint.h>

enum { SEALED_MIN = 24 };

enum seal { SEAL_WHOLE, SEAL_TORN, SEAL_FOREIGN };

/* Fill `len` (at least SEALED_MIN) bytes that belong to `key` and differ with every seed. */
void seal(uint8_t *to, uint64_t len, uint64_t key, uint64_t seed);

/* WHOLE: exactly what `seal` made of that length for that key. FOREIGN: whole, but another key's. */
enum seal seal_check(const uint8_t *bytes, uint64_t len, uint64_t key);

/* The same of the first `have` bytes of it; fewer than SEALED_MIN prove nothing. */
enum seal seal_check_start(const uint8_t *bytes, uint64_t have, uint64_t key);

/* The next number of a sequence that `state` (not 0) carries. */
uint64_t next_random(uint64_t *state);

#endif
