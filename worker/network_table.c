#include "network_table.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

/* A table in memory: `boundaries` addresses in ascending order, from each of which on another value holds; then
 * every SAMPLE-th of them once more; then the values. The samples of a million networks fit a core's second-level
 * cache, so a look-up waits for main memory two or three times instead of twenty. */
#define SAMPLE 64

#define V4_BITS 96 /* that an address of IPv4 has before it, as a number of 128 bits */
#define LINE_BYTES 64

static size_t samples_of(size_t boundaries) { return (boundaries + SAMPLE - 1) / SAMPLE; }

size_t table_size(size_t boundaries)
{
    return (boundaries + samples_of(boundaries)) * sizeof(address_t) + boundaries;
}

address_t address_of(const uint8_t *packed, size_t size, int *is_v4)
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    address_t address = 0;

    *is_v4 = size == 4;
    if (size == 16 && !memcmp(packed, mapped, sizeof mapped)) {
        *is_v4 = 1;
        packed += 12;
        size = 4;
    }
    for (size_t i = 0; i < size; i++)
        address = address << 8 | packed[i];
    return address;
}

/* --- reading ----------------------------------------------------------------------------------------------- */

static int append(networks_t *networks, network_t network)
{
    if (networks->count == networks->room) {
        size_t room = networks->room ? networks->room * 2 : 1024;
        network_t *items = realloc(networks->items, room * sizeof *items);
        if (items == NULL)
            return NETWORK_NO_MEMORY;
        networks->items = items;
        networks->room = room;
    }
    networks->items[networks->count++] = network;
    return NETWORK_OK;
}

void networks_free(networks_t *networks)
{
    free(networks->items);
    memset(networks, 0, sizeof *networks);
}

static int read_prefix(const char *digits, int most)
{
    int prefix = 0;

    if (*digits == '\0' || strlen(digits) > 3)
        return -1;
    for (; *digits; digits++) {
        if (*digits < '0' || *digits > '9')
            return -1;
        prefix = prefix * 10 + (*digits - '0');
    }
    return prefix <= most ? prefix : -1;
}

static address_t host_bits(int prefix) { return prefix >= 128 ? 0 : ~(address_t)0 >> prefix; }

static int read_one(char *text, uint8_t value, networks_t *v4, networks_t *v6)
{
    uint8_t packed[16];
    network_t network = {.value = value};
    char *slash = strchr(text, '/');
    int bits = 32, prefix, is_v4;

    if (slash != NULL)
        *slash = '\0';
    if (inet_pton(AF_INET, text, packed) != 1) {
        bits = 128;
        if (inet_pton(AF_INET6, text, packed) != 1)
            return NETWORK_NO_ADDRESS;
    }
    prefix = slash == NULL ? bits : read_prefix(slash + 1, bits);
    if (prefix < 0)
        return NETWORK_NO_PREFIX;
    network.first = address_of(packed, (size_t)bits / 8, &is_v4);
    if (bits == 128 && is_v4) {
        if (prefix < V4_BITS) { /* wider than all of IPv4: it is one of IPv6 after all */
            network.first |= (address_t)0xffff << 32;
            is_v4 = 0;
        }
    } else if (bits == 32) {
        prefix += V4_BITS;
    }
    if (network.first & host_bits(prefix))
        return NETWORK_HOST_BITS;
    network.prefix = (uint8_t)prefix;
    return append(is_v4 ? v4 : v6, network);
}

int networks_read(const char *text, size_t size, uint8_t value, networks_t *v4, networks_t *v6, size_t *line)
{
    const char *end = text + size;
    char word[LINE_BYTES];

    for (*line = 1; text < end; ++*line) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        const char *next = stop == NULL ? end : stop + 1, *last = text;
        stop = stop == NULL ? end : stop;
        while (last < stop && *last != '#' && *last != ';')
            last++;
        while (text < last && (*text == ' ' || *text == '\t'))
            text++;
        while (text < last && (last[-1] == ' ' || last[-1] == '\t' || last[-1] == '\r'))
            last--;
        if (text < last) {
            size_t length = (size_t)(last - text);
            int fault;
            if (length >= sizeof word || memchr(text, '\0', length) != NULL)
                return NETWORK_NO_ADDRESS;
            memcpy(word, text, length);
            word[length] = '\0';
            if ((fault = read_one(word, value, v4, v6)) != NETWORK_OK)
                return fault;
        }
        text = next;
    }
    return NETWORK_OK;
}

/* --- flattening -------------------------------------------------------------------------------------------- */

typedef struct {
    address_t *starts;
    uint8_t *values;
    size_t count;
} flat_t;

/* Wider networks before those within them, so that a stack holds those that an address is in. */
static int compare(const void *left, const void *right)
{
    const network_t *a = left, *b = right;

    if (a->first != b->first)
        return a->first < b->first ? -1 : 1;
    if (a->prefix != b->prefix)
        return a->prefix < b->prefix ? -1 : 1;
    return (int)a->value - (int)b->value;
}

static void from_here(flat_t *flat, address_t start, uint8_t value)
{
    if (flat->count && flat->starts[flat->count - 1] == start)
        flat->count--;
    if ((flat->count ? flat->values[flat->count - 1] : 0) == value)
        return;
    flat->starts[flat->count] = start;
    flat->values[flat->count++] = value;
}

static void leave(flat_t *flat, const network_t *const *stack, size_t depth)
{
    const network_t *left = stack[depth];
    address_t last = left->first | host_bits(left->prefix);

    if (last != ~(address_t)0)
        from_here(flat, last + 1, depth ? stack[depth - 1]->value : 0);
}

size_t table_make(networks_t *networks, void *memory)
{
    const network_t *stack[129]; /* one of each length at most */
    size_t depth = 0, most = 2 * networks->count + 1, samples;
    flat_t flat = {memory, (uint8_t *)((address_t *)memory + most + samples_of(most)), 0};

    if (networks->count)
        qsort(networks->items, networks->count, sizeof *networks->items, compare);
    for (size_t i = 0; i < networks->count; i++) {
        const network_t *here = &networks->items[i];
        while (depth && (stack[depth - 1]->first | host_bits(stack[depth - 1]->prefix)) < here->first) {
            depth--;
            leave(&flat, stack, depth);
        }
        if (depth && stack[depth - 1]->first == here->first && stack[depth - 1]->prefix == here->prefix)
            depth--;
        stack[depth++] = here;
        from_here(&flat, here->first, here->value);
    }
    while (depth) {
        depth--;
        leave(&flat, stack, depth);
    }
    samples = samples_of(flat.count);
    for (size_t i = 0; i < samples; i++)
        flat.starts[flat.count + i] = flat.starts[i * SAMPLE];
    memmove(flat.starts + flat.count + samples, flat.values, flat.count);
    return flat.count;
}

/* --- looking up -------------------------------------------------------------------------------------------- */

/* How many of the ascending `starts` are at most `address`. */
static size_t count_up_to(const address_t *starts, size_t count, address_t address)
{
    const address_t *base = starts;

    while (count) {
        size_t half = count / 2;
        if (base[half] <= address) {
            base += half + 1;
            count -= half + 1;
        } else {
            count = half;
        }
    }
    return (size_t)(base - starts);
}

uint8_t table_find(const void *memory, size_t boundaries, address_t address)
{
    const address_t *starts = memory;
    size_t samples = samples_of(boundaries);
    size_t block = count_up_to(starts + boundaries, samples, address), first, size;

    if (block == 0)
        return 0;
    first = (block - 1) * SAMPLE;
    size = boundaries - first < SAMPLE ? boundaries - first : SAMPLE;
    first += count_up_to(starts + first, size, address);
    return ((const uint8_t *)(starts + boundaries + samples))[first - 1];
}
