/* A fault point before every store to the segment, by the compiler: the cache's C is compiled with -fsanitize=thread,
 * and instead of ThreadSanitizer these functions, which that makes it call, are linked to it (scripts/kill-everywhere).
 *
 * A long run of words copied to the data pages counts as one store in every RUN. Also noted are the places where two
 * stores follow each other without an FP() of the source between them. Link with --wrap=fault_point,--wrap=segment_create.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "lock.h"
#include "segment.h"

enum { RUN = 64, SITES = 4096 };

static uintptr_t segment, segment_end, data;
static uintptr_t last_word;
static uint32_t run;
static bool had_point = true;
static _Atomic uintptr_t *sites; /* shared with the children: where a store followed a store */

void __real_fault_point(void);
void __wrap_fault_point(void);
int __real_segment_create(struct shm *shm, int fd, size_t size, const uint8_t *boot_id, size_t boot_id_len, uint32_t stripes,
                          uint32_t entries);
int __wrap_segment_create(struct shm *shm, int fd, size_t size, const uint8_t *boot_id, size_t boot_id_len, uint32_t stripes,
                          uint32_t entries);

void __wrap_fault_point(void) {
    had_point = true;
    __real_fault_point();
}

static void print_sites(void) {
    const char *file = getenv("STORE_SITES");
    FILE *out = file ? fopen(file, "w") : NULL;
    for (int i = 0; out && i < SITES && sites[i]; i++) fprintf(out, "%#lx\n", (unsigned long)(sites[i] - 1));
    if (out) fclose(out);
}

int __wrap_segment_create(struct shm *shm, int fd, size_t size, const uint8_t *boot_id, size_t boot_id_len, uint32_t stripes,
                          uint32_t entries) {
    segment = segment_end = 0; /* laying out is not watched: a segment is not used before it is READY */
    int answer = __real_segment_create(shm, fd, size, boot_id, boot_id_len, stripes, entries);
    if (answer != SEGMENT_OK) return answer;
    segment = (uintptr_t)shm->base;
    segment_end = segment + size;
    data = segment + shm->header->region[REGION_DATA];
    if (!sites) {
        sites = mmap(NULL, SITES * sizeof *sites, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (sites == MAP_FAILED) exit(2);
        atexit(print_sites);
    }
    return answer;
}

static void note_site(uintptr_t site) {
    for (int i = 0; i < SITES; i++) {
        uintptr_t there = 0;
        if (sites[i] == site || atomic_compare_exchange_strong(&sites[i], &there, site) || there == site) return;
    }
}

static bool is_in_a_run(uintptr_t at, size_t size) {
    bool follows = size == 8 && at >= data && at == last_word + 8;
    last_word = size == 8 ? at : 0;
    run = follows ? run + 1 : 0;
    return run % RUN != 0;
}

static void before_store(void *to, size_t size, void *site) {
    uintptr_t at = (uintptr_t)to;
    if (at < segment || at >= segment_end || is_in_a_run(at, size)) return;
    if (!had_point && !run) note_site((uintptr_t)site);
    had_point = false;
    __real_fault_point();
}

#define STORED(size) before_store(to, size, __builtin_return_address(0))

/* --- what -fsanitize=thread calls -------------------------------------------------------------------------------------- */

#define IGNORED(name) \
    void name(void *from); \
    void name(void *from) { (void)from; }
#define WRITE(size) \
    void __tsan_write##size(void *to); \
    void __tsan_write##size(void *to) { STORED(size); }
#define ATOMICS(bits, type) \
    type __tsan_atomic##bits##_load(const volatile type *from, int order); \
    type __tsan_atomic##bits##_load(const volatile type *from, int order) { \
        (void)order; \
        return __atomic_load_n(from, __ATOMIC_SEQ_CST); \
    } \
    void __tsan_atomic##bits##_store(type *to, type value, int order); \
    void __tsan_atomic##bits##_store(type *to, type value, int order) { \
        (void)order; \
        STORED(bits / 8); \
        __atomic_store_n(to, value, __ATOMIC_SEQ_CST); \
    } \
    CHANGE(bits, type, exchange, __atomic_exchange_n) \
    CHANGE(bits, type, fetch_add, __atomic_fetch_add) \
    CHANGE(bits, type, fetch_and, __atomic_fetch_and) \
    CHANGE(bits, type, fetch_or, __atomic_fetch_or) \
    SWAP(bits, type, strong) \
    SWAP(bits, type, weak)
#define CHANGE(bits, type, name, builtin) \
    type __tsan_atomic##bits##_##name(type *to, type value, int order); \
    type __tsan_atomic##bits##_##name(type *to, type value, int order) { \
        (void)order; \
        STORED(bits / 8); \
        return builtin(to, value, __ATOMIC_SEQ_CST); \
    }
#define SWAP(bits, type, kind) \
    int __tsan_atomic##bits##_compare_exchange_##kind(type *to, type *expected, type value, int order, int failed); \
    int __tsan_atomic##bits##_compare_exchange_##kind(type *to, type *expected, type value, int order, int failed) { \
        (void)order, (void)failed; \
        STORED(bits / 8); \
        return __atomic_compare_exchange_n(to, expected, value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); \
    }

IGNORED(__tsan_func_entry)
IGNORED(__tsan_read1)
IGNORED(__tsan_read2)
IGNORED(__tsan_read4)
IGNORED(__tsan_read8)
IGNORED(__tsan_read16)
WRITE(1)
WRITE(2)
WRITE(4)
WRITE(8)
WRITE(16)
ATOMICS(8, uint8_t)
ATOMICS(16, uint16_t)
ATOMICS(32, uint32_t)
ATOMICS(64, uint64_t)

void __tsan_init(void);
void __tsan_init(void) {}
void __tsan_func_exit(void);
void __tsan_func_exit(void) {}
void __tsan_read_range(void *from, size_t size);
void __tsan_read_range(void *from, size_t size) { (void)from, (void)size; }
void __tsan_write_range(void *to, size_t size);
void __tsan_write_range(void *to, size_t size) { STORED(size); }
void __tsan_atomic_thread_fence(int order);
void __tsan_atomic_thread_fence(int order) {
    (void)order;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

typedef unsigned __int128 wide;
int __tsan_atomic128_compare_exchange_strong(wide *to, wide *expected, wide value, int order, int failed);
int __tsan_atomic128_compare_exchange_strong(wide *to, wide *expected, wide value, int order, int failed) {
    (void)order, (void)failed;
    STORED(16);
    wide seen = __sync_val_compare_and_swap(to, *expected, value);
    bool swapped = seen == *expected;
    *expected = seen;
    return swapped;
}
