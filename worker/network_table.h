/* Networks with a value each, flattened into one sorted array: which value holds for an address.
 *
 * Knows no Python and no file. A table never changes once it is made, and holds no pointer: it may lie in memory
 * that processes share, wherever each of them has mapped it. Addresses are numbers of 128 bits; those of IPv4 and
 * of IPv6 lie in tables of their own.
 */
#ifndef EDGECLUSTER_NETWORK_TABLE_H
#define EDGECLUSTER_NETWORK_TABLE_H

#include <stddef.h>
#include <stdint.h>

typedef unsigned __int128 address_t;

/* One network: all addresses that share the first `prefix` (0..128) bits of `first`. */
typedef struct {
    address_t first;
    uint8_t prefix;
    uint8_t value; /* 1..255; of two equal networks the larger value holds */
} network_t;

typedef struct {
    network_t *items;
    size_t count, room;
} networks_t;

enum { NETWORK_OK, NETWORK_NO_ADDRESS, NETWORK_NO_PREFIX, NETWORK_HOST_BITS, NETWORK_NO_MEMORY };

/* Read lines of `address[/prefix]` into `v4` and `v6`, each with `value`. What follows "#" or ";" is a comment;
 * empty lines count for nothing. Returns NETWORK_OK, or what is wrong with line number `*line` (from 1). */
int networks_read(const char *text, size_t size, uint8_t value, networks_t *v4, networks_t *v6, size_t *line);

void networks_free(networks_t *networks);

/* Bytes that a table of up to `boundaries` boundaries takes. n networks make at most 2n + 1 boundaries. */
size_t table_size(size_t boundaries);

/* Flatten `networks`, which it sorts, into `memory`, aligned to 16 bytes and of table_size(2 * count + 1) bytes.
 * The most specific network decides. Returns the number of boundaries. */
size_t table_make(networks_t *networks, void *memory);

/* The value that holds for `address`, 0 for none. `boundaries`: as table_make returned it. */
uint8_t table_find(const void *memory, size_t boundaries, address_t address);

/* 4 or 16 bytes in network order; an address of IPv4 within IPv6 (::ffff:0:0/96) is the one of IPv4: *is_v4. */
address_t address_of(const uint8_t *packed, size_t size, int *is_v4);

#endif
