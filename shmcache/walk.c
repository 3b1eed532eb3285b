#include "walk.h"

#include <string.h>

#include "lock.h"
#include "purge.h"
#include "read.h"
#include "repair.h"
#include "slab.h"

enum { BATCH = 64 }; /* entries looked at under one lock */

/* The live, kept and unpurged object of this number, noted; false when there is no room to note it. */
static bool note_locked(struct shm *shm, struct walk *walk, uint32_t index) {
    const struct entry *entry = entry_at(shm, index);
    if (ctl_state(atomic_load_explicit(&entry->ctl, memory_order_relaxed)) != STATE_LIVE) return true;
    const struct head *head = chunk_at(shm, entry->head);
    const uint8_t *key = (const uint8_t *)head + head_key_at(head->tags);
    if (head->key_len < walk->prefix_len || memcmp(key, walk->prefix, walk->prefix_len) != 0) return true;
    if (walk->now_ns >= head->keep_until_ns) return true;
    int64_t fresh_until_ns = atomic_load(&entry->stale_from_ns);
    if (purge_judge(shm, atomic_load(&entry->born), (const uint32_t *)(head + 1), head->tags, key, head->key_len,
                    &fresh_until_ns) == JUDGED_PURGED)
        return true;
    if (walk->found == walk->limit || head->key_len > walk->room - walk->used) return false;
    if (head->fresh_until_ns < fresh_until_ns) fresh_until_ns = head->fresh_until_ns;
    uint32_t levels[SHM_LEVELS];
    struct walked *out = &walk->out[walk->found++];
    *out = (struct walked){
        .key_at = walk->used,
        .key_len = head->key_len,
        .meta_len = head->meta_len,
        .size = atomic_load(&entry->size),
        .fresh_until_ns = fresh_until_ns,
        .keep_until_ns = head->keep_until_ns,
        .swr_ns = (int64_t)head->swr * SHM_WINDOW_NS,
        .sie_ns = (int64_t)head->sie * SHM_WINDOW_NS,
        .tags = head->tags - purge_levels(shm, key, head->key_len, levels),
        .flags = head->flags,
    };
    out->verdict = read_judge(walk->now_ns, out->fresh_until_ns, out->swr_ns, out->sie_ns);
    memcpy(walk->keys + walk->used, key, head->key_len);
    walk->used += head->key_len;
    return true;
}

/* The next few entries of one stripe; false when there is no more room. */
static bool batch_locked(struct shm *shm, struct walk *walk, uint32_t end) {
    for (; walk->at < end; walk->at++)
        if (!note_locked(shm, walk, walk->at)) return false;
    return true;
}

void walk(struct shm *shm, struct walk *walk) {
    uint32_t per_stripe = shm->header->per_stripe, entries = shm->header->stripes * per_stripe;
    uint32_t stop = entries - walk->at < WALK_ENTRIES ? entries : walk->at + WALK_ENTRIES;
    bool goes_on = true;
    while (goes_on && walk->at < stop) {
        uint32_t stripe = stripe_of(shm, walk->at), next = (stripe + 1) * per_stripe;
        uint32_t end = next - walk->at < BATCH ? next : walk->at + BATCH;
        if (!stripe_enter(shm, stripe, WRITE_PATIENCE_NS)) {
            segment_count(shm, CORE_LOCK_TIMEOUTS, 1);
            walk->at = next; /* its entries are passed over */
            continue;
        }
        goes_on = batch_locked(shm, walk, end < stop ? end : stop);
        stripe_leave(shm, stripe);
    }
}
