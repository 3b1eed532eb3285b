#include "crawl.h"

#include "lock.h"
#include "purge.h"
#include "repair.h"
#include "slab.h"
#include "table.h"

enum { BATCH = 64 }; /* entries looked at under one lock */

static void look_at_locked(struct shm *shm, uint32_t index, int64_t now_ns, struct crawled *crawled) {
    struct entry *entry = entry_at(shm, index);
    if (ctl_state(atomic_load_explicit(&entry->ctl, memory_order_relaxed)) != STATE_LIVE) return;
    const struct head *head = chunk_at(shm, entry->head);
    const uint8_t *key = (const uint8_t *)head + head_key_at(head->tags);
    uint64_t born = atomic_load(&entry->born), epoch = purge_generation(shm);
    int64_t stale_from_ns = INT64_MAX;
    if (now_ns >= head->keep_until_ns) {
        crawled->expired++;
        entry_retire_locked(shm, index);
    } else if (!purge_is_due(shm, born)) {
        return;
    } else if (purge_judge(shm, born, (const uint32_t *)(head + 1), head->tags, key, head->key_len, &stale_from_ns) ==
               JUDGED_PURGED) {
        crawled->purged++;
        entry_retire_locked(shm, index);
    } else {
        entry_confirm_locked(shm, index, epoch, stale_from_ns);
    }
    FP();
}

/* The next few entries of a stripe; true at the end of its round. */
static bool crawl_locked(struct shm *shm, uint32_t at, int64_t now_ns, uint32_t entries, struct crawled *crawled) {
    struct stripe *stripe = &shm->stripes[at];
    uint32_t per_stripe = shm->header->per_stripe;
    if (stripe->crawl_at >= per_stripe) stripe->crawl_at = 0;
    if (!stripe->crawl_at) stripe->crawl_epoch = purge_generation(shm);
    FP();
    uint32_t end = per_stripe - stripe->crawl_at < entries ? per_stripe : stripe->crawl_at + entries;
    for (; stripe->crawl_at < end; stripe->crawl_at++, crawled->looked++)
        look_at_locked(shm, at * per_stripe + stripe->crawl_at, now_ns, crawled);
    if (end < per_stripe) return false;
    stripe->crawl_at = 0;
    FP();
    atomic_store_explicit(&stripe->crawl_clean, stripe->crawl_epoch, memory_order_release);
    return true;
}

void crawl(struct shm *shm, int64_t now_ns, uint32_t entries, struct crawled *crawled) {
    *crawled = (struct crawled){0};
    uint32_t stripes = shm->header->stripes, busy = 0;
    while (crawled->looked < entries && busy < stripes) {
        uint32_t left = entries - crawled->looked;
        uint32_t hand = atomic_load_explicit(&shm->header->crawl_stripe, memory_order_relaxed), at = hand % stripes;
        bool entered = stripe_enter(shm, at, 0), done = !entered; /* a locked one has its turn in the next round */
        if (entered) {
            done = crawl_locked(shm, at, now_ns, left < BATCH ? left : BATCH, crawled);
            stripe_leave(shm, at);
        }
        busy += !entered;
        /* if another process was quicker, it has moved on already */
        if (done) atomic_compare_exchange_strong(&shm->header->crawl_stripe, &hand, hand + 1);
    }
    segment_count(shm, CORE_CRAWLED, crawled->looked);
    segment_count(shm, CORE_EXPIRED, crawled->expired);
    segment_count(shm, CORE_PURGED, crawled->purged);
}
