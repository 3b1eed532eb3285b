#include "audit.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "evict.h"
#include "repair.h"
#include "slab.h"
#include "table.h"

#define AUDIT_PATIENCE_NS 5000000000ll

/* What is found, and the marks made on the way; private memory. */
struct report {
    struct shm *shm;
    char *out;
    size_t size, used, faults;
    uint64_t (*chunks)[8]; /* of all pages: chunks named so far */
    uint8_t *bodies;       /* of all pages: times named as part of a body */
    uint8_t *slots;        /* of all entries: times named by a slot */
    uint8_t *queued;       /* of all entries: times found in a queue */
};

__attribute__((format(printf, 2, 3))) static void fault(struct report *report, const char *format, ...) {
    va_list values;
    report->faults++;
    if (report->size - report->used < 256) return;
    va_start(values, format);
    int wrote = vsnprintf(report->out + report->used, 255, format, values);
    va_end(values);
    report->used += (size_t)(wrote < 255 ? wrote : 254);
    report->out[report->used++] = '\n';
}

static uint64_t state_of(const struct entry *entry) { return ctl_state(atomic_load(&entry->ctl)); }

static void check_slots(struct report *report, uint32_t stripe) {
    struct shm *shm = report->shm;
    uint32_t per_stripe = shm->header->per_stripe, buckets = shm->header->buckets;
    for (uint32_t i = 0; i < buckets * SHM_WAYS; i++) {
        _Atomic uint64_t *slot = &slots_of(shm, stripe, 0)[i];
        uint64_t word = atomic_load(slot);
        uint32_t index = slot_entry(shm, stripe, word);
        if (!word) continue;
        if (index / per_stripe != stripe) fault(report, "stripe %u slot %u names entry %u of another stripe", stripe, i, index);
        else if (state_of(entry_at(shm, index)) != STATE_LIVE || table_slot_of_locked(shm, index) != slot)
            fault(report, "stripe %u slot %u names entry %u, which is not live or does not belong there", stripe, i, index);
        else if (word != slot_word(shm, index)) fault(report, "stripe %u slot %u does not say where entry %u lies", stripe, i, index);
        else report->slots[index]++;
    }
}

static void check_chunk(struct report *report, uint32_t stripe, uint32_t index, const char *what, uint32_t chunk) {
    struct shm *shm = report->shm;
    uint32_t page, place;
    if (!chunk) return;
    if (!chunk_locate(shm, stripe, chunk, &page, &place)) {
        fault(report, "entry %u: its %s %u is no chunk of stripe %u", index, what, chunk, stripe);
        return;
    }
    uint64_t bit = 1ull << (place % 64);
    if (report->chunks[page][place / 64] & bit) fault(report, "entry %u: its %s %u has another owner too", index, what, chunk);
    if (!(shm->bitmaps[page][place / 64] & bit)) fault(report, "entry %u: its %s %u is marked free", index, what, chunk);
    if (((struct chunk_header *)chunk_at(shm, chunk))->entry != index)
        fault(report, "entry %u: its %s %u says it belongs to another entry", index, what, chunk);
    report->chunks[page][place / 64] |= bit;
}

static void check_body_pages(struct report *report, uint32_t stripe, uint32_t index) {
    struct shm *shm = report->shm;
    const struct entry *entry = entry_at(shm, index);
    uint32_t npages = atomic_load(&entry->npages), page, place;
    if (!npages) return;
    if (!entry->list || !chunk_locate(shm, stripe, entry->list, &page, &place) ||
        npages > list_holds(shm, entry->list)) {
        fault(report, "entry %u: %u pages, but no list that holds them", index, npages);
        return;
    }
    const uint32_t *numbers = list_numbers(shm, entry->list);
    for (uint32_t i = 0; i < npages; i++) {
        if (numbers[i] >= shm->header->pages || atomic_load(&shm->pages[numbers[i]].owner) != page_owner(PAGE_BODY, stripe))
            fault(report, "entry %u: page %u is not a body page of stripe %u", index, numbers[i], stripe);
        else if (report->bodies[numbers[i]]++) fault(report, "entry %u: page %u has another owner too", index, numbers[i]);
    }
}

/* The key hashes to what the entry says, and the lengths agree with the room there is. */
static void check_content(struct report *report, uint32_t stripe, uint32_t index) {
    struct shm *shm = report->shm;
    const struct entry *entry = entry_at(shm, index);
    uint32_t page, place;
    if (!chunk_locate(shm, stripe, entry->head, &page, &place)) return;
    const struct head *head = chunk_at(shm, entry->head);
    if (!entry_fits(shm, entry)) {
        fault(report, "entry %u: its lengths do not fit its chunks and pages", index);
        return;
    }
    struct key key;
    key_make(shm, &key, (const uint8_t *)head + head_key_at(head->tags), head->key_len);
    if (key.lo != entry->hash_lo || key.hi != entry->hash_hi) fault(report, "entry %u: its key has another hash", index);
    if (key.stripe != stripe) fault(report, "entry %u: its key belongs to stripe %u, not %u", index, key.stripe, stripe);
}

static void check_pins(struct report *report, uint32_t index) {
    const struct entry *entry = entry_at(report->shm, index);
    uint64_t pins = atomic_load(&entry->pins);
    for (int member = 0; member < SHM_MEMBERS; member++)
        if (pins >> member & 1 && !atomic_load(&report->shm->members[member].joined))
            fault(report, "entry %u: pinned by member %d, which nobody is", index, member);
}

static void check_queues(struct report *report, uint32_t stripe) {
    struct shm *shm = report->shm;
    uint32_t per_stripe = shm->header->per_stripe;
    for (uint32_t which = 1; which < QUEUES; which++) {
        const struct queue *queue = &shm->stripes[stripe].queue[which];
        uint32_t count = 0, charge = 0, before = 0;
        uint64_t seq = 0;
        for (uint32_t link = queue->oldest; link && count <= per_stripe; link = entry_at(shm, link - 1)->next) {
            if ((link - 1) / per_stripe != stripe) {
                fault(report, "stripe %u queue %u leads to entry %u of another stripe", stripe, which, link - 1);
                break;
            }
            const struct entry *entry = entry_at(shm, link - 1);
            if (entry->queue != which || entry->prev != before || entry->seq < seq || state_of(entry) != STATE_LIVE)
                fault(report, "entry %u: does not belong where it is in queue %u", link - 1, which);
            report->queued[link - 1]++;
            count++;
            charge += entry->charge;
            seq = entry->seq;
            before = link;
        }
        if (count != queue->count || charge != atomic_load(&queue->charge) || before != queue->newest)
            fault(report, "stripe %u queue %u: %u entries and charge %u found, %u and %u noted", stripe, which, count,
                  charge, queue->count, atomic_load(&queue->charge));
    }
}

struct sums {
    uint32_t used, objects;
    uint64_t bytes;
};

static void check_entry(struct report *report, uint32_t stripe, uint32_t index, struct sums *sums) {
    struct shm *shm = report->shm;
    const struct entry *entry = entry_at(shm, index);
    uint64_t state = state_of(entry);
    bool live = state == STATE_LIVE;
    check_pins(report, index);
    if (report->slots[index] != live) fault(report, "entry %u: named by %u slots", index, report->slots[index]);
    if (report->queued[index] != live) fault(report, "entry %u: found in %u queues", index, report->queued[index]);
    if (state == STATE_FREE) return;
    sums->used++;
    if (state > STATE_ZOMBIE) fault(report, "entry %u: state %llu at rest", index, (unsigned long long)state);
    if (state == STATE_ZOMBIE && !atomic_load(&entry->pins)) fault(report, "entry %u: zombie left without a pin", index);
    if (state == STATE_FILLING && !filler_lives(shm, entry)) fault(report, "entry %u: left half-made by the dead", index);
    if (state != STATE_FILLING && !entry->head) fault(report, "entry %u: has no head", index);
    check_chunk(report, stripe, index, "head", entry->head);
    check_chunk(report, stripe, index, "list", entry->list);
    check_chunk(report, stripe, index, "tail", entry->tail[0]);
    check_chunk(report, stripe, index, "tail", entry->tail[1]);
    check_body_pages(report, stripe, index);
    if (!live || !entry->head) return;
    check_content(report, stripe, index);
    sums->objects++;
    sums->bytes += entry_bytes(shm, entry);
}

static void check_free_entries(struct report *report, uint32_t stripe, uint32_t used) {
    struct shm *shm = report->shm;
    uint32_t per_stripe = shm->header->per_stripe, count = 0;
    for (uint32_t link = shm->stripes[stripe].free_entry; link && count <= per_stripe; count++) {
        if ((link - 1) / per_stripe != stripe || state_of(entry_at(shm, link - 1)) != STATE_FREE) {
            fault(report, "stripe %u: its free list leads to entry %u", stripe, link - 1);
            return;
        }
        link = entry_at(shm, link - 1)->next;
    }
    if (count + used != per_stripe) fault(report, "stripe %u: %u entries free and %u used of %u", stripe, count, used, per_stripe);
}

static void check_pages(struct report *report, uint32_t stripe) {
    struct shm *shm = report->shm;
    const struct stripe *it = &shm->stripes[stripe];
    uint32_t chunk_pages = 0, body_pages = 0, free_chunks[SHM_CLASSES] = {0}, open[SHM_CLASSES] = {0};
    for (uint32_t number = 0; number < shm->header->pages; number++) {
        const struct page *page = &shm->pages[number];
        uint32_t owner = atomic_load(&page->owner), used = 0;
        if (owner == page_owner(PAGE_BODY, stripe)) {
            body_pages++;
            if (!report->bodies[number]) fault(report, "page %u: kept by stripe %u for no body", number, stripe);
        }
        if (owner != page_owner(PAGE_CHUNKS, stripe)) continue;
        chunk_pages++;
        for (int i = 0; i < 8; i++) {
            used += (uint32_t)__builtin_popcountll(shm->bitmaps[number][i]);
            if (shm->bitmaps[number][i] & ~report->chunks[number][i])
                fault(report, "page %u: chunks of class %u in use that no entry names", number, page->class_);
        }
        if (page->class_ >= SHM_CLASSES || used != page->used || !used) {
            fault(report, "page %u: %u chunks in use, %u noted", number, used, page->used);
            continue;
        }
        uint32_t free = slab_per_page(page->class_) - used;
        free_chunks[page->class_] += free;
        open[page->class_] += free > 0;
        if (page->listed != (free > 0)) fault(report, "page %u: wrongly listed", number);
    }
    for (uint32_t class_ = 0; class_ < SHM_CLASSES; class_++) {
        uint32_t listed = 0;
        for (uint32_t link = it->open_page[class_]; link && listed <= shm->header->pages; link = shm->pages[link - 1].next)
            listed++;
        if (listed != open[class_] || free_chunks[class_] != it->free_chunks[class_])
            fault(report, "stripe %u class %u: %u open pages and %u free chunks found, %u and %u noted", stripe, class_,
                  open[class_], free_chunks[class_], listed, it->free_chunks[class_]);
    }
    if (chunk_pages != atomic_load(&it->chunk_pages) || body_pages != atomic_load(&it->body_pages))
        fault(report, "stripe %u: %u chunk and %u body pages found, %u and %u noted", stripe, chunk_pages, body_pages,
              atomic_load(&it->chunk_pages), atomic_load(&it->body_pages));
}

static void check_stripe_locked(struct report *report, uint32_t stripe) {
    struct shm *shm = report->shm;
    const struct stripe *it = &shm->stripes[stripe];
    uint32_t first = stripe * shm->header->per_stripe;
    struct sums sums = {0};
    check_slots(report, stripe);
    check_queues(report, stripe);
    for (uint32_t index = first; index < first + shm->header->per_stripe; index++)
        check_entry(report, stripe, index, &sums);
    check_free_entries(report, stripe, sums.used);
    check_pages(report, stripe);
    if (sums.used != it->used || sums.objects != it->objects || sums.bytes != it->bytes)
        fault(report, "stripe %u: %u entries, %u objects, %llu bytes found; %u, %u, %llu noted", stripe, sums.used,
              sums.objects, (unsigned long long)sums.bytes, it->used, it->objects, (unsigned long long)it->bytes);
}

/* A free page that no hint names is lost until the next reaping; a page of no stripe, for ever. */
static void check_pool(struct report *report) {
    struct shm *shm = report->shm;
    for (uint32_t number = 0; number < shm->header->pages; number++) {
        uint32_t owner = atomic_load(&shm->pages[number].owner);
        bool hinted = atomic_load(&shm->free_bits[number / 64]) >> (number % 64) & 1;
        if (owner == PAGE_FREE && !hinted) fault(report, "page %u: free, but not to be found", number);
        if (owner == PAGE_FREE) continue;
        if (hinted) fault(report, "page %u: in use, but offered as free", number);
        if ((owner & 0xffffff) >= shm->header->stripes || (owner >> 24 != PAGE_CHUNKS && owner >> 24 != PAGE_BODY))
            fault(report, "page %u: owned by nobody (%x)", number, owner);
    }
}

size_t audit(struct shm *shm, char *out, size_t size) {
    size_t pages = shm->header->pages, entries = (size_t)shm->header->stripes * shm->header->per_stripe;
    struct report report = {.shm = shm, .out = out, .size = size};
    report.chunks = calloc(pages, sizeof *report.chunks);
    report.bodies = calloc(pages, 1);
    report.slots = calloc(entries, 2);
    report.queued = report.slots + entries;
    if (!report.chunks || !report.bodies || !report.slots) {
        fault(&report, "no memory for the audit's own marks");
    } else {
        for (uint32_t stripe = 0; stripe < shm->header->stripes; stripe++) {
            if (!stripe_enter(shm, stripe, AUDIT_PATIENCE_NS)) {
                fault(&report, "stripe %u: stays locked", stripe);
                continue;
            }
            check_stripe_locked(&report, stripe);
            stripe_leave(shm, stripe);
        }
        check_pool(&report);
    }
    free(report.chunks);
    free(report.bodies);
    free(report.slots);
    out[report.used < size ? report.used : size - 1] = 0;
    return report.faults;
}

void occupancy(const struct shm *shm, struct occupancy *occupancy) {
    *occupancy = (struct occupancy){
        .pages_total = shm->header->pages,
        .entries_total = (uint64_t)shm->header->stripes * shm->header->per_stripe,
    };
    for (uint32_t i = 0; i < shm->header->stripes; i++) {
        const struct stripe *stripe = &shm->stripes[i];
        occupancy->pages_used += atomic_load(&stripe->chunk_pages) + atomic_load(&stripe->body_pages);
        occupancy->entries_used += __atomic_load_n(&stripe->used, __ATOMIC_RELAXED);
        occupancy->bytes_stored += __atomic_load_n(&stripe->bytes, __ATOMIC_RELAXED);
        occupancy->objects += __atomic_load_n(&stripe->objects, __ATOMIC_RELAXED);
    }
}
